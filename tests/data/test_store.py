"""The store gives back what went in, and notices damage."""

import pickle
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest

from nuclei.data.sources import Item, Source
from nuclei.data.store import Store, encode_image, encode_labels, prepare, read_index, write_store
from nuclei.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = {
    "grey": RNG.integers(0, 256, (13, 7), dtype=np.uint8),
    "colour": RNG.integers(0, 256, (5, 9, 3), dtype=np.uint8),
    "test": RNG.integers(0, 256, (1, 1), dtype=np.uint8),
}
LABELS = {"grey": RNG.integers(0, 40000, (13, 7)).astype(np.int32), "colour": np.eye(5, 9, dtype=np.int32)}
CLASSES = {"colour": (7,)}


@pytest.fixture
def entries(entry):
    splits = {"test": "test"}
    return [
        entry(i, a, LABELS.get(i), split=splits.get(i, "train"), classes=CLASSES.get(i, ()))
        for i, a in IMAGES.items()
    ]


@pytest.fixture
def path(tmp_path, entries):
    write_store(tmp_path / "x.store", entries)
    return tmp_path / "x.store"


def test_round_trip(path):
    store = Store(path)
    assert store.ids("train") == ["grey", "colour"] and store.ids("test") == ["test"]
    for name, a in IMAGES.items():
        assert np.array_equal(store.image(name), a)
    for name, labels in LABELS.items():
        assert store.labels(name).dtype == np.int32
        assert np.array_equal(store.labels(name), labels)


def test_same_images_same_bytes(path, entries, tmp_path):
    write_store(tmp_path / "y.store", entries)
    assert path.read_bytes() == (tmp_path / "y.store").read_bytes()


def test_a_store_travels_to_other_processes(path):
    store = Store(path)
    store.image("grey")
    assert np.array_equal(pickle.loads(pickle.dumps(store)).image("grey"), IMAGES["grey"])


def test_one_flipped_bit_is_noticed(path):
    with zipfile.ZipFile(path) as z:
        info = z.getinfo("image/grey.webp")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x.store is damaged at image/grey.webp.*prepare data=x"):
        Store(path).image("grey")


def test_a_cut_store_is_noticed(path):
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="damaged"):
        Store(path)


def test_unknown_and_unlabelled_images(path, tmp_path):
    with pytest.raises(UserError, match="image nope is not in"):
        Store(path).image("nope")
    with pytest.raises(UserError, match="is a test image"):
        Store(path).labels("test")
    with pytest.raises(UserError, match=r"prepare data=none"):
        Store(tmp_path / "none.store")


def test_a_failed_write_leaves_the_old_store(path, entries):
    before = path.read_bytes()

    def broken():
        yield entries[0]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_store(path, broken())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.store"]


def test_the_index_is_typed_and_read_without_pixels(path, entries):
    assert read_index(path) == [row for row, _, _ in entries] == Store(path).index
    assert Store(path).classes("colour").tolist() == [0, 7]
    assert not Store(path).classes("grey").any() and len(Store(path).classes("grey")) > 40000 * 0.9


def test_an_index_of_another_form_is_refused(path):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("index.csv", "ImageId,split\na,train\n")
    with pytest.raises(UserError, match=r"damaged at index.csv; delete it and run ./run.sh prepare data=x"):
        read_index(path)


def test_too_many_nuclei():
    with pytest.raises(UserError, match="65536 nuclei; at most 65535"):
        encode_labels(np.array([[65536]], np.int32))


@dataclass(frozen=True)
class Square(Item):
    """A square with one nucleus."""

    def read_image(self):
        return np.full((4, 4), 200, np.uint8)

    def read_labels(self, shape, counts):
        counts["empty"] += 1
        return np.eye(4, dtype=np.int32)


class Squares(Source):
    def fetch(self):
        pass

    def items(self, split):
        return [Square(f"{split}{n}", split) for n in range(2)]


def test_prepare_encodes_and_counts(tmp_path):
    counts = prepare(Squares("squares"), tmp_path / "s.store", workers=1)
    assert counts == {"train": 2, "test": 2, "nuclei": 2, "empty": 2}
    store = Store(tmp_path / "s.store")
    assert [row.image_id for row in store.index] == ["train0", "train1", "test0", "test1"]
    assert {(row.modality, row.channels) for row in store.index} == {("brightfield", 1)}
    assert [row.parent for row in store.index] == store.ids("train") + store.ids("test")
    assert np.array_equal(store.labels("train1"), np.eye(4))


def test_an_image_that_is_too_large_for_the_store_is_named() -> None:
    with pytest.raises(UserError, match="20000 × 2 pixels: at most 16383 a side are kept; cut it up"):
        encode_image(np.zeros((2, 20000), np.uint8))
