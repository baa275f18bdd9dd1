"""CoNSeP's pictures and label files, and their classes in the store."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from nuclei.data.folds import make_folds
from nuclei.data.sources.consep import Consep
from nuclei.data.sources.demo import draw_histology, draw_nuclei
from nuclei.data.store import Store, prepare
from nuclei.errors import UserError


def write(root, part, name, side=500):
    """One picture with nuclei numbered 2, 4, 6 … as in files from which nuclei were removed."""
    rng = np.random.default_rng(len(name))
    labels = draw_nuclei(rng, (side, side), 40, 14.0, 0.3)
    n = int(labels.max())
    types = rng.integers(1, 8, n)
    for folder in ("Images", "Labels"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    picture = draw_histology(rng, labels)
    cv2.imwrite(str(root / part / "Images" / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    centroid = np.array([np.argwhere(labels == k)[:, ::-1].mean(0) for k in range(1, n + 1)])
    of_pixel = np.concatenate([[0], types])[labels].astype(float)
    found = {
        "inst_map": labels * 2.0,
        "type_map": of_pixel,
        "inst_type": types[:, None] * 1.0,
        "inst_centroid": centroid,
    }
    savemat(root / part / "Labels" / f"{name}.mat", found)
    return picture, labels, of_pixel


def test_tiles_keep_pixels_nuclei_and_classes(tmp_path):
    picture, labels, of_pixel = write(tmp_path, "Train", "train_1")
    write(tmp_path, "Test", "test_1")
    counts = prepare(Consep(tmp_path), tmp_path / "x.store", workers=1)
    assert (counts["train"], counts["test"]) == (8, 0)
    store = Store(tmp_path / "x.store")
    for y in (0, 244):
        for x in (0, 244):
            name, cut = f"train_train_1_y{y}_x{x}", np.s_[y : y + 256, x : x + 256]
            assert np.array_equal(store.image(name), picture[cut])
            own = store.labels(name)
            assert np.array_equal(own > 0, labels[cut] > 0)
            assert set(np.unique(own)) - {0} == set(range(1, store.row(name).nuclei + 1))
            assert np.array_equal(store.classes(name)[own], of_pixel[cut])
    rows = make_folds(store, 2, seed=0, correlation=0.8, jump=2.5, n_clusters=0)
    assert len({(r.image_id.split("_y")[0], r.fold) for r in rows}) == 2


@pytest.mark.parametrize("damage", ["text", "lacks", "fewer", "missing"])
def test_label_files_that_cannot_be_used(tmp_path, damage):
    write(tmp_path, "Train", "train_1", side=100)
    path = tmp_path / "Train" / "Labels" / "train_1.mat"
    if damage == "text":
        path.write_text("no labels")
    elif damage == "lacks":
        savemat(path, {"inst_map": np.zeros((100, 100))})
    elif damage == "fewer":
        savemat(path, {"inst_map": np.ones((100, 100)), "inst_type": np.ones((3, 1))})
    else:
        path.unlink()
    says = {"fewer": "has 1 nuclei, inst_type has 3", "missing": "has no labels at"}
    with pytest.raises(UserError, match=says.get(damage, "is no label file of CoNSeP")):
        prepare(Consep(tmp_path), tmp_path / "x.store", workers=1)
    assert not (tmp_path / "x.store").exists()


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no Train/Images"):
        Consep(tmp_path).fetch()
