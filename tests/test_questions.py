"""What is kept of a question: which runs answer it, and the protocol, fixed before they run and never rewritten."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from bench.compose import compose
from bench.config import protocol_hash
from bench.errors import UserError
from bench.runs.questions import (
    TimeLimit,
    question_names,
    store_protocol,
    store_time_limit,
    stored_protocols,
    stored_trials,
    sweep_arguments,
    sweep_members,
    sweep_names,
    time_limit,
)
from bench.runs.store import Store
from tests.conftest import Study
from tests.test_sweeper import plan_of


def test_a_protocol_keeps_the_date_of_its_first_use_and_a_changed_one_stands_beside_it(study: Study) -> None:
    store, protocol = Store(study.results), compose(study.overrides()).protocol
    first = store_protocol(store, "asked", protocol)
    time.sleep(0.01)
    other = store_protocol(store, "asked", replace(protocol, margin=2.0))
    assert store_protocol(store, "asked", replace(protocol, name="renamed")) == first
    assert stored_protocols(store, "asked") == [first, other]
    assert first.fixed_at < other.fixed_at


def test_a_protocol_is_told_apart_by_all_of_it_but_its_name(study: Study) -> None:
    protocol = compose(study.overrides()).protocol
    changes = [{"alpha": 0.01}, {"looks": [5]}, {"margins": [1.0]}, {"matching": "time"}, {"uncommitted": "allow"}]
    hashes = {protocol_hash(protocol), *(protocol_hash(replace(protocol, **change)) for change in changes)}  # type: ignore[arg-type]
    assert len(hashes) == 6
    assert protocol_hash(replace(protocol, name="mine")) == protocol_hash(protocol)


def test_a_protocol_that_was_edited_or_cut_off_is_skipped_with_a_warning(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    store, protocol = Store(study.results), compose(study.overrides()).protocol
    kept = store_protocol(store, "asked", protocol)
    folder = study.results / "sweeps" / "asked" / "protocols"
    for name, margin in {"edited": 2.0, "cut": 3.0}.items():
        path = folder / f"{store_protocol(store, 'asked', replace(protocol, margin=margin)).hash}.json"
        text = path.read_text()
        path.write_text(text.replace('"margin": 2.0', '"margin": 9.0') if name == "edited" else text[:100])
    assert stored_protocols(store, "asked") == [kept]
    assert sorted("changed after it was written" in message for message in caplog.messages) == [False, True]


def test_a_report_finds_everything_that_the_plans_of_a_question_want(study: Study) -> None:
    store = Store(study.results)
    small, large = (
        plan_of(study, "model=gru", "seed=0", name="asked"),
        plan_of(study, "model=gru,lstm", "seed=0,1", name="asked"),
    )
    small.write(store)
    time.sleep(0.01)
    large.write(store)
    large.write(store)
    members = sweep_members(store, "asked")
    assert members[0].run_id == small.members[0].run_id
    assert {(m.run_id, m.pair_key, m.arm, m.overrides) for m in members} == {
        (m.run_id, m.pair_key, m.arm, m.overrides) for m in large.members
    }
    assert sweep_arguments(store, "asked") == [small.arguments, large.arguments]
    (study.results / "sweeps" / "asked" / "plan-00000000.json").write_text("{")
    assert sweep_members(store, "asked") == members


def test_a_plan_of_an_older_version_is_still_read(study: Study) -> None:
    store = Store(study.results)
    path = plan_of(study, "model=gru", name="asked").write(store)
    tree = json.loads(path.read_text())
    kept = {key: tree[key] for key in ("name", "arguments", "members")} | {"schema_version": 1}
    path.write_text(json.dumps(kept))
    assert [member.seed for member in sweep_members(store, "asked")] == [0]


@pytest.mark.parametrize(("name", "message"), [("aksed", "did you mean 'asked'"), ("../asked", "becomes a folder")])
def test_an_unknown_question_is_named_in_one_line(study: Study, name: str, message: str) -> None:
    store = Store(study.results)
    plan_of(study, "model=gru", name="asked").write(store)
    with pytest.raises(UserError, match=message):
        sweep_members(store, name)


def test_a_time_limit_is_settled_once_unless_its_file_is_damaged(study: Study) -> None:
    store = Store(study.results)
    limit = TimeLimit(seconds=1.5, medians={"gru": 1.5, "lstm": 2.0}, hardware_key="one", fixed_at="2026-01-01T00:00Z")
    assert time_limit(store, "asked", "key") is None
    store_time_limit(store, "asked", "key", limit)
    store_time_limit(store, "asked", "key", replace(limit, seconds=9.0))
    assert time_limit(store, "asked", "key") == limit
    (study.results / "sweeps" / "asked" / "equal-time" / "key.json").write_text("{")
    store_time_limit(store, "asked", "key", replace(limit, seconds=9.0))
    assert time_limit(store, "asked", "key") == replace(limit, seconds=9.0)


def test_trials_are_kept_apart_from_what_a_verdict_is_reached_on(study: Study) -> None:
    store = Store(study.results)
    plan_of(study, "seed=1000", name="tuned").write(store, trials=True)
    time.sleep(0.01)
    plan_of(study, "seed=1000", "training.learning_rate=0.1", name="tuned").write(store, trials=True)
    assert [len(plan.members) for plan in stored_trials(store, "tuned")] == [1, 1]
    assert (question_names(store), sweep_names(store)) == (["tuned"], [])
    with pytest.raises(UserError, match="run it first"):
        sweep_members(store, "tuned")
    plan_of(study, "seed=0", name="tuned").write(store)
    plan_of(study, "seed=0", name="other").write(store)
    assert question_names(store) == sweep_names(store) == ["other", "tuned"]
    assert stored_trials(store, "other") == []
    assert [member.seed for member in sweep_members(store, "tuned")] == [0]
