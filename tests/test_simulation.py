"""What the protocol promises, on simulated studies with a known truth: error rates, power, coverage, savings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.analysis.decision import Case, Decision, Interval, Ladder, Sample
from bench.analysis.designs import equivalence_power, expected, seeds_of_equal_power
from bench.analysis.evidence import describe
from bench.analysis.futility import chance_of_deciding
from bench.analysis.pairing import Study, study_of
from bench.analysis.pairs import ladder_of
from bench.analysis.simulation import (
    Noise,
    Outcome,
    Truth,
    by_study,
    case_at,
    climb,
    climb_together,
    first,
    records_of,
    simulate,
    simulate_texts,
    template,
)
from bench.analysis.statistics import power_beyond
from bench.analysis.verdict import judge, verdict
from bench.compose import compose
from bench.runs.store import Store
from tests.conftest import ROOT, script_of_docs

CONFIG = compose([])
PROTOCOL = CONFIG.protocol
LIKE = template(CONFIG)
LADDER = ladder_of(PROTOCOL)
CAP = PROTOCOL.looks[-1]
SPREADS = (0.8, 1.0, 1.3)  # of the differences, in margins
MIXED = [Truth(effect, sd, ratio) for effect in (-1.0, 0.0, 0.6, 2.0) for sd in SPREADS for ratio in (1.0, 0.85)]


def two_errors(share: float, studies: int) -> float:
    """Two Monte-Carlo standard errors of a share."""
    return 2 * math.sqrt(share * (1 - share) / studies)


@cache
def study(effect: float) -> tuple[Study, list[Truth]]:
    """2,001 studies of one effect, several spreads in turn; equally fast cells, without an effect also a faster GRU."""
    ratios = (1.0, 0.85) if effect == 0 else (1.0, 1.0)
    truths = [Truth(effect, SPREADS[row % 3], ratios[row // 3 % 2]) for row in range(2_001)]
    return study_of(simulate(truths, CAP, LIKE, seed=100 + int(10 * effect)), PROTOCOL), truths


@cache
def outcomes(effect: float) -> list[Outcome]:
    return climb(*study(effect), PROTOCOL)


def holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def share(flags: Sequence[bool]) -> float:
    assert flags
    return float(np.mean(flags))


# -- how often it errs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.0, 1.0, -1.0])
def test_wrong_verdicts_stay_within_five_percent_over_the_whole_ladder(effect: float) -> None:
    found = outcomes(effect)
    assert len(found) >= 2_000
    wrong = share([outcome.wrong for outcome in found])
    assert wrong <= 0.05 + two_errors(0.05, len(found))
    if effect:  # at a margin both sides can err, and nearly all of alpha is used
        assert wrong > 0.03
    else:  # no difference is hardly ever mistaken, and most studies are decided
        assert wrong < 0.005
        assert share([outcome.decided for outcome in found]) > 0.85


@pytest.mark.parametrize("effect", [0.0, 1.0, -1.0])
def test_equally_fast_cells_are_seldom_told_apart(effect: float) -> None:
    found = [outcome for outcome in outcomes(effect) if outcome.truth.time_ratio == 1]
    wrong = share([outcome.wrong_on_time for outcome in found])
    assert 0 < wrong <= 0.05 + two_errors(0.05, len(found))
    either = share([outcome.wrong or outcome.wrong_on_time for outcome in found])
    assert either <= 0.075 + two_errors(0.075, len(found))


def test_a_faster_cell_is_never_taken_for_the_slower_one() -> None:
    found = [outcome for outcome in outcomes(0.0) if outcome.truth.time_ratio == 0.85]
    assert not any(outcome.wrong_on_time for outcome in found)
    cheaper = Counter(outcome.decision.cheaper for outcome in found if outcome.decision.verdict == "equivalent")
    assert set(cheaper) <= {"gru", "either"}
    assert cheaper["gru"] > 10 * cheaper["either"]


def test_what_counts_as_a_wrong_claim() -> None:
    better, thrifty = "better by more than 1 point", "not worse by more than 1 point, and faster here"
    lstm, gru = (Decision(verdict=name, reason=better) for name in ("lstm", "gru"))
    equal = Decision(verdict="equivalent", reason="within 1 point of each other", cheaper="lstm")
    first_gru = Decision(verdict="gru", reason=thrifty)
    open_ = Decision(verdict="undecided", reason="")
    wrong = {
        effect: [Truth(effect, 1.0).is_wrong(decision, 1.0) for decision in (lstm, gru, equal, first_gru, open_)]
        for effect in (-1.0, 0.0, 1.0, 1.5)
    }
    assert wrong == {
        -1.0: [True, True, True, False, False],
        0.0: [True, True, False, False, False],
        1.0: [True, True, True, True, False],
        1.5: [False, True, True, True, False],
    }
    on_time = {
        ratio: [Truth(0.0, 1.0, ratio).is_wrong_on_time(decision) for decision in (lstm, equal, first_gru, open_)]
        for ratio in (0.8, 1.0, 1.2, None)
    }
    assert on_time == {
        0.8: [False, True, False, False],
        1.0: [False, True, True, False],
        1.2: [False, False, True, False],
        None: [False, False, False, False],
    }


def test_five_tasks_of_a_sweep_err_together_as_seldom_as_one() -> None:
    effects, number = (1.0, -1.0, 1.0, 0.0, 2.0), 400
    truths = [Truth(effect, 1.0) for effect in effects] * number
    found = study_of(simulate(truths, CAP, LIKE, seed=6), PROTOCOL)
    families = climb_together(found, truths, PROTOCOL, len(effects))
    wrong = share([any(outcome.wrong for outcome in family) for family, _ in families])
    assert wrong <= 0.05 + two_errors(0.05, number)
    alone = np.array([outcome.wrong for outcome in climb(found, truths, PROTOCOL)]).reshape(number, -1).any(axis=1)
    assert alone.mean() > 0.08, "without Holm's correction three tasks at the margin err more often"


# -- how often it finds what is there ------------------------------------------------------------------------------


@pytest.mark.parametrize(("sd", "least"), [(0.8, 0.99), (1.0, 0.97), (1.3, 0.85)])
def test_twice_the_margin_is_found(sd: float, least: float) -> None:
    found = [outcome for outcome in outcomes(2.0) if outcome.truth.sd == sd]
    power = share([outcome.decision.verdict == "lstm" for outcome in found])
    assert power >= least - two_errors(least, len(found))


def test_the_power_of_a_single_look_is_that_of_the_noncentral_t_distribution() -> None:
    protocol = replace(PROTOCOL, looks=[12])
    truths = [Truth(2.0, 1.3, None)] * 1_000
    found = climb(study_of(simulate(truths, 12, LIKE, seed=12), protocol), truths, protocol)
    power = power_beyond(1.0, 1.3, 12)
    assert share([outcome.wrong or not outcome.decided for outcome in found]) == pytest.approx(
        1 - power, abs=1.5 * two_errors(power, 1_000)
    )


# -- whether intervals hold the truth ------------------------------------------------------------------------------


def test_intervals_of_the_report_hold_the_truth_as_often_as_they_promise() -> None:
    found, truths = study(1.0)
    repeated, ratios, plain, lower, upper = [], [], [], [], []
    for pairs, truth in list(zip(by_study(found, PROTOCOL), truths, strict=True))[::2]:
        ladder = [describe(first(pairs, look), PROTOCOL) for look in PROTOCOL.looks]
        repeated.append(all(entry.difference and holds(entry.difference, truth.effect) for entry in ladder))
        ratios.append(all(entry.time_ratio and holds(entry.time_ratio, 1.0) for entry in ladder))
        last = ladder[-1]
        assert last.plain
        assert last.one_sided
        plain.append(holds(last.plain, truth.effect))
        lower.append(last.one_sided[0] <= truth.effect)
        upper.append(truth.effect <= last.one_sided[1])
    for flags in (repeated, ratios, plain, lower, upper):
        assert len(flags) > 1_000
        assert share(flags) == pytest.approx(0.95, abs=two_errors(0.95, len(flags)))


def test_the_population_interval_holds_for_new_test_sets_where_the_ordinary_one_does_not() -> None:
    records, own = simulate_texts(1.0, LIKE, studies=500, seeds=20, texts=300, seed=4)
    described = [describe(pairs, PROTOCOL) for pairs in by_study(study_of(records, PROTOCOL), PROTOCOL)]
    plain = [entry.plain for entry in described if entry.plain]
    population = [entry.population for entry in described if entry.population]
    assert len(plain) == len(population) == 500
    this_set = share([holds(interval, value) for interval, value in zip(plain, own.tolist(), strict=True)])
    assert this_set == pytest.approx(0.95, abs=1.5 * two_errors(0.95, 500))
    assert share([holds(interval, 1.0) for interval in population]) >= 0.95 - two_errors(0.95, 500)
    assert share([holds(interval, 1.0) for interval in plain]) < 0.92


# -- what it costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sd", [0.8, 0.9, 1.0, 1.1])
def test_the_ladder_saves_runs_against_one_look_of_equal_power(sd: float) -> None:
    """Over 200,000 normal samples; that records and their judge agree with these is the next test's business."""
    found = {effect: expected(LADDER, effect, sd) for effect in (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0)}
    single = seeds_of_equal_power(found[0.0].equivalent, sd)
    assert found[0.0].seeds <= 0.90 * single
    assert found[2.0].seeds <= 0.80 * single
    assert max(result.seeds for result in found.values()) <= 1.05 * single


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_simulated_records_cost_what_the_design_leads_to_expect(effect: float) -> None:
    truths = [Truth(effect, 0.8 + 0.3 * (row % 2), None) for row in range(600)]
    found = climb(study_of(simulate(truths, CAP, LIKE, seed=40), PROTOCOL), truths, PROTOCOL)
    designs = [expected(LADDER, effect, sd) for sd in (0.8, 1.1)]
    seeds = [outcome.seeds for outcome in found]
    error = 3 * float(np.std(seeds)) / math.sqrt(len(seeds))
    assert np.mean(seeds) == pytest.approx(np.mean([design.seeds for design in designs]), abs=error)
    for verdict_, name in (("lstm", "alternative"), ("equivalent", "equivalent"), ("undecided", "undecided")):
        planned = float(np.mean([getattr(design, name) for design in designs]))
        seen = share([outcome.decision.verdict == verdict_ for outcome in found])
        assert seen == pytest.approx(planned, abs=1.5 * two_errors(planned, len(found)) + 0.002)


@pytest.mark.parametrize("n", [10, 15])
def test_the_power_of_one_look_to_find_equivalence_is_that_of_simulated_records(n: int) -> None:
    protocol = replace(PROTOCOL, looks=[n])
    truths = [Truth(0.0, 1.1, None)] * 1_000
    found = climb(study_of(simulate(truths, n, LIKE, seed=n), protocol), truths, protocol)
    power = equivalence_power(n, 1.1)
    assert 0.2 < power < 0.9
    seen = share([outcome.decision.verdict == "equivalent" for outcome in found])
    assert seen == pytest.approx(power, abs=1.5 * two_errors(power, 1_000))
    assert seeds_of_equal_power(power, 1.1) == pytest.approx(n)


def test_giving_up_saves_runs_where_a_verdict_is_out_of_reach_and_adds_no_error() -> None:
    truths = [Truth(1.0, 1.6, None)] * 500
    found = study_of(simulate(truths, CAP, LIKE, seed=9), PROTOCOL)
    plain, early = (climb(found, truths, PROTOCOL, level) for level in (0.0, 0.1))
    assert np.mean([o.seeds for o in early]) < 0.8 * np.mean([o.seeds for o in plain])
    for with_rule, without in zip(early, plain, strict=True):
        assert with_rule.seeds <= without.seeds
        assert with_rule.decision == without.decision or not with_rule.decided


@settings(max_examples=25, deadline=None)
@given(
    mean=st.floats(-3, 3), sd=st.floats(0.2, 3), look=st.integers(1, 4), time=st.sampled_from([None, -0.3, 0.0, 0.3]),
)  # fmt: skip
def test_the_chance_of_deciding_is_the_share_of_futures_that_the_table_decides(
    *, mean: float, sd: float, look: int, time: float | None
) -> None:
    ladder = Ladder((5, 8, 12, 16, 20), 0.05, "power3")
    n = ladder.looks[look - 1]
    times = None if time is None else Sample(time, 0.05, n)
    case = Case("gru", "lstm", Sample(mean, sd, n), times, 1.0, ladder, look)
    spread = sd * math.sqrt((20 - n) / (n * 20))
    future = replace(case, look=5, times=None if time is None else Sample(time, 0.05, 20))
    means = mean + spread * stats.t.ppf((np.arange(400) + 0.5) / 400, n - 1)
    decided = [replace(future, difference=Sample(float(m), sd, 20)).decide().verdict != "undecided" for m in means]
    assert chance_of_deciding(case) == pytest.approx(np.mean(decided), abs=0.006)


# -- through the same functions as real records --------------------------------------------------------------------


@pytest.mark.parametrize("look", PROTOCOL.looks)
def test_a_look_on_all_records_is_that_on_the_records_there_were(look: int) -> None:
    records = simulate(MIXED, CAP, LIKE, seed=2)
    then = judge(study_of(records[records.seed < look], PROTOCOL), PROTOCOL)
    told = {entry.pairs.scene.dataset: entry.alone for entry in then}
    now = by_study(study_of(records, PROTOCOL), PROTOCOL)
    assert {pairs.scene.dataset: case_at(pairs, look).decide() for pairs in now} == told
    assert len(told) == len(MIXED)


def test_a_family_is_judged_as_a_report_judges_it() -> None:
    truths = [Truth(effect, 0.8) for effect in (1.0, 0.0, 3.0, 0.4, -1.0)]
    records = simulate(truths, CAP, LIKE, seed=21)
    ((climbed, together),) = climb_together(study_of(records, PROTOCOL), truths, PROTOCOL, 5)
    seeds = {f"study {row}": outcome.seeds for row, outcome in enumerate(climbed)}
    assert len(set(seeds.values())) > 1
    answer = verdict(records[records.seed < records["data.name"].map(seeds)], PROTOCOL)
    assert {entry.scene.dataset: entry.held for entry in answer.headline} == {
        f"study {row}": outcome.decision for row, outcome in enumerate(climbed)
    }
    assert answer.overall[0].decision == together


def test_studies_written_as_files_are_judged_as_those_in_memory(tmp_path: Path) -> None:
    truths = [Truth(2.0, 0.8), Truth(0.0, 0.8, 0.85), Truth(0.0, 2.0), Truth(-0.5, 0.5, None)]
    table = simulate(truths, 12, LIKE, seed=5)
    store = Store(tmp_path)
    for record in records_of(table, LIKE):
        store.write(record)
    assert len(list(tmp_path.glob("runs/*/*/record.json"))) == 2 * 12 * len(truths)
    written, drawn = verdict(store.table(), PROTOCOL), verdict(table, PROTOCOL)
    assert written.evidence == drawn.evidence
    assert written.sentence == drawn.sentence
    assert {entry.verdict for entry in drawn.evidence} >= {"lstm", "equivalent", "undecided"}


def test_texts_written_as_files_are_judged_as_those_in_memory(tmp_path: Path) -> None:
    like = replace(LIKE, test_texts=50)
    table, _ = simulate_texts(1.0, studies=2, seeds=5, texts=50, like=LIKE)
    for record in records_of(table, like):
        Store(tmp_path).write(record)
    written = verdict(Store(tmp_path).table(), PROTOCOL).evidence
    assert written == verdict(table, PROTOCOL).evidence
    assert all(entry.population and entry.mcnemar_p for entry in written)


def test_the_same_seed_draws_the_same_records_and_their_order_does_not_matter() -> None:
    records, again = (simulate(MIXED, CAP, LIKE, seed=3) for _ in range(2))
    assert records.equals(again)
    assert not records.test_accuracy.equals(simulate(MIXED, CAP, LIKE, seed=4).test_accuracy)
    shuffled = records.sample(frac=1, random_state=1)
    told, retold = (climb(study_of(table, PROTOCOL), MIXED, PROTOCOL) for table in (records, shuffled))
    assert told == retold
    assert {outcome.decision.verdict for outcome in told} == {"gru", "lstm", "equivalent", "undecided"}


@pytest.mark.parametrize("noise", ["normal", "heavy", "skewed", "very_skewed"])
def test_what_is_drawn_has_the_effect_and_spread_that_were_asked_for(noise: Noise) -> None:
    truths = [Truth(0.5, 1.2, 0.9, noise)] * 400
    pairs = by_study(study_of(simulate(truths, 20, LIKE, seed=1), PROTOCOL), PROTOCOL)
    deltas = np.concatenate([entry.deltas() for entry in pairs])
    assert deltas.mean() == pytest.approx(0.5, abs=0.05)
    assert deltas.std() == pytest.approx(1.2, rel=0.2 if noise == "heavy" else 0.05)
    assert np.concatenate([entry.log_times() for entry in pairs]).mean() == pytest.approx(math.log(0.9), abs=0.003)


# -- the page ------------------------------------------------------------------------------------------------------


@cache
def generator_of_the_page() -> ModuleType:
    return script_of_docs("simulate")


def table_of_the_page(name: str) -> list[list[str]]:
    """The rows below the heading."""
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    _, found, rest = page.partition(generator_of_the_page().MARK.format(name))
    assert found, name
    rows = [line.strip("| ").split(" | ") for line in rest.partition("\n\n")[0].splitlines()]
    assert len(rows) > 3
    assert len({len(row) for row in [rows[0], *rows[2:]]}) == 1
    return rows[2:]


def test_a_cell_of_the_page_comes_out_again() -> None:
    made = generator_of_the_page()
    (row,) = (row for row in table_of_the_page("errors") if row[0] == "1.0 δ")
    found = made.outcomes(Truth(1.0, 1.0))
    assert row[2] == made.percent([outcome.wrong for outcome in found])
    assert row[5] == made.percent([outcome.wrong_on_time for outcome in found])


def test_the_page_holds_every_table_of_its_generator() -> None:
    assert all(table_of_the_page(name) for name in generator_of_the_page().TABLES)


def test_what_the_page_says_of_errors_and_costs_is_within_what_it_promises() -> None:
    bound = 100 * (0.05 + two_errors(0.05, generator_of_the_page().STUDIES))
    assert all(float(cell) <= bound for row in table_of_the_page("errors") for cell in row[1:7])
    supported = [row for row in table_of_the_page("savings") if row[0] in ("0.8 δ", "1.0 δ", "1.1 δ")]
    assert len(supported) == 3
    for row in supported:
        shares = [int(cell.partition("(")[2].removesuffix("%)")) for cell in row[3:9]]
        assert shares[0] <= 90
        assert shares[4] <= 80
        assert max(shares) <= 105
