"""The ISBI 2012 challenge's volumes."""

import numpy as np
import pytest
import tifffile

from nuclei.data.folds import make_folds
from nuclei.data.sources.isbi2012 import Isbi2012
from nuclei.data.store import Store, prepare
from nuclei.errors import UserError


@pytest.fixture
def root(tmp_path):
    """Twelve small sections: two cells that a membrane parts, the second one growing."""
    rng = np.random.default_rng(0)
    truth = np.full((12, 20, 30), 255, np.uint8)
    for page in range(12):
        truth[page, :, 8 + page] = 0
    tifffile.imwrite(tmp_path / "train-labels.tif", truth)
    for split in ("train", "test"):
        tifffile.imwrite(tmp_path / f"{split}-volume.tif", rng.integers(0, 256, (12, 20, 30), dtype=np.uint8))
    return tmp_path


def test_pages_become_images_and_cells_become_labels(root):
    counts = prepare(Isbi2012(root), root / "x.store", workers=1)
    assert (counts["train"], counts["test"], counts["nuclei"]) == (12, 12, 24)
    store = Store(root / "x.store")
    volume = tifffile.imread(root / "train-volume.tif")
    assert np.array_equal(store.image("train_03"), volume[3])
    labels = store.labels("train_03")
    assert np.unique(labels[:, :11]).tolist() == [1] and np.unique(labels[:, 12:]).tolist() == [2]
    assert not labels[:, 11].any()
    assert {row.modality for row in store.index} == {"electron"}


def test_neighbouring_sections_share_a_fold(root):
    prepare(Isbi2012(root), root / "x.store", workers=1)
    rows = make_folds(Store(root / "x.store"), 2, seed=0, correlation=0.8, jump=2.5, n_clusters=0)
    assert [len({r.fold for r in rows[at : at + 6]}) for at in (0, 6)] == [1, 1]
    assert {r.fold for r in rows} == {0, 1}


def test_labels_of_other_pages(root):
    tifffile.imwrite(root / "train-labels.tif", np.zeros((11, 20, 30), np.uint8))
    with pytest.raises(UserError, match=r"has 11 pages, train-volume\.tif has 12"):
        Isbi2012(root).items("train")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"no train-volume\.tif in .*data\.root=FOLDER"):
        Isbi2012(tmp_path).fetch()
