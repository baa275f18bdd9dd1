"""The words of a command line, checked against the command's config before anything runs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nuclei.errors import UserError
from nuclei.settings import check, flatten, nearest

# Commands that use the demo data set on a machine that has no competition data.
DEMO = ("prepare", "folds", "train", "ensemble", "analyse", "submission", "validate", "score", "bench", "all")


def checked(command: str, words: list[str], configs: Path, sweep: bool = False) -> list[str]:
    """Check each setting against the defaults of ``command`` and return the settings to run with.

    Args:
        command: the name of a config in ``configs``.
        words: settings as typed, ``key=value``.
        configs: the folder of the configs, absolute.
        sweep: whether ``key=a,b`` means one run for each.

    Raises:
        UserError: a key or a group's option is unknown, or a value is of another type than its default.
    """
    if not (configs / f"{command}.yaml").is_file():
        raise UserError(f"{configs / command}.yaml is missing; get the whole repository again")
    with initialize_config_dir(str(configs), version_base=None):
        overrides = [read(word) for word in words]
        plain = composed(command, [])
        if not sweep:
            overrides = [as_sentence(override, plain) for override in overrides]
            refuse_sweeps(override for override in overrides if not override.is_hydra_override())
        own = [override for override in overrides if not override.is_hydra_override()]
        known = plain.hydra.runtime.choices
        groups = [override for override in own if is_group(override, known, configs)]
        values = [override for override in own if override not in groups]
        for choice in product(*map(single_words, groups)):
            config = composed(command, list(choice))
            for override in values:
                check_override(command, override, config)
        words = [
            as_text(override, config) if override in values else str(override.input_line)
            for override in overrides
        ]
        config = composed(command, first(own))
        return words + (demo(command, own, config) or small(command, own, config))


def read(word: str) -> Override:
    """Parse one setting; a value that Hydra's grammar cannot read, such as a path with =, is text."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    key, equals, value = word.partition("=")
    try:
        return parser.parse_override(word)
    except HydraException:
        if equals and value[:1] not in ("[", "{", "'", '"'):
            return parser.parse_override(f"{key}={quoted(value)}")
        raise UserError(f"cannot read '{word}': settings are written key=value; see ./run.sh help") from None


def quoted(text: str) -> str:
    """Put text in quotes for Hydra's grammar."""
    return "'" + text.replace("\\'", "\\\\'").replace("'", "\\'") + "'"


def as_sentence(override: Override, config: DictConfig) -> Override:
    """Take ``message=first, and best`` as the text it is.

    A default of text is not enough: ``name=a,b`` is more likely a sweep whose -m was forgotten. A text that
    is empty by default, or a comma with a space behind it, is no name.
    """
    if not override.is_sweep_override():
        return override
    before, text = default(config, override.key_or_group), override.get_value_string()
    if isinstance(before, str) and (not before or ", " in text):
        return read(f"{override.get_key_element()}={quoted(text)}")
    return override


def refuse_sweeps(overrides: Iterable[Override]) -> None:
    """Raise for ``key=a,b`` where nothing is swept."""
    for override in overrides:
        if override.is_sweep_override():
            key, text = override.get_key_element(), override.get_value_string()
            raise UserError(f"{key}={text} names several values: add -m for one run each, or write [{text}]")


def is_group(override: Override, known: DictConfig, configs: Path) -> bool:
    """Say whether the override chooses a file of a config group."""
    key = override.key_or_group
    return key in known or (not override.is_delete() and override.is_add() and (configs / key).is_dir())


def single_values(override: Override) -> list[Any]:
    """List the values of a setting: one, or those of a sweep."""
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        return []
    return [v.text if isinstance(v, QuotedString) else v for v in override.sweep_iterator()]


def first(overrides: list[Override]) -> list[str]:
    """Write the first run of a sweep."""
    return [word for override in overrides for word in single_words(override)[:1]]


def single_words(override: Override) -> list[str]:
    """Write a sweep as one setting for each of its values."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={text}" for text in override.sweep_string_iterator()]


def composed(command: str, words: list[str]) -> DictConfig:
    """Compose a command's config; the errors of the framework become one line."""
    try:
        return compose(command, overrides=words, return_hydra_config=True)
    except MissingConfigException as e:
        if not e.missing_cfg_file or not e.options:
            raise UserError(str(e).splitlines()[0]) from e
        group, _, name = e.missing_cfg_file.rpartition("/")
        options = ", ".join(e.options)
        raise UserError(
            f"{group} has no '{name}'; did you mean '{nearest(name, e.options)}'? It has: {options}"
        ) from e
    except (HydraException, OmegaConfBaseException) as e:
        raise UserError(str(e).splitlines()[0]) from e


def check_override(command: str, override: Override, config: DictConfig) -> None:
    """Check one setting against a config: known, and each value of its default's type."""
    key = override.key_or_group
    keys = [name for name in flatten(OmegaConf.to_container(config)) if not name.startswith("hydra")]
    if key not in keys:
        if override.is_add() or override.is_force_add():
            return
        raise UserError(f"{command} has no setting '{key}'; did you mean '{nearest(key, keys)}'?")
    for value in single_values(override):
        check(key, value, default(config, key))


def default(config: DictConfig, key: str) -> Any:
    """Take a key's value as plain Python; None where it is not given or hangs on something not given."""
    try:
        value = OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def as_text(override: Override, config: DictConfig) -> str:
    """Write a setting for Hydra; ``name=7`` stays text where the default is text."""
    single = [value for value in single_values(override) if not isinstance(value, (str, type(None)))]
    if not single or not isinstance(default(config, override.key_or_group), str):
        return str(override.input_line)
    texts = [override.get_value_string()] if not override.is_sweep_override() else single_values(override)
    return f"{override.get_key_element()}={','.join(quoted(str(text)) for text in texts)}"


def demo(command: str, overrides: list[Override], config: DictConfig) -> list[str]:
    """Choose the demo data set, and say so, when there is no competition data and none was asked for."""
    asked = {"data", "data.name", "data.root", "data.store"} & {o.key_or_group for o in overrides}
    if command not in DEMO or asked or config.hydra.runtime.choices.get("data") != "dsb2018":
        return []
    root, store = Path(config.data.root), Path(config.data.store)
    if root.exists() or store.exists():
        return []
    print(
        f"there's no competition data at {root} (./run.sh download fetches it), using the demo data set",
        file=sys.stderr,
    )
    return ["data=demo"]


def small(command: str, overrides: list[Override], config: DictConfig) -> list[str]:
    """Choose the data set's smaller recipe, and say so, where there is no GPU; what was asked for stays."""
    less = config.data.get("without_gpu") if command in ("train", "all") else None
    if less is None or has_gpu():
        return []
    asked = {o.key_or_group: o for o in overrides}
    given = str(asked["train"].value()) if command == "all" and "train" in asked else ""
    named = {word.partition("=")[0] for word in shlex.split(given)} | asked.keys()
    words = [f"{key}={value}" for key, value in small_budget(less).items() if key not in named]
    if command == "all" and words:
        words = [f"train={quoted(' '.join([*words, given]).strip())}"]
    name = {"train": "model", "all": "models"}[command]
    if name not in asked:
        words.append(f"model={less.model}" if command == "train" else f"models=[{less.model}]")
    if words:
        print(f"no GPU, so the same recipe in small: {' '.join(words)}", file=sys.stderr)
    return words


def small_budget(less: DictConfig) -> dict[str, int]:
    """A data set's ``without_gpu`` as settings of ``train``, but for the model."""
    return {
        "batch_size": less.batch_size,
        "samples_per_epoch": less.samples_per_epoch,
        "trainer.max_epochs": less.max_epochs,
    }


def has_gpu() -> bool:
    """Whether a GPU's driver is there; torch would take a second to say it."""
    return sys.platform == "darwin" or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))
