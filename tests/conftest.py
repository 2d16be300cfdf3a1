"""A throwaway study: a tiny learnable corpus, settings that train in a second, a results folder of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from bench.processor import usable_cores
from bench.runs.record import RunRecord
from tests.side_by_side import free_memory, workers_for

ROOT = Path(__file__).resolve().parents[1]
TOPICS = {
    "sport": ["match", "goal", "team", "league", "coach", "striker", "season", "stadium"],
    "money": ["bank", "shares", "profit", "market", "euro", "bond", "trader", "deficit"],
    "music": ["album", "singer", "guitar", "chorus", "concert", "band", "lyric", "stage"],
}
FILLER = "the a of and in was on it that for with as at by said after from has".split()  # noqa: SIM905


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: ours must hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """What `pytest -n auto` means; a number from the environment is left to pytest-xdist."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers_for(usable_cores(), free_memory())


@dataclass(frozen=True)
class Study:
    """Where a throwaway study lies."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "corpus"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def overrides(self, *more: str) -> list[str]:
        """The smallest run that learns something; later overrides win."""
        base = {
            "data": "local",
            "data.path": str(self.data),
            "data.max_length": "20",
            "model.hidden_size": "12",
            "model.dropout": "0.1",
            "model.pooling": "max",
            "embedding.dimension": "8",
            "embedding.scale": "0.1",
            "training.schedule": "constant",
            "training.epochs": "3",
            "training.batch_size": "8",
            "training.learning_rate": "0.02",
            "logger": "none",
            "hardware": "cpu",
            "hardware.threads": "1",
            "results": str(self.results),
        }
        base |= dict(override.split("=", 1) for override in more)
        return [f"{key}={value}" for key, value in base.items()]

    def write_corpus(self, texts: int = 90, splits: tuple[str, ...] = ("train", "dev", "test")) -> None:
        """Texts whose topic words give the class away; a dev and test split of a third each."""
        self.data.mkdir(exist_ok=True)
        draw = random.Random(7)
        for split in splits:
            lines = []
            for row in range(texts if split == "train" else texts // 3):
                topic = sorted(TOPICS)[row % len(TOPICS)]
                words = draw.choices(FILLER, k=draw.randint(2, 18)) + draw.choices(TOPICS[topic], k=2)
                draw.shuffle(words)
                lines.append(json.dumps({"text": " ".join(words), "label": topic}))
            (self.data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")

    def records(self) -> list[RunRecord]:
        """All records, first started first."""
        return records_in(self.results)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type something at the door, in a process of its own, from the study's folder."""
        return subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip


def records_in(results: Path) -> list[RunRecord]:
    """All records of a results folder, first started first."""
    found = [RunRecord.from_json(path.read_text()) for path in results.glob("runs/*/*/record.json")]
    return sorted(found, key=lambda record: record.started_at)


def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept from session to session; each worker of `pytest -n` has one, and so a table of kernels, of its own."""
    base, worker = tmp_path_factory.getbasetemp().parent, os.environ.get("PYTEST_XDIST_WORKER")
    return base.parent / f"cache-{worker}" if worker else base / "cache"


def script_of_docs(name: str) -> ModuleType:
    """A script below docs/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def _own_devices() -> Iterator[str]:
    """A short folder for temporary files, device locks among them: sessions do not wait for each other's devices."""
    with tempfile.TemporaryDirectory(prefix="b-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _no_traces_outside(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, _own_devices: str
) -> None:
    """Caches go to a temporary folder, W&B stays offline, and nobody's settings leak in, nor a table of kernels."""
    monkeypatch.setenv("TMPDIR", _own_devices)
    shared = cache_folder(tmp_path_factory)
    monkeypatch.setenv("BENCH_CACHE", str(shared))
    for table in (shared / "kernels").glob("*.json"):  # or what `model.kernel=auto` means would hang on earlier tests
        table.unlink(missing_ok=True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("BENCH_VECTORS", "WANDB_API_KEY", "WANDB_SWEEP_ID", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    made.write_corpus()
    return made


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real corpora: `$BENCH_DATA`, or `shared/data` beside the checkout."""
    named = os.environ.get("BENCH_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "imdb" / "train.parquet").is_file():
        pytest.skip("no real corpora: set BENCH_DATA to a mirror folder (docs/data.md)")
    return folder
