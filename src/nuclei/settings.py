"""What the command line may say: each setting must be known and of the type of its default."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from nuclei.errors import UserError

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list such as [a,b]",
    dict: "a group of settings",
}

WORDS = {"fold": ("all",)}  # what may be given beside the type of the default


def flatten(config: Any, prefix: str = "") -> list[str]:
    """List every key of nested dicts and lists, groups included, in dotted form.

    >>> flatten({"fold": 0, "data": {"name": "demo"}})
    ['fold', 'data', 'data.name']
    """
    if isinstance(config, list):
        config = {str(n): value for n, value in enumerate(config)}
    if not isinstance(config, dict):
        return []
    keys = []
    for key, value in config.items():
        keys += [f"{prefix}{key}", *flatten(value, f"{prefix}{key}.")]
    return keys


def nearest(name: str, known: Iterable[str]) -> str:
    """Find the known name that ``name`` was most likely meant to be.

    A name that was given without its group counts as a full match.

    >>> nearest("max_epoch", ["fold", "trainer.max_epochs"])
    'trainer.max_epochs'
    """
    known = list(known)
    last = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    close = get_close_matches(name.rsplit(".", 1)[-1], last, n=1, cutoff=0.75)
    if close:
        return last[close[0]]
    return get_close_matches(name, known, n=1, cutoff=0)[0]


def check(key: str, value: Any, default: Any) -> None:
    """Compare the type of a value with that of its default.

    A default of null takes anything, and null may be given for anything; a whole number is a number, and
    every single value can be read as text.

    Raises:
        UserError: the type is another one; or, for a group, a key is unknown.
    """
    if value is None or default is None or is_reference(value) or value in WORDS.get(key, ()):
        return
    if not fits(value, default):
        shown = f"'{value}'" if isinstance(value, str) else value
        raise UserError(f"{key} must be {KINDS.get(type(default), 'as its default')}, got {shown}")
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in default:
                raise UserError(
                    f"{key} has no setting '{name}'; did you mean '{nearest(str(name), default)}'?"
                    if default
                    else f"{key} has no settings, got '{name}'"
                )
            check(f"{key}.{name}", inner, default[name])


def fits(value: Any, default: Any) -> bool:
    """Say whether a value can stand where ``default`` stood."""
    if isinstance(default, str):
        return not isinstance(value, (list, dict))
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def is_reference(value: Any) -> bool:
    """Say whether the value is taken from another setting, as in ``${data.name}``."""
    return isinstance(value, str) and "${" in value
