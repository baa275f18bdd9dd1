"""The competition's files in every form in which they are kept."""

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.sources.dsb2018 import Dsb2018, find_test_images, merge_masks, read_or_warn
from nuclei.data.store import Store, prepare
from nuclei.errors import UserError

REAL = Path(__file__).parents[4] / "shared" / "kaggle" / "data-science-bowl-2018"


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


def test_a_damaged_png_is_named_and_left_out(folders, tmp_path, capsys):
    (folders / "stage1_train" / "bb" / "images" / "bb.png").write_bytes(b"junk")
    counts = prepare(Dsb2018(folders), tmp_path / "x.store", workers=1)
    assert counts["left out"] == 1 and Store(tmp_path / "x.store").ids("train") == ["aa"]
    error = capsys.readouterr().err
    assert error.startswith("left out: train image bb: ") and "bb.png is damaged" in error


def test_nothing_is_written_where_nothing_can_be_read(folders, tmp_path):
    for image in folders.rglob("images/*.png"):
        image.write_bytes(b"junk")
    with pytest.raises(UserError, match=r"none of the 3 images in .* can be read"):
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


def mask(*rows):
    return np.array([[255 if c == "#" else 0 for c in row] for row in rows], np.uint8)


def labels_of(*masks, shape=(3, 6)):
    counts = Counter()
    return merge_masks(masks, shape, counts), counts


def test_labels_number_the_masks():
    labels, counts = labels_of(mask("##....", "##....", "......"), mask("...##.", "......", "......"))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[1, 1, 0, 2, 2, 0], [1, 1, 0, 0, 0, 0], [0] * 6]
    assert not +counts


def test_the_smaller_nucleus_keeps_shared_pixels_whichever_comes_first():
    big, small = mask("#####.", "#####.", "......"), mask(".##...", "......", "......")
    one, counts = labels_of(big, small)
    other, _ = labels_of(small, big)
    assert one[0].tolist() == [1, 2, 2, 1, 1, 0]
    assert np.array_equal(one > 0, other > 0) and (other[0, 1:3] == 1).all()
    assert counts["overlapping"] == 1


def test_a_nucleus_under_a_copy_of_itself_leaves_no_gap_in_the_numbers():
    a, b = mask("##....", "......", "......"), mask("....##", "......", "......")
    labels, counts = labels_of(a, a, b)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert counts["covered"] == 1


def test_empty_and_wrong_size_masks_are_left_out_and_pieces_stay_together():
    labels, counts = labels_of(
        np.zeros((3, 6), np.uint8), np.full((2, 2), 255, np.uint8), mask("#....#", "......", "......")
    )
    assert labels[0].tolist() == [1, 0, 0, 0, 0, 1]
    assert +counts == {"empty": 1, "of another size": 1, "in several pieces": 1}


def test_an_image_may_be_covered_to_the_last_pixel():
    labels, _ = labels_of(mask("###...", "###...", "###..."), mask("...###", "...###", "...###"))
    assert sorted(np.unique(labels)) == [1, 2]
    labels, _ = labels_of(mask("######", "######", "######"), mask("######", "######", "######"))
    assert np.unique(labels).tolist() == [1]


PNG = cv2.imencode(".png", np.full((2, 3), 7, np.uint8))[1].tobytes()


def put(root: Path, image_id: str, data: bytes) -> None:
    path = root / "stage1_test" / image_id / "images" / f"{image_id}.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_what_cannot_be_read_is_named_and_stays_in_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "b", PNG)
    put(tmp_path, "a", b"no image")
    (tmp_path / "stage1_test/c").mkdir()
    items = find_test_images(tmp_path)
    assert [item.image_id for item in items] == ["a", "b", "c"]
    a, b, c = map(read_or_warn, items)
    assert a is None and c is None and b is not None and b.tolist() == [[7] * 3] * 2
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(" cannot")[0] for line in warnings] == ["warning: a", "warning: c"]


@pytest.mark.parametrize("level", ["", "stage1_test/"])
def test_a_zip_is_read_as_it_is(tmp_path: Path, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "stage1_test.zip", "w") as z:
        z.writestr(f"{level}b/images/b.png", PNG)
        z.writestr(f"{level}a/images/a.png", b"no image")
    items = find_test_images(tmp_path)
    assert [item.image_id for item in items] == ["a", "b"]
    assert read_or_warn(items[0]) is None and read_or_warn(items[1]) is not None


@pytest.mark.parametrize("zipped", [False, True])
def test_the_image_is_the_file_of_the_imageid(tmp_path: Path, zipped: bool) -> None:
    files = {
        "a/images/a.json": b"{}",
        "a/images/a.png": PNG,
        "b/images/aaa.png": b"other",
        "b/images/b.png": PNG,
    }
    if zipped:
        with zipfile.ZipFile(tmp_path / "stage1_test.zip", "w") as z:
            for name, data in files.items():
                z.writestr(name, data)
    else:
        for name, data in files.items():
            (tmp_path / "stage1_test" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "stage1_test" / name).write_bytes(data)
    assert [item.read_image().tolist() for item in find_test_images(tmp_path)] == [[[7] * 3] * 2] * 2


def test_nothing_to_do_is_no_error_but_nothing_there_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither stage1_test\.zip nor a folder"):
        find_test_images(tmp_path)
    (tmp_path / "stage1_test.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="no readable zip"):
        find_test_images(tmp_path)
    (tmp_path / "stage1_test").mkdir()
    assert find_test_images(tmp_path) == []


def test_a_damaged_member_of_a_zip_is_one_unreadable_image(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "stage1_test.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/images/a.png", bytes(range(256)) * 9)
    data = bytearray((tmp_path / "stage1_test.zip").read_bytes())
    data[60:90] = b"\xff" * 30
    (tmp_path / "stage1_test.zip").write_bytes(data)
    assert read_or_warn(*find_test_images(tmp_path)) is None
    assert "stage1_test.zip is damaged at a/images/a.png" in capsys.readouterr().err
