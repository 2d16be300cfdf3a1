"""What stands under results/reference/ and in the README is what the published records say."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import ModuleType

import pytest

from bench.analysis.verdict import Verdict
from tests.conftest import ROOT, script_of_docs

REFERENCE = ROOT / "results" / "reference"
STUDY = "gru_first_small"
CLAIMS = "claims/all"


@pytest.fixture(scope="module")
def publish() -> ModuleType:
    return script_of_docs("publish")


@pytest.fixture(scope="module")
def rebuilt(publish: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Verdict, Path]:
    folder = tmp_path_factory.mktemp("rebuilt") / STUDY
    return publish.rebuild(STUDY, folder), folder


def test_every_table_is_made_again_from_the_records(rebuilt: tuple[Verdict, Path]) -> None:
    assert_same_tables(REFERENCE / STUDY, rebuilt[1])


def test_every_figure_is_made_again_from_the_records(rebuilt: tuple[Verdict, Path]) -> None:
    assert_same_figures(REFERENCE / STUDY, rebuilt[1])


def test_the_page_of_claims_is_made_again_from_the_records(publish: ModuleType, tmp_path: Path) -> None:
    claims = publish.rebuild_claims(CLAIMS, tmp_path / "page")
    assert len(claims.parts) > 15
    assert claims.missing == ()
    assert_same_tables(REFERENCE / CLAIMS, tmp_path / "page")
    assert_same_figures(REFERENCE / CLAIMS, tmp_path / "page")


def assert_same_tables(published: Path, again: Path) -> None:
    names = sorted(path.name for path in (published / "tables").glob("*.csv"))
    assert names == sorted(path.name for path in (again / "tables").glob("*.csv"))
    assert len(names) > 10
    for name in names:
        before, after = (list(csv.reader((folder / "tables" / name).open())) for folder in (published, again))
        assert len(before) == len(after), name
        for old, new in zip(before, after, strict=True):
            assert [_rounded(cell) for cell in old] == [_rounded(cell) for cell in new], name


def assert_same_figures(published: Path, again: Path) -> None:
    figures = sorted((published / "figures").glob("*.svg"))
    assert len(figures) > 5
    for path in figures:
        drawn = (again / "figures" / path.name).read_text(encoding="utf-8")
        assert _drawn(drawn) == _drawn(path.read_text(encoding="utf-8")), path.name


def test_the_readme_shows_the_verdict_and_its_figure(rebuilt: tuple[Verdict, Path]) -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", rebuilt[0].sentence):
        assert sentence in readme
    assert f"results/reference/{STUDY}/figures/forest.svg" in readme


def test_the_page_on_word_vectors_shows_what_its_records_say() -> None:
    made = script_of_docs("pretrained_table")
    page = (ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8")
    assert made.page() == page, "run: python docs/pretrained_table.py"
    assert page.count("GloVe at the wrong words, frozen |") == 2  # a row for each corpus


def test_the_published_records_name_no_person_and_no_place() -> None:
    paths = [path for path in REFERENCE.rglob("*.*") if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        content = path.read_bytes()
        assert b"/root" not in content, path
        assert b"/home/" not in content, path


def _rounded(cell: str) -> str | float:
    try:
        return float(f"{float(cell):.9g}")
    except ValueError:
        return cell


def _drawn(svg: str) -> str:
    """A picture up to a hundredth of a pixel."""
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.2f}", svg)
