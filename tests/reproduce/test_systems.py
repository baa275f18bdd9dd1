"""The trainings of a paper's systems, with a stand-in for the command ``train``."""

from dataclasses import replace

import numpy as np
import pytest

from nuclei.data.store import Store, StoreRow, encode_image, encode_labels, write_store
from nuclei.errors import UserError
from nuclei.inference.predict_maps import write_maps
from nuclei.paths import Paths, RunName
from nuclei.postprocess.components import Components
from nuclei.reproduce.paper_config import parse_paper
from nuclei.reproduce.systems import Reproduction

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
    "common": ["loss=bce"],
    "systems": {
        "a": {"title": "A", "train": ["model=x"], "share": 0.5},
        "b": {"title": "B", "train": ["model=y", "trainer.max_epochs=9"]},
        "both": {"title": "A and B", "average": ["a", "b"]},
    },
    "budgets": {
        "default": {"folds": [0], "epochs": 2, "samples": 10, "val_crops": 1, "draws": 3},
        "full": {"folds": [0, 1], "epochs": 4, "samples": 20, "val_crops": 1},
    },
}


FOLDERS = ("data", "x.store", "folds.csv", "runs", "ensembles", "submissions", "kernels", "reports")


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
        folder = study.folder(RunName(values["model"], values["name"]), int(values["fold"]))
        value = {"x": 100, "y": 200}.get(values["model"], 255)
        maps = np.where(LABELS > 0, value, 0).astype(np.uint8)[None]
        write_maps(folder.maps, ["nucleus"], "", [("i", maps)])

    study = Reproduction(
        paper=parse_paper(PAPER),
        budget_name="default",
        seed=3,
        paths=Paths("demo", *(tmp_path / name for name in FOLDERS)),
        store=Store(tmp_path / "x.store"),
        train_command=train,
        build_steps=lambda folder: [Components(low=0.5, high=0.5)],
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


def test_a_fold_without_images_is_refused(study):
    with pytest.raises(UserError, match="has no fold 1, which paper=paper trains"):
        _ = replace(study[0], budget_name="full").held_out


def test_otsu_is_trained_with_the_named_post_processing(study):
    study, trainings = study
    run = study.train_otsu("distance")
    assert run == RunName("otsu", "floor_distance") and trainings[0]["postprocess"] == "distance"
    assert study.scores([run]).scores()["mAP"] == 1
