"""The report as a person reads it: from disk without network; sorted, enlarged; light, dark and narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from nuclei.cli import main


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, draw_runs: Callable[[Path], Path]) -> str:
    """The address of a report on a run that merges two of three discs in each of eight images."""
    place = draw_runs(tmp_path_factory.mktemp("report"))
    data = [
        "data=demo",
        f"data.store={place}/x.store",
        f"data.folds={place}/folds.csv",
        f"data.root={place}/no",
    ]
    paths = [f"paths.runs={place}/runs", f"paths.reports={place}/reports"]
    assert main(["analyse", *data, *paths, "run=otsu/default", "compare=unet/default", "workers=1"]) == 0
    return (place / "reports/demo/otsu_default_vs_unet_default.html").as_uri()


def open_report(page: Page, report: str) -> None:
    """Open it as from a disk, with no network."""
    page.context.set_offline(True)
    page.goto(report)
    expect(page.locator(".canvas").first).to_have_attribute("data-drawn", "yes")


def column(page: Page, table: str, number: int) -> list[str]:
    """The texts of a table's column."""
    return page.get_by_role("region", name=table).locator(f"tbody td:nth-child({number})").all_inner_texts()


def test_everything_is_in_the_file(page: Page, report: str, shots: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_report(page, report)
    expect(page).to_have_title("otsu/default on demo")
    for canvas in page.locator(".canvas").all():
        canvas.scroll_into_view_if_needed()
        expect(canvas).to_have_attribute("data-drawn", "yes")
        expect(canvas.locator("svg.main-svg").first).to_be_visible()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    page.screenshot(path=shots / "report.png", full_page=True)


def test_tables_are_sorted_with_the_keyboard(page: Page, report: str) -> None:
    open_report(page, report)
    table = page.get_by_role("region", name="All images")
    head = table.get_by_role("columnheader", name="ImageId")
    ids = [f"image{n}" for n in range(8)]
    head.get_by_role("button").focus()
    for pressed, sorting, expected in (("Enter", "ascending", ids), ("Space", "descending", ids[::-1])):
        page.keyboard.press(pressed)
        expect(head).to_have_attribute("aria-sort", sorting)
        assert column(page, "All images", 1) == expected
    table.get_by_role("button", name="Fold").click()
    assert column(page, "All images", 2) == ["1"] * 4 + ["0"] * 4
    assert head.get_attribute("aria-sort") is None
    costs = page.get_by_role("region", name="What each kind of error costs")
    costs.get_by_role("button", name="Gain").click()
    assert column(page, "What each kind of error costs", 1)[0] == "merge"


def test_an_image_is_enlarged_turned_over_and_closed(page: Page, report: str, shots: Path) -> None:
    open_report(page, report)
    cards, dialog = page.locator("#worst .card"), page.get_by_role("dialog")
    cards.first.click()
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("heading")).to_have_text(str(cards.first.get_attribute("data-title")))
    shown = dialog.locator(".layers").bounding_box()
    small = cards.first.locator(".layers").bounding_box()
    assert shown and small and shown["width"] > 2 * small["width"]
    page.screenshot(path=shots / "report_enlarged.png")
    dialog.get_by_label("truth", exact=True).uncheck()
    expect(dialog.locator("img.truth")).to_be_hidden()
    expect(dialog.locator("img.prediction")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text(str(cards.nth(1).get_attribute("data-title")))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()


def test_light_and_dark_by_the_system_and_by_hand(page: Page, report: str, shots: Path) -> None:
    page.emulate_media(color_scheme="dark")
    open_report(page, report)
    body, text = page.locator("body"), page.locator(".canvas text").first
    expect(body).to_have_css("background-color", "rgb(15, 20, 25)")
    expect(text).to_have_css("fill", "rgb(230, 237, 243)")
    page.screenshot(path=shots / "report_dark.png")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(body).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.locator(".canvas text").first).to_have_css("fill", "rgb(31, 35, 40)")


def test_a_narrow_window_does_not_scroll_sideways(page: Page, report: str, shots: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    open_report(page, report)
    page.locator("#images").scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.locator("#worst .card").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 400
    page.screenshot(path=shots / "report_narrow.png")
