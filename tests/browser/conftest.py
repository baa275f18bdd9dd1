"""One Chromium for all browser tests: Debian's, or the one that CHROMIUM names; they skip without it.

A page that writes an error into the browser's console fails its test. Screenshots stay in ``shots/``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

expect.set_options(timeout=30_000)  # a busy machine is no defect
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    if not CHROMIUM:
        pytest.skip("no chromium; on Debian: apt-get install chromium, elsewhere name one in CHROMIUM")
    # Root, as in a container, has no sandbox; /dev/shm is small there.
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of 1280×800 that may download; errors in its console fail the test."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not errors, f"the browser's console has {errors}"


@pytest.fixture(scope="session")
def shots(repo: Path) -> Path:
    """Where screenshots are kept."""
    folder = repo / "shots"
    folder.mkdir(exist_ok=True)
    return folder
