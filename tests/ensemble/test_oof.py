"""Out-of-fold maps are merged strictly, and each refusal names what is wrong."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuclei.data.folds import FoldRow
from nuclei.ensemble.oof import find_members, load_oof
from nuclei.errors import UserError

FOLDS = {"a": 0, "b": 0, "c": 1, "d": 2}
ROWS = [FoldRow(i, k, 0, "grey", 5, 4 + k, 1) for i, k in FOLDS.items()]
CHANNELS = ("nucleus", "border")


def maps_of(image_id: str, channels: int = 2) -> np.ndarray:
    """Different maps for each image."""
    shape = (channels, 5, 4 + FOLDS.get(image_id, 0))
    return np.random.default_rng(ord(image_id)).integers(0, 256, shape, np.uint8)


def write_fold(
    run: Path, fold: int, ids: str | None = None, channels: tuple[str, ...] = CHANNELS, **other: Any
) -> Path:
    """Write a fold's file; ``other`` replaces single entries."""
    path = run / f"fold{fold}" / "oof.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    own = ids if ids is not None else "".join(i for i, k in FOLDS.items() if k == fold)
    entries = (
        {i: maps_of(i, len(channels)) for i in own}
        | {"folds_sha256": np.array("abc"), "store_sha256": np.array("def")}
        | other
    )
    np.savez_compressed(path, channels=np.array(channels), **entries)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "demo" / "unet" / "default"
    for fold in (0, 1, 2):
        write_fold(folder, fold)
    return folder


def test_every_image_comes_from_its_fold(run: Path) -> None:
    member = load_oof(run, ROWS, "abc")
    assert (member.name, member.channels, set(member.files)) == ("unet/default", CHANNELS, set(FOLDS))
    for image_id, maps in zip("dab", member.maps("dab", ["border", "nucleus"]), strict=True):
        np.testing.assert_array_equal(maps, maps_of(image_id)[::-1])


def test_missing_folds_are_named_with_the_command_that_trains_them(run: Path) -> None:
    shutil.rmtree(run / "fold0")
    (run / "fold2" / "oof.npz").unlink()
    with pytest.raises(
        UserError, match=r"fold 0, 2; run ./run.sh -m data=demo model=unet name=default fold=0,2$"
    ):
        load_oof(run, ROWS, "abc")
    with pytest.raises(
        UserError, match=r"no run at .*/linknet/default; run ./run.sh -m data=demo model=linknet "
    ):
        load_oof(run.parent.parent / "linknet" / "default", ROWS, "abc")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("a", "lacks b"),
        ("abc", "should not hold c"),
        ("abx", "should not hold x"),
        ("", "lacks a and 1 other"),
    ],
)
def test_a_fold_holds_exactly_its_images(run: Path, ids: str, message: str) -> None:
    path = write_fold(run, 0, ids)
    with pytest.raises(
        UserError, match=f"{path} {message}.*; ./run.sh data=demo model=unet name=default fold=0$"
    ):
        load_oof(run, ROWS, "abc")


def test_a_doubled_image_is_refused(run: Path) -> None:
    with (
        zipfile.ZipFile(run / "fold0" / "oof.npz", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("b.npy", archive.read("b.npy"))
    with pytest.raises(UserError, match="has two of b"):
        load_oof(run, ROWS, "abc")


def test_other_folds_and_other_channels_are_refused(run: Path) -> None:
    path = write_fold(run, 1, folds_sha256=np.array("other"))
    with pytest.raises(UserError, match=f"{path} was made with another folds file; .*rm -r {path.parent}"):
        load_oof(run, ROWS, "abc")
    write_fold(run, 1, channels=("nucleus",))
    with pytest.raises(
        UserError, match=r"different channels: nucleus, border in .*fold2.*; nucleus in .*fold1"
    ):
        load_oof(run, ROWS, "abc")


@pytest.mark.parametrize(
    "maps", [np.zeros((2, 5, 9), np.uint8), np.zeros((1, 5, 4), np.uint8), np.zeros((2, 5, 4))]
)
def test_maps_of_another_size_or_dtype_are_refused(run: Path, maps: np.ndarray) -> None:
    write_fold(run, 0, a=maps)
    with pytest.raises(UserError, match=r"instead of uint8 \(2, 5, 4\)"):
        load_oof(run, ROWS, "abc").maps("ab", ["nucleus"])


def test_no_damage_goes_unnoticed(run: Path) -> None:
    """Every byte in turn: either the maps are as they were, or the error names the file."""
    path = run / "fold0" / "oof.npz"
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read = load_oof(run, ROWS, "abc").maps("ab", CHANNELS)
        except UserError as e:
            assert str(path) in str(e)
            refused += 1
        else:
            np.testing.assert_array_equal(read, [maps_of("a"), maps_of("b")])
    assert refused > len(whole) / 2
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        UserError, match=f"{path} is damaged; make it anew: rm {path} {path.parent}/done.json; "
    ):
        load_oof(run, ROWS, "abc")


def test_the_default_is_every_complete_run_that_tells_nuclei_apart_as_well_as_any(run: Path) -> None:
    root = run.parent.parent
    for fold in (0, 1, 2):
        write_fold(root / "otsu" / "default", fold, channels=("nucleus",))
        write_fold(root / "linknet" / "default", fold)
        write_fold(root / "softmax" / "default", fold, channels=("background", "nucleus", "centre"))
        write_fold(root / "offsets" / "default", fold, channels=(*CHANNELS, "offset_y", "offset_x"))
    write_fold(root / "unet" / "half", 0)
    members, left_out = find_members(root, None, ROWS, "abc")
    assert [m.name for m in members] == ["linknet/default", "offsets/default", "unet/default"]
    assert [m.name for m in left_out] == ["otsu/default", "softmax/default"]
    members, left_out = find_members(root, ["otsu/default"], ROWS, "abc")
    assert [m.name for m in members] == ["otsu/default"] and not left_out


def test_runs_that_are_not_there(tmp_path: Path, run: Path) -> None:
    root = run.parent.parent
    for names in ([], ["unet"], ["unet/default", "unet/default"]):
        with pytest.raises(UserError, match="expected MODEL/NAME of different runs"):
            find_members(root, names, ROWS, "abc")
    with pytest.raises(UserError, match=r"no run at .*/runs/other/unet/default; run ./run.sh -m data=other"):
        find_members(tmp_path / "runs" / "other", None, ROWS, "abc")
    shutil.rmtree(run / "fold1")
    with pytest.raises(UserError, match=r"lacks the out-of-fold maps of fold 1; run ./run.sh data=demo"):
        find_members(root, None, ROWS, "abc")
