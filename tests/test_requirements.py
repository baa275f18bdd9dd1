"""requirements.lock holds what requirements.txt asks for, each file by its hash."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in a file of requirements."""
    found = PIN.findall((REPO / name).read_text())
    return {re.sub("[-_.]+", "-", package).lower(): version for package, version in found}


def test_the_lock_has_each_requirement_at_its_version() -> None:
    wanted, locked = pins("requirements.txt"), pins("requirements.lock")
    assert len(locked) > 2 * len(wanted)
    different = {
        name: (version, locked.get(name)) for name, version in wanted.items() if locked.get(name) != version
    }
    assert not different, "requirements.txt was changed; run make lock"


def test_each_package_of_the_lock_has_a_hash_and_no_registry() -> None:
    text = re.sub(r"\\\n\s*", " ", (REPO / "requirements.lock").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(PIN.match(line) and re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert "://" not in text and not re.search(r"^-", text, re.MULTILINE)
