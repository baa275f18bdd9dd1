"""Out-of-fold maps are merged strictly, and each refusal names what is wrong."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.data.folds import FoldRow, folds_sha256
from nuclei.data.store import Store
from nuclei.ensemble import oof
from nuclei.ensemble.oof import (
    Case,
    Evaluator,
    Setting,
    blend,
    count_matches,
    find_members,
    load_cases,
    load_oof,
    score_untuned,
    shared_channels,
)
from nuclei.errors import UserError
from nuclei.metrics import average_precision, confusion
from nuclei.postprocess.components import Components, RemoveSmall

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


STEPS = [Components(low=0.5, high=0.5), RemoveSmall(min_area=1)]


@pytest.fixture
def cases() -> list[Case]:
    """Images with four discs; in the maps the first disc of image n is thinner by n pixels."""
    cases = []
    for n in range(4):
        truth, seen = np.zeros((40, 40), np.int32), np.zeros((40, 40), np.int32)
        for label, (y, x) in enumerate([(10, 10), (10, 29), (29, 10), (29, 29)], start=1):
            cv2.circle(truth, (x, y), 6, label, -1)
            cv2.circle(seen, (x, y), 6 - n * (label == 1), label, -1)
        good, noise = (200 * (seen > 0)).astype(np.uint8), np.full(truth.shape, 90, np.uint8)
        cases.append(Case(np.stack([good, noise])[:, None], truth))
    return cases


def test_scores_are_those_of_the_metric(cases: list[Case]) -> None:
    evaluator = Evaluator(cases, ["nucleus"], STEPS, workers=2)
    setting = Setting((1.0, 0.0), (("low", 0.3),))
    expected = []
    for c in cases:
        labels = Components(low=0.3, high=0.5)({"nucleus": c.maps[0][0]})
        expected.append(average_precision(c.truth, RemoveSmall(1)(labels)))
    np.testing.assert_allclose(evaluator.precision(setting, range(4)).mean(axis=1), expected)
    assert evaluator.score(setting, [1, 3]) == pytest.approx(np.mean([expected[1], expected[3]]))


def test_a_known_score_is_not_computed_again(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, setting = Evaluator(cases, ["nucleus"], STEPS), Setting((1.0, 0.0))
    first = evaluator.precision(setting, [0, 2])
    calls = []
    monkeypatch.setattr(oof, "blend", lambda maps, weights: calls.append(1) or maps[0])
    np.testing.assert_array_equal(evaluator.precision(setting, [2, 0]), first[::-1])
    assert not calls
    evaluator.precision(setting, [0, 1])
    assert len(calls) == 1


def test_an_untuned_run_is_scored_with_its_steps(cases: list[Case]) -> None:
    alone = [Case(case.maps[:1], case.truth) for case in cases]
    score = score_untuned("otsu/x", "components", Evaluator(alone, ["nucleus"], STEPS))
    assert (score.name, score.setting) == ("otsu/x", "components") and score.precision.shape == (4, 10)
    assert score.precision[0].mean() == 1 > score.precision[3].mean()


def test_the_middle_of_a_case() -> None:
    truth = np.arange(60).reshape(6, 10)
    middle = Case(np.stack([truth, -truth])[None], truth).middle(4)
    np.testing.assert_array_equal(middle.truth, truth[1:5, 3:7])
    np.testing.assert_array_equal(middle.maps[0, 1], -truth[1:5, 3:7])
    assert Case(truth[None, None], truth).middle(100).truth.shape == (6, 10)


def test_cases_and_matches_are_read_from_runs(tmp_path: Path, draw_runs: Callable[[Path], Path]) -> None:
    draw_runs(tmp_path)
    rows = [FoldRow(f"image{n}", n % 2, n, "x", 32, 36, 3) for n in range(8)]
    sha256 = folds_sha256(tmp_path / "folds.csv")
    members = [
        load_oof(tmp_path / "runs/demo" / model / "default", rows, sha256) for model in ("unet", "otsu")
    ]
    store = Store(tmp_path / "x.store")
    cases = load_cases(members, ["nucleus"], store, rows)
    assert len(cases) == 8 and cases[0].maps.shape == (2, 1, 32, 36)
    np.testing.assert_array_equal(cases[3].truth, store.labels("image3"))
    np.testing.assert_array_equal(cases[3].maps[0], members[0].maps(["image3"], ["nucleus"])[0])
    counts = count_matches(members[1], store, rows, STEPS, workers=1)
    assert list(counts) == [row.image_id for row in rows]
    labels = Components(low=0.5, high=0.5)({"nucleus": cases[0].maps[1, 0]})
    np.testing.assert_array_equal(counts["image0"], confusion(cases[0].truth, labels))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_uint8_maps_against_exact_fractions(seed: int, members: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.integers(0, 256, (2, 3, 4), np.uint8) for _ in range(members)]
    weights = [Fraction(int(x), 1) for x in generator.integers(1, 100, members)]
    weights = [w / sum(weights) for w in weights]
    exact = sum(
        (m.astype(object) * w for m, w in zip(maps, weights, strict=True)), start=np.array(Fraction(0))
    )
    got = blend(maps, [float(w) for w in weights])
    assert got.dtype == np.uint8
    assert (abs(got.astype(object) - exact) <= Fraction(1, 2) + Fraction(1, 10**4)).all()


@given(st.integers(0, 2**32 - 1))
def test_float_maps_stay_float_and_within_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    maps = [generator.random((1, 3, 3)), np.ones((1, 3, 3), np.float16), np.ones((1, 3, 3), np.float32)]
    weights = generator.dirichlet([1, 1, 1])
    got = blend(maps, weights.tolist())
    assert got.dtype == np.float32 and got.max() <= 1
    np.testing.assert_allclose(got, np.average(maps, axis=0, weights=weights), atol=1e-6)


def test_one_member_and_weight_zero_change_nothing() -> None:
    a, b = np.full((1, 2, 2), 77, np.uint8), np.full((1, 2, 2), 200, np.uint8)
    np.testing.assert_array_equal(blend([a], [1.0]), a)
    np.testing.assert_array_equal(blend([a, b], [0.0, 1.0]), b)
    assert blend([a], [1.0]) is not a


def test_what_does_not_go_together_is_refused() -> None:
    a = np.zeros((1, 2, 2), np.uint8)
    for weights in ([0.5, 0.4], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="sum 1"):
            blend([a, a], weights)
    for other in (a[:, :1], a.astype(np.float32)):
        with pytest.raises(ValueError, match="one shape and dtype"):
            blend([a, other], [0.5, 0.5])


def test_shared_channels_keep_the_first_order() -> None:
    assert shared_channels([("border", "nucleus", "distance"), ("nucleus", "border")]) == (
        "border",
        "nucleus",
    )
    with pytest.raises(UserError, match="no channel nucleus in all runs"):
        shared_channels([("nucleus",), ("border",)])
