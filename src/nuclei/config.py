"""Compose the settings of a command from ``configs/`` and the command line, and check them by its schema."""

from __future__ import annotations

import re
import shlex
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, make_dataclass
from itertools import product
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from nuclei.errors import UserError, nearest_name
from nuclei.paths import PROGRAM, shipped
from nuclei.schemas import SCHEMAS, OptionSettings

AS_TYPED = (
    "message",
    "input",
    "output",
    "weights",
    "archive",
    "images",
    "submission",
    "solution",
    "labels",
    "truth",
    "data.root",
    "data.store",
)
"""Settings that mean what was typed, be it a number, a date, or with commas: paths, and what Kaggle shows."""
NULLS = ("null", "~")
KEYWORDS = {"fold": ("all",)}
"""What a setting may be beside a number."""


@dataclass(frozen=True)
class Call:
    """One call of a command with its settings, ``key=value``, as typed; of a sweep, one of its runs."""

    command: str
    overrides: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The call as one would type it.

        >>> Call("train", ("fold=0", "name=a b")).text
        "./run.sh train fold=0 'name=a b'"
        """
        return shlex.join(["./run.sh", self.command, *self.overrides])

    def next(self, command: str, data: str, *settings: str) -> str:
        """Return another command on the same data and folders, as one would type it.

        >>> Call("train", ("data=folder", "data.root=A", "tta=1")).next("ensemble", "folder", "name=b")
        './run.sh ensemble data=folder data.root=A name=b'
        """
        words = [word for word in self.overrides if word.startswith(("data=", "data.", "paths."))]
        chosen = [] if any(word.startswith("data=") for word in words) else [f"data={data}"]
        return shlex.join([PROGRAM, command, *chosen, *words, *settings])


def config_folder() -> Path:
    """Return the folder of the YAML files: inside of an installed package, or at the top of a checkout."""
    return shipped("configs")


def hydra_context() -> initialize_config_dir:
    """Tell Hydra where the YAML files are."""
    return initialize_config_dir(str(config_folder()), version_base=None)


def compose_config(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the settings of a command with overrides, ``key=value``, and check them.

    Raises:
        UserError: a setting or an option of a group is unknown, a value has another type,
            or several are given for one setting.
    """
    if not (config_folder() / f"{command}.yaml").is_file():
        raise UserError(f"{config_folder() / command}.yaml is missing; get the whole repository again")
    with hydra_context():
        defaults = compose_plain(command, [])
        parsed = [parse_override(word) for word in overrides]
        groups = [option_as_text(override) for override in parsed if is_group(override, defaults)]
        others = [override for override in parsed if not is_group(override, defaults)]
        if groups:
            defaults = compose_plain(command, groups)
        plain = cast("OptionSettings", OmegaConf.to_container(without_hydra(defaults), resolve=True))
        schema = schema_with(SCHEMAS[command], plain)
        words = [*groups, *(word_of(override, command, schema, plain) for override in others)]
        composed = compose_plain(command, words)
    return check_types(schema, composed)


def override_words(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as on a command line.

    >>> override_words({"model": "unet", "optimizer.lr": 0.001, "size": None, "scales": [1, 1.5]})
    ['model=unet', 'optimizer.lr=0.001', 'size=null', 'scales=[1,1.5]']
    """

    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{','.join(map(text, value))}]"
        return "null" if value is None else str(value)

    return [f"{key}={text(value)}" for key, value in settings.items()]


def expand_sweep(words: Sequence[str]) -> list[list[str]]:
    """Write settings, of which any may be ``key=a,b``, as those of each run, all combinations in order."""
    with hydra_context():
        values = [
            [f"{override.get_key_element()}={text}" for text in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [word]
            for word, override in ((word, parse_override(word)) for word in words)
        ]
    return [list(words) for words in product(*values)]


def compose_launcher(words: Sequence[str]) -> DictConfig | None:
    """Compose the settings of what starts a sweep's runs; None for ``basic``, which is not ours.

    Words are ``hydra/launcher=OPTION`` and ``hydra.launcher.NAME=VALUE``.

    Raises:
        UserError: there is no such option, or it has no such setting.
    """
    with hydra_context():
        group = [word for word in words if word.lstrip("+").startswith("hydra/")]
        if not group:
            raise UserError(
                f"{words[0]}: choose a launcher too, hydra/launcher=joblib or another of its options"
            )
        names = {f"hydra.launcher.{name}" for name in compose_plain("train", group).hydra.launcher}
        for word in words:
            key = word.partition("=")[0]
            if word not in group and not key.startswith("+") and key.partition("[")[0] not in names:
                meant = nearest_name(key, names)
                raise UserError(f"the launcher has no setting '{key}'; did you mean '{meant}'?")
        launcher = cast(DictConfig, compose_plain("train", [*words]).hydra.launcher)
    return launcher if str(launcher["_target_"]).startswith("nuclei.") else None


def compose_plain(command: str, words: list[str]) -> DictConfig:
    """Let Hydra compose settings without checking their types; its errors become one line."""
    try:
        return compose(command, overrides=words, return_hydra_config=True)
    except MissingConfigException as e:
        if not e.missing_cfg_file or not e.options:
            raise UserError(str(e).splitlines()[0]) from e
        group, _, option = e.missing_cfg_file.rpartition("/")
        meant, options = nearest_name(option, e.options), ", ".join(e.options)
        raise UserError(f"{group} has no '{option}'; did you mean '{meant}'? It has: {options}") from e
    except (HydraException, OmegaConfBaseException) as e:
        if isinstance(e.__cause__, ConfigAttributeError | ConfigKeyError):
            raise unknown_setting(command, str(e.__cause__.full_key), compose(command)) from e
        raise UserError(str(e).splitlines()[0]) from e


def unknown_setting(command: str, key: str, settings: DictConfig) -> UserError:
    """Say that a group, or the command itself, has no such setting, and which one was meant."""
    group, _, name = key.rpartition(".")
    names = dotted_keys(OmegaConf.to_container(OmegaConf.select(settings, group) if group else settings))
    return UserError(
        f"{group or command} has no setting '{name}'; did you mean '{nearest_name(name, names)}'?"
    )


def without_hydra(composed: DictConfig) -> DictConfig:
    """Return settings without Hydra's own."""
    return OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])


def parse_override(word: str) -> Override:
    """Parse ``key=value``; a value that Hydra's grammar cannot read, such as a path with =, is text."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    key, equals, value = word.partition("=")
    try:
        return parser.parse_override(word)
    except HydraException:
        if equals and (key in AS_TYPED or value[:1] not in ("[", "{", "'", '"')):
            return parser.parse_override(f"{key}={quoted(value)}")
        raise UserError(f"cannot read '{word}': settings are written key=value; see ./run.sh help") from None


def quoted(text: str) -> str:
    """Put text in quotes for Hydra's grammar, where backslashes count before a quote alone.

    >>> print(quoted("it's a\\\\"))
    'it\\'s a\\\\'
    """
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + (r"\'" if m[2] else ""), text) + "'"


def literal(text: str) -> str:
    """Escape what OmegaConf would take for a reference to another setting.

    >>> print(literal("${HOME}/a"))
    \\${HOME}/a
    """
    return re.sub(r"(\\*)\$\{", lambda m: 2 * m[1] + r"\${", text)


def is_group(override: Override, composed: DictConfig) -> bool:
    """Return whether an override chooses an option of a group."""
    key = override.key_or_group
    return key in composed.hydra.runtime.choices or (
        override.is_add() and not override.is_delete() and (config_folder() / key).is_dir()
    )


def option_as_text(override: Override) -> str:
    """Write the choice of a group's option, which is text, though ``model=0`` looks like a number."""
    if override.is_sweep_override():
        raise UserError(f"{override.input_line} names several options: add -m for one run each")
    if isinstance(override.value(), int | float | None):
        key, _, value = str(override.input_line).partition("=")
        return f"{key}={quoted(value)}"
    return str(override.input_line)


def dotted_keys(settings: Any, prefix: str = "") -> list[str]:
    """List the keys of nested settings, those of groups included.

    >>> dotted_keys({"fold": 0, "data": {"name": "demo"}})
    ['fold', 'data', 'data.name']
    """
    if isinstance(settings, list):
        settings = {str(n): value for n, value in enumerate(settings)}
    if not isinstance(settings, dict):
        return []
    return [
        key
        for name, value in settings.items()
        for key in (f"{prefix}{name}", *dotted_keys(value, f"{prefix}{name}."))
    ]


def word_of(override: Override, command: str, schema: type, plain: OptionSettings) -> str:
    """Write an override for Hydra: what is text by its type stays as typed.

    Raises:
        UserError: the key is unknown, or several values are given without ``-m``.
    """
    key, word = override.key_or_group, str(override.input_line)
    known = override.is_add() or override.is_force_add() or override.is_hydra_override()
    if not known and key not in (keys := dotted_keys(plain)):
        raise UserError(f"{command} has no setting '{key}'; did you mean '{nearest_name(key, keys)}'?")
    if override.is_delete():
        return word
    text, hint = override.get_value_string(), type_of(schema, key)
    if key in AS_TYPED and alternatives(hint) == [str] and (hint is str or text not in NULLS):
        inside = str(override.value()) if text[:1] in ("'", '"') else text
        return f"{override.get_key_element()}={quoted(literal(inside))}"
    if override.is_sweep_override():
        # name=a,b is more likely a sweep whose -m was forgotten than a text with a comma.
        if hint is not str or (", " not in text and value_at(plain, key)):
            raise UserError(
                f"{override.get_key_element()}={text} names several values: "
                f"add -m for one run each, or write [{text}]"
            )
        return f"{override.get_key_element()}={quoted(text)}"
    if alternatives(hint) == [str] and isinstance(override.value(), (bool, int, float)):
        return f"{override.get_key_element()}={quoted(text)}"
    # A group that is empty by default, such as the settings of a stage of `all`, takes any.
    return f"+{word}" if not known and value_at(plain, key) == {} else word


def value_at(settings: Any, key: str) -> Any:
    """Return the value at a dotted key of plain settings."""
    for name in key.split("."):
        settings = settings[int(name)] if isinstance(settings, list) else settings[name]
    return settings


def type_of(schema: type, key: str) -> Any:
    """Return the type of the setting at a dotted key; None where the schema does not say."""
    hint: Any = schema
    for name in key.split("."):
        hint = alternatives(hint)[-1]
        if is_dataclass(hint):
            hint = get_type_hints(hint).get(name)
        else:
            hint = get_args(hint)[-1] if get_origin(hint) in (dict, list) else None
    return hint


def alternatives(hint: Any) -> list[Any]:
    """List the types of a union, but for None.

    >>> alternatives(int | None)
    [<class 'int'>]
    """
    union = get_origin(hint) in (Union, types.UnionType)
    return [part for part in get_args(hint) if part is not type(None)] if union else [hint]


def schema_with(schema: type, plain: OptionSettings) -> type:
    """Fill the open places of a schema with the types of the values that stand there by default."""
    hints = get_type_hints(schema)
    open_names = [
        name for name, hint in hints.items() if OptionSettings in alternatives(hint) and plain.get(name)
    ]
    fields = [(name, inferred_type(plain[name])) for name in open_names]
    return make_dataclass(schema.__name__, fields, bases=(schema,))


def inferred_type(value: Any) -> Any:
    """Return the type of a default: a dataclass for a group, ``T | None`` for a single value of type T."""
    if isinstance(value, dict):
        fields = [(str(name), inferred_type(inner)) for name, inner in value.items()]
        settings: Any = make_dataclass("Settings", fields)
        return settings | None
    if isinstance(value, list):
        return list[Any] | None
    return Any if value is None else type(value) | None


def check_types(schema: type, composed: DictConfig) -> DictConfig:
    """Convert settings to the types of their schema.

    Raises:
        UserError: one of them cannot be converted.
    """
    settings, typed_defaults = without_hydra(composed), OmegaConf.structured(schema)
    try:
        typed = OmegaConf.merge(typed_defaults, settings)
    except ConfigKeyError as e:
        raise unknown_setting(schema.__name__.lower(), str(e.full_key), typed_defaults) from e
    except ValidationError as e:
        key = str(e.full_key).partition("[")[0]
        raise UserError(type_error(key, type_of(schema, key), OmegaConf.select(settings, key))) from e
    plain = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(typed)))
    for key, keywords in KEYWORDS.items():
        if key in plain and isinstance(plain[key], str) and plain[key] not in keywords:
            raise UserError(type_error(key, int, plain[key]))
    OmegaConf.set_struct(plain, True)
    return plain


def type_error(key: str, hint: Any, value: Any) -> str:
    """Say which type was expected."""
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list such as [a,b]",
    }
    kind = alternatives(hint)[-1]
    expected = names.get(get_origin(kind) or kind, "a group of settings")
    shown = f"'{value}'" if isinstance(value, str) else value
    return f"{key} must be {expected}, got {shown}"
