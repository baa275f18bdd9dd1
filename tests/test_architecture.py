"""The house's rules: which room imports which, and where Lightning, Hydra and torch may stand."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
FILES = sorted((SRC / "nuclei").rglob("*.py"))
ROOMS = (
    "labelmap",
    "metrics",
    "postprocess",
    "data",
    "models",
    "inference",
    "training",
    "ensemble",
    "submission",
)
ROOMS += (
    "kaggle",
    "model_loading",
    "schemas",
    "config",
    "build",
    "analysis",
    "reproduce",
    "app",
    "api",
    "",  # the package itself, which names the functions of api
    "commands",
    "launch",
    "cli",
    "__main__",
)
# Anyone may import these, so they import nothing of ours but one another, from left to right.
COMMON = ("errors", "atomic", "progress", "paths", "metrics")
FREE = ("nuclei.submission.rle",)
LIGHTNING = ("data.datamodule", "training.module", "training.trainer")


def name_of(path: Path) -> str:
    """The dotted name of a module, a package's without __init__."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports(name: str, modules: dict[str, Path] = MODULES) -> set[str]:
    """Every module that a file imports, wherever in it, in full: ``from nuclei import x`` is nuclei.x."""
    found = set()
    for node in ast.walk(ast.parse(modules[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write it in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & modules.keys()) or {str(node.module)}
    return found


def room(name: str) -> str:
    """The room a module of ours stands in."""
    return name.split(".")[1] if "." in name else ""


def breach(name: str, imported: str) -> bool:
    """Say whether a module may not import another one of ours."""
    if room(imported) == "labelmap" or imported in FREE or imported == "nuclei.errors":
        return room(name) == "labelmap" != room(imported)
    if name in FREE:
        return True
    if room(imported) in COMMON:
        return room(name) in COMMON and COMMON.index(room(imported)) > COMMON.index(room(name))
    return room(name) in COMMON or ROOMS.index(room(imported)) > ROOMS.index(room(name))


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_rooms_to_its_left(name: str) -> None:
    ours = {imported for imported in imports(name) if imported.startswith("nuclei")}
    assert not [imported for imported in sorted(ours) if breach(name, imported)]


@pytest.mark.parametrize(
    ("name", "imported", "wrong"),
    [
        ("nuclei.data.folds", "nuclei.training.trainer", True),
        ("nuclei.training.trainer", "nuclei.data.folds", False),
        ("nuclei.postprocess.components", "nuclei.data.store", True),
        ("nuclei.submission.rle", "nuclei.atomic", True),
        ("nuclei.data.sources.dsb2018", "nuclei.submission.rle", False),
        ("nuclei.data.sources.dsb2018", "nuclei.submission.csv_files", True),
        ("nuclei.metrics", "nuclei.data.store", True),
        ("nuclei.models.smp", "nuclei.commands.train", True),
        ("nuclei.submission.rle", "nuclei.labelmap.run_lengths", False),
        ("nuclei.labelmap.run_lengths", "nuclei.submission.rle", True),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(name: str, imported: str, wrong: bool) -> None:
    assert breach(name, imported) is wrong


@pytest.mark.parametrize("name", MODULES)
def test_lightning_stays_behind_its_fence(name: str) -> None:
    top = {imported.split(".")[0] for imported in imports(name)}
    inside = name.removeprefix("nuclei.") in LIGHTNING
    assert inside or not top & {"lightning", "pytorch_lightning", "lightning_fabric"}


@pytest.mark.parametrize("name", MODULES)
def test_hydra_stays_behind_its_fence(name: str) -> None:
    top = {imported.split(".")[0] for imported in imports(name)}
    allowed = {"omegaconf"} if room(name) == "commands" else set()  # the type of their settings
    assert room(name) in ("cli", "config", "build") or top & {"hydra", "omegaconf"} <= allowed


@pytest.mark.parametrize("name", MODULES)
def test_onnx_stays_behind_its_fence(name: str) -> None:
    top = {imported.split(".")[0] for imported in imports(name)}
    assert name == "nuclei.inference.model_file" or not top & {"onnx", "onnxruntime"}


@pytest.mark.parametrize("name", MODULES)
def test_numba_stays_behind_its_fence(name: str) -> None:
    assert room(name) == "labelmap" or "numba" not in {imported.split(".")[0] for imported in imports(name)}


def loaded_after(names: list[str]) -> set[str]:
    """The top names in sys.modules of a fresh Python that imported ``names``."""
    script = f"import sys, {', '.join(names)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True, cwd=SRC).split())


def test_what_runs_anywhere_imports_no_torch() -> None:
    names = [n for n in MODULES if room(n) in ("metrics", "postprocess", "errors", "atomic", "progress")]
    assert "torch" not in loaded_after([*names, *FREE])


HEAVY = {"torch", "pandas", "scipy", "cv2", "skimage", "numba"}


def test_the_validator_starts_at_once() -> None:
    assert not loaded_after(["nuclei.commands.validate"]) & HEAVY


def test_a_cpu_predicts_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys, numpy, nuclei, cv2; from nuclei import build, cli; build.GPU_DEVICES = ();"
        "image = numpy.zeros((64, 64), numpy.uint8); image[20:40, 20:40] = 200;"
        "assert nuclei.segment(image).max() == 1; cv2.imwrite('a.png', image);"
        "assert cli.main(['predict', 'input=a.png', 'output=out']) == 0;"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", script]
    said = subprocess.check_output(command, text=True, cwd=tmp_path, env=environment).splitlines()
    assert "1 nuclei in 1 images" in said[0]
    assert not set(said[1].split()) & {"torch", "torchvision", "timm", "lightning", "pandas", "matplotlib"}


def test_the_package_imports_nothing_heavy() -> None:
    assert not loaded_after(["nuclei"]) & {*HEAVY, "numpy", "hydra", "onnxruntime"}


def test_the_door_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "hydra", "omegaconf", "pandas", "lightning"}
    assert not loaded_after(["nuclei.cli"]) & heavy


def test_names_say_what_is_inside() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}
    assert not [str(path) for path in FILES if {*path.relative_to(SRC).with_suffix("").parts} & vague]


def test_each_module_has_its_tests() -> None:
    stems = [path.stem for path in FILES if path.stem != "__init__"]
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.rglob("test_*.py")}
    assert len(untested := [stem for stem in stems if stem not in tests]) <= 10, untested
