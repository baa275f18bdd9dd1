"""Run the steps of a post-processing, change their parameters, and write them as a config.

A step is a frozen dataclass whose fields are its parameters and whose ``__call__`` does the work: a config
names the step by ``_target_``, tuning replaces its fields, and an ensemble file stores it as a config again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from nuclei.errors import UserError


class Step(Protocol):
    """A frozen dataclass that can be called.

    The first step takes uint8 (H, W) maps by name, each later one int32 (H, W) labels; all return labels.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __call__(self, image: Any, /) -> np.ndarray: ...


def postprocess(maps: np.ndarray, channels: Sequence[str], steps: Sequence[Step]) -> np.ndarray:
    """Turn the maps of one image, (C, H, W), into its label map, int32 (H, W), nuclei 1..N without gaps.

    Maps are probabilities, one of them named ``nucleus``: uint8 in 0..255, or floats in 0..1, which are
    rounded to whole 255ths first, so that all dtypes give the same labels. The steps follow in order.

    Raises:
        UserError: there are no steps, or there is no channel ``nucleus``.
        ValueError: the maps have a wrong shape, dtype or range.

    >>> from nuclei.postprocess.components import Components
    >>> postprocess(np.array([[[0.9, 0.1, 0.8]]]), ["nucleus"], [Components(low=0.5, high=0.5)])
    array([[1, 0, 2]], dtype=int32)
    """
    if not steps:
        raise UserError("the post-processing has no steps; choose one with postprocess=watershed")
    labels = steps[0](by_name(maps, channels))
    for step in steps[1:]:
        labels = step(labels)
    return labels


def by_name(maps: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the channels of (C, H, W) maps by name, as uint8 (H, W) arrays.

    Without a channel ``nucleus`` it is the complement of ``background``, as for exclusive classes.

    Raises:
        UserError: there is neither a channel ``nucleus`` nor ``background``.
        ValueError: there are more or fewer maps than names, or their dtype or range is wrong.
    """
    if maps.ndim != 3 or len(maps) != len(channels):
        raise ValueError(
            f"expected maps of shape ({len(channels)}, H, W) for {list(channels)}, got {maps.shape}"
        )
    named = dict(zip(channels, np.ascontiguousarray(as_uint8(maps)), strict=True))
    if "nucleus" not in channels and "background" in channels:
        named["nucleus"] = 255 - named["background"]
    if "nucleus" not in named:
        raise UserError(
            f"the maps have channels {', '.join(channels)}; post-processing needs one named nucleus"
        )
    return named


def as_uint8(maps: np.ndarray) -> np.ndarray:
    """Round probabilities to whole 255ths, halves to the even one; return uint8 maps as they are.

    Raises:
        ValueError: the dtype is neither uint8 nor float, or a value lies outside 0..1 or is NaN.
    """
    if maps.dtype == np.uint8:
        return maps
    if maps.dtype.kind != "f":
        raise ValueError(f"expected uint8 or float maps, got {maps.dtype}")
    if maps.size and not (maps.min() >= 0 and maps.max() <= 1):
        raise ValueError(f"expected probabilities in 0..1, got {maps.min()}..{maps.max()}")
    return np.rint(maps.astype(np.float32) * 255).astype(np.uint8)


def with_parameters(steps: Sequence[Step], parameters: Mapping[str, float]) -> list[Any]:
    """Return new steps in which fields have new values; each field is looked up in all steps.

    Raises:
        UserError: no step has a field of that name, or several have.
    """
    new = list(steps)
    for name, value in parameters.items():
        owners = [i for i, step in enumerate(new) if name in fields(step)]
        if len(owners) != 1:
            known = ", ".join(sorted({field for step in steps for field in fields(step)}))
            problem = "no step has" if not owners else "several steps have"
            raise UserError(f"{problem} a parameter {name}; the steps' parameters are: {known}")
        new[owners[0]] = dataclasses.replace(new[owners[0]], **{name: value})
    return new


def fields(step: Step) -> list[str]:
    """Return the parameter names of a step."""
    return [field.name for field in dataclasses.fields(step)]


def as_config(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as the config that builds them: ``_target_`` and the parameters of each."""
    return [
        {"_target_": f"{type(step).__module__}.{type(step).__qualname__}", **dataclasses.asdict(step)}
        for step in steps
    ]
