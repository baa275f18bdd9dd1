"""The model file: one safetensors file that holds a network's weights and all that its use needs.

Beside settings and weights it holds, where the network can be exported, what ONNX computes with the weights:
a graph of operators, with which a CPU predicts without torch. The weights stand in the file once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from nuclei.atomic import atomic_write
from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError

if TYPE_CHECKING:
    import torch

GRAPH_BYTES = 2**24
"""Largest graph, in bytes; it holds no weights."""


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
