"""Tiles and copies stay together; folds are alike."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.folds import (
    cluster_images,
    connected_groups,
    folds_sha256,
    image_features,
    make_folds,
    read_folds,
    related_pairs,
    write_folds,
)
from nuclei.data.preprocessing import guess_modality
from nuclei.data.store import Store, write_store
from nuclei.errors import UserError


def picture(seed, shape):
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8)


def tiles(seed):
    whole = picture(seed, (128, 128))
    quarters = ((y, x, whole[64 * y : 64 * y + 64, 64 * x : 64 * x + 64]) for y in (0, 1) for x in (0, 1))
    return {f"{seed}-{y}{x}": quarter for y, x, quarter in quarters}


def test_tiles_of_one_picture_are_related_and_strangers_are_not():
    pairs = related_pairs(tiles(1) | tiles(2), correlation=0.8, jump=2.5)
    beside = (("00", "01"), ("10", "11"), ("00", "10"), ("01", "11"))
    assert set(pairs) == {(f"{s}-{a}", f"{s}-{b}") for s in (1, 2) for a, b in beside}


def test_near_duplicates_are_related_and_flat_images_are_not():
    a = picture(3, (64, 64))
    noise = np.random.default_rng(0).integers(-3, 4, a.shape)
    noisy = np.clip(a + noise, 0, 255).astype(np.uint8)
    flat = {f"flat{n}": np.full((64, 64), 7, np.uint8) for n in range(3)}
    assert related_pairs({"a": a, "noisy": noisy, **flat}, 0.8, 2.5) == [("a", "noisy")]


def test_copies_of_dim_images_are_related():
    dim = np.random.default_rng(0).integers(3, 6, (64, 64)).astype(np.uint8)
    dim[10:14, 20:24] = 25
    other = np.roll(dim, 30, 0)
    assert related_pairs({"a": dim, "b": other, "c": dim.copy()}, 0.8, 2.5) == [("a", "c")]


@pytest.fixture
def store(tmp_path, entry):
    images = {name: a for seed in range(12) for name, a in tiles(seed).items()}
    entries = [
        entry(name, a, nuclei=n % 7, modality=guess_modality(a))
        for n, (name, a) in enumerate(sorted(images.items()))
    ]
    write_store(tmp_path / "x.store", entries)
    return Store(tmp_path / "x.store")


def folds_of(store, n_folds, seed, n_clusters=0):
    return make_folds(store, n_folds, seed, correlation=0.8, jump=2.5, n_clusters=n_clusters)


def test_no_group_is_split_and_folds_are_of_like_size(store):
    rows = folds_of(store, 4, seed=0)
    assert [r.image_id for r in rows] == sorted(store.ids("train"))
    fold_of_picture = {(r.image_id.split("-")[0], r.fold) for r in rows}
    assert len(fold_of_picture) == 12
    assert set(Counter(r.fold for r in rows).values()) <= {8, 12, 16}
    assert folds_of(store, 4, seed=0) == rows
    assert folds_of(store, 4, seed=1) != rows


def test_more_folds_than_groups(store):
    with pytest.raises(UserError, match="n_folds=50: expected 2 to 12"):
        folds_of(store, 50, seed=0)


def test_file_round_trip(store, tmp_path):
    rows = folds_of(store, 3, seed=0)
    write_folds(tmp_path / "f.csv", rows)
    assert read_folds(tmp_path / "f.csv") == rows
    assert len(folds_sha256(tmp_path / "f.csv")) == 64
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="expected the columns ImageId"):
        read_folds(tmp_path / "f.csv")
    with pytest.raises(UserError, match="no folds file"):
        read_folds(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("a,0,5,", "a,0,5", "row 2: expected ImageId,fold"),
        ("a,0,5,", "a,O,5,", "row 2: expected ImageId,fold"),
        ("a,0,5,", "a,-1,5,", "row 2: expected ImageId,fold"),
        ("a,0,5,", ",0,5,", "row 2: expected ImageId,fold"),
        (",8,9,3", ",8,9", "row 2: expected ImageId,fold"),
        (",8,9,3", ",8,9,3,4", "row 2: expected ImageId,fold"),
        ("b,1,6", "b,1,5", "row 3: group 5 is in two folds"),
        ("b,1,6", "a,1,6", "row 3: a comes twice"),
        ("grey", "gr\xfc", "is no CSV file"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, old, new, problem):
    text = "ImageId,fold,group,modality,height,width,nuclei\na,0,5,grey,8,9,3\nb,1,6,dim,8,9,4\n"
    path = tmp_path / "f.csv"
    path.write_text(text)
    assert [row.fold for row in read_folds(path)] == [0, 1]
    path.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(UserError, match=f"f.csv.*{problem}.*folds data=NAME force=true"):
        read_folds(path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "folds").glob("*.csv")), ids=str)
def test_committed_folds_can_be_read(path):
    assert len({row.fold for row in read_folds(path)}) > 1


def test_the_committed_folds_cover_the_competition():
    rows = read_folds(Path(__file__).parents[2] / "folds" / "dsb2018.csv")
    assert len(rows) == len({r.image_id for r in rows}) == 664
    assert sum(r.nuclei for r in rows) == 28986
    folds_of_group = {}
    for r in rows:
        folds_of_group.setdefault(r.group, set()).add(r.fold)
    assert all(len(folds) == 1 for folds in folds_of_group.values())
    assert set(Counter(r.fold for r in rows)) == {0, 1, 2, 3, 4}


def test_whole_kinds_are_held_out_and_groups_stay_together(store):
    plain, by_kind = folds_of(store, 3, 0), folds_of(store, 3, 0, n_clusters=6)
    group = {row.image_id: row.group for row in plain}
    kind = dict(
        zip(store.ids("train"), cluster_images(store, [group[i] for i in store.ids("train")], 6), strict=True)
    )
    assert len(set(kind.values())) == 6
    for together in (group, kind):
        where = {(together[row.image_id], row.fold) for row in by_kind}
        assert len(where) == len(set(together.values()))
    assert {row.fold for row in by_kind} == {0, 1, 2}


def test_pairs_connect_groups_through_others():
    assert connected_groups(["a", "b", "c", "d"], [("a", "c"), ("c", "d")]) == [0, 1, 0, 0]
    assert connected_groups(["a", "b"], []) == [0, 1]


def test_features_tell_images_apart_and_survive_flat_ones():
    labels = np.zeros((20, 20), np.int32)
    flat = image_features(np.full((20, 20), 9, np.uint8), labels)
    labels[5:15, 5:15] = 1
    bright = image_features((labels * 200).astype(np.uint8), labels)
    dark = image_features((255 - labels * 200).astype(np.uint8), labels)
    assert len(flat) == len(bright) and np.isfinite([flat, bright, dark]).all()
    assert bright[6] > 1 > -1 > dark[6], "the contrast of nuclei to their surroundings"
