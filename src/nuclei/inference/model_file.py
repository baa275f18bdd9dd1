"""The model file: one safetensors file that holds a network's weights and all that its use needs.

Beside settings and weights it holds, where the network can be exported, what ONNX computes with the weights:
a graph of operators, with which ONNX Runtime predicts on a CPU without torch. The weights stand in the file
once.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from nuclei.atomic import atomic_write
from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.errors import UserError

if TYPE_CHECKING:
    import onnx
    import torch

    from nuclei.models.base import SegmentationNetwork

GRAPH_BYTES = 2**24
"""Largest graph, in bytes; it holds no weights."""
INPUT, OUTPUT, PREFIX = "images", "maps", "network."
"""Names in a graph: of what goes in and comes out, and what stands before the names of the weights."""
TOLERANCE = 1e-3
"""Largest difference of probabilities between torch and ONNX Runtime with which a graph is kept."""


@dataclass(frozen=True)
class ModelSettings:
    """How to build a network and to use its maps.

    Attributes:
        network: the class of the network by ``_target_``, and its arguments, plain data.
        channels: names of its maps.
        steps: configs of the post-processing steps.
        tta, diameter, scales: see ``nuclei.inference.segmenter.WeightedNetwork``.
    """

    network: Mapping[str, Any]
    channels: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    tta: int
    diameter: float | None
    scales: Sequence[float]


@dataclass(frozen=True)
class Graph:
    """What ONNX Runtime needs to run a network, but for the weights.

    Attributes:
        stride, size, preprocessing: those of ``nuclei.models.base.SegmentationNetwork``.
        onnx: a serialized ONNX model from images to probabilities, whose further inputs are the weights.
    """

    stride: int
    size: int | None
    preprocessing: Preprocessing
    onnx: bytes


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file: the settings, the weights by name in float32, and the graph, if any."""

    settings: ModelSettings
    weights: Mapping[str, np.ndarray]
    graph: Graph | None = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights for torch."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.weights.items()}


def write_model_file(path: Path, model: ModelFile) -> None:
    """Write a model file, whole, with weights in half precision; the same input gives the same bytes."""
    half = {k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in model.weights.items()}
    half = {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in half.items()}
    content: dict[str, object] = {"settings": asdict(model.settings)}
    if model.graph:
        packed = base64.b85encode(zlib.compress(model.graph.onnx, 9)).decode()
        content["graph"] = asdict(model.graph) | {"onnx": packed}
    text = json.dumps(content | {"sha256": _sha256(content, half)}, sort_keys=True)
    with atomic_write(path) as part:
        part.write_bytes(safetensors.numpy.save(half, {"nuclei": text}))


def _sha256(content: Mapping[str, object], weights: Mapping[str, np.ndarray]) -> str:
    """Return the hash of settings, graph, and each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(content["settings"], sort_keys=True).encode())
    if "graph" in content:
        digest.update(json.dumps(content["graph"], sort_keys=True).encode())
    for name, array in sorted(weights.items()):
        digest.update(f"{name} torch.{array.dtype} {list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read_model_file(path: Path) -> ModelFile:
    """Read what ``write_model_file`` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds no settings or other ones.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}; ./run.sh export makes them from a run trained with fold=all")
    try:
        with safe_open(path, "np") as f:
            content = json.loads((f.metadata() or {}).get("nuclei", "{}"))
            weights = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, TypeError, ValueError, RecursionError) as e:
        raise UserError(f"{path} is damaged ({e}); get it again") from e
    if not isinstance(content, dict) or content.keys() - {"graph"} != {"settings", "sha256"}:
        raise UserError(f"{path} holds weights alone; expected a file that ./run.sh export wrote")
    if content["sha256"] != _sha256(content, weights):
        raise UserError(f"{path} is damaged (its sha256 differs from the one it holds); get it again")
    weights = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in weights.items()}
    graph = _graph(path, content["graph"]) if "graph" in content else None
    return ModelFile(_settings(path, content["settings"]), weights, graph)


def _graph(path: Path, tree: Any) -> Graph:
    """Return the graph, if its types are right and it is no bomb."""
    try:
        unpacker = zlib.decompressobj()
        model = unpacker.decompress(base64.b85decode(tree["onnx"]), GRAPH_BYTES)
        made = Graph(**(tree | {"onnx": model}))
        sizes = [made.stride] if made.size is None else [made.stride, made.size]
        right = unpacker.eof and all(isinstance(n, int) and 0 < n < 2**16 for n in sizes)
    except (KeyError, TypeError, ValueError, zlib.error):
        right = False
    if not right or made.preprocessing not in get_args(Preprocessing):
        raise UserError(f"{path} has a graph of another form; expected a file that ./run.sh export wrote")
    return made


def _settings(path: Path, tree: Any) -> ModelSettings:
    """Return the settings, if their types are right."""
    try:
        made = ModelSettings(**tree)
        scales = [*made.scales] if made.diameter is None else [made.diameter, *made.scales]
    except TypeError as e:
        raise UserError(f"{path} has other settings ({e}); expected a file that ./run.sh export wrote") from e
    right = (
        isinstance(made.network, dict)
        and isinstance(made.channels, list)
        and isinstance(made.steps, list)
        and all(isinstance(name, str) for name in made.channels)
        and all(isinstance(step, dict) for step in made.steps)
        and isinstance(made.tta, int)
        and all(isinstance(scale, int | float) and scale > 0 for scale in scales)
    )
    if not right:
        raise UserError(f"{path} has settings of other types; expected a file that ./run.sh export wrote")
    return made


def export_graph(network: SegmentationNetwork) -> Graph:
    """Return the graph of a network in eval mode on the CPU, after comparing it with the network.

    Raises:
        UserError: the network cannot be exported, or ONNX Runtime computes other maps with the graph.
    """
    import torch

    generator, colours = torch.Generator().manual_seed(0), in_channels(network.preprocessing)
    side = -(-64 // network.stride) * network.stride
    seen, larger = (
        torch.rand(1, colours, height, width, generator=generator)
        for height, width in ((side, side + network.stride), (2 * side, 3 * side))
    )
    try:
        graph = Graph(network.stride, network.size, network.preprocessing, _exported(network, seen))
        fast = OnnxNetwork(graph, {name: value.numpy() for name, value in network.state_dict().items()})
        # Other sizes than the exporter saw, in colour and in grey.
        for images in (larger, larger[:, :1].expand(-1, colours, -1, -1)):
            with torch.inference_mode():
                expected = network.predict_maps(images).numpy()
            if (difference := np.abs(fast.predict_maps(images.numpy()) - expected).max()) > TOLERANCE:
                raise UserError(f"its maps differ by {difference:.2g} from those of torch")
    except Exception as e:  # the exporter's own are of many kinds
        raise UserError(f"the network has no ONNX graph: {' '.join(str(e).split())[:200]}") from e
    return graph


def _exported(network: SegmentationNetwork, images: torch.Tensor) -> bytes:
    """Return a serialized ONNX model whose weights are inputs, as torch exports it while it sees images."""
    import torch

    class Maps(torch.nn.Module):
        """The network's maps as its output."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.predict_maps(images)

    file, sizes = io.BytesIO(), {2: "height", 3: "width"}
    # The older exporter keeps weights apart and their names; the newer one needs two more packages.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Maps().eval(),
            (images,),
            cast("Any", file),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: sizes, OUTPUT: sizes},
            opset_version=17,
            export_params=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # folds no batch normalisation into weights
            dynamo=False,
        )
    return file.getvalue()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxNetwork:
    """A network that ONNX Runtime computes on the CPU; torch is not imported.

    The graph may come from a stranger: it is refused where it has anything but standard operators, which
    only compute, and tensors of its own.

    Attributes:
        stride, size, preprocessing: those of the graph.

    Raises:
        UserError: the graph is damaged, holds what is not allowed, or does not fit the weights.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray]) -> None:
        self.stride, self.size, self.preprocessing = graph.stride, graph.size, graph.preprocessing
        self._model = _with_weights(graph.onnx, weights)
        threads = os.environ.get("OMP_NUM_THREADS", "")
        self.use_threads(int(threads) if threads.isdigit() else available_cores())

    def use_threads(self, count: int) -> None:
        """Compute each image with ``count`` threads."""
        import onnxruntime

        if count == getattr(self, "_threads", None):
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads = max(1, count)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work has the cores
        options.enable_mem_pattern = False  # images differ in size
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(self._model, options, ["CPUExecutionProvider"])
        except Exception as e:  # its own are of many kinds
            raise UserError(f"ONNX Runtime cannot use its graph: {' '.join(str(e).split())[:200]}") from e

    def predict_maps(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities ``float32 (1, n_channels, H, W)`` of ``float32 (1, C, H, W)`` in [0, 1].

        Raises:
            UserError: the graph gives something else.
        """
        try:
            (maps,) = self._session.run([OUTPUT], {INPUT: images})
        except Exception as e:
            raise UserError(f"ONNX Runtime cannot run its graph: {' '.join(str(e).split())[:200]}") from e
        if maps.dtype != np.float32 or maps.ndim != 4 or maps.shape[2:] != images.shape[2:]:
            raise UserError(f"its graph gives {maps.dtype} {maps.shape}, expected maps of {images.shape[2:]}")
        return maps

    def fingerprint(self) -> bytes:
        """Return a hash of graph and weights."""
        return hashlib.sha256(self._model).digest()


def _with_weights(serialized: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """Return a serialized ONNX model with its weights inside.

    Raises:
        UserError: see ``OnnxNetwork``.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        model = onnx.load_model_from_string(serialized)
    except DecodeError as e:
        raise UserError(f"its graph is damaged ({e})") from e
    if problem := next(_forbidden(model), None):
        raise UserError(f"its graph has {problem[:80]}; expected one that ./run.sh export wrote")
    graph = model.graph
    names = [value.name for value in graph.input if value.name != INPUT]
    if missing := [name for name in names if name.removeprefix(PREFIX) not in weights]:
        raise UserError(f"its graph needs weights {missing[0][:80]}, which it lacks")
    images = [value for value in graph.input if value.name == INPUT]
    del graph.input[:]
    graph.input.extend(images)
    graph.initializer.extend(
        numpy_helper.from_array(weights[name.removeprefix(PREFIX)], name) for name in names
    )
    return model.SerializeToString()


def _forbidden(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what a graph may not have: code of others, loops and branches, and data in other files."""
    if model.functions or model.training_info or any(o.domain for o in model.opset_import):
        yield "functions or operators of its own"
    if model.graph.initializer or model.graph.sparse_initializer:
        yield "weights of its own"
    for node in model.graph.node:
        if node.domain:
            yield f"the operator {node.domain}.{node.op_type}"
        for attribute in node.attribute:
            if attribute.g.ByteSize() or attribute.graphs or attribute.sparse_tensor.ByteSize():
                yield f"a graph within {node.op_type}"
            sparse = [part for pair in attribute.sparse_tensors for part in (pair.values, pair.indices)]
            for tensor in (attribute.t, *attribute.tensors, *sparse):
                if tensor.data_location or tensor.external_data:
                    yield f"data in another file, {tensor.external_data[:1]}"
