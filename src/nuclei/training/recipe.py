"""The smaller recipe of a data set, for a machine without a GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping

from nuclei.errors import UserError

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def has_gpu() -> bool:
    """Return whether a GPU's driver is there; torch would take a second to tell."""
    return sys.platform == "darwin" or any(map(os.path.exists, GPU_DEVICES))


def choose_recipe(recipe: str, has_small: bool, gpu: bool) -> str:
    """Return which recipe to train with, and why.

    Args:
        recipe: ``full``, ``small`` or ``auto``, or an earlier choice with its reason.
        has_small: whether the data set has a smaller recipe.
        gpu: whether there is a GPU.

    Raises:
        UserError: there is no such recipe.

    >>> choose_recipe("auto", has_small=True, gpu=False)
    'small: no GPU'
    """
    if recipe.partition(":")[0] not in ("full", "small", "auto"):
        raise UserError(f"recipe={recipe}: expected full, small or auto")
    if recipe != "auto":
        return recipe
    return "small: no GPU" if has_small and not gpu else "full"


def small_settings(small: Mapping[str, str | int], chosen: Collection[str]) -> dict[str, str | int]:
    """Return the settings of ``train`` that a smaller recipe changes.

    Args:
        small: the data set's ``model``, ``batch_size``, ``samples_per_epoch`` and ``max_epochs``.
        chosen: settings that the user has chosen, which stay.
    """
    settings = {
        "batch_size": small["batch_size"],
        "samples_per_epoch": small["samples_per_epoch"],
        "trainer.max_epochs": small["max_epochs"],
        "model": small["model"],
    }
    return {name: value for name, value in settings.items() if name not in chosen}
