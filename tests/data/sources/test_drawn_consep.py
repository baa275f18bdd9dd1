"""Drawn pictures that are read as CoNSeP's are."""

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from nuclei.data.sources.consep import Consep
from nuclei.data.sources.drawn_consep import KINDS, DrawnConsep, draw_consep
from nuclei.data.store import Store, prepare
from nuclei.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "CoNSeP"
    DrawnConsep(root, seed=1, n_train=1, n_test=1).fetch()
    return root


def test_files_have_the_layout_names_and_arrays_of_consep(root):
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert files == [
        f"{p}/{k}/{p.lower()}_1.{e}"
        for p in ("Test", "Train")
        for k, e in (("Images", "png"), ("Labels", "mat"))
    ]
    assert cv2.imread(str(root / files[2])).shape == (1000, 1000, 3)
    arrays = loadmat(root / files[3])
    numbers, types = arrays["inst_map"], arrays["inst_type"]
    n = int(numbers.max())
    assert numbers.shape == arrays["type_map"].shape == (1000, 1000) and numbers.dtype == float
    assert types.shape == (n, 1) and arrays["inst_centroid"].shape == (n, 2) and n > 300
    assert np.array_equal(np.concatenate([[0], types[:, 0]])[numbers.astype(int)], arrays["type_map"])
    x, y = arrays["inst_centroid"][4]
    assert np.allclose(np.argwhere(numbers == 5).mean(0), (y, x))


def test_all_seven_classes_are_drawn_and_reach_the_store(root, tmp_path):
    counts = prepare(Consep(root), tmp_path / "x.store", workers=1)
    assert counts["train"] == 32 and not counts["empty"]
    store = Store(tmp_path / "x.store")
    classes = np.concatenate([store.classes(i) for i in store.ids("train")])
    assert set(classes) == {0, *range(1, len(KINDS) + 1)}


def test_the_same_seed_gives_the_same_pictures_and_another_does_not(root, tmp_path):
    picture = "Train/Images/train_1.png"
    for seed in (1, 2):
        draw_consep(tmp_path / str(seed), seed, {"Train": 1})
    assert (tmp_path / "1" / picture).read_bytes() == (root / picture).read_bytes()
    assert (tmp_path / "2" / picture).read_bytes() != (root / picture).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*; free some space or choose data.root=FOLDER"):
        draw_consep(tmp_path / "file" / "x", 0, {"Train": 1})
