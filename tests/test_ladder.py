"""The longest length that an arm solves: of made tables, of records, in words, as a figure and in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import altair as alt
import pandas as pd
import pytest

import bench
from bench.analysis.ladder import Ladder, ladders, longest_solved, solved_shares
from bench.report.document import Document, Listing
from bench.report.figures import spec
from bench.report.figures_ladder import solved_lengths
from bench.report.ladder import answers, top_in_words
from bench.report.question import Question
from bench.report.sections import compose_report
from bench.runs.index import frame_of
from bench.runs.record import RunRecord, Status
from tests.test_report import a_run

ALONG = "data.length"
HIGH, LOW = 0.97, 0.6


def table(**arms: dict[int, Sequence[float | None]]) -> pd.DataFrame:
    """Runs: for each arm and length, the accuracy of each seed."""
    return pd.DataFrame(
        [
            {"arm": arm, ALONG: length, "seed": seed, "test_accuracy": accuracy}
            for arm, lengths in arms.items()
            for length, accuracies in lengths.items()
            for seed, accuracy in enumerate(accuracies)
        ]
    )


def top(runs: pd.DataFrame, arm: str = "gru", **more: float) -> str:
    (row,) = [row for row in longest_solved(runs, ALONG, **more).to_dict("records") if row["arm"] == arm]
    return top_in_words(row)


def seeds(solved: int, of: int = 5) -> list[float | None]:
    return [HIGH] * solved + [LOW] * (of - solved)


def test_four_of_five_seeds_solve_a_length_and_three_do_not() -> None:
    assert top(table(gru={25: seeds(5), 50: seeds(4), 100: seeds(3)})) == "50 (100 is not solved)"
    assert top(table(gru={25: seeds(5), 50: seeds(4), 100: seeds(3)}), share=0.6) == "at least 100"
    assert top(table(gru={25: seeds(5), 50: seeds(4)}), share=1.0) == "25 (50 is not solved)"


def test_a_seed_solves_a_length_at_the_threshold_and_not_below() -> None:
    assert top(table(gru={25: [0.95] * 5, 50: [0.9499] * 5})) == "25 (50 is not solved)"
    assert top(table(gru={25: [0.95] * 5, 50: [0.9499] * 5}), solved=0.9) == "at least 50"


def test_a_length_beyond_one_that_is_not_solved_does_not_count() -> None:
    assert top(table(gru={25: seeds(5), 50: seeds(0), 100: seeds(5)})) == "25 (50 is not solved)"


def test_lengths_are_in_order_of_size_whatever_the_order_of_runs() -> None:
    assert top(table(gru={100: seeds(0), 25: seeds(5), 50: seeds(5)})) == "50 (100 is not solved)"


def test_what_is_not_reached_is_shown_as_such() -> None:
    runs = table(
        rnn={25: seeds(0), 1000: seeds(0)}, gru={25: seeds(5), 1000: seeds(1)}, lstm={25: seeds(5), 1000: seeds(5)}
    )
    tops = longest_solved(runs, ALONG).assign(task="adding", shown="")
    assert tops["longest"].isna().tolist() == [False, False, True]
    tops["shown"] = [top_in_words(row) for row in tops.to_dict("records")]
    assert answers(tops) == ["adding: gru 25 (1,000 is not solved); lstm at least 1,000; rnn none (25 is not solved)."]


def test_a_length_that_was_not_run_ends_a_ladder_and_is_not_called_unsolved() -> None:
    runs = table(gru={25: seeds(5), 100: seeds(5)}, lstm={25: seeds(5), 50: seeds(5), 100: seeds(5)})
    assert top(runs, "gru") == "25 (50 was not run)"
    assert top(runs, "lstm") == "at least 100"


def test_a_run_without_a_result_solves_nothing() -> None:
    runs = table(gru={25: [HIGH, HIGH, HIGH, None, None], 50: [None] * 5})
    assert top(runs) == "none (25 is not solved)"
    (first, second) = solved_shares(runs, ALONG).to_dict("records")
    assert (first["seeds"], first["solved"], first["share"], first["median"]) == (5, 3, 0.6, HIGH)
    assert (second["seeds"], second["solved"], second["share"]) == (5, 0, 0.0)


def test_a_ladder_says_of_how_few_seeds_it_is() -> None:
    (row,) = longest_solved(table(gru={25: seeds(5), 50: seeds(2, of=2)}), ALONG).to_dict("records")
    assert (row["longest"], row["seeds"], row["shortest"], row["farthest"]) == (50, 2, 25, 50)


# -- from records --------------------------------------------------------------------------------------------------


def run(
    cell: str, length: int, seed: int, accuracy: float | None, matching: str = "width", **more: object
) -> RunRecord:
    """A run of the adding problem. Cells of equal parameters are wider than the LSTM."""
    made = a_run(cell=cell, data="adding", seed=seed, quality=0.5, matching=matching, pooling="last")
    config = {**made.config, "data.probe": "adding", "data.task": "regression", ALONG: length}
    config |= {key: more.pop(key) for key in list(more) if "." in key}  # type: ignore[misc]
    width = made.config["model.hidden_size"]
    values = {
        "run_id": f"{cell}-{length}-{matching}-{seed}", "data_fingerprint": f"{length} tokens", "config": config,
        "test_accuracy": accuracy, "hidden_size_resolved": int(str(width)) + 22 * (matching == "parameters"), **more,
    }  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]


def some(cell: str, accuracies: dict[int, float], matching: str = "width", **more: object) -> list[RunRecord]:
    return [
        run(cell, length, seed, accuracy, matching, **more)
        for length, accuracy in accuracies.items()
        for seed in range(5)
    ]


def found(records: list[RunRecord], **more: bool) -> dict[str, dict[str, str]]:
    """The tops of all ladders, by matching and arm."""
    return tops_by_matching(ladders(frame_of(records), **more))


def rows(one: Ladder) -> list[dict[str, object]]:
    return [
        {str(key): value for key, value in row.items()}
        for row in longest_solved(one.runs, one.along).to_dict("records")
    ]


def tops_by_matching(every: Sequence[Ladder]) -> dict[str, dict[str, str]]:
    tops: dict[str, dict[str, str]] = {}
    for one in every:
        for row in rows(one):
            matching = one.scenes[int(str(row["scene"]))].matching
            tops.setdefault(matching, {})[str(row["arm"])] = top_in_words(row)
    return tops


def test_width_and_parameters_are_ladders_of_their_own_and_an_lstm_stands_in_both() -> None:
    records = [
        *some("gru", {25: HIGH, 50: LOW}), *some("gru", {25: HIGH, 50: HIGH}, "parameters"),
        *some("lstm", {25: HIGH, 50: HIGH}),
    ]  # fmt: skip
    assert found(records) == {
        "width": {"gru": "25 (50 is not solved)", "lstm": "at least 50"},
        "parameters": {"gru": "at least 50", "lstm": "at least 50"},
    }


def test_training_that_diverged_solves_nothing_and_a_run_that_failed_says_nothing() -> None:
    lost = {"status": Status.DIVERGED, "error_type": "Diverged", "error_message": "the loss is no number"}
    records = [
        *some("gru", {25: HIGH}), *some("gru", {50: HIGH}, **lost),
        *some("rnn", {25: HIGH}), *some("rnn", {50: HIGH}, **{**lost, "status": Status.FAILED}),
    ]  # fmt: skip
    assert found(records)["width"] == {"gru": "25 (50 is not solved)", "rnn": "25 (50 was not run)"}


def test_a_run_that_diverged_and_was_repeated_counts_as_it_finished() -> None:
    lost = [
        run("gru", 50, seed, None, status=Status.DIVERGED, execution_id=f"20251121T22{seed:04}") for seed in range(5)
    ]
    records = [*lost, *some("gru", {25: HIGH, 50: HIGH}), *some("rnn", {25: LOW, 50: LOW})]
    assert found(records)["width"] == {"gru": "at least 50", "rnn": "none (25 is not solved)"}


def test_another_budget_is_another_ladder() -> None:
    records = [
        record
        for cell in ("gru", "rnn")
        for record in [
            *some(cell, {25: HIGH, 50: LOW}),
            *(
                replace(r, run_id=f"{r.run_id}-long")
                for r in some(cell, {25: HIGH, 50: HIGH}, **{"training.epochs": 99})
            ),
        ]
    ]
    (one,) = ladders(frame_of(records))
    names = [scene.others for scene in one.scenes]
    assert len(names) == 2
    assert "training.epochs=99" in names
    by_scene = {names[int(str(row["scene"]))]: top_in_words(row) for row in rows(one)}
    assert sorted(by_scene.values()) == ["25 (50 is not solved)", "at least 50"]


def test_texts_longer_than_those_of_training_make_a_ladder_too() -> None:
    records = [
        replace(run(cell, 40, seed, accuracy, **{"data.test_length": longer}), run_id=f"{cell}-{longer}-{seed}")
        for cell, by_length in {"gru": {60: LOW, 80: LOW}, "lstm": {60: HIGH, 80: LOW}}.items()
        for longer, accuracy in by_length.items()
        for seed in range(5)
    ]
    (one,) = ladders(frame_of(records))
    assert one.along == "data.test_length"
    assert tops_by_matching([one])["width"] == {"gru": "none (60 is not solved)", "lstm": "60 (80 is not solved)"}


def test_sources_that_no_commit_holds_count_only_where_that_is_allowed() -> None:
    records = [
        replace(r, code_committed=False) for r in [*some("gru", {25: HIGH, 50: LOW}), *some("rnn", {25: LOW, 50: LOW})]
    ]
    assert ladders(frame_of(records)) == []
    assert found(records, uncommitted=True)["width"]["gru"] == "25 (50 is not solved)"


@pytest.mark.parametrize("lengths", [{25: HIGH}, {}], ids=["one length", "no probe"])
def test_one_length_or_other_data_make_no_ladder(lengths: dict[int, float]) -> None:
    records = [record for cell in ("gru", "rnn") for record in some(cell, lengths)]
    records += [a_run(cell=cell, data="mr", seed=seed, quality=0.8) for cell in ("gru", "lstm") for seed in range(2)]
    assert ladders(frame_of(records)) == []


# -- shown ---------------------------------------------------------------------------------------------------------


def reported(records: list[RunRecord]) -> Document:
    frame = frame_of(records)
    return compose_report(bench.verdict(frame), Question(), frame)


def test_a_report_on_ladders_has_their_section_with_figure_and_tables() -> None:
    records = [
        record
        for cell, last in (("rnn", LOW), ("gru", HIGH), ("lstm", HIGH))
        for record in some(cell, {25: HIGH, 50: last})
    ]
    document = reported(records)
    (section,) = [section for section in document.sections if section.key == "solved"]
    (said,) = [block for block in section.blocks if isinstance(block, Listing)]
    assert len(said.items) == 1
    assert said.items[0].endswith(": rnn 25 (50 is not solved); gru at least 50; lstm at least 50.")
    tables = {table.name: table for table in document.tables}
    assert [[cell.text for cell in row[1:4]] for row in tables["ladder_length"].rows] == [
        ["rnn", "5", "25 (50 is not solved)"], ["gru", "5", "at least 50"], ["lstm", "5", "at least 50"],
    ]  # fmt: skip
    assert len(tables["solved_length"].rows) == 6
    assert "solved-length" in [figure.name for figure in document.figures]


def test_other_reports_lack_it() -> None:
    records = [a_run(cell=cell, data="mr", seed=seed, quality=0.8) for cell in ("gru", "lstm") for seed in range(5)]
    assert "solved" not in [section.key for section in reported(records).sections]


def test_the_figure_shows_shares_on_a_logarithmic_axis_and_arms_side_by_side() -> None:
    runs = table(gru={25: seeds(5), 400: seeds(2)}, lstm={25: seeds(5), 400: seeds(5)})
    shares = solved_shares(runs, ALONG).assign(task="adding")
    figure = solved_lengths(shares, ("gru", "lstm"), "length")
    assert "n = 20 runs" in figure.title
    assert [row["percent"] for row in figure.rows] == pytest.approx([100, 40, 100, 100])
    places = [float(str(row["place"])) for row in figure.rows if row["length"] == 25]
    assert len(set(places)) == 2, "points of equal share do not hide each other"
    assert all(abs(place / 25 - 1) < 0.03 for place in places)
    drawn = spec(figure)
    assert isinstance(figure.chart, alt.FacetChart)
    figure.chart.to_dict()  # validates
    assert '"type": "log"' in str(drawn).replace("'", '"')
    assert "lstm 400 tokens" in figure.description
