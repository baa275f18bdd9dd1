"""The competition's files in every form in which they are kept."""

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.prepare import prepare
from nuclei.data.sources.dsb2018 import Dsb2018
from nuclei.data.store import Store
from nuclei.errors import UserError

REAL = Path(__file__).parents[3] / "shared" / "kaggle" / "data-science-bowl-2018"


@pytest.fixture
def folders(tmp_path):
    """Two training images, one of them with a nucleus, and one test image, as unpacked folders."""
    root = tmp_path / "folders"
    for image_id, split, masks in (("aa", "train", 1), ("bb", "train", 0), ("cc", "test", 0)):
        folder = root / f"stage1_{split}" / image_id
        (folder / "images").mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), np.full((8, 9, 4), 50, np.uint8))
        for n in range(masks):
            (folder / "masks").mkdir()
            mask = np.zeros((8, 9), np.uint8)
            mask[2:5, 3:6] = 255
            cv2.imwrite(str(folder / "masks" / f"{n}.png"), mask)
    return root


def zip_of(folder, archive, base):
    with zipfile.ZipFile(archive, "w") as z:
        for path in sorted(folder.rglob("*.png")):
            z.write(path, path.relative_to(base))


@pytest.mark.parametrize("form", ["folders", "zips", "zips with a level", "one zip"])
def test_every_form_gives_the_same_store(folders, tmp_path, form):
    root = tmp_path / "root"
    if form == "folders":
        root = folders
    elif form == "one zip":
        root = tmp_path / "all.zip"
        zip_of(folders, root, folders)
    else:
        root.mkdir()
        for split in ("stage1_train", "stage1_test"):
            base = folders if form == "zips with a level" else folders / split
            zip_of(folders / split, root / f"{split}.zip", base)
    counts = prepare(Dsb2018(root), tmp_path / "x.store", workers=1)
    assert (counts["train"], counts["test"], counts["nuclei"]) == (2, 1, 1)
    store = Store(tmp_path / "x.store")
    assert store.ids("train") == ["aa", "bb"] and store.ids("test") == ["cc"]
    assert store.labels("aa").sum() == 9 and store.labels("bb").sum() == 0
    assert store.image("cc").shape == (8, 9)


def test_no_data_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match=r"no competition data at .*nowhere; run ./run.sh download"):
        Dsb2018(tmp_path / "nowhere").fetch()
    with pytest.raises(UserError, match=r"neither stage1_train.zip nor a folder"):
        Dsb2018(tmp_path).items("train")
    (tmp_path / "stage1_train").mkdir()
    with pytest.raises(UserError, match="holds no stage1_train images"):
        Dsb2018(tmp_path).items("train")


def test_masks_without_an_image_are_named(folders):
    shutil.rmtree(folders / "stage1_train" / "aa" / "images")
    with pytest.raises(UserError, match="aa has masks but no image"):
        Dsb2018(folders).items("train")


def test_a_damaged_png_is_named_and_nothing_is_written(folders, tmp_path):
    (folders / "stage1_train" / "bb" / "images" / "bb.png").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"bb.png is damaged"):
        prepare(Dsb2018(folders), tmp_path / "x.store", workers=1)
    assert not list(tmp_path.glob("*.store")) and not list(tmp_path.glob(".*"))


def test_a_damaged_zip_is_named(folders, tmp_path):
    zip_of(folders / "stage1_train", tmp_path / "stage1_train.zip", folders)
    data = (tmp_path / "stage1_train.zip").read_bytes()
    (tmp_path / "stage1_train.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"stage1_train.zip is no readable zip"):
        Dsb2018(tmp_path).items("train")


@pytest.mark.skipif(not REAL.exists(), reason="the competition's data is not at hand")
def test_the_real_zips_are_read_whole():
    source = Dsb2018(REAL)
    train, test = source.items("train"), source.items("test")
    assert (len(train), len(test)) == (664, 65)
    assert sum(len(item.masks) for item in train) == 28986
