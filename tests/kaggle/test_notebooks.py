"""Datasets and notebooks on a local Kaggle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kaggle_server import KaggleServer

from nuclei.errors import UserError
from nuclei.kaggle.notebooks import Dataset, Notebook, filled_metadata, full_ids

KERNELS = Path(__file__).parents[2] / "kernels"
SLUGS = {"dataset": "nuclei-bundle", "inference": "nuclei-inference", "train": "nuclei-train"}
IDS = full_ids("ada", SLUGS)


@pytest.mark.parametrize(
    ("owner", "slug", "message"),
    [
        ("YOUR_KAGGLE_NAME", "nuclei-bundle", "is a placeholder"),
        ("ada lovelace", "nuclei-bundle", "owner=ada lovelace: expected letters, digits and single hyphens"),
        ("ada", "nuclei--bundle", "ids.dataset=nuclei--bundle: expected letters"),
        ("ada", "x" * 51, "at most 50"),
        ("ada", "tiny", "ids.dataset=tiny: Kaggle wants 6 characters or more"),
    ],
)
def test_names_that_cannot_be_on_kaggle(owner: str, slug: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        full_ids(owner, {"dataset": slug})


def test_the_metadata_have_the_ids_and_the_inputs() -> None:
    metadata = filled_metadata(KERNELS / "inference/kernel-metadata.json", IDS, "bowl")
    assert (metadata["id"], metadata["title"]) == ("ada/nuclei-inference", "nuclei inference")
    assert (metadata["dataset_sources"], metadata["competition_sources"]) == (["ada/nuclei-bundle"], ["bowl"])
    assert (
        filled_metadata(KERNELS / "dataset/dataset-metadata.json", IDS, "bowl")["id"] == "ada/nuclei-bundle"
    )


def test_a_dataset_is_made_and_then_gets_versions(server: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "nuclei.zip").write_bytes(b"bundle")
    metadata = filled_metadata(KERNELS / "dataset/dataset-metadata.json", IDS, "bowl")
    dataset = Dataset(IDS["dataset"], 5.0, 0)
    assert dataset.version() is None
    dataset.send(tmp_path / "nuclei.zip", metadata, "notes", new=True)
    body = server.state.bodies[-1]
    assert body["isPrivate"] is True and body["licenseName"] == "other" and body["title"] == "nuclei bundle"
    assert dataset.wait_until_ready(0, 1.0, 0.01) == dataset.version() == 1
    dataset.send(tmp_path / "nuclei.zip", metadata, "notes", new=False)
    assert server.state.bodies[-1]["body"]["versionNotes"] == "notes"
    assert dataset.wait_until_ready(1, 1.0, 0.01) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["nuclei.zip"]


def test_an_upload_that_has_arrived_is_used_by_the_next_try(server: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "nuclei.zip").write_bytes(b"bundle")
    metadata = filled_metadata(KERNELS / "dataset/dataset-metadata.json", IDS, "bowl")
    server.state.refuse["CreateDataset"] = (500, "")
    with pytest.raises(UserError, match="500"):
        Dataset(IDS["dataset"], 5.0, 0).send(tmp_path / "nuclei.zip", metadata, "notes", new=True)
    server.state.refuse.clear()
    Dataset(IDS["dataset"], 5.0, 0).send(tmp_path / "nuclei.zip", metadata, "notes", new=True)
    assert server.state.calls.count("StartBlobUpload") == 1
    (tmp_path / "nuclei.zip").write_bytes(b"another bundle")
    Dataset(IDS["dataset"], 5.0, 0).send(tmp_path / "nuclei.zip", metadata, "notes", new=False)
    assert server.state.uploads == {"/up/nuclei.zip": b"another bundle"}


def test_a_notebook_runs_and_leaves_its_output(server: KaggleServer, tmp_path: Path) -> None:
    notebooks = server.state.notebooks
    notebooks.outputs = {"/out/a/b.txt": b"1", "/out/../../escaped.txt": b"2"}
    notebooks.log, notebooks.running_looks = ["line\n"], 1
    notebook = Notebook(IDS["inference"], 5.0, 0)
    metadata = filled_metadata(KERNELS / "inference/kernel-metadata.json", IDS, "bowl")
    address = notebook.send(KERNELS / "inference/inference.ipynb", metadata)
    assert address == "https://www.kaggle.com/code/ada/nuclei-inference"
    cells = json.loads(notebooks.saved[0]["text"])["cells"]
    assert all(isinstance(cell["source"], str) for cell in cells)
    assert notebook.wait_until_ended(1.0, 0.01) == ("complete", "")
    files = notebook.fetch_output(tmp_path / "output")
    names = [path.relative_to(tmp_path / "output").as_posix() for path in files]
    assert names == ["a/b.txt", "nuclei-inference.log"]
    assert (tmp_path / "output/a/b.txt").read_bytes() == b"1" and not list(tmp_path.rglob("escaped.txt"))
