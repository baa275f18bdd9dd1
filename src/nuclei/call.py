"""How a command was called: what hints and records show of the command line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One call of a command; of a sweep, one of its runs.

    Attributes:
        command: the name of the command, such as ``train``.
        overrides: its settings, ``key=value``, as typed or chosen for this machine.
    """

    command: str
    overrides: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The call as one would type it.

        >>> Call("train", ("fold=0", "name=a b")).text
        "./run.sh train fold=0 'name=a b'"
        """
        return shlex.join(["./run.sh", self.command, *self.overrides])
