"""The page of `inspect` in a real browser, from a disk and without a network: it draws, reads out, folds and fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench.__main__ import main
from tests.conftest import Study, cache_folder
from tests.test_page_browser import CUT_OFF, DESK, OVERLAPS, PHONE, Opened, axe, browser, pytestmark

__all__ = ["browser", "pytestmark"]
LONG = "the match of the team was a goal for the league and the coach said that it was on the stadium " * 12
# How many colours a heat map has, and whether it is as wide as its labels.
COLOURS = """canvas => new Set(new Uint32Array(
  canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs beside each other, on a short text, a long one and one in Russian."""
    study = Study(tmp_path_factory.mktemp("look"))
    study.write_corpus()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(cache_folder(tmp_path_factory)))
        common = ("keep=best", "data.max_length=240", "model.kernel=torch")
        ids = [
            bench.run(study.overrides(*common, "model=gru")).run_id,
            bench.run(study.overrides(*common, "model=lstm", "model.bidirectional=true")).run_id,
        ]
    texts = ["the goal of the match was on the team", LONG, "кот сказал: «да», <b>и</b> ушёл"]
    output = study.folder / "page.html"
    assert main(["inspect", *ids, *texts, f"--output={output}", f"results={study.results}"]) == 0
    return output


@pytest.fixture
def opened(browser, page) -> Iterator[Opened]:
    window = Opened(browser, page, DESK, "light")
    yield window
    window.context.close()


def test_it_opens_from_disk_without_a_word_and_draws_everything(opened, page):
    assert opened.complaints == []
    assert opened.requests == [page.as_uri()]
    charts = opened.page.locator("figure .chart").count()
    assert charts == 6
    assert opened.page.locator("figure .chart svg").count() == charts
    maps = opened.page.locator("canvas[data-values]")
    assert maps.count() == 3 * (4 + 2 * 6)
    assert all(maps.nth(place).evaluate(COLOURS) > 8 for place in range(4))


def test_the_pointer_and_the_keyboard_read_a_heat_map(opened):
    canvas = opened.page.locator("canvas[data-values]").first
    said = canvas.locator("xpath=ancestor::figure").locator("output")
    assert said.inner_text() == ""
    canvas.scroll_into_view_if_needed()
    canvas.hover(position={"x": 3, "y": 1})
    assert re.fullmatch(r"token 1 “the”, unit 1: −?\d\.\d\d", said.inner_text())
    canvas.focus()
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowDown")
    assert re.fullmatch(r"token 2 “goal”, unit 2: −?\d\.\d\d", said.inner_text())


def test_columns_of_two_runs_stand_beside_each_other_on_a_desk_and_below_on_a_phone(browser, page):
    for width, beside in ((DESK, True), (PHONE, False)):
        window = Opened(browser, page, width, "dark")
        try:
            boxes = [box.bounding_box() for box in window.page.locator(".beside").first.locator("> div").all()]
            assert (boxes[0]["y"] == boxes[1]["y"]) is beside
        finally:
            window.context.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_text_overlaps_and_nothing_scrolls_sideways(browser, page, width):
    window = Opened(browser, page, width, "light")
    try:
        window.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        seen = window.page.evaluate(OVERLAPS)
        assert seen["pieces"] > 500
        assert seen["found"] == []
        assert window.page.evaluate(CUT_OFF) == []
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        window.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, page, scheme):
    window = Opened(browser, page, DESK, scheme)
    try:
        window.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        result = axe.Axe().run(window.page).response
        assert len(result["passes"]) > 20
        serious = [found for found in result["violations"] if found["impact"] in ("serious", "critical")]
        assert [(found["id"], found["nodes"][0]["html"][:200]) for found in serious] == []
    finally:
        window.context.close()
