"""The configs of the five papers."""

from pathlib import Path

import pytest
import yaml

from nuclei.errors import UserError
from nuclei.reproduce.paper_config import parse_paper

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "paper").glob("*.yaml"))


def read(path):
    """Parse a paper's config without Hydra."""
    return parse_paper({k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_system_is_a_network_or_an_average_of_networks(path):
    paper = read(path)
    assert (
        paper.name == path.stem and paper.main in paper.columns and set(paper.budgets) == {"default", "full"}
    )
    for name, system in paper.systems.items():
        assert bool(system.train) != bool(system.average), name
        assert all(paper.systems[part].train for part in system.average)
        if system.train:
            models = [s for s in system.train if s.startswith("model=")]
            assert len(models) == 1, f"{name} needs one model"
    assert (paper.search is None) == all(budget.draws == 0 for budget in paper.budgets.values())


def test_unknown_budgets_and_systems_are_refused():
    paper = read(next(path for path in CONFIGS if path.stem == "arra2018"))
    assert paper.choose(["linknet", "unet"]) == ["unet", "linknet"] and len(paper.choose(None)) == 6
    with pytest.raises(UserError, match="only=net: paper=arra2018 has fcn, unet"):
        paper.choose(["net"])
    with pytest.raises(UserError, match="budget=long: expected default or full"):
        paper.budget("long")
