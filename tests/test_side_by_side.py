"""`pytest -n auto` starts as many workers as the machine carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.processor import usable_cores
from tests.side_by_side import MOST_WORKERS, free_memory, workers_for

GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "gibibytes", "workers"),
    [(2, 16, 2), (4, 16, 4), (64, 256, MOST_WORKERS), (64, 7, 2), (4, 1, 1), (1, 64, 1)],
)
def test_cores_and_memory_limit_the_workers(cores: int, gibibytes: int, workers: int) -> None:
    assert workers_for(cores, gibibytes * GIB) == workers


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_containers_limit_on_memory_counts(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("1048576\n")
    assert free_memory(tmp_path) == 2**20


def test_a_container_without_a_limit_has_what_is_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 2**20


def test_pytest_asks_for_the_number_unless_someone_gives_it(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist")
    ask = pytestconfig.hook.pytest_xdist_auto_num_workers
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    assert 1 <= ask(config=pytestconfig) <= min(usable_cores(), MOST_WORKERS)
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "11")
    assert ask(config=pytestconfig) == 11
