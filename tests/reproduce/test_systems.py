"""The systems of a paper: its config, what is trained, and how it is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from nuclei.build import named_steps
from nuclei.config import compose_config, override_words
from nuclei.data.store import Store, StoreRow, encode_image, encode_labels, write_store
from nuclei.errors import UserError
from nuclei.inference.predict_maps import write_maps
from nuclei.paths import Paths, RunName
from nuclei.postprocess.components import Components
from nuclei.reproduce.systems import Reproduction, parse_paper

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "paper").glob("*.yaml"))


def read(path):
    """Parse a paper's config without Hydra."""
    return parse_paper({k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_system_is_a_network_or_an_average_of_networks(path):
    paper = read(path)
    assert (
        paper.name == path.stem and paper.main in paper.columns and set(paper.budgets) == {"default", "paper"}
    )
    for name, system in paper.systems.items():
        assert bool(system.train) != bool(system.average), name
        assert all(paper.systems[part].train for part in system.average)
        assert system.average or system.train["model"], name
    assert (paper.search is None) == all(budget.draws == 0 for budget in paper.budgets.values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_settings_of_every_system_are_right(path):
    cfg = compose_config("table", [f"paper={path.stem}", "budget=paper"])
    paper = parse_paper(OmegaConf.to_container(cfg.paper, resolve=True))
    for system in paper.systems.values():
        if system.train:
            words = override_words({**paper.common, **paper.budget("paper").common, **system.train})
            train = compose_config("train", [f"data={cfg.data.name}", *words])
            assert train.model.name == system.train["model"]
        if system.postprocess:
            assert named_steps(system.postprocess)
    assert all(set(budget.shares) <= set(paper.systems) for budget in paper.budgets.values())


def test_unknown_budgets_and_systems_are_refused():
    paper = read(next(path for path in CONFIGS if path.stem == "arra2018"))
    assert paper.choose(["linknet", "unet"]) == ["unet", "linknet"] and len(paper.choose(None)) == 11
    with pytest.raises(UserError, match="only=net: paper=arra2018 has fcn, unet"):
        paper.choose(["net"])
    with pytest.raises(UserError, match="budget=long: expected default or paper"):
        paper.budget("long")


LABELS = np.array([[1, 0, 2], [1, 0, 2]], np.int32)
PAPER = {
    "name": "paper",
    "title": "",
    "about": "",
    "protocol": "",
    "notes": "",
    "main": "mAP",
    "columns": ["mAP"],
    "submissions": False,
    "search": None,
    "common": {"loss": "bce"},
    "systems": {
        "a": {"title": "A", "train": {"model": "x"}},
        "b": {"title": "B", "train": {"model": "y", "trainer.max_epochs": 9}},
        "both": {"title": "A and B", "average": ["a", "b"]},
    },
    "budgets": {
        "default": {
            "folds": [0],
            "epochs": 2,
            "samples": 10,
            "val_crops": 1,
            "draws": 3,
            "shares": {"a": 0.5},
        },
        "paper": {"folds": [0, 1], "epochs": 4, "samples": 20, "val_crops": 1},
    },
}


FOLDERS = ("runs", "ensembles", "submissions", "kernels", "reports")
DATA = ("data", "x.store", "folds.csv")


@pytest.fixture
def study(tmp_path):
    """One image in fold 0; a training writes maps whose values are 100 for model x and 200 for model y."""
    row = StoreRow("i", "train", 2, 3, channels=1, nuclei=2, modality="grey", parent="i")
    image = encode_image(np.zeros((2, 3), np.uint8))
    write_store(tmp_path / "x.store", [(row, image, encode_labels(LABELS))])
    (tmp_path / "folds.csv").write_text("ImageId,fold,group,modality,height,width,nuclei\ni,0,0,grey,2,3,2\n")
    trainings = []

    def train(*settings):
        values = dict(setting.split("=") for setting in settings)
        trainings.append(values)
        folder = study.paths.fold(RunName(values["model"], values["name"]), int(values["fold"]))
        value = {"x": 100, "y": 200}.get(values["model"], 255)
        maps = np.where(LABELS > 0, value, 0).astype(np.uint8)[None]
        write_maps(folder.maps, ["nucleus"], "", "", [("i", maps)])

    study = Reproduction(
        paper=parse_paper(PAPER),
        budget_name="default",
        seed=3,
        paths=Paths(*(tmp_path / name for name in FOLDERS), "demo", *(tmp_path / name for name in DATA)),
        store=Store(tmp_path / "x.store"),
        train_command=train,
        build_steps=lambda folder, name: [Components(low=0.99 if name else 0.5, high=0.99 if name else 0.5)],
        load_network=lambda folder, weight: None,
    )
    return study, trainings


def test_an_average_is_the_mean_of_the_maps_of_its_parts(study):
    study, trainings = study
    runs, draws = study.train_all(["both"])
    assert runs["both"] == [RunName("x", "paper_default_a"), RunName("y", "paper_default_b")] and not draws
    ((image_id, mean),) = study.maps(runs["both"])
    assert image_id == "i" and mean.dtype == np.uint8 and (mean == np.where(LABELS > 0, 150, 0)).all()
    assert study.scores(runs["both"]).scores()["mAP"] == 1
    assert study.scores(runs["both"], "stricter").scores()["mAP"] == 0
    first, second = trainings
    assert first["samples_per_epoch"] == "5" and first["trainer.max_epochs"] == "2" and first["seed"] == "3"
    assert second["samples_per_epoch"] == "10" and second["trainer.max_epochs"] == "9"


def test_a_search_draws_the_same_rates_for_each_system_and_takes_the_best(study):
    study, trainings = study
    search = {"measure": "IoU", "low": 1e-5, "high": 1e-2, "about": ""}
    paper = parse_paper({**PAPER, "search": search})
    runs, draws = replace(study, paper=paper).train_all(["a", "b"])
    rates = {name: [draw.rate for draw in draws[name]] for name in draws}
    assert rates["a"] == rates["b"] and len(set(rates["a"])) == 3
    assert all(1e-5 <= rate <= 1e-2 for rate in rates["a"])
    assert [float(t["optimizer.lr"]) for t in trainings] == rates["a"] * 2
    assert runs["b"] == [RunName("y", "paper_default_b_draw0")], "of equal scores the first"


def test_a_system_with_a_rate_of_its_own_is_not_searched(study):
    study, trainings = study
    search = {"measure": "IoU", "low": 1e-5, "high": 1e-2, "about": ""}
    systems = {"a": {"title": "A", "train": {"model": "x", "optimizer.lr": 0.5}}}
    runs, draws = replace(
        study, paper=parse_paper({**PAPER, "search": search, "systems": systems})
    ).train_all(["a"])
    assert runs == {"a": [RunName("x", "paper_default_a")]} and not draws
    assert [t["optimizer.lr"] for t in trainings] == ["0.5"]


def test_a_fold_without_images_is_refused(study):
    with pytest.raises(UserError, match="has no fold 1, which paper=paper trains"):
        _ = replace(study[0], budget_name="paper").held_out


def test_otsu_is_trained_with_the_named_post_processing(study):
    study, trainings = study
    run = study.train_otsu("distance")
    assert run == RunName("otsu", "floor_distance") and trainings[0]["postprocess"] == "distance"
    assert study.scores([run]).scores()["mAP"] == 1
