"""Which files a folder holds, and what their images are called."""

import os
from pathlib import Path

import pytest

from nuclei.data.image_files import LONGEST, as_text, csv_name, file_stamp, find_images, image_name
from nuclei.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_names_follow_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/1/x y.png", "a/x.TIF", "a/notes.txt", "a/.hidden.png")
    assert list(find_images(tmp_path).files) == ["a/x", "b/1/x_y"]


def test_names_are_unique_whatever_the_files_are_called(tmp_path: Path) -> None:
    names = (
        "f.png",
        "f.tif",
        "F.png",
        "f_png.png",
        "a b.png",
        "a,b.png",
        "s.tif",
        "s_page2.png",
        "f_tif.jpg",
    )
    touch(tmp_path, *names)
    files = find_images(tmp_path).files
    assert sorted(file.name for file in files.values()) == sorted(names)
    assert len({name.casefold() for name in files}) == len(names) and "s_page2" not in files


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    names = {csv_name(Path("x" * 240 + end + ".png")) for end in "ab"}
    assert len(names) == 2 and all(len(name) <= LONGEST for name in names)
    assert image_name(Path("é" * 120) / "a.png").endswith("/a")


def test_results_are_not_searched(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.png", "out/labels/a.tif", "labels/a.tif", "old/images.csv", "old/nuclei.csv", "old/a.tif"
    )
    found = find_images(tmp_path, tmp_path / "out")
    assert list(found.files) == ["a", "labels/a"] and "old is left out" in found.notes[0]
    assert list(find_images(tmp_path, tmp_path).files) == ["a", "out/labels/a"]


def test_results_that_lie_beside_their_images_are_not_searched(tmp_path: Path) -> None:
    for name in ("a.png", "labels/a.tif", "overlays/a.png", "images.csv", "nuclei.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path, tmp_path / "other")
    assert [*found.files] == ["a"] and len(found.notes) == 2


@pytest.mark.parametrize("name", ["cells.zip", "cells.tif.gz", "cells.TAR"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{name}: unpack it first"):
        find_images(tmp_path / name)


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    found = find_images(tmp_path)
    assert list(found.files) == ["a"]
    assert found.refused == [f"{tmp_path / 'b.png'} is no file but a pipe or a device"]


def test_the_competitions_folders_give_image_ids_and_no_masks(tmp_path: Path) -> None:
    for name in ("0a/images/0a.png", "0a/masks/m1.png", "1b/images/1b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(find_images(tmp_path).files) == {"0a", "1b"}


def test_annotations_beside_images_are_left_out_and_named(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.tif",
        "a_cp_masks.png",
        "a_flows.tif",
        "b.ome.tif",
        "b_masks.tif",
        "c_img.png",
        "c_mask.png",
    )
    touch(tmp_path, "set/images/d.png", "set/labels/d.png", "alone_masks.tif")
    found = find_images(tmp_path)
    assert list(found.files) == ["a", "alone_masks", "b.ome", "c_img", "set/images/d"]
    assert found.notes == [f"left out: 4 label maps beside images, such as {tmp_path / 'a_cp_masks.png'}"]


def test_the_field_of_a_plate_has_no_name_of_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "plate.zarr/.zattrs", "plate_A1_field1.tif")
    assert list(find_images(tmp_path).files) == ["plate", "plate_A1_field1_tif"]


def test_a_folder_that_is_one_image_is_known_by_its_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.zarr/0/c0", "a.zarr/0/c1")
    before = file_stamp(tmp_path / "a.zarr")
    assert before == file_stamp(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/0/c1").write_bytes(b"other")
    assert file_stamp(tmp_path / "a.zarr") != before


def test_a_formula_becomes_a_text() -> None:
    assert [as_text(text) for text in ("=1+1", "\tx", "'a", "a", "")] == ["'=1+1", "'\tx", "''a", "a", ""]
