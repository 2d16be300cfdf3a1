"""`clean` says what lies on disk, and deletes weights and encoded corpora alone."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from bench.errors import UserError
from bench.runs.folders import RECORD
from bench.runs.record import Status
from bench.runs.store import CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST, Store
from bench.verbs.clean import clean
from tests.test_record import a_record


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """Two arms: three runs of `wide`, the second and third equally good; one run of `narrow` that failed early."""
    monkeypatch.chdir(tmp_path)
    store = Store("results")
    for minute, (run_id, arm, accuracy) in enumerate(
        [("w1", "wide", 0.8), ("w2", "wide", 0.9), ("w3", "wide", 0.9), ("n1", "narrow", None)]
    ):
        add_run(store, run_id, arm=arm, validation_accuracy=accuracy, started_at=f"2026-11-21T22:0{minute}:00+00:00")
    for tracker in ("wandb", "csv", "tensorboard"):
        write(store.results / tracker / "deep" / "file", 100)
    return store


def add_run(store: Store, run_id: str, **fields: object) -> Path:
    return store.write(
        a_record(run_id=run_id, execution_id="1", **fields),
        curve=pa.table({"step": [1]}),
        predictions=pa.table({"label": [1]}),
        weights=lambda path: path.write_bytes(b"0" * 2_000_000),
        weights_last=lambda path: path.write_bytes(b"0" * 1_000_000),
    )


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * size)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(store: Store) -> set[str]:
    return {name.removeprefix("runs/") for name in files(store.results) if "weights" in name}


@pytest.mark.parametrize("arguments", [[], ["keep=all"], ["cache=false"]])
def test_without_a_wish_it_only_reports(store, cache, capsys, arguments):
    write(cache / "encoded" / "bbc" / "tokens", 500)
    before = files(store.results) | files(cache)
    assert clean(arguments) == 0
    assert files(store.results) | files(cache) == before
    lines = {row[0]: row[1:] for row in table_rows(capsys.readouterr().out)}
    assert lines["weights"] == ["8", "12.0 MB"]
    assert lines["records"][0] == lines["curves"][0] == lines["predictions"][0] == "4"
    assert lines["wandb"] == lines["csv"] == lines["tensorboard"] == ["1", "100 B"]
    assert lines["encoded"] == ["1", "500 B"]


def test_the_report_says_what_to_type(store, capsys):
    clean([f"results={store.results.resolve()}"])
    advice = capsys.readouterr().out
    for wish in ("keep=best", "keep=none", "cache=true"):
        assert f"python -m bench clean {wish} results={store.results.resolve()}" in advice


def test_keep_none_removes_all_weights_and_nothing_else(store, capsys):
    before = files(store.results)
    clean(["keep=none"])
    assert files(store.results) == {name for name in before if not name.endswith((WEIGHTS, WEIGHTS_LAST))}
    assert {RECORD, CURVE, PREDICTIONS} <= {Path(name).name for name in files(store.results)}
    assert "freed 12.0 MB, 8 files" in capsys.readouterr().out


def test_keep_best_keeps_the_earliest_best_run_of_each_arm(store, capsys):
    clean(["keep=best"])
    assert weights(store) == {f"w2/1/{WEIGHTS}", f"n1/1/{WEIGHTS}"}
    assert "freed 8.0 MB, 6 files" in capsys.readouterr().out
    clean(["keep=best"])
    assert weights(store) == {f"w2/1/{WEIGHTS}", f"n1/1/{WEIGHTS}"}
    assert "freed 0 B, 0 files" in capsys.readouterr().out


def test_keep_best_leaves_every_arm_its_best_weights_still_on_disk(store):
    (store.folder("w2", "1") / WEIGHTS).unlink()
    clean(["keep=best"])
    assert f"w3/1/{WEIGHTS}" in weights(store)


def test_keep_best_leaves_weights_whose_record_cannot_be_read(store, caplog):
    (store.folder("w1", "1") / RECORD).write_text("{")
    clean(["keep=best"])
    assert f"w1/1/{WEIGHTS}" in weights(store)
    assert "w1" in caplog.text


def test_diverged_runs_lose_to_finished_ones(store):
    add_run(store, "n2", arm="narrow", validation_accuracy=0.1, started_at="2026-11-22T00:00:00+00:00")
    add_run(store, "n3", arm="narrow", status=Status.DIVERGED, started_at="2026-11-20T00:00:00+00:00")
    clean(["keep=best"])
    assert {name for name in weights(store) if name.startswith("n")} == {f"n2/1/{WEIGHTS}"}


def test_cache_true_empties_the_encoded_corpora_alone(store, cache, capsys):
    write(cache / "encoded" / "bbc" / "tokens", 3_000)
    write(cache / "downloads" / "imdb", 500)
    before = files(store.results)
    clean(["cache=true"])
    assert files(cache) == {"downloads/imdb"}
    assert list((cache / "encoded").iterdir()) == []
    assert files(store.results) == before
    assert "freed 3.0 kB, 1 files" in capsys.readouterr().out


PARTS = ("composed", "corpora", "encoded", "fingerprints", "trained", "vectors", "vectors-files")


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        ("cache=true", {"corpora", "trained", "vectors", "vectors-files"}),
        ("cache=vectors", {"composed", "corpora", "encoded", "fingerprints", "vectors-files"}),
        ("cache=all", set()),
        ("cache=false", set(PARTS)),
    ],
)
def test_downloads_and_vectors_stay_unless_they_are_asked_for(store, cache, wish, left):
    for part in PARTS:
        write(cache / part / "name" / "file", 10)
    clean([wish])
    assert {Path(name).parts[0] for name in files(cache)} == left


def test_what_can_be_freed_of_the_cache_is_said_with_its_size(store, cache, capsys):
    clean([])
    assert "cache=vectors" not in capsys.readouterr().out
    write(cache / "vectors" / "name" / "file", 4_000)
    write(cache / "vectors-files" / "glove" / "file", 3_000)
    clean([])
    said = capsys.readouterr().out
    assert "cache=vectors  frees vectors made ready to read, 4.0 kB" in said
    assert "cache=all  frees downloads, too, 3.0 kB" in said


def test_a_linked_folder_in_the_cache_is_not_followed(store, cache, tmp_path):
    write(tmp_path / "precious" / "file", 10)
    (cache / "encoded").mkdir(parents=True)
    (cache / "encoded" / "link").symlink_to(tmp_path / "precious")
    clean(["cache=true"])
    assert (tmp_path / "precious" / "file").exists()


def test_without_results_it_reports_the_caches(tmp_path, monkeypatch, cache, capsys):
    monkeypatch.chdir(tmp_path)
    write(cache / "downloads" / "imdb", 500)
    assert clean([]) == 0
    assert "downloads" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("kep=none", "unknown argument 'kep=none': did you mean 'keep'"),
        ("everything", "unknown argument 'everything': choose one of: cache, keep, pages, results"),
        ("keep=bset", "keep=bset: did you mean 'best'"),
        ("keep=", "keep needs a value"),
        ("keep", "keep needs a value"),
        ("cache=yes", "cache=yes: choose one of: all, false, true, vectors"),
        ("results=nowhere", "results=nowhere: no such folder"),
    ],
)
def test_a_wrong_argument_gets_one_line_and_deletes_nothing(store, argument, line):
    before = files(store.results)
    with pytest.raises(UserError) as refusal:
        clean(["keep=none", argument])
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert files(store.results) == before


def test_a_thousand_runs_are_cleaned_in_seconds(store):
    for number in range(1000):
        folder = store.folder(f"run{number:04}", "1")
        folder.mkdir(parents=True)
        record = a_record(run_id=folder.parent.name, execution_id="1", arm="many", validation_accuracy=number / 1000)
        (folder / RECORD).write_text(record.to_json())
        (folder / WEIGHTS).write_bytes(b"0")
    begun = time.monotonic()
    clean(["keep=best"])
    assert time.monotonic() - begun < 10
    assert f"run0999/1/{WEIGHTS}" in weights(store)
    assert len(weights(store)) == 3


def table_rows(text: str) -> list[list[str]]:
    """The cells of the printed tables."""
    rows = ([cell.strip() for cell in line.strip("│┃ ").split("│")] for line in text.splitlines() if "│" in line)
    return [row for row in rows if len(row) == 3]
