"""Find every nucleus in a microscopy image: from the competition's files to a submission.

The flow, in order; each stage is a command that reads files and writes files::

    competition files ─prepare→ store ─folds→ folds/*.csv
            store + fold + model ─train→ run: checkpoint + out-of-fold maps
                            runs ─ensemble→ weights + post-processing settings
            test images + ensemble ─submission→ submissions/NAME.csv ─validate, submit→ ledger

Two things travel along it, and no third: *maps*, ``(C, H, W)`` probabilities with named channels, and
*labels*, ``int32 (H, W)`` with 0 for background and 1..N for the nuclei.

From Python there are seven functions: ``read_image``, ``segment``, ``measure``, ``load_model``,
``rle_encode``, ``rle_decode`` and ``average_precision``; see ``nuclei.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nuclei.errors import UserError

if TYPE_CHECKING:
    from nuclei.api import average_precision, load_model, measure, read_image, rle_decode, rle_encode, segment

__version__ = "0.2.0"
__all__ = [
    "UserError",
    "average_precision",
    "load_model",
    "measure",
    "read_image",
    "rle_decode",
    "rle_encode",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Import a function of ``nuclei.api`` when it is asked for; ``import nuclei`` loads nothing heavy."""
    if name in __all__:
        from nuclei import api

        return getattr(api, name)
    raise AttributeError(f"module 'nuclei' has no attribute '{name}'")
