"""A user's dataset and notebooks on Kaggle: send them, wait for them, fetch their output."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from kagglesdk import KaggleClient
from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest
from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetVersionRequest,
    ApiGetDatasetRequest,
    ApiGetDatasetStatusRequest,
)
from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelSessionStatusRequest,
    ApiListKernelSessionOutputRequest,
    ApiSaveKernelRequest,
)
from requests import HTTPError

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.kaggle.client import NOTEBOOKS, PIECE, SITE, KaggleSession, Unreachable, poll_until
from nuclei.paths import PROGRAM, Folders
from nuclei.training.environment import code_state

ABSENT = (403, 404)  # how Kaggle answers for what is not there, or is somebody else's
PLACEHOLDER = "YOUR_KAGGLE_NAME"
UPLOAD_EXPIRES = 6 * 24 * 3600  # seconds after which Kaggle's storage forgets an unfinished upload
LOG_TAIL = 12  # lines of a log that are shown
KERNEL_FIELDS = {
    "newTitle": "title",
    "language": "language",
    "kernelType": "kernel_type",
    "isPrivate": "is_private",
    "enableGpu": "enable_gpu",
    "enableTpu": "enable_tpu",
    "enableInternet": "enable_internet",
    "datasetDataSources": "dataset_sources",
    "competitionDataSources": "competition_sources",
}
"""For each field of a request the name of the same fact in a ``kernel-metadata.json``."""
Metadata = Mapping[str, object]
"""A ``dataset-metadata.json`` or ``kernel-metadata.json``, with the names that Kaggle's own tools use."""


class Dataset(KaggleSession):
    """One dataset, ``OWNER/SLUG``."""

    causes = NOTEBOOKS

    def version(self) -> int | None:
        """Return the newest version; None where there is no such dataset."""
        with self.open() as client:
            try:
                return self._state(client)[1]
            except HTTPError as e:
                if e.response is not None and e.response.status_code in ABSENT:
                    return None
                raise

    def _state(self, client: KaggleClient) -> tuple[str, int]:
        """Return the status, such as ``ready``, and the newest version."""
        owner, slug = self.subject.split("/")
        name, api = {"ownerSlug": owner, "datasetSlug": slug}, client.datasets.dataset_api_client
        status = api.get_dataset_status(ApiGetDatasetStatusRequest.from_dict(name)).status.name.lower()
        return status, int(api.get_dataset(ApiGetDatasetRequest.from_dict(name)).current_version_number)

    def send(self, file: Path, metadata: Metadata, notes: str, new: bool) -> None:
        """Make the ``new`` dataset of a file, or a version with ``notes``; an error leaves neither."""
        owner, slug = self.subject.split("/")
        texts = {key: metadata[key] for key in ("subtitle", "description")}
        note = file.with_name(f".{file.name}.upload")
        with self.open() as client:
            body = texts | {"files": [{"token": self._upload_once(file, note)}]}
            api = client.datasets.dataset_api_client
            if new:
                licence = cast("list[dict[str, str]]", metadata["licenses"])[0]["name"]
                body |= {"ownerSlug": owner, "slug": slug, "title": metadata["title"], "licenseName": licence}
                response = api.create_dataset(ApiCreateDatasetRequest.from_dict(body | {"isPrivate": True}))
            else:
                body |= {"versionNotes": notes}
                request = {"ownerSlug": owner, "datasetSlug": slug, "body": body}
                response = api.create_dataset_version(ApiCreateDatasetVersionRequest.from_dict(request))
        if response.error or response.status.lower() == "error":
            raise UserError(
                f"Kaggle refused the dataset {self.subject}: {response.error or 'it gave no reason'}"
            )
        note.unlink(missing_ok=True)

    def _upload_once(self, file: Path, note: Path) -> str:
        """Upload a file and return Kaggle's token for it; ``note`` remembers an upload that has begun."""
        state = file.stat()
        request = ApiStartBlobUploadRequest()
        request.type, request.name, request.content_length = ApiBlobType.DATASET, file.name, state.st_size
        request.last_modified_epoch_seconds = int(state.st_mtime)
        begun = note.is_file() and note.stat().st_mtime > time.time() - UPLOAD_EXPIRES
        upload = json.loads(note.read_text()) if begun else {}
        begun = upload.get("request") == request.to_dict()
        if not begun:
            with self.open() as client:
                response = client.blobs.blob_api_client.start_blob_upload(request)
            upload = {"request": request.to_dict(), "token": response.token, "url": response.create_url}
            with atomic_write(note) as part:
                part.write_text(json.dumps(upload))
        try:
            self.upload(file, upload["url"], begun)
        except UserError as e:
            if not isinstance(e, Unreachable):
                note.unlink(missing_ok=True)  # the next try begins anew
            raise
        return str(upload["token"])

    def wait_until_ready(self, previous: int, limit: float, interval: float) -> int:
        """Wait for a version above ``previous``; return its number, or raise after ``limit`` seconds."""

        def look() -> int | None:
            with self.open() as client:
                status, version = self._state(client)
            if status in ("failed", "deleted"):
                raise UserError(
                    f"Kaggle could not process {self.subject}: {status}; see {SITE}/{self.subject}"
                )
            return version if status == "ready" and version > previous else None

        return poll_until(look, f"waiting for the dataset {self.subject}", limit, interval)


class Notebook(KaggleSession):
    """One notebook, ``OWNER/SLUG``."""

    causes = NOTEBOOKS

    def send(self, file: Path, metadata: Metadata) -> str:
        """Push an ``.ipynb``, which starts it; return its address, or raise if an input was refused."""
        notebook = json.loads(file.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])  # the format allows a list of lines, Kaggle does not
        settings = {field: metadata[name] for field, name in KERNEL_FIELDS.items()}
        body = {"slug": self.subject, "text": json.dumps(notebook), **settings}
        request = ApiSaveKernelRequest.from_dict(body)
        with self.open() as client:
            response = client.kernels.kernels_api_client.save_kernel(request)
        if response.error:
            raise UserError(f"Kaggle refused the notebook {self.subject}: {response.error}")
        if lacking := [*response.invalid_dataset_sources, *response.invalid_competition_sources]:
            raise UserError(
                f"{self.subject} was pushed without its input {', '.join(lacking)}: accept the rules, "
                "check the names in configs/push.yaml, and push again"
            )
        return response.url or f"{SITE}/code/{self.subject}"

    def wait_until_ended(self, limit: float, interval: float) -> tuple[str, str]:
        """Wait for the run to end; return its status, such as ``complete``, and the message of a failure.

        A run that has not ended after ``limit`` seconds is an error.
        """
        owner, slug = self.subject.split("/")
        request = ApiGetKernelSessionStatusRequest.from_dict({"userName": owner, "kernelSlug": slug})

        def look() -> tuple[str, str] | None:
            with self.open() as client:
                session = client.kernels.kernels_api_client.get_kernel_session_status(request)
            status = session.status.name.lower()
            running = status in ("queued", "running", "new_script")
            return None if running else (status, session.failure_message or "")

        return poll_until(look, f"waiting for {self.subject}", limit, interval)

    def fetch_output(self, folder: Path) -> list[Path]:
        """Fetch the last run's whole output and log into ``folder``, but for names that lead out of it."""
        owner, slug = self.subject.split("/")
        request = ApiListKernelSessionOutputRequest.from_dict({"userName": owner, "kernelSlug": slug})
        files, log, more = [], "", True
        with self.open() as client:
            while more:
                listed = client.kernels.kernels_api_client.list_kernel_session_output(request)
                for item in listed.files or []:
                    name = PurePosixPath(item.file_name)
                    if not name.is_absolute() and ".." not in name.parts:
                        self._fetch(item.url, folder / name)
                        files.append(folder / name)
                log, request.page_token = log or listed.log or "", listed.next_page_token or ""
                more = bool(request.page_token)
            if log:
                folder.mkdir(parents=True, exist_ok=True)
                files.append(folder / f"{slug}.log")
                files[-1].write_text(log, encoding="utf-8")
        return files

    def _fetch(self, url: str, path: Path) -> None:
        response = self._storage.get(url, stream=True)
        if not response.ok:
            reason = f"GET {response.status_code} {response.reason}"
            raise Unreachable(f"the output of {self.subject} did not arrive ({reason}); try again")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.writelines(response.iter_content(PIECE))


def full_ids(owner: str, slugs: Mapping[str, str]) -> dict[str, str]:
    """Return ``OWNER/SLUG`` of the dataset and of each notebook; slugs are the last parts of addresses.

    The placeholder for an owner is refused, and so are names that cannot be on Kaggle.
    """
    if owner == PLACEHOLDER:
        raise UserError(
            f"owner={PLACEHOLDER} is a placeholder; give owner=NAME, or write it into configs/push.yaml: "
            "the name in the address of your Kaggle profile; nothing was sent"
        )
    for key, slug in {"owner": owner, **{f"ids.{name}": slug for name, slug in slugs.items()}}.items():
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug, re.IGNORECASE) or len(slug) > 50:
            raise UserError(
                f"{key}={slug}: expected letters, digits and single hyphens, at most 50; nothing was sent"
            )
    if short := [name for name, slug in slugs.items() if len(slug) < 6]:
        raise UserError(
            f"ids.{short[0]}={slugs[short[0]]}: Kaggle wants 6 characters or more; nothing was sent"
        )
    return {name: f"{owner}/{slug}" for name, slug in slugs.items()}


def filled_metadata(path: Path, ids: Mapping[str, str], competition: str) -> dict[str, object]:
    """Return a ``dataset-metadata.json`` or ``kernel-metadata.json`` with ids and inputs filled in."""
    ref = ids[path.parent.name]
    # Kaggle derives a slug from the title, so they must agree.
    metadata = json.loads(path.read_text()) | {"id": ref, "title": ref.split("/")[1].replace("-", " ")}
    if path.parent.name == "dataset":
        return dict(metadata)
    return metadata | {"dataset_sources": [ids["dataset"]], "competition_sources": [competition]}


@dataclass(frozen=True)
class Push:
    """The bundle, sent as a dataset, and the notebooks that run on it.

    Attributes:
        root: the project's folder, which has the notebooks and their metadata in ``kernels``.
        folders: the bundle is in ``kernels``; each notebook's output goes there too.
        ids: ``OWNER/SLUG`` of the dataset and the notebooks, see ``full_ids``.
        timeout, retries: see ``KaggleSession``.
        limit, interval: seconds to wait for the dataset and for each run, and between two looks.
    """

    root: Path
    folders: Folders
    ids: Mapping[str, str]
    competition: str
    timeout: float
    retries: int
    limit: float
    interval: float

    def send_all(self, notebooks: Sequence[str]) -> None:
        """Send the dataset, then each notebook in turn; refuse unknown ones before."""
        if unknown := [name for name in notebooks if name not in self.ids or name == "dataset"]:
            raise UserError(f"notebooks has '{unknown[0]}'; there are inference and train")
        if not self.folders.bundle.is_file():
            raise UserError(f"no bundle at {self.folders.bundle}; run ./run.sh bundle")
        self.send_dataset(self.folders.bundle)
        for name in notebooks:
            self.run_notebook(name)

    def send_dataset(self, bundle: Path) -> None:
        """Make the dataset or its next version, and wait until notebooks can use it."""
        dataset = Dataset(self.ids["dataset"], self.timeout, self.retries)
        previous = dataset.version()
        path = self.root / "kernels" / "dataset" / "dataset-metadata.json"
        print(f"sending {bundle} ({bundle.stat().st_size / 1e6:.0f} MB) to {dataset.subject}", flush=True)
        commit, dirty = code_state(self.root)
        notes = f"{commit[:8]}{' and changes' if dirty == 'yes' else ''}" or "no commit"
        metadata = filled_metadata(path, self.ids, self.competition)
        dataset.send(bundle, metadata, notes, new=previous is None)
        version = dataset.wait_until_ready(previous or 0, self.limit, self.interval)
        print(f"{dataset.subject} is ready, version {version}", flush=True)

    def run_notebook(self, name: str) -> None:
        """Push a notebook, wait for its run, fetch its log and output, and then raise if it failed."""
        notebook = Notebook(self.ids[name], self.timeout, self.retries)
        source, folder = self.root / "kernels" / name, self.folders.kernels / name
        metadata = filled_metadata(source / "kernel-metadata.json", self.ids, self.competition)
        address = notebook.send(source / f"{name}.ipynb", metadata)
        print(f"pushed {notebook.subject}: {address}", flush=True)
        status, failure = notebook.wait_until_ended(self.limit, self.interval)
        output, part = folder / "output", folder / ".output.part"
        shutil.rmtree(part, ignore_errors=True)
        files = notebook.fetch_output(part)
        part.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(output, ignore_errors=True)
        part.rename(output)
        print("\n".join(_log_lines(output / f"{notebook.subject.split('/')[1]}.log")[-LOG_TAIL:]))
        if status != "complete":
            raise UserError(
                f"{address} ended with status {status}: {failure or 'see its log'}; the log is in {output}"
            )
        after = f"; next: {PROGRAM} submit submission={output}/submission.csv" if name == "inference" else ""
        print(f"wrote {len(files)} files into {output}{after}")


def _log_lines(path: Path) -> list[str]:
    """Return the lines of a log, which Kaggle keeps as pieces of output; none where there is no log."""
    if not path.is_file():
        return []
    try:
        return "".join(piece["data"] for piece in json.loads(path.read_text())).splitlines()
    except (ValueError, KeyError, TypeError):
        return path.read_text().splitlines()
