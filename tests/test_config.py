"""Every YAML under configs/ composes, points at things that exist, and holds only keys they take."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from nuclei import config
from nuclei.cli import COMMANDS
from nuclei.config import Call, compose_config, config_folder, dotted_keys, expand_sweep
from nuclei.errors import UserError

REPO = Path(__file__).parents[1]
CONFIGS = REPO / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OPTIONS = sorted(
    (str(path.parent.relative_to(CONFIGS)), path.stem)
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS and path.relative_to(CONFIGS).parts[0] != "hydra"
)
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


@cache
def composed(command: str, *words: str) -> DictConfig:
    """Compose a command's config as a run would."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose(command, overrides=list(words), return_hydra_config=True)


def own(composed_config: DictConfig) -> dict[str, Any]:
    """The settings without Hydra's, every interpolation resolved."""
    plain = OmegaConf.masked_copy(composed_config, [str(key) for key in composed_config if key != "hydra"])
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


def dry_run(composed_config: DictConfig) -> None:
    """Resolve all interpolations; find each ``_target_`` and compare its keys with its signature."""
    for key, node in targets(own(composed_config)):
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


def settings_read(path: Path) -> set[str]:
    """Dotted keys that a file takes from ``cfg``; a variable key stands for every word in a text."""
    tree, keys = ast.parse(path.read_text()), set()
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = {word for text in constants if isinstance(text, str) for word in text.split()}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Subscript)}

    def chain(node: ast.AST) -> str | None:
        if isinstance(node, ast.Name) and node.id == "cfg":
            return ""
        if isinstance(node, ast.Attribute) and (start := chain(node.value)) is not None:
            return start if node.attr in ("get", "items", "keys") else f"{start}.{node.attr}"
        return chain(node.value) if isinstance(node, ast.Subscript) else None

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript) and id(node) not in inner and (key := chain(node)):
            keys.add(key.strip("."))
        if isinstance(node, ast.Subscript) and chain(node) == "":
            keys |= texts
        if isinstance(node, ast.Attribute) and node.attr == "get" and chain(node) == "":
            keys |= texts
    return keys


def files_of(command: str) -> list[Path]:
    """The files that see the settings of a command: its own, those that build, and the command line."""
    src = REPO / "src/nuclei"
    return [src / "commands" / f"{command}.py", src / "build.py", src / "cli.py"]


REFERENCES = {
    key
    for path in CONFIGS.rglob("*.yaml")
    for key in re.findall(r"\$\{(?:oc\.select:)?([\w.]+)", path.read_text())
}


@pytest.mark.parametrize("command", NAMES)
def test_something_reads_every_setting(command: str) -> None:
    read = REFERENCES.union(*map(settings_read, files_of(command)))
    taken = tuple(f"{key}." for key, _ in targets(own(composed(command))))
    keys = [key for key in dotted_keys(own(composed(command))) if not key.startswith(taken)]
    leaves = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    assert not [key for key in leaves if not any(f"{key}.".startswith(f"{name}.") for name in read)]


def test_a_setting_that_nothing_reads_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "def main(cfg):\n    fold = 1\n    print(cfg.data.name, f(**cfg.box), cfg.a[0])\n"
    )
    assert settings_read(tmp_path / "x.py") == {"data.name", "box", "a"}


def test_a_wrong_key_of_a_target_is_noticed() -> None:
    assert unknown_keys({"_target_": "nuclei.progress.track", "items": [], "nmae": "x"}) == {"nmae"}


@dataclass
class Paint:
    """Settings of a command with everything in it."""

    brush: dict[str, Any]
    count: int
    share: float
    name: str
    bright: bool
    sizes: list[int]
    limit: int | None
    note: str
    alias: int
    box: dict[str, Any]


@pytest.fixture
def paint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ``paint`` with a group of two options."""
    files = {
        "paint.yaml": "defaults: [brush: thin, _self_]\ncount: 3\nshare: 0.5\nname: red\nbright: true\n"
        'sizes: [1, 2]\nlimit: null\nnote: ""\nalias: ${count}\nbox: {tall: 1}\n',
        "brush/thin.yaml": "width: 1.0\n",
        "brush/thick.yaml": "width: 9.0\nhairs: 80\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(config, "config_folder", lambda: tmp_path)
    monkeypatch.setitem(config.SCHEMAS, "paint", Paint)


@pytest.mark.usefixtures("paint")
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("count=x", "count must be a whole number, got 'x'"),
        ("count=1.5", "count must be a whole number, got 1.5"),
        ("count=true", "count must be a whole number, got True"),
        ("count=null", "count must be a whole number, got None"),
        ("share=x", "share must be a number, got 'x'"),
        ("bright=x", "bright must be true or false, got 'x'"),
        ("sizes=3", r"sizes must be a list such as \[a,b\], got 3"),
        ("sizes=[x]", r"sizes must be a list such as \[a,b\], got \['x'\]"),
        ("limit=x", "limit must be a whole number, got 'x'"),
        ("name=[a]", r"name must be text, got \['a'\]"),
        ("alias=x", "alias must be a whole number, got 'x'"),
        ("brush.width=x", "brush.width must be a number, got 'x'"),
        ("brush.wdth=1", "paint has no setting 'brush.wdth'; did you mean 'brush.width'?"),
        ("width=1", "paint has no setting 'width'; did you mean 'brush.width'?"),
        ("brush.hairs=1", "paint has no setting 'brush.hairs'"),
        ("brush=thik", "brush has no 'thik'; did you mean 'thick'?"),
        ("box={tall:x}", "box.tall must be a whole number, got 'x'"),
        ("box={tal:1}", "box has no setting 'tal'; did you mean 'tall'?"),
        ("box=1", "box must be a group of settings, got 1"),
        ("+more=1", "paint has no setting 'more'"),
        ("name=a,b", "name=a,b names several values: add -m"),
        ("count=1, 2", "count=1, 2 names several values: add -m"),
        ("brush=thick,thin", "brush=thick,thin names several options: add -m"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        compose_config("paint", [word])


@pytest.mark.usefixtures("paint")
@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("count=4", "count", 4),
        ("share=1", "share", 1.0),
        ("bright=false", "bright", False),
        ("sizes=[]", "sizes", []),
        ("limit=3", "limit", 3),
        ("limit=null", "limit", None),
        ("name=7", "name", "7"),
        ("name=1e3", "name", "1e3"),
        ("name='a'", "name", "a"),
        ("name=x=1", "name", "x=1"),
        ("name=${brush.width}", "name", "1.0"),
        ("count=${box.tall}", "alias", 1),
        ("brush.width=2", "brush.width", 2),
        ("note=first, and best", "note", "first, and best"),
        ("note=a,b", "note", "a,b"),
        ("note=it's a, b", "note", "it's a, b"),
        ("name=red, then blue", "name", "red, then blue"),
    ],
)
def test_a_setting_that_fits_has_the_type_of_its_schema(word: str, key: str, value: Any) -> None:
    selected = OmegaConf.select(compose_config("paint", [word]), key)
    assert str(selected) == str(value) if key == "name" else selected == value


@pytest.mark.usefixtures("paint")
def test_an_option_brings_its_own_settings() -> None:
    assert compose_config("paint", ["brush.hairs=3", "brush=thick"]).brush == {"width": 9.0, "hairs": 3}


@pytest.mark.usefixtures("paint")
def test_a_sweep_has_all_combinations_in_order() -> None:
    assert expand_sweep(["count=1,2", "name=x", "brush=thin,thick"]) == [
        ["count=1", "name=x", "brush=thin"],
        ["count=1", "name=x", "brush=thick"],
        ["count=2", "name=x", "brush=thin"],
        ["count=2", "name=x", "brush=thick"],
    ]


@pytest.mark.parametrize(("word", "fold"), [("fold=all", "all"), ("fold=3", 3)])
def test_a_fold_is_a_number_or_all(word: str, fold: int | str) -> None:
    assert compose_config("train", [word]).fold == fold
    with pytest.raises(UserError, match=r"^fold must be a whole number, got 'x'$"):
        compose_config("train", ["fold=x"])


def test_a_stage_of_all_takes_any_settings() -> None:
    assert compose_config("all", ["train={seed:1,trainer.max_epochs:5}"]).train == {
        "seed": 1,
        "trainer.max_epochs": 5,
    }


def test_the_configs_are_those_of_the_checkout() -> None:
    assert config_folder() == CONFIGS


def test_the_text_can_be_typed_again() -> None:
    call = Call("submission", ("name=a b", "message='it'"))
    assert shlex.split(call.text) == ["./run.sh", "submission", "name=a b", "message='it'"]


@pytest.mark.parametrize(
    "name", ["[x].png", "{y}.png", "[a", "a=b, c.png", "2024", "${HOME}/a", "5 $", r"a\${b}", "a\\", r"it\'s"]
)
def test_paths_and_messages_are_what_was_typed(name: str) -> None:
    assert compose_config("predict", [f"input={name}"]).input == name
    assert compose_config("submit", [f"message={name}"]).message == name
    assert compose_config("submit", ["message=null"]).message == "null"
