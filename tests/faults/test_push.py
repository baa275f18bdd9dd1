"""``push`` through Kaggle's own SDK: the dataset, the notebooks, and what each fault leaves behind."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from kaggle_server import TOKEN, KaggleServer
from sandbox import ROOT, Sandbox, one_line

from nuclei.cli import main
from nuclei.kaggle.notebooks import filled_metadata

PUSH = ("push", "owner=ada", "poll=0.1", "wait=5.0")
BUNDLE = b"the bundle" * 1000
CSV = b"ImageId,EncodedPixels\na,\n"


@pytest.fixture(autouse=True)
def bundle(sandbox: Sandbox, server: KaggleServer) -> None:
    """Put a bundle into the sandbox, and what a run will leave into the server."""
    path = sandbox.folder / "kernels/dataset/nuclei.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(BUNDLE)
    server.state.notebooks.outputs = {"/out/submission.csv": CSV, "/out/submission.json": b"{}"}
    server.state.notebooks.log = ["3 images\n", "1.50 images per second, ", "3,000 would take 2,000 s\n"]


def succeeds(sandbox: Sandbox, *words: str, **credentials: str) -> str:
    done = sandbox.run(*PUSH, *words, **credentials)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(sandbox: Sandbox, *words: str, **credentials: str) -> str:
    return one_line(sandbox.run(*PUSH, *words, **credentials))


def test_the_first_push_makes_the_dataset_runs_the_notebook_and_fetches(
    sandbox: Sandbox, server: KaggleServer
) -> None:
    notebooks = server.state.notebooks
    notebooks.processing_looks, notebooks.running_looks = 2, 2
    out = succeeds(sandbox).splitlines()
    assert server.state.uploads == {"/up/nuclei.zip": BUNDLE}
    assert notebooks.datasets == {"ada/nuclei-bundle": [["blob-nuclei.zip"]]}
    assert "ada/nuclei-bundle is ready, version 1" in out
    (saved,) = notebooks.saved
    assert (saved["slug"], saved["newTitle"]) == ("ada/nuclei-inference", "nuclei inference")
    assert saved["datasetDataSources"] == ["ada/nuclei-bundle"]
    assert saved["competitionDataSources"] == ["data-science-bowl-2018"]
    assert (
        saved["isPrivate"] is True and not saved.get("enableInternet") and saved["kernelType"] == "notebook"
    )
    assert "nuclei.kaggle.bundle" in saved["text"] and '"kernelspec"' in saved["text"]
    output = sandbox.folder / "kernels/inference/output"
    assert (output / "submission.csv").read_bytes() == CSV
    assert sorted(p.name for p in output.iterdir()) == [
        "nuclei-inference.log",
        "submission.csv",
        "submission.json",
    ]
    assert out[-2] == "1.50 images per second, 3,000 would take 2,000 s"
    assert out[-1].endswith("next: ./run.sh submit submission=kernels/inference/output/submission.csv")


def test_the_next_push_makes_a_version_and_waits_for_that_one(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.notebooks.datasets["ada/nuclei-bundle"] = [["old"]]
    out = succeeds(sandbox, "notebooks=[]", KAGGLE_API_TOKEN=TOKEN)
    assert server.state.notebooks.datasets["ada/nuclei-bundle"] == [["old"], ["blob-nuclei.zip"]]
    assert out.splitlines()[-1] == "ada/nuclei-bundle is ready, version 2"
    assert "CreateDataset" not in server.state.calls and server.state.notebooks.saved == []


def test_both_notebooks(sandbox: Sandbox, server: KaggleServer) -> None:
    succeeds(sandbox, "notebooks=[train,inference]", "ids.train=my-training")
    assert [saved["slug"] for saved in server.state.notebooks.saved] == [
        "ada/my-training",
        "ada/nuclei-inference",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["owner=YOUR_KAGGLE_NAME"], "owner=YOUR_KAGGLE_NAME is a placeholder"),
        (["ids.dataset=Not_a_slug"], "ids.dataset=Not_a_slug: expected letters, digits and single hyphens"),
        (["ids.train=tiny"], "ids.train=tiny: Kaggle wants 6 characters or more"),
        (["notebooks=[infer]"], "notebooks has 'infer'; there are inference and train"),
        (["paths.kernels=elsewhere"], "no bundle at elsewhere/dataset/nuclei.zip; run ./run.sh bundle"),
    ],
)
def test_nothing_is_sent_that_cannot_succeed(
    sandbox: Sandbox,
    server: KaggleServer,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sandbox.folder)
    for name, value in server.environment(str(sandbox.home)).items():
        monkeypatch.setenv(name, value)
    assert main([*PUSH, *words]) == 2
    assert said in capsys.readouterr().err
    assert server.state.calls == []


def test_the_committed_metadata_is_that_of_the_config() -> None:
    ids = {name: f"YOUR_KAGGLE_NAME/nuclei-{name}" for name in ("inference", "train")}
    ids["dataset"] = "YOUR_KAGGLE_NAME/nuclei-bundle"
    for name in ids:
        (path,) = (ROOT / "kernels" / name).glob("*-metadata.json")
        assert filled_metadata(path, ids, "data-science-bowl-2018") == json.loads(path.read_text())


@pytest.mark.parametrize("status", [500, 503])
def test_an_upload_that_breaks_off_makes_no_version_and_then_goes_on(
    sandbox: Sandbox, server: KaggleServer, status: int
) -> None:
    server.state.refuse["PUT"] = (status, "")
    said = fails(sandbox)
    assert "the upload to ada/nuclei-bundle broke off" in said and str(status) in said
    assert server.state.notebooks.datasets == {} and server.state.notebooks.saved == []
    server.state.refuse.clear()
    succeeds(sandbox)
    assert server.state.uploads == {"/up/nuclei.zip": BUNDLE}
    assert server.state.notebooks.datasets == {"ada/nuclei-bundle": [["blob-nuclei.zip"]]}


@pytest.mark.parametrize(
    ("method", "status", "message", "said"),
    [
        ("StartBlobUpload", 401, "", "https://www.kaggle.com/settings/api"),
        ("CreateDataset", 403, "Permission 'datasets.create' was denied", "owner=NAME must be its name"),
        ("CreateDataset", 400, "Please verify your phone number", "phone or account not verified"),
        ("CreateDataset", 500, "", "a fault or too many requests; try again"),
        ("SaveKernel", 403, "", "known causes: the account that is signed in has no ada/nuclei-inference"),
        ("SaveKernel", 400, "Maximum weekly GPU quota exceeded", "a quota is used up"),
        ("GetKernelSessionStatus", 403, "", "the account that is signed in has no ada/nuclei-inference"),
        ("ListKernelSessionOutput", 500, "", "try again in some minutes"),
        ("GET", 500, "", "the output of ada/nuclei-inference did not arrive (GET 500"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    sandbox: Sandbox, server: KaggleServer, method: str, status: int, message: str, said: str
) -> None:
    server.state.refuse[method] = (status, message)
    assert said in fails(sandbox, "wait=0.3")
    assert not (sandbox.folder / "kernels/inference/output").exists()


def test_wrong_credentials_and_none(sandbox: Sandbox, server: KaggleServer) -> None:
    assert "Kaggle does not accept the token" in fails(sandbox, KAGGLE_API_TOKEN="wrong")
    assert "no Kaggle credentials" in fails(sandbox, KAGGLE_KEY="")
    assert server.state.uploads == {}


@pytest.mark.parametrize("method", ["StartBlobUpload", "PUT", "CreateDataset", "SaveKernel"])
def test_a_server_that_falls_silent_ends_the_wait(
    sandbox: Sandbox, server: KaggleServer, method: str
) -> None:
    server.state.delay[method] = 20
    start = time.monotonic()
    assert "imed out" in fails(sandbox, "kaggle.patience=0.5", "kaggle.retries=1")
    assert time.monotonic() - start < 20


def test_network_down(sandbox: Sandbox, server: KaggleServer) -> None:
    server.stop()
    assert "cannot reach Kaggle" in fails(sandbox)


def test_what_kaggle_refuses_with_status_200(sandbox: Sandbox, server: KaggleServer) -> None:
    notebooks = server.state.notebooks
    notebooks.dataset_error = "The requested title is in use"
    assert "refused the dataset ada/nuclei-bundle: The requested title is in use" in fails(sandbox)
    notebooks.dataset_error, notebooks.save_answer = "", {"error": "Notebook too large"}
    assert "refused the notebook ada/nuclei-inference: Notebook too large" in fails(sandbox)
    notebooks.save_answer = {"invalidCompetitionSources": ["data-science-bowl-2018"]}
    assert "without its input data-science-bowl-2018: accept the rules" in fails(sandbox)


def test_a_dataset_that_cannot_be_processed(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.notebooks.processed = "FAILED"
    assert "could not process ada/nuclei-bundle: failed" in fails(sandbox)
    server.state.notebooks.processed = "BLOBS_RECEIVED"
    assert "ada/nuclei-bundle: not done after 0 s" in fails(sandbox, "wait=0.3")
    assert server.state.notebooks.saved == []


def test_a_run_that_fails_shows_its_log(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.notebooks.end = {"status": "ERROR", "failureMessage": "out of memory"}
    server.state.notebooks.log = ["CUDA error\n"]
    done = sandbox.run(*PUSH)
    assert "nuclei-inference ended with status error: out of memory" in one_line(done)
    assert done.stdout.splitlines()[-1] == "CUDA error"
    assert (sandbox.folder / "kernels/inference/output/nuclei-inference.log").is_file()


def test_names_that_lead_out_of_the_folder_are_left_alone(
    sandbox: Sandbox, server: KaggleServer, tmp_path: Path
) -> None:
    server.state.notebooks.outputs["/out/../../escaped.txt"] = b"x"
    succeeds(sandbox)
    assert not list(sandbox.folder.rglob("escaped.txt"))
