"""The part of the small Kaggle that keeps datasets and runs notebooks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class NotebookState:
    """The datasets and notebooks of one user, and how they shall fare."""

    datasets: dict[str, list[list[str]]] = field(default_factory=dict)
    """OWNER/SLUG: for each version the files in it, as the tokens of their uploads."""
    processing_looks: int = 0
    """How often a new version is not ready yet."""
    processed: str = "READY"
    dataset_error: str = ""
    """What CreateDataset and CreateDatasetVersion answer with, though with status 200."""
    saved: list[dict[str, Any]] = field(default_factory=list)
    """The notebooks that were pushed."""
    save_answer: dict[str, Any] = field(default_factory=dict)
    running_looks: int = 0
    """How often a run is still going on."""
    end: dict[str, Any] = field(default_factory=lambda: {"status": "COMPLETE"})
    outputs: dict[str, bytes] = field(default_factory=dict)
    """Address: what the run left there."""
    log: list[str] = field(default_factory=list)


class NotebookServer:
    """The answers of DatasetApiService, BlobApiService and KernelsApiService."""

    state: Any

    def StartBlobUpload(self, body: dict[str, Any]) -> None:
        assert body["type"] == "DATASET" and body["contentLength"] > 0
        self._json({"token": f"blob-{body['name']}", "createUrl": f"http://localhost/up/{body['name']}"})

    def GetDatasetStatus(self, body: dict[str, Any]) -> None:
        if self._versions(body) is None:
            self._refuse(403, "Permission 'datasets.get' was denied")
            return
        notebooks = self.state.notebooks
        notebooks.processing_looks -= 1
        self._json({"status": "BLOBS_RECEIVED" if notebooks.processing_looks >= 0 else notebooks.processed})

    def GetDataset(self, body: dict[str, Any]) -> None:
        self._json({"currentVersionNumber": len(self._versions(body) or [])})

    def CreateDataset(self, body: dict[str, Any]) -> None:
        self._add(f"{body['ownerSlug']}/{body['slug']}", body)

    def CreateDatasetVersion(self, body: dict[str, Any]) -> None:
        self._add(f"{body['ownerSlug']}/{body['datasetSlug']}", body["body"])

    def _add(self, ref: str, body: dict[str, Any]) -> None:
        notebooks = self.state.notebooks
        if notebooks.dataset_error:
            self._json({"status": "error", "error": notebooks.dataset_error})
            return
        notebooks.datasets.setdefault(ref, []).append([file["token"] for file in body["files"]])
        self._json({"ref": ref, "url": f"http://localhost/{ref}", "status": "ok"})

    def _versions(self, body: dict[str, Any]) -> list[list[str]] | None:
        found: list[list[str]] | None = self.state.notebooks.datasets.get(
            f"{body['ownerSlug']}/{body['datasetSlug']}"
        )
        return found

    def SaveKernel(self, body: dict[str, Any]) -> None:
        notebooks = self.state.notebooks
        notebooks.saved.append(body)
        self._json(
            {"url": f"https://www.kaggle.com/code/{body['slug']}", "versionNumber": 1} | notebooks.save_answer
        )

    def GetKernelSessionStatus(self, body: dict[str, Any]) -> None:
        notebooks = self.state.notebooks
        notebooks.running_looks -= 1
        self._json({"status": "RUNNING"} if notebooks.running_looks >= 0 else notebooks.end)

    def ListKernelSessionOutput(self, body: dict[str, Any]) -> None:
        notebooks = self.state.notebooks
        files = [
            {"url": f"http://localhost{path}", "fileName": path.removeprefix("/out/")}
            for path in notebooks.outputs
        ]
        log = json.dumps([{"stream_name": "stdout", "time": 1.0, "data": line} for line in notebooks.log])
        self._json({"files": files, "log": log})

    def _json(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def _refuse(self, status: int, message: str) -> None:
        raise NotImplementedError
