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
    """Return which recipe to train with, and why; a choice that was made before, with its reason, stays.

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
    """Return the settings of ``train`` that a data set's smaller recipe changes, but for ``chosen`` ones."""
    names = ("batch_size", "samples_per_epoch", "trainer.max_epochs", "model")
    return {name: small[name.removeprefix("trainer.")] for name in names if name not in chosen}
