"""The bundle: what is in it, the same bytes each time, what is refused; and the notebooks that run on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import jupytext
import pytest
import yaml

from nuclei.cli import main
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.kaggle.bundle import keep_members, network_files, wheel_files
from nuclei.paths import Paths, RunName

REPO = Path(__file__).parents[2]
BUNDLE = ["bundle", "data=demo"]


def test_the_same_inputs_give_the_same_bytes(place: Path, offline_pip: Path) -> None:
    assert main([*BUNDLE]) == 0
    path = place / "kernels/dataset/nuclei.zip"
    first = path.read_bytes()
    for file in place.rglob("*"):
        os.utime(file, (1, 1))
    (place / "ensembles/demo/default/ensemble.yaml").chmod(0o600)
    path.unlink()
    assert main([*BUNDLE]) == 0
    assert path.read_bytes() == first


def test_what_is_in_it(place: Path, offline_pip: Path) -> None:
    assert main([*BUNDLE, "tta=3", "runs=otsu/default", f"paths.kernels={place}/other"]) == 0
    with zipfile.ZipFile(place / "other/dataset/nuclei.zip") as z:
        names = z.namelist()
        settings = json.loads(z.read("bundle.json"))
        ensemble = yaml.safe_load(z.read("ensembles/demo/default/ensemble.yaml"))
        commit = json.loads(z.read("project/commit.json"))
    assert names == sorted(names) and len(names) == len(set(names))
    assert settings["tta"] == 3 and settings["data"] == "demo" and settings["time_limit"] == 28800.0
    assert [member["run"] for member in ensemble["members"]] == ["otsu/default"]
    assert ensemble["members"][0]["weight"] == 1.0 and set(commit) == {"commit", "dirty"}
    source = {path.relative_to(REPO).as_posix() for path in (REPO / "src/nuclei").rglob("*.py")}
    assert source == {name.removeprefix("project/") for name in names if name.endswith(".py")}
    runs = [f"runs/demo/otsu/default/fold{k}/{name}.json" for k in (0, 1) for name in ("config", "done")]
    assert [name for name in names if name.startswith("runs/")] == runs
    assert {"project/configs/submission.yaml", "folds/demo.csv"} <= set(names)
    assert [name for name in names if name.endswith(".pyc") or "__pycache__" in name] == []


def test_the_wheels_are_named_as_in_the_requirements() -> None:
    pattern = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
    pinned = dict(pattern.findall((REPO / "requirements.txt").read_text()))
    ours = dict(pattern.findall((REPO / "kernels/dataset/wheels.txt").read_text()))
    assert ours and {name: pinned.get(name, version) for name, version in ours.items()} == ours


def test_a_wheel_that_cannot_be_had_is_named(tmp_path: Path, offline_pip: Path) -> None:
    pins = tmp_path / "wheels.txt"
    pins.write_text("# a comment\nno-such-package==1.0\n")
    with pytest.raises(UserError, match=r"pip cannot fetch no-such-package==1\.0: ERROR"):
        list(wheel_files(pins, tmp_path / "cache"))


def test_wheels_that_are_there_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "wheels.txt").write_text("Some.Package==1.0\n")
    (tmp_path / "some_package-1.0-py3-none-any.whl").touch()
    ((name, _),) = wheel_files(tmp_path / "wheels.txt", tmp_path)
    assert name == "wheels/some_package-1.0-py3-none-any.whl"


def test_a_run_that_is_no_member_or_not_finished(place: Path, tmp_path: Path) -> None:
    members = (WeightedRun(RunName("linknet", "default"), 1.0), WeightedRun(RunName("b", "c"), 0.0))
    ensemble = EnsembleFile("demo", "0", 2, ("nucleus",), members, (), 0.25, 0.5)
    with pytest.raises(UserError, match="no member b/c with a weight; its members are linknet/default"):
        keep_members(ensemble, ["b/c"])
    shutil.copytree(place / "runs", tmp_path / "runs")
    (tmp_path / "runs/demo/linknet/default/fold1/done.json").unlink()
    folders = dict.fromkeys(("root", "store", "folds", "ensembles", "submissions", "kernels", "reports"))
    paths = Paths(data="demo", runs=tmp_path / "runs", **{name: tmp_path / name for name in folders})
    with pytest.raises(UserError, match=r"fold1 is not finished; run .*model=linknet name=default fold=1"):
        list(network_files(keep_members(ensemble, None), paths, "default"))


def test_the_weights_of_kept_members_sum_to_1() -> None:
    members = (WeightedRun(RunName("a", "x"), 0.75), WeightedRun(RunName("b", "x"), 0.25))
    ensemble = EnsembleFile("demo", "0", 2, ("nucleus",), members, (), 0.25, 0.5)
    assert keep_members(ensemble, None) == ensemble
    assert keep_members(ensemble, ["b/x"]).members == (WeightedRun(RunName("b", "x"), 1.0),)


KERNELS = Path(__file__).parents[2] / "kernels"
# Loaded by every Python that starts in the test's environment, pip and the commands among them.
NO_NETWORK = """
import socket
import sys

def refuse(*args, **options):
    raise SystemExit("a connection was tried: there is no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
# What Kaggle's image lacks, and the bundle does not bring.
sys.modules |= dict.fromkeys(["imagecodecs", "roifile", "zarr", "onnx", "onnxruntime", "napari", "ray"])
"""
RUN_CELLS = """
import json, sys
names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), sys.argv[1], "exec"), names)
"""


class Machine:
    """A Kaggle of one notebook, with a folder in place of /kaggle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("input", "working", "fence", "home"):
            (root / name).mkdir()
        (root / "fence/sitecustomize.py").write_text(NO_NETWORK)
        self.competition = root / "input/data-science-bowl-2018"
        self.working = root / "working"

    def attach(self, bundle: Path, unpacked: bool) -> None:
        """Mount the dataset as Kaggle does, its zip unpacked; or as it was sent."""
        place = self.root / "input/nuclei-bundle"
        place.mkdir()
        if unpacked:
            with zipfile.ZipFile(bundle) as z:
                z.extractall(place / "nuclei")
        else:
            shutil.copy(bundle, place)

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run all cells of a notebook, in a process that has nothing of this one."""
        text = (KERNELS / name / f"{name}.ipynb").read_text()
        assert text.count("/kaggle\\") == 1
        (self.root / "notebook.ipynb").write_text(text.replace("/kaggle\\", f"{self.root}\\"))
        env = {
            "PYTHONPATH": str(self.root / "fence"),
            "HOME": str(self.root / "home"),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [sys.executable, "-c", RUN_CELLS, str(self.root / "notebook.ipynb")],
            env=env | {"PATH": "/usr/bin:/bin"},
            cwd=self.working,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def bundle(place: Path, offline_pip: Path) -> Path:
    """A bundle of the tiny runs, that trains one as tiny."""
    train = "model:linknet,model.network.encoder:mobilenet_v2,augment.crop:64,batch_size:2"
    train += ",samples_per_epoch:2,trainer.max_epochs:1,fold:1,name:kaggle,tta:1"
    assert main(["bundle", "data=demo", f"train={{{train}}}"]) == 0
    return place / "kernels/dataset/nuclei.zip"


def home(**settings: object) -> bytes:
    """The CSV that ./run.sh submission writes at home."""
    words = [f"{key}={value}" for key, value in settings.items()]
    assert main(["submission", "data=demo", *words]) == 0
    return Path("submissions/demo_default.csv").read_bytes()


@pytest.mark.parametrize("name", ["inference", "train"])
def test_a_notebook_is_what_its_script_says(name: str) -> None:
    script = jupytext.read(KERNELS / name / f"{name}.py")
    notebook = jupytext.read(KERNELS / name / f"{name}.ipynb")
    cells = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (script, notebook)]
    assert cells[0] == cells[1], "run make notebooks"
    assert notebook.metadata.kernelspec == script.metadata.kernelspec  # Kaggle runs none without it
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_fence_holds(machine: Machine) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    env = {"PYTHONPATH": str(machine.root / "fence")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "a connection was tried" in done.stderr


def test_the_csv_is_that_of_home(place: Path, bundle: Path, machine: Machine) -> None:
    machine.attach(bundle, unpacked=True)
    shutil.copytree(place / "data/demo", machine.competition)
    done = machine.run("inference")
    assert done.returncode == 0, done.stdout + done.stderr
    csv = (machine.working / "submission.csv").read_bytes()
    assert csv == home() and csv.count(b" ") > 100
    assert "4 networks on 3 test images" in done.stdout and " images per second, 3,000 would" in done.stdout
    made = json.loads((machine.working / "submission.json").read_text())
    assert (made["members"], made["oof_nested"]) == ("linknet/default otsu/default", "0.25")
    assert sorted(path.name for path in machine.working.iterdir()) == ["submission.csv", "submission.json"]
    assert (machine.root / "temp/packages/hydra/__init__.py").is_file()


def test_a_time_limit_leaves_out_views_of_the_later_images(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home(tta=8, time_limit=0.01)
    said = [line for line in capsys.readouterr().out.splitlines() if "images per second" in line]
    assert len(said) == 1 and "2 images with fewer views, to keep the time limit; at most" in said[0]


def test_hidden_images_are_swapped_in(place: Path, bundle: Path, machine: Machine) -> None:
    """Other images, zipped, of which one is broken; and the bundle's zip as it was sent."""
    machine.attach(bundle, unpacked=False)
    machine.competition.mkdir()
    png = next((place / "data/demo/stage1_test").glob("*/images/*.png"))
    with zipfile.ZipFile(machine.competition / "stage1_test.zip", "w") as z:
        z.writestr("new/images/new.png", cv2.imencode(".png", cv2.imread(str(png))[:100, :90])[1].tobytes())
        z.writestr("broken/images/broken.png", png.read_bytes()[:200])
    done = machine.run("inference")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (machine.working / "submission.csv").read_text().splitlines()
    assert rows[:2] == ["ImageId,EncodedPixels", "broken,"]
    assert len(rows) > 2 and all(row.startswith("new,") for row in rows[2:])
    assert "warning: broken cannot be read and gets an empty row" in done.stdout


def test_an_empty_test_folder_gives_the_header_alone(bundle: Path, machine: Machine) -> None:
    machine.attach(bundle, unpacked=True)
    (machine.competition / "stage1_test").mkdir(parents=True)
    done = machine.run("inference")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (machine.working / "submission.csv").read_text() == "ImageId,EncodedPixels\n"


def test_what_is_not_attached_is_said(bundle: Path, machine: Machine) -> None:
    done = machine.run("inference")
    assert done.returncode and "attach the dataset that ./run.sh push made" in done.stderr
    machine.attach(bundle, unpacked=True)
    done = machine.run("inference")
    assert done.returncode and "attach the competition as an input" in done.stderr


def test_the_training_notebook_leaves_a_finished_run(place: Path, bundle: Path, machine: Machine) -> None:
    machine.attach(bundle, unpacked=True)
    shutil.copytree(place / "data/demo", machine.competition)
    done = machine.run("train")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = machine.working / "runs/demo/linknet/kaggle/fold1"
    assert {"done.json", "model.safetensors", "oof.npz"} <= {path.name for path in folder.iterdir()}
