"""The config of a paper, ``configs/paper``: its systems, how they are trained, and the published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from nuclei.errors import UserError


@dataclass(frozen=True)
class PaperSystem:
    """One system of a paper: a network, or the average of others.

    Attributes:
        title: name in the table.
        train: settings of ``./run.sh train``; empty for an average.
        average: names of the systems whose maps are averaged; empty for a network.
        theirs: the paper's figures, by column.
        test: the paper's figure on the competition's test images, or None.
        share: share of a short budget's crops that this system is trained on, less than 1 for slow networks.
    """

    title: str
    train: Sequence[str] = ()
    average: Sequence[str] = ()
    theirs: Mapping[str, float] | None = None
    test: float | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Budget:
    """How long the systems are trained.

    Attributes:
        folds: folds to train.
        epochs: number of epochs, unless a system sets its own.
        samples: crops in an epoch.
        val_crops: held-out crops on which the loss is measured.
        draws: number of learning rates to try, where the paper searched for one.
        common: settings of ``./run.sh train`` for all systems.
    """

    folds: Sequence[int]
    epochs: int
    samples: int
    val_crops: int
    draws: int = 0
    common: Sequence[str] = ()


@dataclass(frozen=True)
class Search:
    """A random search for the learning rate.

    Attributes:
        measure: the score that chooses.
        low, high: range of the log-uniform draws.
        about: text for the page.
    """

    measure: str
    low: float
    high: float
    about: str


@dataclass(frozen=True)
class Paper:
    """A paper to reproduce.

    Attributes:
        name: name of the config.
        title, about, protocol, notes: texts of the page.
        main: the score that is compared in words.
        columns: scores in the table.
        submissions: whether to write a submission of each system for the competition's test images.
        search: the search for a learning rate, or None.
        common: settings of ``./run.sh train`` for all systems.
        systems: the systems by name, in the paper's order.
        budgets: the budgets by name; ``full`` is the paper's own schedule.
    """

    name: str
    title: str
    about: str
    protocol: str
    notes: str
    main: str
    columns: Sequence[str]
    submissions: bool
    search: Search | None
    common: Sequence[str]
    systems: Mapping[str, PaperSystem]
    budgets: Mapping[str, Budget]

    def budget(self, name: str) -> Budget:
        """Return a budget by its name.

        Raises:
            UserError: the paper has no such budget.
        """
        if name not in self.budgets:
            raise UserError(f"budget={name}: expected {' or '.join(self.budgets)}")
        return self.budgets[name]

    def choose(self, names: Sequence[str] | None) -> list[str]:
        """Return the names of the chosen systems in the paper's order; None chooses all.

        Raises:
            UserError: the paper has no system of a name.
        """
        if unknown := set(names or []) - set(self.systems):
            raise UserError(f"only={unknown.pop()}: paper={self.name} has {', '.join(self.systems)}")
        return [name for name in self.systems if not names or name in names]


def parse_paper(settings: Mapping[str, Any]) -> Paper:
    """Return the paper that a config describes; the settings are those of ``configs/paper``, resolved."""
    keys = {field.name for field in fields(Budget)}  # a budget may hold numbers for the settings of systems
    parsed = {
        "search": Search(**settings["search"]) if settings["search"] else None,
        "systems": {name: PaperSystem(**system) for name, system in settings["systems"].items()},
        "budgets": {
            name: Budget(**{key: value for key, value in budget.items() if key in keys})
            for name, budget in settings["budgets"].items()
        },
    }
    return Paper(**{**settings, **parsed})
