"""Objects are built from settings, and only from the project's own steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from nuclei import build
from nuclei.ensemble.ensemble_file import EnsembleFile, WeightedRun
from nuclei.errors import UserError
from nuclei.paths import FoldFolder, Paths, RunName
from nuclei.postprocess.components import Components, RemoveSmall
from nuclei.postprocess.pipeline import as_config
from nuclei.postprocess.watershed import MapWatershed
from nuclei.training.run_folder import RunResult, write_result

FOLDERS = ("data", "x.store", "folds.csv", "runs", "e", "submissions", "kernels", "reports")


def test_steps_come_back_from_their_settings() -> None:
    steps = [MapWatershed(0.3, 0.5, 1.0, 1.0, 0.6, 0.0), RemoveSmall(min_area=9)]
    assert build.build_steps(as_config(steps)) == steps


def test_a_step_is_found_in_whatever_module_it_is() -> None:
    settings = {"_target_": "nuclei.postprocess.elsewhere.Components", "low": 0.4, "high": 0.5}
    assert build.build_steps(OmegaConf.create([settings])) == [Components(low=0.4, high=0.5)]


@pytest.mark.parametrize(
    "target", ["os.system", "nuclei.postprocess.pipeline.postprocess", "subprocess.Popen"]
)
def test_nothing_but_steps_is_built(target: str) -> None:
    with pytest.raises(UserError, match=r"no post-processing step \w+; there are Components, .*RemoveSmall"):
        build.build_steps([{"_target_": target, "command": "true"}])


def test_an_unknown_parameter_is_named() -> None:
    step = {"_target_": "nuclei.postprocess.components.RemoveSmall", "smallest": 3}
    with pytest.raises(UserError, match=r"step RemoveSmall: .*smallest"):
        build.build_steps([step])


def test_paths_come_from_the_settings() -> None:
    folders = dict.fromkeys(("runs", "ensembles", "submissions", "kernels", "reports"), "there")
    data = {"name": "demo", "root": "r", "store": "s", "folds": "f"}
    cfg = OmegaConf.create({"paths": folders, "data": data})
    there = Path("there")
    assert build.build_paths(cfg) == Paths(*[there] * 5, "demo", Path("r"), Path("s"), Path("f"))


def test_weights_from_a_file_ask_for_no_pretrained_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"_target_": "nuclei.models.x.X", "encoder_weights": "imagenet"}
    monkeypatch.setattr(build, "instantiate", lambda settings, n_channels: (dict(settings), n_channels))
    assert build.build_network(settings, ["a", "b"]) == (settings, 2)
    assert build.build_network(settings, ["a"], pretrained=False) == (settings | {"encoder_weights": None}, 1)


@pytest.fixture
def otsu(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> Paths:
    """Both folds of an Otsu run, finished."""
    place = draw_runs(tmp_path)
    paths = Paths(*(place / name for name in FOLDERS[3:]), "demo", *(place / name for name in FOLDERS[:3]))
    for fold in (0, 1):
        folder = paths.fold(RunName("otsu", "default"), fold)
        text = folder.settings.read_text().replace(
            '"network": {}', '"network": {"_target_": "nuclei.models.otsu.Otsu"}'
        )
        folder.settings.write_text(text)
        write_result(folder, RunResult(4, 0.5, 1.0, 1, None, (1.0,)))
    return paths


def test_an_ensemble_segments_with_every_fold(otsu: Paths) -> None:
    member = WeightedRun(RunName("otsu", "default"), 1.0)
    steps = tuple(as_config([Components(low=0.5, high=0.5)]))
    ensemble = EnsembleFile("demo", "", 2, ("nucleus",), (member,), steps, 0.5, 0.5)
    segmenter = build.ensemble_segmenter(ensemble, otsu, tta=3)
    assert [network.weight for network in segmenter.networks] == [0.5, 0.5]
    assert {network.tta for network in segmenter.networks} == {3}
    image = np.zeros((20, 20), np.uint8)
    image[4:9, 4:9] = image[12:17, 12:17] = 200
    assert segmenter.labels(segmenter.maps(image)).max() == 2


def test_a_fold_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fold0 is not finished; train it again"):
        build.trained_network(FoldFolder(tmp_path / "fold0"))
