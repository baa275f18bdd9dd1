"""The store gives back what went in, and notices damage."""

import pickle
import zipfile

import numpy as np
import pytest

from nuclei.data.preprocessing import modality
from nuclei.data.store import Store, encode_image, encode_labels, write_store
from nuclei.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = {
    "grey": RNG.integers(0, 256, (13, 7), dtype=np.uint8),
    "colour": RNG.integers(0, 256, (5, 9, 3), dtype=np.uint8),
    "test": RNG.integers(0, 256, (1, 1), dtype=np.uint8),
}
LABELS = {"grey": RNG.integers(0, 40000, (13, 7)).astype(np.int32), "colour": np.zeros((5, 9), np.int32)}


def rows():
    for name, a in IMAGES.items():
        row = {
            "ImageId": name,
            "split": "test" if name == "test" else "train",
            "height": a.shape[0],
            "width": a.shape[1],
            "channels": a.ndim if a.ndim == 3 else 1,
            "nuclei": 0,
            "modality": modality(a),
        }
        labels = LABELS.get(name)
        yield row, encode_image(a), None if labels is None else encode_labels(labels)


@pytest.fixture
def path(tmp_path):
    write_store(tmp_path / "x.store", rows())
    return tmp_path / "x.store"


def test_round_trip(path):
    store = Store(path)
    assert store.ids("train") == ["grey", "colour"] and store.ids("test") == ["test"]
    for name, a in IMAGES.items():
        assert np.array_equal(store.image(name), a)
    for name, labels in LABELS.items():
        assert store.labels(name).dtype == np.int32
        assert np.array_equal(store.labels(name), labels)


def test_same_images_same_bytes(path, tmp_path):
    write_store(tmp_path / "y.store", rows())
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


def test_a_failed_write_leaves_the_old_store(path):
    before = path.read_bytes()

    def broken():
        yield next(rows())
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_store(path, broken())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.store"]


def test_modality():
    dark = np.full((4, 4), 20, np.uint8)
    assert [modality(a) for a in (dark, 255 - dark, np.dstack([dark] * 3))] == [
        "fluorescence",
        "brightfield",
        "histology",
    ]
