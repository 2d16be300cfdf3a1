"""Tuning with equal budgets: the same draws for every arm, never a trial more, and nothing lost on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bench
from bench.compose import session
from bench.config import TuningConfig
from bench.errors import UserError
from bench.runs.assemble import make_record
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.grid import Choice, expand
from bench.sweeps.planner import Planner
from bench.sweeps.tuning.space import parse_space
from bench.sweeps.tuning.studies import proposed, without_password
from bench.sweeps.tuning.tuner import Tuner
from bench.sweeps.tuning.winners import NO_WINNER, Winner
from tests.conftest import Study

SPACE = "tuning.space=['training.learning_rate=0.005..0.05 log','model.dropout=0..0.5']"
NAME = "tuned"
Score = Callable[[Choice], float | Status | None]


class Search:
    """A sweep's tuning, the sweeper's part played by hand: each instance is a process that begins anew."""

    def __init__(self, study: Study, *arguments: str) -> None:
        typed = study.overrides(*((SPACE,) if not any("space" in a for a in arguments) else ()), *arguments)
        with session(typed) as hydra:
            self.grid = expand(typed, {}, hydra.config_loader)
            self.store = Store(value(self.grid[0], "results"))
            self.planner = Planner(NAME, typed, self.store)
            self.tuner = Tuner(self.grid, self.planner.config(self.grid[0]).tuning, self.store, NAME)

    def record(self, trial: Choice, score: float | Status) -> RunRecord:
        """A trial that has ended so. score: its validation accuracy, or how it failed."""
        (member,) = self.planner.plan([trial]).members
        finished = {"status": Status.FINISHED, "validation_accuracy": score, "validation_log_loss": 0.5}
        ended = {"status": score} if isinstance(score, Status) else finished
        return make_record(member, datetime.now(UTC), {"hardware_key": "one", **ended})

    def take_in(self, trials: Sequence[Choice], score: Score) -> None:
        scored = [(trial, score(trial)) for trial in trials]
        self.tuner.take_in([(t, None if s is None else self.record(t, s)) for t, s in scored])

    def spend(self, score: Score) -> list[Choice]:
        """Rounds until the budget is spent; all trials that were handed out."""
        handed_out = []
        while trials := self.tuner.next_round():
            handed_out += trials
            self.take_in(trials, score)
        return handed_out


def value(choice: Choice, key: str) -> str:
    return [override.partition("=")[2] for override in choice.overrides if override.startswith(f"{key}=")][-1]


def drawn(choice: Choice) -> tuple[str, str]:
    return value(choice, "training.learning_rate"), value(choice, "model.dropout")


def rate(choice: Choice) -> float:
    """The smaller the learning rate, the better."""
    return 1 - float(value(choice, "training.learning_rate"))


def of_arm(trials: Sequence[Choice], arm: str) -> list[Choice]:
    return [trial for trial in trials if arm in trial.swept]


# -- the space -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "extremes", "override"),
    [
        ("training.learning_rate=0.0005..2e-2 log", (0.0005, 0.02), "training.learning_rate=0.0005"),
        ("model.dropout = 0..0.5", (0.0, 0.5), "model.dropout=0.0"),
        ("training.epochs=2..8 int", (2, 8), "training.epochs=2"),
        ("training.batch_size=8..64 log int", (8, 64), "training.batch_size=8"),
        ("training.gradient_clip=null|1|5", ("null", "1", "5"), "training.gradient_clip=null"),
    ],
)
def test_a_line_of_the_space_is_a_key_and_what_it_may_be(line: str, extremes: tuple[object], override: str) -> None:
    (axis,) = parse_space([line])
    assert axis.extremes == extremes
    assert axis.written(axis.extremes[0]) == override
    assert parse_space([str(axis)]) == (axis,)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "tuning.space is empty"),
        (["training.learning_rate"], "cannot read 'training.learning_rate'"),
        (["training.learning_rate=0.1..0.2 lg"], "cannot read"),
        (["training.learning_rate=0.1"], "cannot read"),
        (["training.learning_rate=0.02..0.001"], "as in training.learning_rate=0.001..0.02"),
        (["model.dropout=0..0.5 log"], "begins above 0"),
        (["training.epochs=1.5..3 int"], "whole numbers"),
        (["training.optimizer=adam|adam"], "names a value twice"),
        (["model.dropout=0..0.5", "model.dropout=0.1..0.2"], "one line a key"),
        (["model.droput=0..0.5"], "did you mean 'model.dropout'?"),
        (["seed=0..5 int"], "seed cannot be searched"),
        (["model.cell=gru|lstm"], "model.cell cannot be searched"),
        (["data.use_test=true|false"], "never read the test split"),
        (["model.hidden_size=16..64 int"], "what model.match holds equal"),
        (["hardware.threads=1|2"], "is no part of a recipe"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_one_line(lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?").replace(".", r"\.")) as caught:
        parse_space(lines)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=0,1", "tuning.seed=1"], "tuning.seed=1 is among the seeds that are compared"),
        (["tuning.seed=0"], "tuning.seed=0 is among the seeds"),
        (["model.dropout=0.1,0.2"], "model.dropout is what this sweep varies"),
        (["embedding=random,glove", "tuning.space=['embedding.name=random|glove']"], "embedding.name is what"),
        (["tuning.trials=2,4"], "tuning.trials takes one value in a sweep"),
        (["model.match=parameters,time"], "write model.match=width,time"),
        (["tuning.space=['training.epochs=2..8']"], r"training.epochs=2.0: .* write int behind the range"),
        (["tuning.space=['training.optimizer=adam|sdg']"], "tuning.space: training.optimizer=sdg: should"),
        (["tuning.storage=nonsense"], "no database that Optuna knows"),
    ],
)
def test_what_makes_a_comparison_unfair_or_impossible_is_refused_before_anything_runs(
    study: Study, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Search(study, "tuning.trials=2", *arguments)
    assert "\n" not in str(caught.value)
    assert not study.results.exists()


# -- draws ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), number=st.integers(0, 500))
def test_a_draw_depends_on_seed_number_and_space_alone(seed: int, number: int) -> None:
    lines = ["training.learning_rate=0.001..0.1 log", "training.batch_size=8|16|32", "training.epochs=2..9 int"]
    tuning = TuningConfig(trials=3, seed=seed)
    values = proposed(parse_space(lines), tuning, number)
    assert values == proposed(parse_space(lines[::-1]), TuningConfig(trials=900, seed=seed), number)
    assert values != proposed(parse_space(lines), tuning, number + 1)
    assert 0.001 <= float(values["training.learning_rate"]) <= 0.1
    assert values["training.batch_size"] in ("8", "16", "32")
    assert values["training.epochs"] in range(2, 10)


def test_every_arm_gets_the_same_draws_and_the_first_of_them_do_not_depend_on_the_budget(study: Study) -> None:
    few = Search(study, "model=rnn,gru,lstm", "tuning.trials=4").tuner.next_round()
    assert len(few) == 12
    gru, lstm, rnn = ([drawn(trial) for trial in of_arm(few, f"model={cell}")] for cell in ("gru", "lstm", "rnn"))
    assert gru == lstm == rnn
    assert len(set(gru)) == 4
    other = Search(study, f"results={study.folder}/other", "model=gru,lstm", "tuning.trials=8")
    assert [drawn(trial) for trial in of_arm(other.tuner.next_round(), "model=gru")][:4] == gru


def test_a_trial_has_a_seed_of_its_own_reads_no_test_split_and_reads_well(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=2")
    trials = search.tuner.next_round()
    assert [trial.label for trial in trials] == [f"model={cell} trial={k}" for cell in ("gru", "lstm") for k in (0, 1)]
    for number, trial in enumerate(of_arm(trials, "model=lstm")):
        config = search.planner.plan([trial]).members[0].config
        assert (config.seed, config.data.use_test, config.tuning.trial) == (1000, False, number)
        assert repr(config.training.learning_rate) == value(trial, "training.learning_rate")
    assert "2 trials for each of 2 arms (the same draws for every arm, seed 1000)" in search.tuner.outlook
    assert "searched instead of model.dropout=0.1, training.learning_rate=0.02" in search.tuner.outlook


# -- the budget ----------------------------------------------------------------------------------------------------


def test_a_budget_is_spent_once_and_the_best_on_validation_wins(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=3")
    trials = search.spend(rate)
    assert len(trials) == 6
    best = max(of_arm(trials, "model=gru"), key=rate)
    expected = Winner(
        (f"model.dropout={drawn(best)[1]}", f"training.learning_rate={drawn(best)[0]}"),
        int(value(best, "tuning.trial")),
        pytest.approx(rate(best)),
    )
    for tuner in (search.tuner, Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=3").tuner):
        assert tuner.next_round() == []
        assert set(tuner.winners()) == {"model=gru", "model=lstm"}
        assert tuner.winners()["model=gru"] == expected


def test_winners_run_on_the_seeds_of_the_grid_with_their_own_values(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=2")
    search.spend(rate)
    tuned, without = search.tuner.apply(search.grid)
    assert without == []
    assert [choice.swept for choice in tuned] == [choice.swept for choice in search.grid]
    plan = search.planner.plan(tuned)
    assert {(m.config.model.cell, m.config.seed) for m in plan.members} == {
        (c, s) for c in ("gru", "lstm") for s in (0, 1)
    }
    for member in plan.members:
        winner = search.tuner.winners()[member.choice.cell]
        assert set(winner.values) <= set(member.overrides)
        assert (member.config.tuning.trial, member.config.data.use_test) == (None, True)
        assert sum(override.startswith("model.dropout=") for override in member.overrides) == 1


def test_ties_go_to_the_lower_log_loss_and_then_to_the_earlier_trial(study: Study) -> None:
    search = Search(study, "tuning.trials=4")
    losses = [0.9, 0.4, 0.4, 0.3]
    for number, trial in enumerate(trials := search.tuner.next_round()):
        record = search.record(trial, 0.8 if number < 3 else 0.7)
        search.tuner.take_in([(trial, RunRecord.from_mapping(asdict_with(record, validation_log_loss=losses[number])))])
    assert len(trials) == 4
    assert search.tuner.winners()["all"].trial == 1


def asdict_with(record: RunRecord, **changes: object) -> dict[str, object]:
    return json.loads(record.to_json()) | changes


def test_another_process_goes_on_where_the_first_one_stopped(study: Study) -> None:
    first = Search(study, "model=gru,lstm", "tuning.trials=4")
    trials = first.tuner.next_round()
    first.take_in(trials[:3], rate)
    second = Search(study, "model=gru,lstm", "tuning.trials=4")
    assert second.tuner.next_round() == trials[3:]
    second.take_in(trials[3:], rate)
    assert second.tuner.next_round() == []


def test_raising_the_budget_adds_the_difference_and_lowering_it_reads_the_first(study: Study) -> None:
    search = Search(study, "tuning.trials=3")
    early = search.spend(rate)
    raised = Search(study, "tuning.trials=5")
    assert raised.tuner.winners() == {}, "its budget is not spent yet"
    late = raised.spend(lambda trial: 0.5 + rate(trial))
    assert [value(trial, "tuning.trial") for trial in late] == ["3", "4"]
    assert raised.tuner.winners()["all"].trial in (3, 4)
    lowered = Search(study, "tuning.trials=3")
    assert lowered.tuner.next_round() == []
    assert lowered.tuner.winners() == search.tuner.winners()
    assert lowered.tuner.winners()["all"].trial == int(value(max(early, key=rate), "tuning.trial"))


def test_another_space_arm_or_sampler_begins_a_study_of_its_own(study: Study) -> None:
    Search(study, "tuning.trials=2").spend(rate)
    for change in ("tuning.space=['model.dropout=0..0.3']", "tuning.sampler=tpe", "tuning.seed=7", "training.epochs=2"):
        assert Search(study, "tuning.trials=2", change).tuner.next_round(), change
    assert Search(study, "tuning.trials=2", "hardware.threads=2").tuner.next_round() == [], "nothing that counts"


def test_failed_and_diverged_trials_count_and_an_arm_of_nothing_else_goes_without(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=3")
    ends = {"model=gru": [Status.FAILED, 0.6, Status.DIVERGED], "model=lstm": [Status.DIVERGED] * 3}
    trials = search.spend(lambda trial: ends[trial.swept[0]][int(value(trial, "tuning.trial"))])
    assert len(trials) == 6
    assert {cell: winner.trial for cell, winner in search.tuner.winners().items()} == {"model=gru": 1}
    tuned, without = search.tuner.apply(search.grid)
    assert {choice.cell for choice in tuned} == {"model=gru"}
    assert {choice.cell for choice in without} == {"model=lstm"}
    assert search.tuner.reason(without[0]) == NO_WINNER


def test_a_trial_that_was_not_carried_out_stays_open_for_a_later_process(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "tuning.trials=2")
    lost = search.tuner.next_round()[1]
    search = Search(study, "model=gru,lstm", "tuning.trials=2")
    handed_out = search.spend(lambda trial: Status.INTERRUPTED if trial == lost else rate(trial))
    assert len(handed_out) == 4, "and not over and over again in this one"
    assert set(search.tuner.winners()) == {"model=lstm"}, "half a budget would not be an equal one"
    _, without = search.tuner.apply(search.grid)
    assert "1 of its arm's 2 trials were not carried out" in search.tuner.reason(without[0])
    again = Search(study, "model=gru,lstm", "tuning.trials=2")
    assert again.tuner.next_round() == [lost]
    again.take_in([lost], rate)
    assert set(again.tuner.winners()) == {"model=gru", "model=lstm"}


def test_a_draw_that_repeats_an_earlier_one_shares_its_end_and_counts(study: Study) -> None:
    search = Search(study, "tuning.trials=12", "tuning.space=['model.dropout=0.1|0.2|0.3']")
    trials = search.spend(lambda trial: float(value(trial, "model.dropout")))
    assert sorted(value(trial, "model.dropout") for trial in trials) == ["0.1", "0.2", "0.3"]
    assert search.tuner.winners()["all"].values == ("model.dropout=0.3",)
    assert len({search.planner.plan([trial]).members[0].run_id for trial in trials}) == 3


def test_runs_at_equal_wall_clock_take_the_recipe_found_at_equal_width(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "model.match=width,time", "tuning.trials=2")
    trials = search.spend(rate)
    assert len(trials) == 4
    assert {value(trial, "model.match") for trial in trials} == {"width"}
    tuned, without = search.tuner.apply(search.grid)
    assert without == []
    by_label = {choice.label: drawn(choice) for choice in tuned}
    assert by_label["model=gru model.match=time"] == by_label["model=gru model.match=width"]
    assert all(value(choice, "model.match") in choice.label for choice in tuned)


# -- learning from earlier trials ----------------------------------------------------------------------------------


def test_tpe_gets_one_trial_an_arm_a_round_and_learns_from_the_earlier_ones(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "tuning.trials=14", "tuning.sampler=tpe")
    rounds = []
    while trials := search.tuner.next_round():
        rounds.append(trials)
        search.take_in(trials, lambda trial: rate(trial) if "model=gru" in trial.swept else 1 - rate(trial))
    assert [len(trials) for trials in rounds] == [2] * 14
    gru, lstm = ([drawn(trial) for trials in rounds for trial in of_arm(trials, f"model={c}")] for c in ("gru", "lstm"))
    assert gru[:10] == lstm[:10], "the first ten are random, and the same for every arm"
    assert gru[10:] != lstm[10:], "then each arm goes where it has done well"


def test_a_tpe_study_that_was_cut_off_makes_the_same_proposals(study: Study) -> None:
    whole = Search(study, "tuning.trials=12", "tuning.sampler=tpe", f"results={study.folder}/whole").spend(rate)
    parts = []
    for _ in range(12):
        search = Search(study, "tuning.trials=12", "tuning.sampler=tpe")
        assert search.tuner.next_round() == search.tuner.next_round(), "an open trial is handed out, not replaced"
        parts += search.tuner.next_round()
        search.take_in(parts[-1:], rate)
    assert [drawn(trial) for trial in parts] == [drawn(trial) for trial in whole]


# -- several processes, and none -----------------------------------------------------------------------------------

DRIVER = """
import json, sys, time
from bench.compose import session
from bench.runs.store import Store
from bench.sweeps.grid import expand
from bench.sweeps.planner import Planner
from bench.sweeps.tuning.tuner import Tuner

results, stop, *typed = sys.argv[1:]
with session(typed) as hydra:
    grid, store = expand(typed, {}, hydra.config_loader), Store(results)
    tuner = Tuner(grid, Planner("tuned", typed, store).config(grid[0]).tuning, store, "tuned")
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([trial.label for trial in tuner.next_round()]), flush=True)
if stop == "wait":
    time.sleep(600)
"""


def driver(study: Study, stop: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that asks for a round when it is told to. stop: `wait` to be killed afterwards."""
    command = [sys.executable, "-c", DRIVER, str(study.results), stop, *study.overrides(SPACE, *arguments)]
    process = subprocess.Popen(command, cwd=study.folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def told(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    labels: list[str] = json.loads(process.stdout.readline())
    return labels


def test_trials_of_a_killed_process_are_handed_out_again_and_not_replaced(study: Study) -> None:
    with driver(study, "wait", "model=gru,lstm", "tuning.trials=3") as process:
        labels = told(process)
        process.kill()
    search = Search(study, "model=gru,lstm", "tuning.trials=3")
    assert [trial.label for trial in search.tuner.next_round()] == labels
    assert len(search.spend(rate)) == 6
    assert Search(study, "model=gru,lstm", "tuning.trials=3").tuner.next_round() == []


def test_two_processes_at_once_never_exceed_the_budget(study: Study) -> None:
    typed = ("model=gru,lstm", "tuning.trials=6")
    processes = [driver(study, "end", *typed) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    labels = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert labels[0] == labels[1]
    assert len(labels[0]) == 12
    assert len(Search(study, *typed).spend(rate)) == 12


def test_what_another_process_has_told_already_is_not_told_again(study: Study) -> None:
    first, second = Search(study, "tuning.trials=2"), Search(study, "tuning.trials=2")
    trials = first.tuner.next_round()
    assert second.tuner.next_round() == trials
    first.take_in(trials, rate)
    second.take_in(trials, lambda trial: 0.0)
    assert second.tuner.winners() == first.tuner.winners()
    assert first.tuner.winners()["all"].validation_accuracy > 0.5


# -- storage -------------------------------------------------------------------------------------------------------


def test_any_database_serves_and_the_default_lies_beside_the_plan(study: Study) -> None:
    Search(study, "tuning.trials=1").spend(rate)
    assert (study.results / "sweeps" / NAME / "tuning" / "study.db").is_file()
    elsewhere = f"tuning.storage=sqlite:///{study.folder}/elsewhere.db"
    assert len(Search(study, "tuning.trials=1", elsewhere).spend(rate)) == 1, "a database of its own"
    assert (study.folder / "elsewhere.db").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////nowhere/at/all.db", "sqlite:////nowhere/at/all.db: cannot be reached"),
        ("postgresql://me:s3cret@127.0.0.1:9/db", r"postgresql://me:\*\*\*@127.0.0.1:9/db: "),
        ("redis://:s3cret@localhost", "no database that Optuna knows"),
        ("postgresql://me:s3cret@127.0.0.1:port/db?password=s3cret", "no database that Optuna knows"),
        ("postgresql://me:s3cret@x@host/db", r"postgresql://\*\*\*"),
    ],
)
def test_a_database_that_cannot_be_used_gets_one_line_without_the_password(
    study: Study, url: str, message: str
) -> None:
    search = Search(study, "tuning.trials=1", f"tuning.storage='{url}'")
    with pytest.raises(UserError, match=message) as caught:
        search.tuner.next_round()
    assert "\n" not in str(caught.value)
    assert "s3cret" not in f"{caught.value!r} {search.tuner.database!r} {without_password(f'tuning.storage={url}')}"
    assert without_password("model=gru") == "model=gru"


def test_a_password_is_in_no_trial_and_in_no_record(study: Study) -> None:
    url = f"sqlite:///{study.folder}/a.db?password=s3cret"
    search = Search(study, "tuning.trials=1", f"tuning.storage='{url}'")
    (trial,) = search.tuner.next_round()
    assert "s3cret" not in str(trial)
    assert "s3cret" not in search.record(trial, 0.5).to_json()
    search.take_in([trial], rate)
    assert "s3cret" not in str(search.tuner.apply(search.grid))


def test_without_optuna_there_is_one_line_that_says_what_to_type(study: Study) -> None:
    imports = "from bench.sweeps.tuning.studies import need_optuna"
    hidden = f"import sys; sys.modules['optuna'] = None; {imports}; need_optuna()"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert "UserError: tuning needs Optuna; type: pip install 'recurrent-bench[tuning]'" in done.stderr


# -- real runs -----------------------------------------------------------------------------------------------------


def carried_out(search: Search, choice: Choice) -> RunRecord:
    """Train it, as its process would."""
    (member,) = search.planner.plan([choice]).members
    return bench.run([*member.overrides, "sweep.member=true"])


def test_real_trials_read_no_test_split_and_their_winner_does(study: Study) -> None:
    search = Search(study, "model=gru,lstm", "seed=0,1", "tuning.trials=2", "training.epochs=2")
    for trial in search.tuner.next_round():
        record = carried_out(search, trial)
        assert (record.status, record.test_accuracy, record.test_correct) == (Status.FINISHED, None, None)
        assert record.config["tuning.trial"] == int(value(trial, "tuning.trial"))
        search.tuner.take_in([(trial, record)])
    winners = search.tuner.winners()
    tuned, _ = search.tuner.apply(search.grid)
    winner = carried_out(search, tuned[0])
    assert winner.test_accuracy is not None
    assert (winner.config["tuning.trial"], winner.config["tuning.trials"], winner.seed) == (None, 2, 0)
    assert f"model.dropout={winner.config['model.dropout']!r}" in winners["model=gru"].values


def test_a_killed_sweep_goes_on_with_its_trials_and_never_exceeds_the_budget(study: Study) -> None:
    typed = study.overrides("seed=0,1", "tuning.trials=3", SPACE, f"sweep.name={NAME}", "training.epochs=2")
    command = [sys.executable, "-u", "-m", "bench", "-m", *typed]
    with subprocess.Popen(command, cwd=study.folder, text=True, stdout=subprocess.PIPE) as sweep:
        assert sweep.stdout is not None
        next(line for line in sweep.stdout if line.startswith("[2/3]"))
        sweep.kill()
    again = study.command("-m", *typed)
    assert again.returncode == 0, again.stdout + again.stderr
    records = [RunRecord.from_json(path.read_text()) for path in study.results.glob("runs/*/*/record.json")]
    finished = [record for record in records if record.status is Status.FINISHED]
    trials = {record.config["tuning.trial"]: record for record in finished if record.seed == 1000}
    assert sorted(trials) == [0, 1, 2]
    assert len(finished) == 3 + 2
    best = min(
        trials.values(), key=lambda r: (-(r.validation_accuracy or 0), r.validation_log_loss, r.config["tuning.trial"])
    )
    chosen = {record.config["training.learning_rate"] for record in finished if record.seed in (0, 1)}
    assert chosen == {best.config["training.learning_rate"]}
    third = study.command("-m", *typed)
    assert (third.returncode, third.stdout.count("skipped")) == (0, 2)
    assert len(list(study.results.glob("runs/*/*/record.json"))) == len(records)
