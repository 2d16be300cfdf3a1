"""The page in a real browser, from a disk and without a network: it draws, sorts, prints, and no text overlaps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.compose import compose
from bench.runs.questions import store_protocol
from bench.runs.store import Store
from tests.test_report import HOSTILE, a_run, failed_with, some_runs, write, write_plan

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE, DESK = 390, 1440

# Rectangles of all visible pieces of text, cut to the boxes that scroll; then every two that overlap.
OVERLAPS = """() => {
  const pieces = [];
  const cut = (box, element) => {
    for (let at = element.closest('.scroll'); at; at = at.parentElement.closest('.scroll')) {
      const frame = at.getBoundingClientRect();
      const [left, right] = [Math.max(box.left, frame.left), Math.min(box.right, frame.right)];
      box = {left, right, top: box.top, bottom: box.bottom};
    }
    return box;
  };
  const add = (text, element, box, slack) => {
    const seen = cut(box, element);
    if (seen.right - seen.left > 1 && seen.bottom - seen.top > 1)
      pieces.push({text, element, left: seen.left + slack, right: seen.right - slack,
                   top: seen.top + slack, bottom: seen.bottom - slack});
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest('.unseen, .skip, script, style, #vg-tooltip-element')) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest('svg')) {
      const text = element.closest('text');
      if (text && !text.dataset.counted) {
        text.dataset.counted = 'yes';
        add(text.textContent, text, text.getBoundingClientRect(), 1.5);
      }
      continue;
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) add(node.data.trim(), element, box, 0.5);
  }
  pieces.sort((a, b) => a.top - b.top);
  const found = [];
  pieces.forEach((a, i) => {
    for (let j = i + 1; j < pieces.length && pieces[j].top < a.bottom; j++) {
      const b = pieces[j];
      const nested = a.element !== b.element && (a.element.contains(b.element) || b.element.contains(a.element));
      if (!nested && a.left < b.right && b.left < a.right) found.push([a.text.slice(0, 60), b.text.slice(0, 60)]);
    }
  });
  return {pieces: pieces.length, found};
}"""
# Text that its own drawing cuts off.
CUT_OFF = """() => [...document.querySelectorAll('.chart svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => text.textContent.trim()).filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < frame.left - 1.5 || box.right > frame.right + 1.5 || box.top < frame.top - 1.5
                         || box.bottom > frame.bottom + 1.5);
  }).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=QUIET)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: three arms, several datasets, one of them hostile, failures, gaps."""
    store = Store(tmp_path_factory.mktemp("browser") / "results")
    names = ("sst2", "bbc_news", "a corpus whose name is rather longer than most", HOSTILE)
    runs = some_runs(datasets=names, lead=0.02, cells=("rnn", "gru", "lstm"))
    broken = a_run(cell="gru", data="sst2", seed=9, quality=0.7, **failed_with("ValueError", HOSTILE))
    small = [run for size in (500, 1000) for run in some_runs(["trec6"], seeds=range(5), train_texts=size)]
    store_protocol(store, "question", compose([]).protocol)
    write_plan(store, "question", [*runs, broken])
    write(store, [*runs, broken, *small[:30]])
    assert main(["report", "sweep=question", f"results={store.results}"]) == 0
    return store.results / "reports" / "question" / "index.html"


class Opened:
    """A page in a window of its own, with all that it said and asked for."""

    def __init__(self, browser: sync_api.Browser, path: Path, width: int, scheme: str) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**", self._count)
        self.page.goto(path.as_uri())
        self.page.locator("html[data-drawn]").wait_for()

    def _count(self, route: sync_api.Route) -> None:
        self.requests.append(route.request.url)
        route.continue_()


@pytest.fixture
def opened(browser, report) -> Iterator[Opened]:
    window = Opened(browser, report, DESK, "light")
    yield window
    window.context.close()


def test_it_opens_from_disk_without_a_word_and_asks_for_nothing(opened, report):
    opened.page.wait_for_timeout(300)
    assert opened.complaints == []
    assert opened.requests == [report.as_uri()]
    figures = opened.page.locator("figure .chart").count()
    assert figures >= 8
    assert opened.page.locator("figure .chart svg").count() == figures


def test_text_of_strangers_is_shown_and_not_run(opened):
    assert opened.page.locator("script").count() == 2
    assert opened.page.get_by_text(HOSTILE).first.is_visible()


def test_a_header_sorts_its_column_and_says_so(opened):
    head = opened.page.locator("#table-judged thead th", has_text="Difference")
    place = head.evaluate("head => [...head.parentElement.children].indexOf(head)")

    def column() -> list[float]:
        cells = opened.page.locator(f"#table-judged tbody tr > :nth-child({place + 1})")
        return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]

    assert head.get_attribute("aria-sort") == "none"
    before = column()
    assert len(set(before)) > 3
    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), column()) == ("ascending", sorted(before))
    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), column()) == ("descending", sorted(before, reverse=True))
    assert "descending" in opened.page.locator("#sorted").inner_text()
    other = opened.page.locator("#table-judged thead th", has_text="Task")
    other.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"


def test_hovering_a_mark_shows_its_numbers(opened):
    mark = opened.page.locator("#figure-forest svg .mark-symbol path").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tooltip = opened.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "verdict" in tooltip.inner_text()


def test_the_keyboard_reaches_the_content_and_sorts(opened):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.locator(".skip").bounding_box()
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('th button')"):
            break
    assert page.evaluate("document.activeElement.matches('th button')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"


def test_headings_go_down_one_level_at_a_time(opened):
    levels = opened.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(head => Number(head.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("folded", ["closed", "open"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_text_overlaps_and_nothing_scrolls_sideways(browser, report, width, folded):
    window = Opened(browser, report, width, "light")
    try:
        if folded == "open":
            window.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        seen = window.page.evaluate(OVERLAPS)
        assert seen["pieces"] > 500
        assert seen["found"] == []
        assert window.page.evaluate(CUT_OFF) == []
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        window.context.close()


def test_the_search_for_overlaps_finds_one(opened):
    opened.page.evaluate("document.querySelector('h2').style.marginBottom = '-3rem'")
    assert opened.page.evaluate(OVERLAPS)["found"] != []


def assert_accessible(window):
    """Axe finds nothing serious on the page, with all that is folded open."""
    window.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    result = axe.Axe().run(window.page).response
    assert len(result["passes"]) > 20
    serious = [found for found in result["violations"] if found["impact"] in ("serious", "critical")]
    assert [(found["id"], found["nodes"][0]["html"][:200]) for found in serious] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_axe_finds_nothing_serious(browser, report, scheme, width):
    window = Opened(browser, report, width, scheme)
    try:
        assert_accessible(window)
    finally:
        window.context.close()


def test_print_opens_what_is_folded_and_closes_it_again(opened, tmp_path):
    folded = opened.page.locator("details").count()
    assert folded > 3
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("details[open]").count() == folded
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.locator("details[open]").count() == 0
    written = opened.page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert written.startswith(b"%PDF")
