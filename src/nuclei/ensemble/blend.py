"""Weighted means of maps, and weights on the simplex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.flooding import weighted_mean


def blend(maps: Sequence[np.ndarray] | np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Average the maps that several members give for one image.

    Args:
        maps: (C, H, W) of each member, the same channels in the same order; all uint8, or all float in 0..1.
            One uint8 array (members, C, H, W) is quickest.
        weights: one for each member, 0 or more, with sum 1; members of weight 0 are not touched.

    Returns:
        (C, H, W): uint8 from uint8 maps, rounded to the nearest (halves to the even number); else float32,
        cut at 1 so that rounding errors do not leave 0..1.

    Raises:
        ValueError: numbers, shapes or dtypes do not go together, or the weights are not on the simplex.

    >>> blend([np.array([[[0, 200]]], np.uint8), np.array([[[100, 100]]], np.uint8)], [0.25, 0.75])
    array([[[ 75, 125]]], dtype=uint8)
    """
    if len(maps) != len(weights) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"expected {len(maps)} weights of 0 or more with sum 1, got {list(weights)}")
    if len({(m.shape, m.dtype == np.uint8) for m in maps}) != 1:
        raise ValueError(f"expected maps of one shape and dtype, got {[(m.shape, m.dtype) for m in maps]}")
    if maps[0].dtype == np.uint8:
        stack = np.asarray(maps)
        return weighted_mean(stack.reshape(len(stack), -1), np.array(weights, np.float32)).reshape(
            maps[0].shape
        )
    total = np.zeros(maps[0].shape, np.float32)
    for m, weight in zip(maps, weights, strict=True):
        if weight > 0:
            total += np.multiply(m, np.float32(weight), dtype=np.float32)
    return np.minimum(total, 1)


def shared_channels(channels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names that all members have, in the first member's order.

    Raises:
        UserError: neither ``nucleus`` nor ``background`` is among them.
    """
    shared = tuple(name for name in channels[0] if all(name in other for other in channels))
    if not {"nucleus", "background"} & set(shared):
        raise UserError(
            f"no channel nucleus in all runs; they have {'; '.join(', '.join(c) for c in channels)}"
        )
    return shared


def on_simplex(cube: Sequence[float]) -> tuple[float, ...]:
    """Turn n-1 numbers in 0..1 into n weights: uniform numbers give weights uniform on the simplex.

    Stick-breaking: each weight takes its share of what is left, rounded to three decimals.

    >>> on_simplex([0.25]), on_simplex([])
    ((0.25, 0.75), (1.0,))
    """
    weights: list[float] = []
    for n, u in enumerate(cube):
        share = 1 - (1 - u) ** (1 / (len(cube) - n))
        weights.append(round(share * (1 - sum(weights)), 3))
    return (*weights, round(1.0 - sum(weights), 3))


def in_cube(weights: Sequence[float]) -> list[float]:
    """Undo ``on_simplex`` (up to its rounding)."""
    cube, left = [], 1.0
    for n, weight in enumerate(weights[:-1]):
        share = min(max(weight / left, 0.0), 1.0) if left > 1e-9 else 0.0
        cube.append(1 - (1 - share) ** (len(weights) - 1 - n))
        left -= weight
    return cube
