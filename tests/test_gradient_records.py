"""`training.gradient_flow=true` adds to records and changes nothing else; `inspect --gradients` and reports show it."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pandas as pd
import pytest
from safetensors.numpy import load_file

import bench
from bench.__main__ import main
from bench.analysis.gradient_flow import BEST, FIRST, HIDDEN, flow_curves, flow_numbers
from bench.analysis.repetition import QUALITY
from bench.compose import compose
from bench.data.module import prepare
from bench.report.document import Document
from bench.report.figures_gradients import gradient_flow as drawn_flow
from bench.report.gradients import gradient_document, labelled
from bench.report.question import Question
from bench.report.sections import compose_report
from bench.runs.flow_again import record_with_flow
from bench.runs.gradient_flow import TEXTS, FlowNumbers, chosen_rows
from bench.runs.identity import resolve
from bench.runs.index import frame_of
from bench.runs.record import RunRecord, Status
from bench.runs.store import WEIGHTS, Store
from tests.conftest import Study

LAST = ("model.pooling=last", "data.max_length=12", "training.epochs=2")
FLOW = "training.gradient_flow=true"
NAMES = list(FlowNumbers.__dataclass_fields__)


def run(study: Study, *more: str) -> RunRecord:
    record = bench.run(study.overrides(*LAST, *more))
    assert record.status is Status.FINISHED, record.error_message
    return record


def weights(study: Study, record: RunRecord) -> dict[str, bytes]:
    path = Store(study.results).folder(record.run_id, record.execution_id) / WEIGHTS
    return {name: value.tobytes() for name, value in load_file(path).items()}


def test_it_adds_to_the_record_and_changes_nothing_else(study: Study) -> None:
    without, with_it = run(study, "model=lstm"), run(study, "model=lstm", FLOW, "force=true")
    assert with_it.run_id == without.run_id
    assert with_it.pair_key == without.pair_key
    assert weights(study, with_it) == weights(study, without)
    assert [getattr(with_it, name) for name in QUALITY] == [getattr(without, name) for name in QUALITY]
    assert without.gradient_flow is None
    assert all(getattr(without, name) is None for name in NAMES)
    assert with_it.gradient_flow is not None
    assert set(with_it.gradient_flow) == {"hidden_initial", "hidden", "carousel_initial", "carousel"}
    for name in NAMES:
        if "half_life" not in name:
            assert getattr(with_it, name) is not None, name
            assert getattr(with_it, f"{name}_initial") is not None, name
    assert with_it.recurrent_singular_value_initial == pytest.approx(1, rel=1e-5)
    assert with_it.recurrent_singular_value != pytest.approx(1, rel=1e-4), "training has moved the weights"
    resolved = resolve(compose(study.overrides(*LAST, "model=lstm")))
    lengths = prepare(resolved.corpus, resolved.config.data, with_it.seed).validation.lengths
    rows = chosen_rows(lengths)
    assert with_it.gradient_flow_texts == len(rows) <= TEXTS
    assert with_it.gradient_flow["hidden"][-1][0] == lengths[rows].min() - 1, "all texts reach the farthest point"


@pytest.mark.parametrize("task", ["data=adding", "data=copy"])
def test_other_tasks_have_it_too(study: Study, task: str) -> None:
    probe = {"data.length": "21", "data.size": "40", "data.max_length": "100"}
    base = [word for word in study.overrides(*LAST) if not word.startswith("data")]
    record = bench.run([*base, task, *(f"{key}={value}" for key, value in probe.items()), "model=lstm", FLOW])
    assert record.status is Status.FINISHED, record.error_message
    assert record.gradient_decay_per_step is not None
    assert record.carousel_decay_per_step_initial is not None


def test_a_baseline_that_does_not_recur_has_none_and_finishes(study: Study) -> None:
    record = run(study, "model=bag", "model.pooling=mean", FLOW)
    assert record.gradient_flow is None
    assert record.gradient_decay_per_step is None


def test_measured_again_from_weights_it_is_what_training_measured(study: Study) -> None:
    again = record_with_flow(Store(study.results), run(study, "model=gru").run_id)
    assert len(list(Store(study.results).runs.glob("*/*"))) == 1, "nothing is written"
    recorded = run(study, "model=gru", FLOW, "force=true")
    assert recorded.run_id == again.run_id
    for name in (name for field in NAMES for name in (field, f"{field}_initial")):
        expected = getattr(recorded, name)
        assert getattr(again, name) == (None if expected is None else pytest.approx(expected, rel=1e-6)), name
    assert again.gradient_flow is not None
    assert again.gradient_flow["hidden_initial"][-1] == pytest.approx(recorded.gradient_flow["hidden_initial"][-1])  # type: ignore[index]
    assert record_with_flow(Store(study.results), recorded.run_id) == recorded


def test_inspect_gradients_prints_a_table_and_writes_a_page(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    rnn, lstm = run(study, "model=rnn", FLOW), run(study, "model=lstm", FLOW)
    capsys.readouterr()
    output = study.folder / "page.html"
    typed = ["inspect", rnn.run_id[:8], lstm.run_id[:8], "--gradients", f"results={study.results}"]
    assert main([*typed, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "After training, the gradient" in shown
    assert re.search(r"^lstm +first +0\.\d{4} +\d", shown, re.MULTILINE)
    assert re.search(r"^lstm +best +[01]\.\d{4} +\d", shown, re.MULTILINE)
    assert str(output) in shown
    page = output.read_text(encoding="utf-8")
    assert "Claim: in a simple recurrent network the gradient vanishes" in page
    assert "gradient-flow" in page
    folder = study.results / "inspect" / f"gradients-{rnn.run_id[:8]}-{lstm.run_id[:8]}"
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    with (folder / "tables" / "gradient_curves.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["arm"], row["state"]) for row in rows} == {("rnn", "hidden"), ("lstm", "hidden"), ("lstm", "carousel")}
    assert {row["moment"] for row in rows} == {FIRST, BEST}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("model=bag", "model.pooling=mean"), "--gradients looks at recurrent cells"),
        (("model=rnn", "keep=none"), "kept no weights"),
    ],
)
def test_runs_that_cannot_be_measured_get_one_line(
    study: Study, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], line: str
) -> None:
    record = run(study, *more)
    capsys.readouterr()
    assert main(["inspect", record.run_id, "--gradients", f"results={study.results}"]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_another_corpus_is_refused(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(study, "model=rnn")
    study.write_corpus(texts=60)
    capsys.readouterr()
    assert main(["inspect", record.run_id, "--gradients", f"results={study.results}"]) == 2
    assert "its data are not those found now" in capsys.readouterr().err


def test_a_report_has_the_section_where_records_carry_it(study: Study) -> None:
    records = [run(study, f"model={cell}", f"seed={seed}", FLOW) for cell in ("gru", "lstm") for seed in (0, 1)]
    document = reported(records)
    assert "gradients" in [section.key for section in document.sections]
    assert "gradient-flow" in [figure.name for figure in document.figures]
    (numbers,) = (table for table in document.tables if table.name == "gradient_flow")
    assert {row[1].text for row in numbers.rows} == {"gru", "lstm"}
    assert len(numbers.rows) == 4, "a row an arm and moment"
    without = reported([replace(record, gradient_flow=None) for record in records])
    assert "gradients" not in [section.key for section in without.sections]


def reported(records: list[RunRecord]) -> Document:
    table = frame_of(replace(record, code_committed=True) for record in records)
    return compose_report(bench.verdict(table), Question(), table)


def test_means_over_runs_are_those_of_factors(study: Study) -> None:
    record = run(study, "model=rnn", FLOW)
    other = replace(record, run_id="other", seed=1, gradient_decay_per_step=0.4, gradient_flow={
        name: [[distance, *(value / 4 for value in values)] for distance, *values in points]
        for name, points in (record.gradient_flow or {}).items()})  # fmt: skip
    pair = [replace(record, gradient_decay_per_step=0.9), other]
    frame = labelled(frame_of(pair)).assign(arm="rnn")
    (trained,) = [row for row in flow_numbers(frame).to_dict("records") if row["moment"] == BEST]
    assert trained["decay"] == pytest.approx(0.6)
    assert trained["half_life"] == pytest.approx(1.357, rel=1e-3)
    assert trained["runs"] == 2
    curves = flow_curves(frame)
    alone = flow_curves(labelled(frame_of([record])))
    assert curves["median"].to_numpy() == pytest.approx(alone["median"].to_numpy() / 2, rel=1e-6)
    assert gradient_document(frame_of(pair)).sections[0].blocks


def test_the_figure_shows_what_a_step_in_float32_could_notice() -> None:
    rows = [
        {"task": "corpus", "arm": arm, "moment": BEST, "state": HIDDEN, "runs": 1, "distance": float(distance),
         "low": factor**distance / 2, "median": factor**distance, "high": factor**distance * 2}
        for arm, factor in (("rnn", 0.1), ("lstm", 0.99)) for distance in range(30)
    ]  # fmt: skip
    figure = drawn_flow(pd.DataFrame(rows), ("rnn", "lstm"), 32)
    assert figure is not None
    assert "n = 2 curves" in figure.title
    assert min(float(str(row["low"])) for row in figure.rows) >= 1e-12
    reached = {
        arm: max(float(str(row["distance"])) for row in figure.rows if row["arm"] == arm) for arm in ("rnn", "lstm")
    }
    assert reached == {"rnn": 12.0, "lstm": 29.0}
    assert drawn_flow(pd.DataFrame(rows).iloc[:0], ("rnn", "lstm"), 32) is None
