"""`report` says what the records say: the verdict first, every number with its n, and text of strangers as text."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.__main__ import main
from bench.analysis.verdict import verdict
from bench.compose import compose
from bench.config import Scalar, flatten
from bench.report.document import Column, Table
from bench.report.markdown import escaped
from bench.report.numbers import number_cell, text_cell
from bench.report.spreadsheet import render_csv
from bench.runs.digest import digest
from bench.runs.questions import store_protocol
from bench.runs.record import RunRecord, Status
from bench.runs.store import RECORD, Store
from tests.conftest import Study

TEXTS = 400
HOSTILE = "<script>alert('x')</script> | [a](b) `c` *d*"


def a_run(
    *,
    cell: str,
    data: str,
    seed: int,
    quality: float,
    matching: str = "parameters",
    pooling: str = "mean",
    seconds: float = 10.0,
    **changes: object,
) -> RunRecord:
    """A finished run as the program records it. quality: share of the test texts that are labelled correctly."""
    config = {**settings(cell, matching, pooling), "data.name": data}
    run_id = "-".join(("run", cell, data.encode().hex()[:16], matching, pooling, str(seed)))
    generator = np.random.default_rng(seed)
    lengths = np.random.default_rng(0).integers(3, 200, TEXTS)
    correct = np.arange(TEXTS) < round(quality * TEXTS)
    generator.shuffle(correct)
    values: dict[str, object] = {
        "run_id": run_id, "execution_id": f"20261121T22{seed:04}", "pair_key": f"{data}-{seed}",
        "arm": f"{data}/{cell}",
        "code_version": "c0de", "hardware_key": "box-1", "status": Status.FINISHED, "seed": seed,
        "started_at": f"2026-11-21T22:{seed:02}:00+00:00", "finished_at": f"2026-11-21T22:{seed:02}:30+00:00",
        "data_fingerprint": f"print of {data}", "train_texts": 2000, "validation_texts": 200, "test_texts": TEXTS,
        "classes": 2, "hidden_size_resolved": config["model.hidden_size"], "embedding_dimension": 100,
        "parameters_total": 3_000_000, "parameters_recurrent": 117_760 if cell == "lstm" else 118_320,
        "flops_per_token": 230_000, "test_accuracy": float(correct.mean()), "test_macro_f1": float(correct.mean()),
        "test_log_loss": 0.4, "test_confusion": [[100, 100], [100, 100]], "validation_accuracy": float(correct.mean()),
        "validation_curve": [[seconds * step / 4, quality - 0.2 + 0.05 * step] for step in range(1, 5)],
        "train_seconds": seconds * (1 + 0.02 * (seed % 5)), "inference_milliseconds_p50": 1.5, "tokens_per_second": 5e4,
        "peak_memory_bytes": 10**9, "commit": "f" * 40, "code_committed": True, "python_version": "3.11.7",
        "torch_version": "2.9.0+cpu", "packages": {"numpy": "2.1.0", "torch": "2.9.0+cpu"}, "cpu_model": "A processor",
        "operating_system": "Linux x86_64", "threads": 2, "cpu_steal_fraction": 0.0, "cpu_other_fraction": 0.2,
        "config": config, **asdict(digest(correct, lengths)),
    }  # fmt: skip
    return RunRecord(**{**values, **changes})  # type: ignore[arg-type]


@cache
def settings(cell: str, matching: str, pooling: str) -> dict[str, Scalar]:
    """The configuration as records hold it."""
    composed = compose([f"model={cell}", f"model.match={matching}", f"model.pooling={pooling}"])
    return {
        key: value for key, value in flatten(composed) if key != "seed" and not key.startswith(("protocol.", "duel."))
    }


def some_runs(
    datasets: Iterable[str] = ("sst2", "mr"),
    seeds: Sequence[int] = range(5),
    lead: float = 0.06,
    spread: float = 0.005,
    cells: Sequence[str] = ("gru", "lstm"),
    **changes: object,
) -> list[RunRecord]:
    """Pairs of runs in which each cell is better than the one before it by `lead`, and slower.

    An LSTM of equal width has equal parameters too: it runs once.
    """
    return [
        a_run(cell=cell, data=data, seed=seed, matching=matching, pooling=pooling, seconds=10 + 3 * rank,
              quality=0.75 + lead * rank + spread * ((seed + rank) % 3), **changes)
        for data in datasets
        for matching in ("parameters", "width")
        for pooling in ("mean", "last")
        for rank, cell in enumerate(cells)
        if (cell, matching) != ("lstm", "parameters")
        for seed in seeds
    ]  # fmt: skip


def failed_with(error_type: str, error_message: str) -> dict[str, object]:
    """What a failed run has, and what it lacks."""
    lacks = ("test_accuracy", "test_macro_f1", "test_correct", "test_by_length", "validation_curve", "train_seconds")
    return {"status": Status.FAILED, "error_type": error_type, "error_message": error_message, **dict.fromkeys(lacks)}


def write(store: Store, runs: Iterable[RunRecord]) -> None:
    """Records as a run leaves them, without the fsync of each."""
    for run in runs:
        folder = store.folder(run.run_id, run.execution_id)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(run.to_json(), encoding="utf-8")


def write_plan(store: Store, name: str, runs: Iterable[RunRecord], **more: object) -> None:
    """What a sweep leaves beside its records."""
    named = ("run_id", "pair_key", "arm", "seed")
    members = [{name: getattr(run, name) for name in named} | {"overrides": []} for run in runs]
    folder = store.results / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"schema_version": 1, "name": name, "arguments": [f"+sweep={name}", "seed=range(5)"], "members": members}
    (folder / f"plan-{len(list(folder.iterdir())):08}.json").write_text(json.dumps({**plan, **more}))


class Reading(HTMLParser):
    """What a browser makes of a page: its elements, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.parts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)
            self.parts.setdefault(self._open[-1], data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@dataclass(frozen=True)
class Written:
    """A report that was asked for at the door, in this process, and what the door said."""

    store: Store
    folder: Path
    out: str
    err: str

    @property
    def source(self) -> str:
        return (self.folder / "index.html").read_text(encoding="utf-8")

    @property
    def html(self) -> Reading:
        return Reading(self.source)

    @property
    def markdown(self) -> str:
        return (self.folder / "report.md").read_text(encoding="utf-8")

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((self.folder / "tables" / f"{name}.csv").read_text(encoding="utf-8"))))


def ask(store: Store, *arguments: str, name: str = "all") -> Written:
    """Ask for a report. name: of its folder."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["report", f"results={store.results}", *arguments])
    assert code == 0, err.getvalue()
    return Written(store, store.results / "reports" / name, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A sweep of two datasets, five seeds, both matchings and readings, with its plan and protocol."""
    store, runs = Store(tmp_path_factory.mktemp("clean") / "results"), some_runs()
    store_protocol(store, "question", compose([]).protocol)
    write_plan(store, "question", runs)
    write(store, runs)
    return ask(store, "sweep=question", name="question")


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A hostile corpus, failures, a damaged record, a seed without a partner, planned runs without a record, others'
    runs beside those of the sweep, and a home folder in what was typed and said."""
    home = tmp_path_factory.mktemp("home")
    store = Store(home / "results")
    runs = some_runs(datasets=["sst2", HOSTILE], cpu_model=HOSTILE)
    secret = failed_with("MemoryError", f"no memory for {home}/secret")
    runs += [a_run(cell="gru", data="sst2", seed=seed, quality=0.7, **secret) for seed in (7, 8)]
    runs += [a_run(cell="gru", data="sst2", seed=6, quality=0.7, **failed_with("ValueError", HOSTILE))]
    runs += [a_run(cell="gru", data="sst2", seed=9, quality=0.7)]
    later = some_runs(datasets=["later"], seeds=[0])
    write_plan(store, "question", [*runs, *later], arguments=["data=local", f"data.path={home}/corpus"])
    write(store, [*runs, *some_runs(datasets=["elsewhere"])])
    damaged = store.folder("damaged", "1")
    damaged.mkdir(parents=True)
    (damaged / RECORD).write_text('{"schema_version": 1', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        return ask(store, "sweep=question", name="question")


def test_the_door_prints_the_answer_and_the_page_begins_with_it(study: Study) -> None:
    write(Store(study.results), some_runs(datasets=["sst2"]))
    done = study.command("report")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = study.results / "reports" / "all"
    answer = Reading((folder / "index.html").read_text(encoding="utf-8")).parts["h1"]
    assert answer.startswith("Choose the LSTM")
    assert "ahead by 6.2 points" in done.stdout
    assert done.stdout.startswith(answer)
    assert done.stdout.rstrip().endswith("page: results/reports/all/index.html")
    assert (folder / "report.md").read_text(encoding="utf-8").replace("\\", "").startswith(f"# {answer}")


def test_a_report_needs_neither_torch_nor_wandb(tmp_path):
    store = Store(tmp_path / "results")
    write(store, some_runs(datasets=["sst2"]))
    program = (
        "import sys; from bench.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", program, "report", f"results={store.results}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_one_seed_gives_a_page_that_says_why_nothing_is_decided(tmp_path):
    store = Store(tmp_path / "results")
    write(store, some_runs(datasets=["sst2"], seeds=[3]))
    written = ask(store)
    rows = written.table("judged")
    assert {row["verdict"] for row in rows} == {"undecided"}
    assert {row["seeds"] for row in rows} <= {"0", "1"}
    assert all(row["reason"] for row in rows)
    assert "undecided" in written.out


def test_one_arm_gives_a_page_that_says_so(tmp_path):
    store = Store(tmp_path / "results")
    write(store, some_runs(datasets=["sst2"], cells=["gru"]))
    written = ask(store)
    assert written.html.parts["h1"].startswith("No verdict: fewer than two arms")
    assert written.out.startswith("No verdict: fewer than two arms")
    assert "no other arm was run on it" in written.html.text


def test_every_number_of_the_evidence_is_in_the_tables(clean):
    found = verdict(clean.store.table(), compose([]).protocol)
    rows = {(r["dataset"], r["matching"], r["pooling"]): r for r in clean.table("judged")}
    assert len(rows) == len(found.evidence) == 8
    for entry in found.evidence:
        row = rows[(entry.scene.dataset, entry.scene.matching, entry.scene.pooling)]
        assert int(row["seeds"]) == len(entry.seeds) == 5
        assert entry.difference is not None
        assert float(row["difference_points"]) == entry.difference.estimate
        assert float(row["difference_points_low"]) == entry.difference.low
        assert float(row["difference_points_high"]) == entry.difference.high
        assert row["verdict"] == entry.verdict
    seeds = clean.table("seeds")
    assert len(seeds) == 8 * 5
    for row in seeds:
        difference = float(row["alternative_percent"]) - float(row["baseline_percent"])
        assert difference == pytest.approx(float(row["difference_points"]))


def test_the_page_has_every_part_in_order(clean):
    keys = re.findall(r'<section id="([a-z]+)"', clean.source)
    assert keys == [
        "verdicts", "forest", "looks", "seeds", "evidence", "datasets", "pareto", "learning", "length", "size",
        "budget", "mcnemar", "gaps", "environment", "protocol", "repeat",
    ]  # fmt: skip
    assert "No tuning trials are recorded" in clean.html.text


def test_every_figure_and_table_that_the_markdown_links_is_there(clean):
    links = re.findall(r"\]\(([^)]+)\)", clean.markdown)
    assert sum(link.startswith("figures/") for link in links) >= 6
    assert sum(link.startswith("tables/") for link in links) >= 12
    for link in links:
        assert (clean.folder / link).stat().st_size > 0, link
    for figure in (clean.folder / "figures").glob("*.svg"):
        assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_runs_are_one_tidy_table(clean):
    runs = pd.read_parquet(clean.folder / "runs.parquet")
    assert runs.groupby(["dataset", "matching", "pooling", "arm"]).seed.nunique().tolist() == [5] * 16


def test_the_commands_that_repeat_it_are_those_that_were_typed(clean):
    assert "python -m bench -m +sweep=question 'seed=range(5)'" in clean.markdown
    assert f"git checkout {'f' * 40}" in clean.markdown
    assert "python -m bench report sweep=question" in clean.markdown


def test_a_protocol_stored_after_the_runs_began_is_not_called_fixed_before_them(clean):
    assert "after 60 executions of 60 had begun" in clean.html.text
    assert "Fixed before the runs" not in clean.html.text


def test_only_the_runs_of_the_sweep_are_reported(messy):
    assert set(pd.read_parquet(messy.folder / "runs.parquet").dataset) == {"sst2", HOSTILE}


def test_planned_runs_without_a_record_are_counted(messy):
    assert "6 planned runs left no record yet" in messy.html.text


def test_failures_are_named_by_reason(messy):
    first, second = messy.table("failures")
    assert first == {
        "runs": "2", "status": "failed", "error_type": "MemoryError", "error_message": "no memory for ~/secret"
    }  # fmt: skip
    assert (second["runs"], second["error_message"]) == ("1", HOSTILE)


def test_seeds_that_one_arm_alone_has_are_listed(messy):
    assert {(row["arm"], row["seeds_missing"]) for row in messy.table("missing")} == {("lstm", "9")}


def test_a_damaged_record_is_named_on_the_page_and_at_the_door(messy):
    assert "skipped" in messy.err
    assert "runs/damaged/1/record.json" in messy.err
    assert "runs/damaged/1/record.json" in messy.html.text
    assert "1 record or plan could not be read" in messy.html.text


def test_text_of_strangers_stays_text_on_the_page(messy):
    assert messy.html.text.count(HOSTILE) > 10
    assert messy.html.tags.count("script") == 2
    assert "<script>alert" not in messy.source


def test_text_of_strangers_stays_text_in_markdown(messy):
    assert "<script>" not in messy.markdown.replace("\\<script\\>", "")
    lines = messy.markdown.splitlines()
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    rows = [line.startswith("|") for line in lines]
    assert sum(rows) > 50
    assert all(bars[row] == bars[row + 1] for row in range(len(rows) - 1) if rows[row] and rows[row + 1])


def test_no_home_folder_is_published(messy):
    home = str(messy.store.results.parent).encode()
    files = [path for path in messy.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if home in path.read_bytes()] == []
    assert "data.path=~/corpus" in messy.markdown


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_a_spreadsheet_computes_nothing(name):
    table = Table("t", "", (Column("Task", ("task",)), Column("Δ", ("delta",))),
                  ((text_cell(name), number_cell(-0.5)),))  # fmt: skip
    rows = list(csv.reader(io.StringIO(render_csv(table))))
    assert rows == [["task", "delta"], [f"'{name}", "-0.5"]]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("n = 8, Δ +0.59 (of 10)", "n = 8, Δ +0.59 (of 10)"),
        ("# no heading", "\\# no heading"),
        ("- no list", "\\- no list"),
        ("1. no list", "1\\. no list"),
        ("a | b", "a \\| b"),
        ("two\nlines", "two lines"),
        ("[a](b) <i> `c` *d* _e_ &lt;", "\\[a\\](b) \\<i\\> \\`c\\` \\*d\\* \\_e\\_ \\&lt;"),
        ("https://a.b www.c.d", "https:\\//a.b www\\.c.d"),
    ],
)
def test_markdown_escapes_what_it_would_read_otherwise(text, written):
    assert escaped(text) == written


def test_the_stored_protocol_judges_and_a_changed_one_is_shown_as_changed(tmp_path):
    store, runs = Store(tmp_path / "results"), some_runs(datasets=["sst2"])
    store_protocol(store, "question", compose(["protocol.margin=7"]).protocol)
    write_plan(store, "question", runs)
    write(store, runs)
    stored = ask(store, "sweep=question", name="question")
    assert {row["margin_points"] for row in stored.table("judged")} == {"7.0"}
    assert "Changed" not in stored.html.text
    stale = [stored.folder / "tables" / "of_yesterday.csv", stored.folder / "figures" / "of_yesterday.svg"]
    for path in stale:
        path.write_text("left by an earlier version\n")
    changed = ask(store, "sweep=question", "protocol.margin=1", name="question")
    assert {row["margin_points"] for row in changed.table("judged")} == {"1.0"}
    assert "margin: 7.0 before the runs, 1.0 now" in changed.html.text
    assert "Changed: another protocol was stored with the plan" in changed.html.text
    assert not any(path.exists() for path in stale)


def test_several_arms_are_ranked(tmp_path):
    store = Store(tmp_path / "results")
    write(store, some_runs(cells=["rnn", "gru", "lstm"]))
    assert [row["arm"] for row in ask(store).table("ranking")] == ["lstm", "gru", "rnn"]


def test_any_key_can_be_compared(clean):
    rows = ask(clean.store, "compare=model.pooling", name="all-model.pooling").table("judged")
    assert {frozenset((row["baseline"], row["alternative"])) for row in rows} == {
        frozenset(("pooling=last", "pooling=mean"))
    }


def test_two_folders_are_set_side_by_side(tmp_path):
    before, after = Store(tmp_path / "before"), Store(tmp_path / "after")
    write(before, some_runs(datasets=["sst2"]))
    write(after, some_runs(datasets=["sst2"], lead=0.16, spread=0.0075, code_version="newer"))
    sides = f"{before.results}..{after.results}"
    written = ask(after, f"diff={sides}", name=f"diff-{hashlib.sha256(sides.encode()).hexdigest()[:8]}")
    assert "Quality changed beyond seed noise" in written.html.parts["h1"]
    assert written.html.parts["h1"] in written.out
    rows = written.table("arms")
    assert {(row["arm"], row["changed"]) for row in rows} == {("sst2/gru", "no"), ("sst2/lstm", "yes")}
    assert {row["paired"] for row in rows} == {"5"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A few records and a plan."""
    made, runs = Store(tmp_path / "results"), some_runs(datasets=["sst2"], seeds=[0])
    write_plan(made, "question", runs)
    write(made, runs)
    return made


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["swep=x"], "unknown argument 'swep=x': did you mean 'sweep'"),
        (["everything"], "unknown argument 'everything'"),
        (["sweep="], "sweep needs a value"),
        (["sweep=qestion"], "did you mean 'question'"),
        (["sweep=../question"], "sweep"),
        (["compare=model.cel"], "did you mean 'model.cell'"),
        (["protocol=defalt"], "did you mean 'default'"),
        (["protocol.margn=1"], "did you mean 'protocol.margin'"),
        (["protocol.margin=-1"], "protocol.margin=-1"),
        (["results=nowhere"], "results=nowhere: no such folder"),
        (["diff=a..b", "sweep=question"], "diff= stands alone"),
        (["diff=a"], "write diff=A..B"),
    ],
)
def test_a_wrong_word_gets_one_line_that_says_what_to_type(store, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(store.results.parent)
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (store.results / "reports").exists()


def test_an_empty_results_folder_gets_one_line(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    assert main(["report", f"results={tmp_path / 'results'}"]) == 2
    assert "no runs in" in capsys.readouterr().err


def test_a_sweep_without_any_record_gets_one_line(tmp_path, capsys):
    store = Store(tmp_path / "results")
    write_plan(store, "question", some_runs())
    assert main(["report", "sweep=question", f"results={store.results}"]) == 2
    assert "none of the 60 planned runs of sweep 'question' has a record yet" in capsys.readouterr().err


def test_five_hundred_scenes_stay_a_page_of_a_few_megabytes(tmp_path):
    store = Store(tmp_path / "results")
    datasets = [f"corpus{number}" for number in range(84)]
    like = some_runs(datasets=datasets[:1], seeds=range(5))
    write(store, [renamed(run, name) for name in datasets for run in like])
    assert main(["report", f"results={store.results}"]) == 0
    assert (store.results / "reports" / "all" / "index.html").stat().st_size <= 8_000_000


SPACE = "training.learning_rate=0.001..0.1 log"


def tuned_runs(qualities: dict[str, list[float | None]], **search: Scalar) -> list[RunRecord]:
    """Winners of a search, and its trials. qualities: on validation, by cell and trial; None where it diverged."""
    tuning = {"tuning.trials": len(next(iter(qualities.values()))), "tuning.space": SPACE, **search}
    runs = some_runs(datasets=["sst2"], cells=tuple(qualities))
    found = [replace(run, config={**run.config, **tuning}) for run in runs]
    for cell, values in qualities.items():
        for number, quality in enumerate(values):
            like = a_run(cell=cell, data="sst2", seed=1000, quality=0.5)
            config = {**like.config, **tuning, "tuning.trial": number, "training.learning_rate": 0.001 * (number + 1)}
            ended = failed_with("DivergedError", "loss") | {"hidden_size_resolved": None, "validation_accuracy": None}
            known = {"test_accuracy": None, "validation_accuracy": quality, "validation_log_loss": 0.5}
            found.append(replace(like, run_id=f"trial-{cell}-{number}", config={**config, "data.use_test": False},
                                 **(ended if quality is None else known)))  # type: ignore[arg-type]  # fmt: skip
    return found


def test_the_tuning_budget_is_shown_with_its_band_and_its_winners(tmp_path):
    store = Store(tmp_path / "results")
    write(store, tuned_runs({"gru": [0.7, 0.8, None, 0.75], "lstm": [0.6, None, 0.9, 0.9]}))
    written = ask(store)
    text = written.html.text
    assert "Random search, 4 trials each, the same draws for every arm, seed 1000, in training.learning_rate" in text
    assert (written.folder / "figures" / "budget.svg").is_file()
    rows = [row for row in written.table("budget") if row["arm"] == "gru" and "width" not in row["dataset"]]
    assert [int(row["trials"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[0]["quality"]) == pytest.approx(100 * (0.7 + 0.8 + 0 + 0.75) / 4)
    assert float(rows[-1]["quality"]) == pytest.approx(80)
    assert float(rows[1]["low"]) <= float(rows[1]["quality"]) <= float(rows[1]["high"])
    best = {row["arm"]: row for row in written.table("winners") if "width" not in row["dataset"]}
    assert (best["gru"]["trial"], best["gru"]["failed"], best["gru"]["values"]) == (
        "1", "1", "training.learning_rate=0.002"
    )  # fmt: skip
    lstm = [row["trials"] for row in written.table("winners") if row["arm"] == "lstm"]
    assert lstm == ["4", "4"], "a trial that failed early counts at both matchings"
    assert (best["lstm"]["trial"], best["lstm"]["trials"]) == ("2", "4"), "of two equal ones the first"


def test_trials_are_in_no_table_of_runs_and_the_gaps_say_so(tmp_path):
    store = Store(tmp_path / "results")
    write(store, tuned_runs({"gru": [0.7, None], "lstm": [0.6, 0.62]}))
    written = ask(store)
    assert set(pd.read_parquet(written.folder / "runs.parquet").seed) == set(range(5))
    reasons = {row["reason"]: row["runs"] for row in written.table("apart")}
    assert [runs for reason, runs in reasons.items() if reason.startswith("4 tuning trials")] == ["4"]
    assert "DivergedError" not in written.html.text
    assert {row["verdict"] for row in written.table("judged")} == {"lstm"}


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"tuning.sampler": "tpe"}, "Search by TPE, 3 trials each, each one learning from the earlier"),
        ({"tuning.pruner": "median"}, "those that lagged behind stopped early by the median rule"),
    ],
)
def test_a_search_that_learns_is_not_drawn_as_if_its_trials_were_independent(tmp_path, search, words):
    store = Store(tmp_path / "results")
    write(store, tuned_runs({"gru": [0.7, 0.8, 0.75], "lstm": [0.6, 0.62, 0.9]}, **search))
    written = ask(store)
    assert words in written.html.text
    assert "no expectation of what another search would find" in written.html.text
    assert not (written.folder / "figures" / "budget.svg").exists()
    rows = [row for row in written.table("budget_so_far") if row["arm"] == "gru" and "width" not in row["dataset"]]
    assert [float(row["quality"]) for row in rows] == pytest.approx([70, 80, 80])


def renamed(run: RunRecord, dataset: str) -> RunRecord:
    """The same run on other data."""
    config = {**run.config, "data.name": dataset}
    return replace(run, run_id=f"{run.run_id}-{dataset}", config=config, data_fingerprint=f"print of {dataset}")


def test_disturbed_times_are_marked_beside_the_ratio_and_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [replace(run, timing_disturbed=run.seed in (1, 3)) for run in some_runs(("sst2",))]
    write(store, runs)
    written = ask(store)
    needed, judged = written.table("needed")[0], written.table("judged")[0]
    assert (needed["time_pairs"], needed["time_pairs_disturbed"]) == ("5", "2")
    assert float(needed["time_ratio_undisturbed"]) == pytest.approx(float(judged["time_ratio"]), rel=0.1)
    assert "(2 of 5 pairs disturbed)" in written.markdown
    disturbed = sum(run.timing_disturbed is True for run in runs)
    assert f"The times of {disturbed} executions of {len(runs)} (40%) were disturbed" in written.markdown
