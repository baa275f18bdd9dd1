"""Networks and steps are loaded from files, and nothing else is built."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nuclei import cli, model_loading
from nuclei.atomic import read_json, write_json
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun, write_ensemble
from nuclei.errors import UserError
from nuclei.inference.model_file import ModelFile, ModelSettings, write_model_file
from nuclei.models.otsu import Otsu
from nuclei.models.smp import SmpNetwork
from nuclei.paths import FoldFolder, Paths, RunName
from nuclei.postprocess.components import Components, RemoveSmall
from nuclei.postprocess.pipeline import as_config
from nuclei.postprocess.watershed import MapWatershed
from nuclei.training.run_folder import RunResult, read_settings, write_result

FOLDERS = ("data", "x.store", "folds.csv", "runs", "e", "submissions", "kernels", "reports")


def test_steps_come_back_from_their_settings() -> None:
    steps = [MapWatershed(0.3, 0.5, 1.0, 1.0, 0.6, 0.0), RemoveSmall(min_area=9)]
    assert model_loading.build_steps(as_config(steps)) == steps


def test_a_step_is_found_in_whatever_module_it_is() -> None:
    settings = {"_target_": "nuclei.postprocess.elsewhere.Components", "low": 0.4, "high": 0.5}
    assert model_loading.build_steps([settings]) == [Components(low=0.4, high=0.5)]


@pytest.mark.parametrize(
    "target", ["os.system", "nuclei.postprocess.pipeline.postprocess", "subprocess.Popen"]
)
def test_nothing_but_steps_is_built(target: str) -> None:
    with pytest.raises(UserError, match=r"no post-processing step \w+; there are Components, .*RemoveSmall"):
        model_loading.build_steps([{"_target_": target, "command": "true"}])


def test_an_unknown_parameter_is_named() -> None:
    step = {"_target_": "nuclei.postprocess.components.RemoveSmall", "smallest": 3}
    with pytest.raises(UserError, match=r"step RemoveSmall: .*smallest"):
        model_loading.build_steps([step])


UNET = {"_target_": "nuclei.models.smp.SmpNetwork", "arch": "Unet", "encoder": "resnet18"}


def test_weights_from_a_file_ask_for_no_pretrained_ones() -> None:
    asking = UNET | {"encoder_weights": "of nobody"}
    with pytest.raises(UserError, match="of nobody"):
        model_loading.build_network(asking, ["a"])
    assert isinstance(model_loading.build_network(asking, ["a"], pretrained=False), SmpNetwork)


def test_a_network_is_found_in_whatever_module_it_is() -> None:
    settings = {"_target_": "nuclei.models.elsewhere.Otsu"}
    assert isinstance(model_loading.build_network(settings, ["nucleus"]), Otsu)


@pytest.fixture
def otsu(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> Paths:
    """Both folds of an Otsu run, finished."""
    place = draw_runs(tmp_path)
    paths = Paths(*(place / name for name in FOLDERS[3:]), "demo", *(place / name for name in FOLDERS[:3]))
    for fold in (0, 1):
        folder = paths.fold(RunName("otsu", "default"), fold)
        settings = read_json(folder.settings)
        settings["model"]["network"] = {"_target_": "nuclei.models.otsu.Otsu"}
        write_json(folder.settings, settings)
        write_result(folder, RunResult(4, 0.5, 1.0, 1, None, (1.0,)))
    return paths


def hash_of_folds(paths: Paths) -> str:
    """Return the hash of the folds that the run was trained with."""
    return read_settings(paths.fold(RunName("otsu", "default"), 0)).folds_sha256


def test_an_ensemble_segments_with_every_fold(otsu: Paths) -> None:
    member = WeightedRun(RunName("otsu", "default"), 1.0)
    steps = tuple(as_config([Components(low=0.5, high=0.5)]))
    ensemble = EnsembleFile("demo", hash_of_folds(otsu), 2, ("nucleus",), (member,), steps, 0.5, 0.5)
    segmenter = model_loading.ensemble_segmenter(ensemble, Path("ensemble.yaml"), otsu, tta=3)
    assert [network.weight for network in segmenter.networks] == [0.5, 0.5]
    assert {network.tta for network in segmenter.networks} == {3}
    image = np.zeros((20, 20), np.uint8)
    image[4:9, 4:9] = image[12:17, 12:17] = 200
    assert segmenter.labels(segmenter.maps(image)).max() == 2


def test_a_fold_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fold0 is not finished; train it again"):
        model_loading.trained_network(FoldFolder(tmp_path / "fold0"))


def test_thresholds_replace_the_models_own(tmp_path: Path) -> None:
    paths = Paths(*(tmp_path / name for name in FOLDERS[3:]), "demo", *(tmp_path / n for n in FOLDERS[:3]))

    def load(**thresholds: float | None) -> dict[str, object]:
        segmenter = model_loading.build_segmenter(paths, None, None, None, thresholds)
        return {name: value for step in as_config(segmenter.steps) for name, value in step.items()}

    own = load(low=None)
    assert load(low=0.25, min_area=90) == own | {"low": 0.25, "min_area": 90}
    for thresholds in ({"low": 2}, {"min_area": -1}, {"high": float("nan")}):
        with pytest.raises(UserError, match=r"^thresholds\.\w+=.*: expected 0 "):
            load(**thresholds)
    with pytest.raises(UserError, match="no step has a parameter peak_distance"):
        load(peak_distance=3)


OTSU = {"_target_": "nuclei.models.otsu.Otsu"}
THRESHOLD = {"_target_": "nuclei.postprocess.components.Components", "low": 0.5, "high": 0.5}
TREES = {"_target_": "nuclei.postprocess.second_stage.Selection", "low": 0.5, "high": 0.5}
TREES |= {"border_weight": 0.0, "distance_weight": 0.0, "marker_threshold": 0.5, "sigma": 0.0}
MARK = "open('marker', 'w').close()"
RUN_CODE = f"__import__('builtins').{MARK}"
PAYLOADS: list[dict[str, Any]] = [
    {"_target_": "os.system", "command": "touch marker"},
    {"_target_": "os.popen", "cmd": "touch marker"},
    {"_target_": "os.mkdir", "path": "marker"},
    {"_target_": "os.open", "path": "marker", "flags": 65},
    {"_target_": "subprocess.Popen", "args": ["touch", "marker"]},
    {"_target_": "subprocess.run", "args": ["touch", "marker"]},
    {"_target_": "subprocess.check_output", "_args_": [["touch", "marker"]]},
    {"_target_": "subprocess.getoutput", "cmd": "touch marker"},
    {"_target_": "sympy.sympify", "a": RUN_CODE},
    {"_target_": "sympy.parsing.sympy_parser.parse_expr", "s": RUN_CODE},
    {"_target_": "joblib.load", "filename": "pickle"},
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": "pickle"},
    {"_target_": "pandas.eval", "expr": RUN_CODE},
    {"_target_": "pickle.load", "file": {"_target_": "builtins.open", "file": "pickle", "mode": "rb"}},
    {"_target_": "numpy.load", "file": "pickle", "allow_pickle": True},
    {"_target_": "torch.load", "f": "pickle", "weights_only": False},
    {
        "_target_": "pathlib.Path.write_text",
        "_args_": [{"_target_": "pathlib.Path", "_args_": ["marker"]}, ""],
    },
    {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["marker"]}},
    {"_target_": "builtins.open", "file": "marker", "mode": "w"},
    {"_target_": "builtins.eval", "_args_": [MARK]},
    {"_target_": "builtins.exec", "_args_": [MARK]},
    {"_target_": "importlib.import_module", "name": "hostile"},
    {"_target_": "runpy.run_path", "path_name": "hostile.py"},
    {"_target_": "shutil.copy", "src": "pickle", "dst": "marker"},
    {"_target_": "timeit.timeit", "stmt": MARK, "number": 1},
    {
        "_target_": "nuclei.build.build",
        "settings": {"_target_": "builtins.open", "file": "marker", "mode": "w"},
    },
    {"_target_": "nuclei.atomic.atomic_write", "path": "marker"},
    {"_target_": "hydra.utils.call", "config": {"_target_": "os.mkdir", "path": "marker"}},
]
NAMES = [payload["_target_"] for payload in PAYLOADS]
IN_NETWORKS: list[Callable[[Any], Any]] = [
    lambda payload: payload,
    lambda payload: UNET | {"encoder_weights": payload},
    lambda payload: UNET | {"encoder_weights": None, "decoder_channels": [payload, {"deeper": [payload]}]},
    lambda payload: OTSU | {"n_channels": payload},
    lambda payload: OTSU | {"_args_": [payload]},
]
IN_STEPS: list[Callable[[Any], Any]] = [
    lambda payload: payload,
    lambda payload: THRESHOLD | {"low": payload},
    lambda payload: THRESHOLD | {"low": [{"deeper": payload}]},
    lambda payload: TREES | {"trees": payload},
    lambda payload: TREES | {"_args_": [payload]},
]


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a module and a pickle that make the file ``marker`` when they are loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("hostile.py").write_text(MARK)
    Path("pickle").write_bytes(f"cbuiltins\nexec\n(V{MARK}\ntR.".encode())
    cv2.imwrite("image.png", np.eye(32, dtype=np.uint8) * 255)
    return tmp_path / "marker"


def hostile_settings(payload: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Pairs of the settings of a network and of a step, with the payload in one of them."""
    in_networks = [(place(payload), THRESHOLD) for place in IN_NETWORKS]
    return in_networks + [(OTSU, place(payload)) for place in IN_STEPS]


def check_refused(capsys: pytest.CaptureFixture[str], path: Path, words: list[str]) -> None:
    """The command fails with one line that names the file."""
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said, said


@pytest.mark.parametrize("payload", PAYLOADS, ids=NAMES)
def test_a_model_file_runs_no_code(target: Path, payload: dict[str, Any]) -> None:
    for network, step in hostile_settings(payload):
        settings = ModelSettings(network, ["nucleus"], [step], tta=1, diameter=None, scales=[1.0])
        write_model_file(Path("evil.safetensors"), ModelFile(settings, {}))
        with pytest.raises(UserError, match=r"^evil\.safetensors: [^\n]*$"):
            model_loading.file_segmenter(Path("evil.safetensors"))
        assert not target.exists()


@pytest.mark.parametrize("words", [["predict", "input=image.png"], ["app", "port=0"]], ids=["predict", "app"])
def test_no_command_runs_code_of_a_model_file(
    target: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("evil.safetensors")
    for number, payload in enumerate(PAYLOADS):
        network, step = (payload, THRESHOLD) if number % 2 else (OTSU, payload)
        settings = ModelSettings(network, ["nucleus"], [step], tta=1, diameter=None, scales=[1.0])
        write_model_file(path, ModelFile(settings, {}))
        check_refused(capsys, path, [*words, f"weights={path}"])
        assert not target.exists(), payload


@pytest.mark.parametrize("payload", PAYLOADS, ids=NAMES)
def test_neither_an_ensemble_nor_a_run_runs_code(otsu: Paths, target: Path, payload: dict[str, Any]) -> None:
    member = WeightedRun(RunName("otsu", "default"), 1.0)
    ensemble = EnsembleFile("demo", hash_of_folds(otsu), 2, ("nucleus",), (member,), (THRESHOLD,), 0.5, 0.5)
    path = otsu.ensemble("mine")
    for place in IN_STEPS:
        write_ensemble(path, replace(ensemble, steps=(place(payload),)))
        with pytest.raises(UserError, match=rf"^{path}: [^\n]*$"):
            model_loading.build_segmenter(otsu, "mine", None, None)
    write_ensemble(path, ensemble)
    config = otsu.fold(member.run, 1).settings
    settings = read_json(config)
    for place in IN_NETWORKS:
        write_json(config, settings | {"model": settings["model"] | {"network": place(payload)}})
        with pytest.raises(UserError, match=rf"^{config}: [^\n]*$"):
            model_loading.build_segmenter(otsu, "mine", None, None)
    write_json(config, settings | {"postprocess": {"steps": [payload]}})
    with pytest.raises(UserError, match=rf"^{config}: [^\n]*$"):
        model_loading.run_steps(otsu.fold(member.run, 1))
    assert not target.exists()


@pytest.mark.parametrize("command", ["predict", "app"])
def test_no_command_runs_code_of_an_ensemble(
    otsu: Paths, target: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    member = WeightedRun(RunName("otsu", "default"), 1.0)
    path = otsu.ensemble("mine")
    for payload in PAYLOADS[::4]:
        write_ensemble(
            path, EnsembleFile("demo", hash_of_folds(otsu), 2, ("nucleus",), (member,), (payload,), 0.5, 0.5)
        )
        folders = ["data=demo", f"paths.runs={otsu.runs}", f"paths.ensembles={otsu.ensembles}"]
        also = ["input=image.png"] if command == "predict" else ["port=0"]
        check_refused(capsys, path, [command, "ensemble=mine", *folders, *also])
        assert not target.exists(), payload


def test_a_file_reads_nothing_from_the_environment(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "Unet")
    with pytest.raises(UserError, match=r"\$\{oc.env:SECRET\}"):
        model_loading.build_network(UNET | {"encoder_weights": None, "arch": "${oc.env:SECRET}"}, ["a"])


def test_weights_of_another_network_name_their_file(target: Path) -> None:
    network = UNET | {"encoder_weights": None}
    settings = ModelSettings(network, ["nucleus"], [THRESHOLD], tta=1, diameter=None, scales=[1.0])
    write_model_file(Path("other.safetensors"), ModelFile(settings, {}))
    with pytest.raises(UserError, match=r"^other\.safetensors: [^\n]*Missing key[^\n]*$"):
        model_loading.file_segmenter(Path("other.safetensors"))


NONSENSE: list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = [
    (UNET | {"encoder_depth": [5]}, [THRESHOLD], {}),
    ({"_target_": "nuclei.models.unet.UNet", "features": []}, [THRESHOLD], {}),
    (OTSU, [THRESHOLD | {"low": "0.5"}], {}),
    (OTSU, [THRESHOLD | {"low": float("nan")}], {}),
    (OTSU, [THRESHOLD, THRESHOLD], {}),
    (OTSU, [{"_target_": "nuclei.postprocess.components.RemoveSmall"}], {}),
    (OTSU, [TREES | {"trees": "no trees"}], {}),
    (OTSU, [], {}),
    (OTSU, [THRESHOLD], {"channels": ["border"]}),
    (OTSU, [THRESHOLD], {"tta": 0}),
    (OTSU, [THRESHOLD], {"scales": [float("inf")]}),
    (OTSU, [THRESHOLD], {"diameter": float("inf")}),
]


@pytest.mark.parametrize(("network", "steps", "others"), NONSENSE)
@pytest.mark.parametrize("words", [["predict", "input=image.png"], ["app", "port=7879"]])
def test_a_model_file_that_makes_no_sense_is_named_and_no_image_is_blamed(
    target: Path,
    words: list[str],
    network: dict[str, Any],
    steps: list[dict[str, Any]],
    others: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path("evil.safetensors")
    views: dict[str, Any] = {"channels": ["nucleus"], "tta": 1, "diameter": None, "scales": [1.0]}
    settings = ModelSettings(network=network, steps=steps, **views | others)
    write_model_file(path, ModelFile(settings, {}))
    assert cli.main([*words, f"weights={path}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {path}: ") and "--debug" not in said, said


def test_no_pickle_is_trusted(repo: Path) -> None:
    """The source loads checkpoints as weights alone, and nothing else that can hold code."""
    text = "".join(path.read_text() for path in (repo / "src").rglob("*.py"))
    assert text.count("weights_only=True") >= text.count("torch.load(") + text.count(".fit(module, data")
    assert not re.findall(
        r"weights_only=(?!True)|allow_pickle=True|import pickle|joblib.load|read_pickle", text
    )
