"""A network's maps of whole images, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from nuclei.atomic import atomic_write
from nuclei.inference.tiling import LIMIT, predict_tiles
from nuclei.models.base import probabilities

View = tuple[int, int, int]
# Dihedral views as (flip rows, flip columns, transpose), most different first.
VIEWS = ((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))


def predict(
    network: nn.Module, image: np.ndarray, views: Sequence[View] = VIEWS[:1], bf16: bool = False
) -> np.ndarray:
    """Probability maps of one image at its own size.

    The image is mirrored at its lower and right edge up to the network's stride. Large images are cut
    into tiles, see ``nuclei.inference.tiling``. A network that says a ``size`` sees the whole image resized
    to that square, and its maps are resized back.

    Args:
        network: see ``nuclei.models.base``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, as the network's ``preprocessing`` wants it.
        views: dihedral views to average, some of ``VIEWS``.
        bf16: compute in bfloat16.

    Returns:
        ``uint8 (C, H, W)``: probabilities times 255.
    """
    if network.size:
        return _at_size(network, image, views, bf16)
    if image.shape[0] * image.shape[1] <= LIMIT:
        return predict_whole(network, image, views, bf16)
    return predict_tiles(partial(predict_whole, network, views=views, bf16=bf16), image, int(network.stride))  # type: ignore[arg-type]


@torch.inference_mode()
def predict_whole(
    network: nn.Module, image: np.ndarray, views: Sequence[View] = VIEWS[:1], bf16: bool = False
) -> np.ndarray:
    """As ``predict``, all of the image at once."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    context = torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
    h, w = image.shape[:2]
    planes = np.moveaxis(np.atleast_3d(pad(image, int(network.stride))), 2, 0)  # type: ignore[arg-type]
    batch = torch.from_numpy(np.ascontiguousarray(planes)).to(device)[None].float() / 255
    total: torch.Tensor | None = None
    with context:
        for rows, columns, transpose in views:
            flips = [d for d, flip in ((-2, rows), (-1, columns)) if flip]
            x = (batch.mT if transpose else batch).flip(flips).contiguous(memory_format=torch.channels_last)
            y = probabilities(network, x).flip(flips)
            y = (y.mT if transpose else y)[0, :, :h, :w]
            total = y if total is None else total + y
    assert total is not None
    return (total * (255 / len(views))).round().to(torch.uint8).cpu().numpy()


def _at_size(network: nn.Module, image: np.ndarray, views: Sequence[View], bf16: bool) -> np.ndarray:
    """Maps of the whole image at the network's size, resized back."""
    size = int(network.size)  # type: ignore[arg-type]
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    maps = predict_whole(network, small, views, bf16)
    return np.stack([cv2.resize(m, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) for m in maps])


def pad(image: np.ndarray, stride: int) -> np.ndarray:
    """Mirror ``(H, W)`` or ``(H, W, 3)`` below and right, so that both sides are multiples of ``stride``."""
    (h, w), colour = image.shape[:2], image.shape[2:]
    return np.pad(image, ((0, -h % stride), (0, -w % stride), *((0, 0) for _ in colour)), mode="symmetric")


def write_maps(
    path: str | Path, channels: Sequence[str], folds_sha256: str, maps: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Write maps by ImageId as a compressed ``.npz``, whole; ``uint8 (C, H, W)`` each."""
    arrays = {"channels": np.array(channels), "folds_sha256": np.array(folds_sha256), **dict(maps)}
    with atomic_write(path) as part, open(part, "wb") as f:
        np.savez_compressed(f, **arrays)  # type: ignore[arg-type]


def place(network: nn.Module) -> nn.Module:
    """Put a network on the GPU if there is one, channels last, in eval mode."""
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def has_bf16() -> bool:
    """Whether the hardware multiplies bfloat16 matrices: newer GPUs, and CPUs with AMX or AVX-512 BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
