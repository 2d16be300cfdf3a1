"""Seeds are added look by look, and only where the verdict is open. Made-up qualities, real plans, records, judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bench.compose import session
from bench.errors import UserError
from bench.runs.assemble import make_record
from bench.runs.questions import stored_protocols, sweep_members
from bench.runs.record import Status
from bench.runs.store import Store
from bench.sweeps.evidence import Ladder, check_arms, make_ladder
from bench.sweeps.look_table import nothing_judged
from bench.sweeps.plan import Member, Plan
from bench.sweeps.planner import Planner
from tests.conftest import Study

Quality = Callable[[Member], float | None]
LOOKS = ("protocol.looks=[3,6,9]", "protocol.pooling=max", "protocol.uncommitted=allow")
NOISE = (0.9, 1.7, -2.3, 0.4, -1.1, 1.9, -0.6, 2.2, -2.0)  # points, by seed


def begin(study: Study, *arguments: str, **params: object) -> tuple[Planner, Ladder]:
    """A ladder over two tasks, the corpora `corpus` and `other`."""
    (study.folder / "other").mkdir(exist_ok=True)
    for split in study.data.iterdir():
        (study.folder / "other" / split.name).write_text(split.read_text().replace("the", "a"))
    typed = {"data.path": f"{study.data},{study.folder / 'other'}", "model.match": "width,parameters"}
    overrides = study.overrides(
        *(f"{key}={value}" for key, value in typed.items()), "model=gru,lstm", *LOOKS, *arguments
    )
    with session(overrides) as hydra:
        return make_ladder(overrides, params, "ladder", Store(study.results), hydra.config_loader)


def finish(plan: Plan, store: Store, quality: Quality, *, committed: bool = True) -> Plan:
    """Write the records of all that has none; a quality of None is a failure."""
    for member in plan.members:
        if store.executions(member.run_id):
            continue
        accuracy = quality(member)
        known = {
            "status": Status.FAILED if accuracy is None else Status.FINISHED, "hardware_key": "one",
            "test_accuracy": accuracy, "test_texts": 10_000, "train_seconds": 5.0 + member.config.seed % 3,
            "code_committed": committed, "data_fingerprint": member.config.data.path,
            "embedding_dimension": 8, "parameters_recurrent": 1000, "classes": 3,
            "hidden_size_resolved": 12 if member.config.model.cell == "lstm" else 14,
        }  # fmt: skip
        store.write(make_record(member, datetime.now(UTC), known))
    return plan


def clear_and_close(member: Member) -> float:
    """On `corpus` the LSTM is five points better; on `other` nobody can tell."""
    lstm = member.config.model.cell == "lstm"
    if str(member.config.data.path).endswith("corpus"):
        return 0.80 + 0.05 * lstm
    return 0.80 + 0.01 * NOISE[member.config.seed] * lstm


def climb(planner: Planner, ladder: Ladder, quality: Quality) -> list[tuple[int, Counter[str]]]:
    """All looks: how many tasks they judged, and the runs each was judged on, by corpus and matching."""
    seen = []
    while True:
        plan = finish(planner.plan(ladder.wanted), planner.store, quality)
        plan.write(planner.store)
        runs = Counter(
            f"{str(w.config.data.path).rpartition('/')[2]} {w.config.model.match}"
            for m in plan.members
            for w in m.wanted
        )
        look = ladder.judge(plan, planner.store)
        seen.append((len(look.judged), runs))
        if not look.goes_on:
            return seen


def test_only_what_is_undecided_at_the_primary_matching_gets_further_seeds_up_to_the_cap(study: Study) -> None:
    planner, ladder = begin(study)
    looks = climb(planner, ladder, clear_and_close)
    first = {"corpus width": 6, "corpus parameters": 6, "other width": 6, "other parameters": 6}
    assert looks == [(2, first), (2, first | {"other parameters": 12}), (2, first | {"other parameters": 18})]


def test_a_task_that_is_closed_stays_closed_whatever_is_judged_later(study: Study) -> None:
    planner, ladder = begin(study)
    plan = finish(planner.plan(ladder.wanted), planner.store, clear_and_close)
    look = ladder.judge(plan, planner.store)
    verdicts = {entry.evidence.scene.dataset: (entry.evidence.verdict, entry.goes_on) for entry in look.judged}
    assert verdicts == {"corpus": ("lstm", False), "other": ("undecided", True)}
    ladder.open = set()  # as if both had been closed before
    assert not ladder.judge(plan, planner.store).goes_on


def test_a_restart_climbs_the_same_way_again(study: Study) -> None:
    looks = climb(*begin(study), clear_and_close)
    planner, ladder = begin(study)
    assert climb(planner, ladder, lambda member: pytest.fail(f"asked for {member.choice.label} again")) == looks


def test_a_seed_that_failed_does_not_hold_the_ladder_up(study: Study) -> None:
    def failing(member: Member) -> float | None:
        return None if member.config.seed == 1 and member.config.model.cell == "gru" else clear_and_close(member)

    planner, ladder = begin(study)
    plan = finish(planner.plan(ladder.wanted), planner.store, failing)
    look = ladder.judge(plan, planner.store)
    assert [(len(entry.evidence.seeds), entry.goes_on) for entry in look.judged] == [(2, True), (2, True)]
    assert len(climb(planner, ladder, failing)) == 2


def test_the_ladder_chooses_the_seeds_and_not_the_file(study: Study) -> None:
    _, ladder = begin(study, seed="range(50)")
    assert len(ladder.wanted) == 2 * 2 * 2 * 3
    with pytest.raises(UserError, match=r"leave seed=7,8 out"):
        begin(study, "seed=7,8")


def test_cells_that_pair_run_side_by_side_whatever_the_order_that_was_typed(study: Study) -> None:
    planner, ladder = begin(study)
    members = planner.plan(ladder.wanted).members
    told = [(m.config.seed, m.config.data.path, m.config.model.match, m.config.model.cell) for m in members]
    corpus = str(study.data)
    assert told[:3] == [(0, corpus, "width", "gru"), (0, corpus, "width", "lstm"), (0, corpus, "parameters", "gru")]
    assert [seed for seed, *_ in told] == sorted(seed for seed, *_ in told)


def test_one_cell_alone_is_no_question(study: Study) -> None:
    planner, ladder = begin(study, "model=gru")
    with pytest.raises(UserError, match="here is gru alone: write model=gru,lstm"):
        check_arms(planner.plan(ladder.wanted))


def test_a_look_without_a_pair_says_why_and_ends_the_ladder(study: Study) -> None:
    planner, ladder = begin(study, "protocol.uncommitted=set_apart")
    plan = finish(planner.plan(ladder.wanted), planner.store, clear_and_close, committed=False)
    look = ladder.judge(plan, planner.store)
    assert not look.goes_on
    assert "uncommitted changes" in "\n".join(nothing_judged(look))


def test_all_looks_can_be_found_by_a_report(study: Study) -> None:
    planner, ladder = begin(study)
    climb(planner, ladder, clear_and_close)
    members = sweep_members(planner.store, "ladder")
    assert len({member.run_id for member in members}) == len(study.records()) == 2 * 2 * 3 + 2 * 3 + 2 * 6
    assert len(members) == 2 * 2 * 2 * 3 + 2 * 6  # the LSTM answers width and parameters at the first look
    assert [stored.protocol.looks for stored in stored_protocols(planner.store, "ladder")] == [[3, 6, 9]]


# -- at the door ---------------------------------------------------------------------------------------------------


def test_until_verdict_adds_seeds_judges_and_goes_on_where_it_was(study: Study) -> None:
    typed = ["protocol.looks=[2,3]", "protocol.pooling=max", "protocol.margin=0.01", "protocol.uncommitted=allow"]
    arguments = [*study.overrides("model=gru,lstm", *typed, "sweep.name=climb"), "until=verdict"]
    answer = study.command("-m", *arguments, "hydra.launcher.workers=2")
    assert answer.returncode == 0, answer.stderr
    told = [
        answer.stdout.index(part)
        for part in ("look 1 of 2, 2 seeds", "next look at 3", "goes on", "look 2 of 2, 3 seeds")
    ]
    assert told == sorted(told)
    assert answer.stdout.count("goes on") == 1
    assert sorted(record.seed for record in study.records()) == [0, 0, 1, 1, 2, 2]
    again = study.command("-m", *arguments)
    assert (again.returncode, again.stdout.count("skipped")) == (0, 6)
    assert again.stdout.splitlines()[-1] == answer.stdout.splitlines()[-1] != ""
    assert len(study.records()) == 6


def test_until_verdict_is_for_several_runs(study: Study) -> None:
    answer = study.command(*study.overrides("model=gru"), "until=verdict")
    assert answer.returncode == 2
    assert "until=verdict adds runs: add -m" in answer.stderr
