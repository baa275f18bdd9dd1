"""The space that tuning searches: ranges of parameters and the simplex of weights, as one unit cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from scipy.stats import qmc

from nuclei.ensemble.evaluate import Setting
from nuclei.postprocess.pipeline import Step, fields


@dataclass(frozen=True)
class Range:
    """The values that a post-processing parameter may take: from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def at(self, u: float) -> float:
        """Map 0..1 to the range; floats are rounded to three decimals.

        >>> Range(1, 100, log=True, integer=True).at(0.5)
        10
        """
        value = (
            exp(log(self.low) + u * log(self.high / self.low))
            if self.log
            else self.low + u * (self.high - self.low)
        )
        return round(value) if self.integer else round(value, 3)

    def where(self, value: float) -> float:
        """Undo ``at``; values outside the range go to its nearer end."""
        value = min(max(value, self.low), self.high)
        return (
            log(value / self.low) / log(self.high / self.low)
            if self.log
            else (value - self.low) / (self.high - self.low)
        )


@dataclass(frozen=True)
class Space:
    """All settings that are searched, as the points of a unit cube.

    Attributes:
        ranges: name of each parameter and its range.
        default: the first setting that is tried; it wins ties.
        free_weights: whether the weights are searched too; else they are the default's.
    """

    ranges: Mapping[str, Range]
    default: Setting
    free_weights: bool = True

    @property
    def dimensions(self) -> int:
        """Number of coordinates: one less than there are weights, and one for each parameter."""
        return len(self.ranges) + (len(self.default.weights) - 1 if self.free_weights else 0)

    def setting(self, point: Sequence[float]) -> Setting:
        """Decode a point of the cube."""
        n = len(self.ranges)
        values = tuple((name, r.at(u)) for (name, r), u in zip(self.ranges.items(), point[:n], strict=True))
        return Setting(on_simplex(point[n:]) if self.free_weights else self.default.weights, values)

    def point(self, setting: Setting) -> list[float]:
        """Encode a setting; for the default, the nearest point there is."""
        values = dict(setting.parameters)
        weights = in_cube(setting.weights) if self.free_weights else []
        return [r.where(values[name]) for name, r in self.ranges.items()] + weights


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


def candidates(space: Space, trials: int, seed: int) -> list[list[float]]:
    """Return the points of round 1: the default's, then a scrambled Sobol sequence."""
    points = [space.point(space.default)]
    if space.dimensions and trials > 1:
        sobol = qmc.Sobol(space.dimensions, scramble=True, rng=seed)
        points += sobol.random_base2((trials - 1).bit_length())[: trials - 1].tolist()
    return points


def tunable(
    ranges: Mapping[str, Mapping[str, Any]], steps: Sequence[Step]
) -> tuple[dict[str, Range], tuple[tuple[str, float], ...]]:
    """Return the ranges of the parameters that the steps have, and the steps' values of these.

    Args:
        ranges: the setting ``space`` of the command ``ensemble``.
        steps: the post-processing.
    """
    values = {name: getattr(step, name) for step in steps for name in fields(step)}
    known = {str(name): Range(**limits) for name, limits in ranges.items() if name in values}
    return known, tuple((name, values[name]) for name in known)
