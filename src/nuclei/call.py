"""How a command was called, and how it calls another one as a step."""

from __future__ import annotations

import importlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


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


def run_step(command: str, cfg: DictConfig, call: Call, *overrides: str) -> None:
    """Run another command as a step of this one, on the data and in the folders of ``cfg``.

    Args:
        command: the other one.
        cfg: settings of this command.
        call: of this command, which records and hints show.
        overrides: settings of the other one, ``key=value``.
    """
    from nuclei.config import compose_config

    step = compose_config(command, [f"data={cfg.data.name}", *overrides])
    step.data, step.paths = cfg.data, cfg.paths
    importlib.import_module(f"nuclei.commands.{command}").main(step, call)


def ensure_data(cfg: DictConfig, call: Call) -> None:
    """Prepare the store and the folds where they are missing."""
    for command, path in (("prepare", cfg.data.store), ("folds", cfg.data.folds)):
        if not Path(path).exists():
            run_step(command, cfg, call)
