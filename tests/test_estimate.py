"""How long a sweep will take is said from what runs took on this machine, and what is unknown stays unknown."""

from __future__ import annotations

import pytest

from bench.runs.record import Status
from bench.runs.store import Store
from bench.sweeps.plan import Plan
from bench.sweeps.status.estimate import Estimate, Expected, estimate, in_words, with_progress
from bench.sweeps.status.state import recorded
from tests.conftest import Study
from tests.test_status import ended
from tests.test_sweeper import plan_of


def estimated(study: Study, plan: Plan, at_a_time: int = 1) -> Estimate:
    return estimate(plan.to_run, recorded(Store(study.results)), at_a_time)


def finished(study: Study, plan: Plan, seconds: list[float], **fields: object) -> None:
    """The first runs of a plan have taken so long here, unless `fields` say otherwise."""
    for member, taken in zip(plan.members, seconds, strict=False):
        ended(study, member, Status.FINISHED, wall_seconds=taken, train_seconds=taken - 1, accelerator="cpu", **fields)


def test_a_run_takes_as_long_as_the_median_of_its_arm_did(study: Study) -> None:
    typed = ("model=gru", "seed=range(5)")
    finished(study, plan_of(study, *typed), [10.0, 20.0, 90.0])
    found = estimated(study, plan_of(study, *typed))
    assert list(found.runs.values()) == [Expected(20.0, "same arm")] * 2
    assert found.seconds == 40.0
    assert found.sentence == "about 40 s"


def test_several_at_a_time_take_less_but_never_less_than_the_longest(study: Study) -> None:
    finished(study, plan_of(study, "model=gru", "seed=0"), [60.0])
    finished(study, plan_of(study, "model=lstm", "seed=0"), [600.0])
    plan = plan_of(study, "model=gru,lstm", "seed=1")
    assert [estimated(study, plan, at_a_time).seconds for at_a_time in (1, 2, 8)] == [660.0, 600.0, 600.0]
    grown = plan_of(study, "model=gru,lstm", "seed=range(1,5)")
    assert estimated(study, grown, 2).sentence == "about 22 min at 2 a time"


@pytest.mark.parametrize(
    "elsewhere", [{"cpu_model": "Another CPU"}, {"cpu_cores": 977}, {"gpu_model": "NVIDIA X9"}, {"resumed_from": "x"}]
)
def test_what_another_machine_took_or_the_rest_of_a_resumed_run_says_nothing(
    study: Study, elsewhere: dict[str, object]
) -> None:
    typed = ("model=gru", "seed=0,1")
    finished(study, plan_of(study, *typed), [10.0], **elsewhere)
    found = estimated(study, plan_of(study, *typed))
    assert (found.seconds, found.unknown, found.short) == (None, 1, "unknown")
    assert found.sentence == "unknown: no run like these has finished on this machine"


def test_without_its_arm_a_run_is_scaled_by_epochs_and_share_of_the_training_texts(study: Study) -> None:
    finished(study, plan_of(study, "model=gru", "training.epochs=4", "seed=0,1,2"), [40.0, 48.0, 44.0])
    longer = plan_of(study, "model=gru", "training.epochs=10")
    assert list(estimated(study, longer).runs.values()) == [Expected(110.0, "similar runs")]
    smaller = plan_of(study, "model=gru", "training.epochs=4", "data.train_fraction=0.5")
    assert estimated(study, smaller).seconds == pytest.approx(22.0)
    assert estimated(study, plan_of(study, "model=lstm", "training.epochs=4")).seconds is None


def test_runs_of_equal_width_are_preferred_to_others_of_the_same_cell(study: Study) -> None:
    for width, seconds in ((12, 12.0), (24, 96.0), (48, 480.0)):
        finished(study, plan_of(study, "model=gru", f"model.hidden_size={width}"), [seconds])
    narrow = plan_of(study, "model=gru", "model.hidden_size=12", "training.learning_rate=0.1")
    unseen = plan_of(study, "model=gru", "model.hidden_size=13")
    assert (estimated(study, narrow).seconds, estimated(study, unseen).seconds) == (12.0, 96.0)


def test_a_limit_on_training_time_limits_the_estimate(study: Study) -> None:
    finished(study, plan_of(study, "model=gru"), [61.0])  # a second of it beside training
    limited = plan_of(study, "model=gru", "training.max_seconds=5.0")
    assert estimated(study, limited).seconds == 6.0


def test_one_chosen_device_is_not_judged_by_another(study: Study) -> None:
    finished(study, plan_of(study, "model=gru", "seed=0,1"), [10.0, 10.0])
    anywhere = plan_of(study, "model=gru", "seed=2", "hardware=auto")
    on_gpu = plan_of(study, "model=gru", "seed=2", "hardware=gpu")
    assert (estimated(study, anywhere).seconds, estimated(study, on_gpu).seconds) == (10.0, None)


def test_what_is_unknown_is_said_beside_what_is_known(study: Study) -> None:
    finished(study, plan_of(study, "model=gru", "seed=0"), [300.0])
    plan = plan_of(study, "model=gru,lstm", "seed=1,2,3")
    found = estimated(study, plan)
    assert found.sentence == "about 15 min, and 3 of unknown length"
    cells = {cell: [m.run_id for m in plan.members if m.choice.cell == cell] for cell in ("model=gru", "model=lstm")}
    assert [found.of(run_ids).short for run_ids in cells.values()] == ["15 min", "unknown"]
    assert found.of([]).short == ""
    assert found.of(cells["model=gru"], unnamed=2).short == "15 min + 2 unknown"


def test_runs_under_way_count_with_what_they_say_of_themselves() -> None:
    known = Estimate({"a": Expected(100.0, "same arm"), "b": Expected(100.0, "same arm"), "c": None})
    found = with_progress(known, {"b": 30.0, "c": None, "d": 5.0})
    assert (found.seconds, found.unknown) == (135.0, 1)
    assert found.runs["b"] == Expected(30.0, "progress")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (3569, "59 min"),
        (3599, "1 h"),
        (4800, "1 h 20 min"),
        (86_399, "1 d"),
        (97_200, "1 d 3 h"),
        (172_800, "2 d"),
    ],
)
def test_times_are_said_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
