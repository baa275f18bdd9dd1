"""Every system of the five papers trains, predicts and joins an ensemble from the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.sh"
ENV = os.environ | {"NUCLEI_PYTHON": sys.executable}
TINY = [
    "data=demo",
    "data.source.n_train=4",
    "data.source.n_test=1",
    "batch_size=2",
    "samples_per_epoch=2",
    "tta=1",
    "trainer.max_epochs=1",
    "trainer.limit_val_batches=0",
]
# The settings of each paper, with smaller crops.
SYSTEMS = {
    "arra2018_fcn,arra2018_unet,arra2018_unet_doubled,arra2018_linknet,arra2018_linknet4": [
        "loss=bce_log_dice",
        "optimizer=adam",
        "augment=keras",
    ],
    "barge2019_unet,barge2019_segnet": [
        "loss=bce",
        "optimizer=adagrad",
        "augment=barge2019",
        "augment.crop=64",
    ],
    "haigh2018_unet,haigh2018_unet_plus1,haigh2018_unet_minus1": ["loss=bce", "augment=haigh2018"],
    "haigh2018_next": ["loss=weighted_bce", "augment.crop=64"],
    "haigh2018_softmax": ["loss=cross_entropy", "augment.crop=64"],
    "zhao2020_unet1,zhao2020_unet2": ["loss=bce", "augment.crop=64"],
    "zhao2020_unet1_classes,zhao2020_unet2_classes": ["loss=cross_entropy", "augment.crop=64"],
    "wang2021_cnn,wang2021_unet,wang2021_resnet": ["loss=soft_iou", "augment=keras", "augment.crop=64"],
    "mask_rcnn": ["augment.crop=64"],
}


def run(cwd: Path, *words: str) -> str:
    """Run a command and return all that it printed."""
    done = subprocess.run([str(RUN), *words], cwd=cwd, env=ENV, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a demo set of four images in two folds."""
    place = tmp_path_factory.mktemp("papers")
    run(place, "prepare", *TINY[:3])
    run(place, "folds", *TINY[:3], "n_folds=2")
    return place


@pytest.fixture(autouse=True)
def runs_go(place):
    """The networks of some systems are large: with their checkpoints they would fill ten gigabytes in all."""
    yield
    shutil.rmtree(place / "runs", ignore_errors=True)


@pytest.mark.parametrize("models", SYSTEMS, ids=lambda models: models.split(",")[0])
def test_system(place, models):
    out = run(place, "-m", f"model={models}", "fold=0", *TINY, *SYSTEMS[models])
    assert out.count("out-of-fold mAP") == len(models.split(","))


def test_two_of_them_are_averaged_without_weights(place):
    words = [*TINY, *SYSTEMS["haigh2018_next"]]
    run(place, "-m", "model=mask_rcnn,haigh2018_next", "fold=0,1", "name=pair", *words)
    out = run(
        place, "ensemble", "data=demo", "runs=[mask_rcnn/pair,haigh2018_next/pair]", "trials=2", "refine=0"
    )
    assert "mask_rcnn/pair" in out and "haigh2018_next/pair" in out


@pytest.mark.parametrize(
    ("paper", "only", "samples"),
    [
        ("arra2018", "unet,linknet,average", 32),
        ("barge2019", "segnet_adam4", 2),
        ("haigh2018", "unet_minus1", 4),
        ("zhao2020", "unet2,unet2_classes", 4),
        ("wang2021", "cnn", 4),
    ],
)
def test_table(place, paper, only, samples):
    """A paper's page is made, with as little training as there can be."""
    tiny = [f"samples={samples}", "epochs=1", "val_crops=2"]
    words = [f"paper.budgets.default.{word}" for word in tiny]
    out = run(place, "table", *TINY[:3], f"paper={paper}", f"only=[{only}]", *words)
    text = (place / "docs" / "papers" / f"{paper}.md").read_text()
    assert f"wrote docs/papers/{paper}.md" in out
    for part in ("theirs", "Otsu, watershed", "How the paper was read", "2 images", f"{paper}_curves.png"):
        assert part in text
    assert ("V_rand, ours" in text) == (paper == "barge2019")
    assert ("\n| learning rate" in text) == (paper == "haigh2018")
    assert ("pixels by class" in text) == (paper == "zhao2020")
    assert ("[CSV](../../submissions/papers/" in text) == (paper in ("arra2018", "haigh2018", "wang2021"))


def test_classes_need_data_that_have_some(place):
    done = subprocess.run(
        [str(RUN), "fold=0", *TINY, "model=zhao2020_unet2_classes", "data.class_channels=null", "name=none"],
        cwd=place,
        env=ENV,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert "data=demo tells no classes apart; choose data=demo or data=consep" in done.stderr
