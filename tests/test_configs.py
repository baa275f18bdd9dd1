"""Every YAML under configs/ composes, points at things that exist, and holds only keys they take."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from nuclei.__main__ import COMMANDS
from nuclei.settings import flatten

REPO = Path(__file__).parents[1]
CONFIGS = REPO / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OPTIONS = sorted(
    (str(path.parent.relative_to(CONFIGS)), path.stem)
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS and path.relative_to(CONFIGS).parts[0] != "hydra"
)
# Groups that go whole to something of another package, and what that takes.
HANDED_ON = {"trainer": inspect.signature(Trainer).parameters}
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


@cache
def composed(command: str, *words: str) -> DictConfig:
    """Compose a command's config as a run would."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose(command, overrides=list(words), return_hydra_config=True)


def own(config: DictConfig) -> dict[str, Any]:
    """The settings without Hydra's, every interpolation resolved."""
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.resolve(plain)
    return OmegaConf.to_container(plain)  # type: ignore[return-value]


def targets(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a ``_target_``, with its key."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield key, node
    for name, value in inner:
        yield from targets(value, f"{key}.{name}".strip("."))


def unknown_keys(node: dict[str, Any]) -> set[str]:
    """The keys of a ``_target_`` node that what it names would not take."""
    parameters = inspect.signature(get_object(node["_target_"])).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return set()
    return node.keys() - SPECIAL - {parameter.name for parameter in parameters}


def dry_run(config: DictConfig) -> None:
    """Resolve all interpolations; find each ``_target_`` and compare its keys with its signature."""
    for key, node in targets(own(config)):
        assert not unknown_keys(node), f"{key}: {node['_target_']} does not take {unknown_keys(node)}"


def command_with(group: str) -> str:
    """The first command whose config has a group."""
    for name in NAMES:
        if group in composed(name).hydra.runtime.choices:
            return name
    pytest.fail(f"no command's config has the group {group}: nothing reads configs/{group}/")


@pytest.mark.parametrize("command", NAMES)
def test_each_command_composes(command: str) -> None:
    dry_run(composed(command))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_option_of_each_group_composes(group: str, option: str) -> None:
    dry_run(composed(command_with(group), f"{group}={option}"))


@pytest.mark.parametrize("command", NAMES)
def test_a_command_is_a_module_a_config_and_a_row_in_the_table(command: str) -> None:
    assert command in COMMANDS
    parameters = inspect.signature(importlib.import_module(f"nuclei.commands.{command}").main).parameters
    assert list(parameters) == ["cfg", "call"]


def test_every_row_of_the_table_can_be_run() -> None:
    modules = {path.stem for path in (REPO / "src/nuclei/commands").glob("[!_]*.py")}
    assert modules == set(NAMES) == COMMANDS.keys() - {"help", "test"}


@cache
def words_in_the_code() -> set[str]:
    """Every name and every text of the code, and what the configs take from each other."""
    found = set()
    for path in (REPO / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found |= {str(getattr(node, field, "")) for field in ("id", "attr", "arg", "value")}
    text = "".join(path.read_text() for path in CONFIGS.rglob("*.yaml"))
    return found | {key for inner in re.findall(r"\$\{([\w.]+)\}", text) for key in inner.split(".")}


def leaves(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every setting that is no group and no part of a ``_target_``: its group, and its own name."""
    taken = tuple(f"{key}." for key, _ in targets(config))
    keys = [key for key in flatten(config) if not key.startswith(taken)]
    for key in keys:
        group, _, name = key.rpartition(".")
        if not name.isdigit() and f"{key}." not in {other[: len(key) + 1] for other in keys}:
            yield group, name


@pytest.mark.parametrize("command", NAMES)
def test_something_reads_every_setting(command: str) -> None:
    read = words_in_the_code()
    unread = [(g, name) for g, name in leaves(own(composed(command))) if name not in read]
    assert not [f"{g}.{name}" for g, name in unread if g not in HANDED_ON or name not in HANDED_ON[g]]


def test_a_wrong_key_of_a_target_is_noticed() -> None:
    assert unknown_keys({"_target_": "nuclei.progress.track", "items": [], "nmae": "x"}) == {"nmae"}
