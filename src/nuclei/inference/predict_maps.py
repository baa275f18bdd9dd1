"""A network's maps of whole images, in tiles where these are large, and the file that keeps them.

Each tile is predicted with its surroundings and only its interior is kept. A tile begins at a multiple of the
network's stride, so that pooling falls on the same pixels as in the whole image: where the surroundings are
as wide as the network's receptive field, the maps are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import cv2
import numpy as np

from nuclei.atomic import atomic_write
from nuclei.inference.model_file import OnnxNetwork
from nuclei.progress import track

if TYPE_CHECKING:
    from nuclei.models.base import SegmentationNetwork

Network: TypeAlias = Union["SegmentationNetwork", OnnxNetwork]
"""What gives maps: a network of torch, or one of ONNX Runtime, where torch is not imported."""
View = tuple[int, int, int]
VIEWS = ((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))
"""The eight dihedral views as (flip rows, flip columns, transpose), most different first."""


def predict(network: Network, image: np.ndarray, views: Sequence[View] = VIEWS[:1]) -> np.ndarray:
    """Return the maps of one image at its own size.

    Large images are cut into tiles, see ``predict_tiles``. A network with a ``size`` sees the whole
    image resized to that square, and its maps are resized back.

    Args:
        network: in eval mode.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, after the network's preprocessing.
        views: dihedral views to average, some of ``VIEWS``.

    Returns:
        ``uint8 (C, H, W)``: probabilities times 255.
    """
    if network.size:
        small = cv2.resize(image, (network.size, network.size), interpolation=cv2.INTER_AREA)
        return resize_maps(predict_whole(network, small, views), image.shape[:2])
    if image.shape[0] * image.shape[1] <= LIMIT:
        return predict_whole(network, image, views)
    return predict_tiles(partial(predict_whole, network, views=views), image, network.stride)


def predict_whole(network: Network, image: np.ndarray, views: Sequence[View] = VIEWS[:1]) -> np.ndarray:
    """Return what ``predict`` returns, of the whole image at once.

    The image is mirrored at its lower and right edge up to the network's stride.
    """
    h, w = image.shape[:2]
    planes = np.moveaxis(np.atleast_3d(pad(image, network.stride)), 2, 0)
    mean = _mean_by_onnx if isinstance(network, OnnxNetwork) else _mean_by_torch
    return mean(network, np.ascontiguousarray(planes), views)[:, :h, :w]  # type: ignore[arg-type]


def _mean_by_onnx(network: OnnxNetwork, planes: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Return the mean of a network's maps, uint8 (C, H, W), of views of an image, uint8 (colours, H, W)."""
    batch = planes[None].astype(np.float32) / 255
    total = np.float32(0)
    for rows, columns, transpose in views:
        flips = tuple(d for d, flip in ((-2, rows), (-1, columns)) if flip)
        x = np.flip(batch.swapaxes(-2, -1) if transpose else batch, flips)
        y = np.flip(network.predict_maps(np.ascontiguousarray(x)), flips)
        total = total + (y.swapaxes(-2, -1) if transpose else y)[0]
    return np.rint(total * np.float32(255 / len(views))).astype(np.uint8)


def _mean_by_torch(network: SegmentationNetwork, planes: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Return what ``_mean_by_onnx`` returns, computed where the network is."""
    import torch

    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    context = torch.autocast(device.type, torch.bfloat16) if has_bf16() else nullcontext()
    total: torch.Tensor | None = None
    with torch.inference_mode(), context:
        batch = torch.from_numpy(planes).to(device)[None].float() / 255
        for rows, columns, transpose in views:
            flips = [d for d, flip in ((-2, rows), (-1, columns)) if flip]
            x = (batch.mT if transpose else batch).flip(flips).contiguous(memory_format=torch.channels_last)
            y = network.predict_maps(x).flip(flips)
            y = (y.mT if transpose else y)[0]
            total = y if total is None else total + y
        assert total is not None
        return (total * (255 / len(views))).round().to(torch.uint8).cpu().numpy()


def resize_maps(
    maps: np.ndarray, shape: tuple[int, ...], interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """Return maps ``uint8 (C, h, w)`` resized to ``(C, *shape)``."""
    return np.stack([cv2.resize(m, shape[::-1], interpolation=interpolation) for m in maps])


def pad(image: np.ndarray, stride: int) -> np.ndarray:
    """Mirror ``(H, W)`` or ``(H, W, 3)`` below and right, so that both sides are multiples of ``stride``."""
    (h, w), colour = image.shape[:2], image.shape[2:]
    return np.pad(image, ((0, -h % stride), (0, -w % stride), *((0, 0) for _ in colour)), mode="symmetric")


def write_maps(
    path: str | Path,
    channels: Sequence[str],
    folds_sha256: str,
    store_sha256: str,
    maps: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Write out-of-fold maps as a compressed ``.npz``, whole.

    Args:
        channels: names of the maps.
        folds_sha256, store_sha256: of the folds file and the store that were trained with.
        maps: ImageId and ``uint8 (C, H, W)`` of each image.
    """
    texts = {"channels": list(channels), "folds_sha256": folds_sha256, "store_sha256": store_sha256}
    arrays = {name: np.array(text) for name, text in texts.items()} | dict(maps)
    with atomic_write(path) as part, open(part, "wb") as f:
        np.savez_compressed(f, allow_pickle=False, **arrays)


def place(network: SegmentationNetwork) -> SegmentationNetwork:
    """Put a network on the GPU if there is one, channels last, in eval mode."""
    import torch

    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(memory_format=torch.channels_last).eval()


def has_bf16() -> bool:
    """Return whether the hardware multiplies bfloat16: newer GPUs, CPUs with AMX or AVX-512 BF16."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


TILE = 1024
"""Side in pixels of what is kept of a tile."""
CONTEXT = 128
"""Pixels around a tile that are predicted too."""
LIMIT = 6_000_000
"""Pixels of the largest image predicted whole; the competition's largest, 1040 × 1388, at twice its size."""

Window = tuple[slice, slice]


def windows(
    shape: tuple[int, int], stride: int, tile: int = TILE, context: int = CONTEXT
) -> Iterator[tuple[Window, Window]]:
    """Divide an image into tiles.

    Args:
        shape: (H, W).
        stride: of the network; ``tile`` and ``context`` are rounded up to multiples of it.
        tile: side of what is kept of each, in pixels.
        context: pixels around it that are predicted too, as far as the image goes.

    Yields:
        For each tile the window to predict and the window to keep; the latter cover each pixel once.

    >>> [(outer[1], inner[1]) for outer, inner in windows((1, 5), stride=1, tile=3, context=1)]
    [(slice(0, 4, None), slice(0, 3, None)), (slice(2, 5, None), slice(3, 5, None))]
    """
    tile, context = (-(-n // stride) * stride for n in (tile, context))
    for y in range(0, shape[0], tile):
        for x in range(0, shape[1], tile):
            rows, columns = (
                span(n - context, n + tile + context, m) for n, m in zip((y, x), shape, strict=True)
            )
            yield (rows, columns), (span(y, y + tile, shape[0]), span(x, x + tile, shape[1]))


def within_window(outer: Window, inner: Window) -> Window:
    """Return where an inner window lies in an outer one."""
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def span(start: int, stop: int, length: int) -> slice:
    """Return the part of a slice that lies within 0 and ``length``."""
    return slice(max(start, 0), min(stop, length))


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    stride: int,
    tile: int = TILE,
    context: int = CONTEXT,
) -> np.ndarray:
    """Return the maps of an image, predicted one tile after the other, with a progress bar.

    Args:
        predict: ``uint8 (h, w)`` or ``(h, w, 3)`` to ``uint8 (C, h, w)``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, not empty.
        stride, tile, context: see ``windows``.

    Returns:
        ``uint8 (C, H, W)``.
    """
    maps = np.empty(0, np.uint8)
    for outer, inner in track(list(windows(image.shape[:2], stride, tile, context)), "tiles"):
        tile_maps = predict(image[outer])
        if not maps.size:
            maps = np.empty((len(tile_maps), *image.shape[:2]), np.uint8)
        maps[:, *inner] = tile_maps[:, *within_window(outer, inner)]
    return maps
