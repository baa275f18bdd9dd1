"""One file holds all that the use of a network needs, and shows when it is damaged."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from nuclei.errors import UserError
from nuclei.inference.model_file import Graph, ModelFile, ModelSettings, read_model_file, write_model_file

SETTINGS = ModelSettings({"a": 1}, ["nucleus"], [{"_target_": "x"}], tta=1, diameter=26, scales=[1.0])


def test_weights_and_settings_come_back_and_bytes_are_the_same(tmp_path):
    weights = {"w": np.float32([[0.1, -2.0]]), "n": np.array(7)}
    graph = Graph(32, None, "nuclei_rgb", b"any bytes" * 99)
    for name in ("a", "b"):
        write_model_file(tmp_path / name, ModelFile(SETTINGS, weights, graph))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = read_model_file(tmp_path / "a")
    assert model.settings == SETTINGS
    assert model.weights["w"].dtype == np.float32
    assert np.allclose(model.weights["w"], weights["w"], rtol=1e-3)
    assert model.weights["n"] == model.tensors()["n"] == 7
    assert model.graph == graph
    write_model_file(tmp_path / "a", ModelFile(SETTINGS, weights))
    assert read_model_file(tmp_path / "a").graph is None


def test_missing_damaged_and_plain_files_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        read_model_file(tmp_path / "none")
    write_model_file(tmp_path / "a", ModelFile(SETTINGS, {"w": np.zeros(50, np.float32)}))
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        read_model_file(tmp_path / "cut")
    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(UserError, match="weights alone"):
        read_model_file(tmp_path / "plain")


def test_no_flipped_bit_is_loaded(tmp_path):
    noise = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    weights = {"a.weight": noise, "a.bias": np.zeros(8, np.float32), "n": np.array(7)}
    write_model_file(tmp_path / "a", ModelFile(SETTINGS, weights, Graph(4, 256, "grey", b"a graph")))
    whole = (tmp_path / "a").read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "flipped").write_bytes(damaged)
        with pytest.raises(UserError, match=r"flipped (is damaged|holds weights alone)[^\n]*$"):
            read_model_file(tmp_path / "flipped")


def test_no_flipped_bit_of_the_model_that_comes_along_is_loaded(tmp_path, repo):
    whole = (repo / "weights" / "nuclei.safetensors").read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 12):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        (tmp_path / "flipped").write_bytes(damaged)
        with pytest.raises(UserError, match="flipped is damaged"):
            read_model_file(tmp_path / "flipped")


@pytest.mark.parametrize(
    "changed",
    [{"network": "x"}, {"channels": 3}, {"channels": [3]}, {"steps": ["x"]}, {"tta": "1"}, {"scales": [0]}],
)
def test_settings_of_other_types_are_refused(tmp_path, changed):
    write_model_file(tmp_path / "a", ModelFile(replace(SETTINGS, **changed), {}))
    with pytest.raises(UserError, match=r"a has (other settings|settings of other types)"):
        read_model_file(tmp_path / "a")


BAD_GRAPHS = [{"stride": 0}, {"stride": "x"}, {"size": 2**40}, {"preprocessing": "x"}, {"onnx": b"0" * 2**25}]


@pytest.mark.parametrize("changed", BAD_GRAPHS, ids=[next(iter(changed)) for changed in BAD_GRAPHS])
def test_graphs_of_another_form_and_bombs_are_refused(tmp_path, changed):
    graph = replace(Graph(32, None, "nuclei", b"any bytes"), **changed)
    write_model_file(tmp_path / "a", ModelFile(SETTINGS, {}, graph))
    with pytest.raises(UserError, match="a has a graph of another form"):
        read_model_file(tmp_path / "a")
