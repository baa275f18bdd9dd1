"""Loops over pixels and digits, compiled by numba: the only package that imports numba.

The functions take and return plain arrays and trust their callers to have checked them. ``compiled`` is their
decorator: the first call of a function in a fresh checkout compiles it, which takes seconds, and the machine
code is kept on disk.

Modules that must start at once import from here inside the function that needs it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


class WholeCache(FunctionCache):
    """A cache of numba in which a damaged file is compiled anew, and a full disk ends nothing."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for a signature; None where it is not there or cannot be read."""
        loaded = None
        try:
            loaded = super().load_overload(sig, target_context)
        except Exception:  # a pickle that is cut short or changed may raise anything
            with contextlib.suppress(OSError):
                self.flush()
        if loaded is None:
            _say_that_it_compiles()
        return loaded

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, if there is room."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def compiled(function: Function) -> Function:
    """Return a function that numba compiles when it is first called, without Python's lock.

    The machine code is kept in ``__pycache__``, or in the user's cache where that is read-only, or in the
    folder that the environment variable ``NUMBA_CACHE_DIR`` names.
    """
    made: Any = numba.njit(nogil=True)(function)
    try:
        made._cache = WholeCache(function)  # what ``cache=True`` does, with numba's own class
    except RuntimeError:  # no place can be written to
        _say_that_nothing_is_kept()
    return made


@cache
def _say_that_it_compiles() -> None:
    print("compiling the loops of nuclei.labelmap (once, up to half a minute)", file=sys.stderr)


@cache
def _say_that_nothing_is_kept() -> None:
    print(
        "no folder for compiled loops can be written, so each start compiles them (up to half a minute); "
        "set NUMBA_CACHE_DIR=FOLDER",
        file=sys.stderr,
    )
