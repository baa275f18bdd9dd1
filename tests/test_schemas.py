"""Each command has a schema, whose names are those of its YAML file and no others."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest

from nuclei.cli import COMMANDS
from nuclei.config import compose_plain, hydra_context, without_hydra
from nuclei.schemas import SCHEMAS


def test_every_command_has_a_schema() -> None:
    assert set(SCHEMAS) == COMMANDS.keys() - {"help", "test"}


@pytest.mark.parametrize("command", sorted(SCHEMAS))
def test_a_schema_names_the_settings_of_its_file(command: str) -> None:
    with hydra_context():
        settings = without_hydra(compose_plain(command, []))
    optional = {name for name, hint in get_type_hints(SCHEMAS[command]).items() if "None" in str(hint)}
    names = {field.name for field in fields(SCHEMAS[command])}
    assert set(map(str, settings)) <= names <= set(map(str, settings)) | optional
