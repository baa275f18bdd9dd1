"""One file holds all that the use of a network needs."""

import numpy as np
import pytest
import torch

from nuclei.errors import UserError
from nuclei.inference.measure import measure, outline
from nuclei.inference.model_file import read_box, write_box

SETTINGS = {
    "network": {"a": 1},
    "channels": ["nucleus"],
    "steps": [],
    "tta": 1,
    "diameter": 26,
    "scales": [1.0],
}


def test_weights_and_settings_come_back_and_bytes_are_the_same(tmp_path):
    tensors = {"w": torch.tensor([[0.1, -2.0]]), "n": torch.tensor(7)}
    for name in ("a", "b"):
        write_box(tmp_path / name, tensors, SETTINGS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    settings, back = read_box(tmp_path / "a")
    assert settings == SETTINGS
    assert back["w"].dtype == torch.float32 and torch.allclose(back["w"], tensors["w"], rtol=1e-3)
    assert back["n"] == 7


def test_missing_damaged_and_plain_files_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        read_box(tmp_path / "none")
    write_box(tmp_path / "a", {"w": torch.zeros(50)}, SETTINGS)
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        read_box(tmp_path / "cut")
    import safetensors.torch

    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(UserError, match="weights alone"):
        read_box(tmp_path / "plain")


def test_measures_and_outlines():
    labels = np.zeros((8, 10), np.int32)
    labels[2:6, 3:7] = 1
    image = np.where(labels > 0, 200, 10).astype(np.uint8)
    row = measure(labels, image).iloc[0]
    assert (row.label, row.area, row.y, row.x, row.mean_intensity) == (1, 16, 3.5, 4.5, 200)
    drawn = outline(image, labels)
    assert (drawn[2, 3] == (255, 220, 0)).all() and (drawn[3, 4] == 200).all() and (drawn[0, 0] == 10).all()
    assert measure(np.zeros_like(labels), image).empty
