"""One file holds all that the use of a network needs, and shows when it is damaged."""

import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from nuclei.data.sources.demo import draw_brightfield, draw_fluorescence, draw_histology, draw_nuclei
from nuclei.errors import UserError
from nuclei.inference import predict_maps
from nuclei.inference.model_file import (
    Graph,
    ModelFile,
    ModelSettings,
    OnnxNetwork,
    export_graph,
    read_model_file,
    write_model_file,
)
from nuclei.inference.predict_maps import VIEWS, predict
from nuclei.model_loading import file_segmenter
from nuclei.models.base import SegmentationNetwork
from nuclei.models.mask_rcnn import MaskRCNN
from nuclei.models.unet import UNet

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


@pytest.fixture(autouse=True)
def _equal_precision(monkeypatch):
    """Torch computes in bfloat16 where the processor has it, and ONNX Runtime does not."""
    monkeypatch.setattr(predict_maps, "has_bf16", lambda: False)


def small_unet(**arguments):
    """A U-Net of few channels whose maps differ from place to place."""
    torch.manual_seed(0)
    network = UNet([4, 8, 8], 3, norm=True, **arguments)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def exported():
    """A network, its graph, and its weights."""
    network = small_unet(preprocessing="rgb")
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return network, export_graph(network), weights


@pytest.mark.parametrize("shape", [(40, 61, 3), (16, 16, 3), (91, 33, 3)])
def test_both_engines_give_the_same_maps_of_all_views(exported, shape):
    network, graph, weights = exported
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    fast = OnnxNetwork(graph, weights)
    for views in (VIEWS[:1], VIEWS):
        expected = predict(network, image, views).astype(int)
        maps = predict(fast, image, views)
        assert maps.dtype == np.uint8 and np.ptp(expected) > 20
        assert np.abs(maps - expected).max() <= 1
    fast.use_threads(2)
    assert np.abs(predict(fast, image, VIEWS) - expected).max() <= 1


def test_the_same_network_gives_the_same_graph_and_softmax_is_inside(exported):
    assert export_graph(exported[0]) == exported[1]
    network = small_unet(softmax=True)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    maps = OnnxNetwork(export_graph(network), weights).predict_maps(np.ones((1, 1, 16, 24), np.float32))
    assert np.allclose(maps.sum(1), 1, atol=1e-5)


class Branching(SegmentationNetwork):
    """Another computation for grey images, which a graph of the one for colour lacks."""

    def __init__(self):
        super().__init__(4, "rgb")

    def forward(self, x):
        return x[:, :1] if (x == x[:, :1]).all() else -x[:, :1]


def test_a_network_that_does_what_no_graph_does_has_none():
    with pytest.raises(UserError, match="has no ONNX graph: its maps differ by"):
        export_graph(Branching().eval())
    with pytest.raises(UserError, match=r"has no ONNX graph: [^\n]*$"):
        export_graph(MaskRCNN("resnet18", None, 2, "group").eval())


def model_of(nodes, initializer=(), inputs=(), functions=(), opsets=("",)):
    """A serialized ONNX model from ``images`` to ``maps``."""
    sizes = [1, 1, "height", "width"]
    of = [helper.make_tensor_value_info("images", TensorProto.FLOAT, sizes)]
    of += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in inputs]
    out = [helper.make_tensor_value_info("maps", TensorProto.FLOAT, sizes)]
    graph = helper.make_graph(nodes, "g", of, out, list(initializer))
    imports = [helper.make_opsetid(domain, 17) for domain in opsets]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)
    return made.SerializeToString()


def hostile_graphs():
    """Graphs that read files, or hold code of others, loops, or weights of their own, by what is said."""
    passthrough = helper.make_node("Identity", ["images"], ["maps"])
    secret = numpy_helper.from_array(np.float32([1]), "secret")
    outside = TensorProto()
    outside.CopyFrom(secret)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "4")):
        outside.external_data.add(key=key, value=value)
    add = helper.make_node("Add", ["images", "secret"], ["maps"])
    constant = helper.make_node("Constant", [], ["secret"], value=outside)
    yield "data in another file", model_of([constant, add])
    yield "weights of its own", model_of([add], [outside])
    yield "weights of its own", model_of([add], [secret])
    yield "functions or operators of its own", model_of([passthrough], opsets=("", "com.microsoft"))
    foreign = helper.make_node("PyOp", ["images"], ["maps"], domain="com.example")
    yield "the operator com.example.PyOp", model_of([foreign])
    value = helper.make_tensor_value_info("maps", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["images"], ["maps"])], "b", [], [value])
    truth = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    yield (
        "a graph within If",
        model_of([truth, helper.make_node("If", ["c"], ["maps"], then_branch=branch, else_branch=branch)]),
    )
    own = helper.make_function("", "Own", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [])
    yield "functions or operators of its own", model_of([passthrough], functions=[own])
    yield "weights network.w, which it lacks", model_of([add], inputs=["network.w"])
    yield "damaged", b"\xff" * 64
    yield "ONNX Runtime cannot use", model_of([helper.make_node("NoSuch", ["images"], ["maps"])])


@pytest.mark.parametrize(("problem", "model"), list(hostile_graphs()))
def test_hostile_graphs_read_nothing_and_run_nothing(tmp_path, monkeypatch, problem, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(np.float32([7]).tobytes())
    before = os.stat(tmp_path / "secret.bin").st_atime_ns
    settings = ModelSettings({}, ["nucleus"], [], tta=1, diameter=None, scales=[1.0])
    write_model_file(tmp_path / "evil", ModelFile(settings, {}, Graph(1, None, "plain", model)))
    with pytest.raises(UserError, match=rf"evil: [^\n]*{problem}[^\n]*$"):
        file_segmenter(tmp_path / "evil", engine="onnx")
    assert os.stat(tmp_path / "secret.bin").st_atime_ns == before


def test_a_graph_that_gives_other_shapes_or_fails_is_named():
    turn = helper.make_node("Transpose", ["images"], ["maps"], perm=[0, 1, 3, 2])
    turned = OnnxNetwork(Graph(1, None, "plain", model_of([turn])), {})
    with pytest.raises(UserError, match=r"its graph gives float32 \(1, 1, 5, 4\), expected maps of \(4, 5\)"):
        turned.predict_maps(np.zeros((1, 1, 4, 5), np.float32))
    with pytest.raises(UserError, match=r"cannot run its graph: [^\n]*$"):
        turned.predict_maps(np.zeros((1, 1, 4), np.float32))


def matched_ious(a, b):
    """IoU of each nucleus of ``a`` with the one of ``b`` that it overlaps most."""
    found = []
    for label in range(1, a.max() + 1):
        inside = a == label
        other = np.bincount(b[inside]).argmax()
        found.append((inside & (b == other)).sum() / (inside | (b == other)).sum() if other else 0.0)
    return np.array(found)


@pytest.mark.parametrize("draw", [draw_fluorescence, draw_histology, draw_brightfield])
def test_the_model_that_comes_along_finds_the_same_nuclei_by_both_engines(repo, draw):
    path = repo / "weights" / "nuclei.safetensors"
    rng = np.random.default_rng(1)
    image = draw(rng, draw_nuclei(rng, (200, 260), 30, 11, touching=0.3))
    by_torch, by_onnx = (
        (segmenter := file_segmenter(path, engine=engine)).labels(segmenter.maps(image))
        for engine in ("torch", "onnx")
    )
    assert by_torch.max() >= 10 and abs(int(by_onnx.max()) - by_torch.max()) <= 0.005 * by_torch.max()
    assert matched_ious(by_onnx, by_torch).min() >= 0.99


def test_the_model_that_comes_along_has_a_graph_and_stays_small(repo):
    path = repo / "weights" / "nuclei.safetensors"
    graph = read_model_file(path).graph
    assert graph is not None and path.stat().st_size < 8.5e6
    assert not onnx.load_model_from_string(graph.onnx).graph.initializer
