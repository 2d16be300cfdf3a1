"""Planning: fast, and exactly what Hydra would compose; what has ended is repeated only where that is asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.compose import compose, session
from bench.config import BenchConfig
from bench.data.sources import open_corpus
from bench.errors import UserError
from bench.options import sweep_files
from bench.runs.assemble import make_record
from bench.runs.questions import stored_plans, stored_protocols, stored_trials
from bench.runs.record import Status
from bench.runs.store import Store
from bench.sweeps import composition
from bench.sweeps.composition import Compositions
from bench.sweeps.grid import expand, name_of
from bench.sweeps.plan import Plan
from bench.sweeps.planner import Planner
from tests.conftest import ROOT, Study
from tests.test_compose import MISTAKES


def plan_of(study: Study, *arguments: str, name: str = "study") -> Plan:
    overrides = study.overrides(*arguments)
    with session(overrides) as hydra:
        choices = expand(overrides, {}, hydra.config_loader)
        return Planner(name, overrides, Store(study.results)).plan(choices)


# -- composing -----------------------------------------------------------------------------------------------------

RIGHT = [
    "model=lstm", "model=rnn", "data=sst2", "data=trec6", "embedding=glove", "recipe=last_state", "logger=none",
    "logger=[csv,tensorboard]", "hardware=cpu", "+sweep=smoke", "seed=7", "training.epochs=3", "data.epochs=2",
    "data.learning_rate=0.5", "training.learning_rate=1e-3", "model.dropout=0.25", "model.bidirectional=true",
    "model.forget_bias=null", "training.max_seconds=12", "data.train_fraction=0.5", "protocol.margin=0.5",
    "protocol.looks=[2,4]", "data.labels=[a,b]", "results='my runs'", 'results="a, b"', "sweep.name=x",
    "sweep.member=true", "tuning.trials=2", "keep=all", "force=true", "retry=failed",
]  # fmt: skip
LESS_PLAIN = [
    "++training.epochs=4", "~training.patience", "training={epochs:9}", "training.epochs=${data.max_length}",
    "data.max_length=${training.batch_size}", "training.batch_size=${seed}", "model.cell=???", "tuning.space=here",
    "training.epochs='${data.epochs}'", "training=null", "hydra.verbose=true", "data.hub_splits={train:a}",
    "data.hub_splits.train=a", "model.dropout=0", "model.dropout=-1", "seed=-1", "training.epochs=true",
    "training.epochs='3'", "results=\\${seed}", "data.name=", "model@training=lstm", "+model.depth=2", "data.path=/no",
]  # fmt: skip
Outcome = BenchConfig | str


def outcome(composed: Callable[[list[str]], BenchConfig], overrides: list[str]) -> Outcome:
    """The configuration, or what the person reads."""
    try:
        return composed(overrides)
    except UserError as error:
        return str(error)


@pytest.fixture(scope="module")
def compositions() -> Compositions:
    return Compositions()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(RIGHT), max_size=5),
    st.lists(st.sampled_from([*RIGHT, *LESS_PLAIN, *MISTAKES]), max_size=2),
    st.randoms(use_true_random=False),
)
def test_what_is_planned_is_what_hydra_composes_errors_included(
    compositions: Compositions, right: list[str], any_: list[str], random: object
) -> None:
    overrides = [*right, *any_]
    random.shuffle(overrides)  # type: ignore[attr-defined]
    assert outcome(compositions.config, overrides) == outcome(compose, overrides)


@pytest.mark.parametrize("typed", LESS_PLAIN)
def test_what_is_less_plain_comes_out_as_hydra_would_have_it_beside_plain_words(
    compositions: Compositions, typed: str
) -> None:
    for overrides in (["data.epochs=2", "training.epochs=3", typed], [typed, "training.epochs=3", "data.max_length=9"]):
        assert outcome(compositions.config, overrides) == outcome(compose, overrides)


def test_numbers_are_set_before_interpolations_are_resolved(compositions: Compositions) -> None:
    config = compositions.config(["data=sst2", "data.epochs=17", "data.learning_rate=0.125"])
    assert (config.training.epochs, config.training.learning_rate) == (17, 0.125)
    assert compositions.config(["data=sst2", "data.epochs=17", "training.epochs=2"]).training.epochs == 2


class Counted:
    """Hydra's compositions, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        compose_tree = composition.compose_tree

        def counting(*arguments: object) -> object:
            self.number += 1
            return compose_tree(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(composition, "compose_tree", counting)


def test_hydra_composes_each_choice_of_groups_once_and_never_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(study.folder / "cache"))
    counted = Counted(monkeypatch)
    grid = ("model=gru,lstm", "training.epochs=1,2,3", "seed=range(5)")
    first = plan_of(study, *grid)
    assert (len(first.members), counted.number) == (30, 2)
    again = plan_of(study, *grid, "model.dropout=0.3,0.4")
    assert (len(again.members), counted.number) == (60, 2)
    for path in (study.folder / "cache" / "composed").iterdir():
        path.write_text("{")
    assert plan_of(study, *grid) == first
    assert counted.number == 4


def test_an_edited_question_is_composed_anew(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(study.folder / "cache"))
    monkeypatch.chdir(study.folder)
    (study.folder / "sweeps").mkdir()
    for epochs in (2, 3):
        (study.folder / "sweeps" / "mine.yaml").write_text(f"training: {{epochs: {epochs}}}\n")
        compositions = Compositions()
        assert compositions.config(["+sweep=mine", "seed=1"]).training.epochs == epochs
        compositions.keep()


# -- what a corpus is ----------------------------------------------------------------------------------------------


def wait_until_settled(study: Study) -> None:
    newest = max(path.stat().st_ctime for path in study.data.iterdir())
    while time.time() - newest < 2.1:
        time.sleep(0.1)


def test_a_corpus_that_has_not_changed_is_not_read_again_to_be_known(study: Study) -> None:
    wait_until_settled(study)
    data = compose(study.overrides()).data
    first = open_corpus(data)
    contents = {path: path.read_bytes() for path in study.data.iterdir()}
    again = open_corpus(data)
    assert (again.fingerprint, again.label_names) == (first.fingerprint, first.label_names)
    assert again.splits["train"].texts == first.splits["train"].texts
    later = open_corpus(data)
    train = study.data / "train.jsonl"
    train.write_bytes(contents[train].replace(b"goal", b"gaol"))
    with pytest.raises(UserError, match="the files of folder have changed meanwhile: type the command again"):
        later.splits["train"]
    assert open_corpus(data).fingerprint != first.fingerprint


def test_a_corpus_changed_to_the_same_size_and_time_is_another_corpus(study: Study) -> None:
    wait_until_settled(study)
    data, train = compose(study.overrides()).data, study.data / "train.jsonl"
    first, state = open_corpus(data), train.stat()
    train.write_bytes(train.read_bytes().replace(b"goal", b"gaol"))
    os.utime(train, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_corpus(data).fingerprint != first.fingerprint


# -- what is to run ------------------------------------------------------------------------------------------------


def end(plan: Plan, store: Store, endings: dict[int, list[str]]) -> None:
    """Records of executions that ended so, one after another, by seed."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for member in plan.members:
        for number, status in enumerate(endings.get(member.config.seed, [])):
            error = {} if status == "finished" else {"error_type": "Error", "error_message": "why"}
            fields = {"status": status, "hardware_key": "one", "wall_seconds": 1.0, **error}
            store.write(make_record(member, start + timedelta(seconds=number), fields))


ENDINGS = {
    0: [], 1: ["finished"], 2: ["failed"], 3: ["diverged"], 4: ["interrupted"], 5: ["failed", "finished"],
    6: ["finished", "failed"], 7: ["failed", "interrupted"], 8: ["interrupted", "diverged"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], {0, 4, 7}),
        (["retry=failed"], {0, 4, 7, 2}),
        (["retry=diverged"], {0, 4, 7, 3, 8}),
        (["retry=all"], {0, 4, 7, 2, 3, 8}),
        (["force=true"], set(range(9))),
    ],
)
def test_what_ended_without_a_result_is_repeated_where_that_is_asked_for(
    study: Study, typed: list[str], expected: set[int]
) -> None:
    end(plan_of(study, "seed=range(9)"), Store(study.results), ENDINGS)
    plan = plan_of(study, "seed=range(9)", *typed)
    assert {member.config.seed for member in plan.to_run} == expected
    assert {member.config.seed for member in plan.left_out} == {2, 3, 8} - expected
    for member in plan.members:
        ended = ENDINGS[member.config.seed]
        assert (member.done is not None) == ("finished" in ended)
        assert (member.last.status if member.last else None) == (
            Status(ended[-1]) if ended and "finished" not in ended else None
        )


def test_a_typed_question_has_one_name_whoever_carries_it_out(study: Study) -> None:
    def name(*arguments: str) -> str:
        overrides = study.overrides(*arguments)
        with session(overrides) as hydra:
            return name_of(expand(overrides, {}, hydra.config_loader))

    plain = name("seed=0,1")
    for how in ("retry=all", "force=true", "dry_run=true", "tuning.storage=sqlite:///x.db", "hydra/launcher=pool"):
        assert name("seed=0,1", how) == plain, how
    assert name("seed=0,1", "tuning.trials=3") != plain
    assert name("seed=0,1", "tuning.sampler=tpe") != plain


def test_what_is_left_out_may_be_written_as_on_the_command_line() -> None:
    with session() as hydra:
        typed = ["embedding=random,glove", "embedding.trainable=true,false", "training.learning_rate=1e-3"]
        for left_out in ("embedding=random embedding.trainable=false", "embedding=random embedding.trainable=False"):
            choices = expand(typed, {}, hydra.config_loader, [left_out])
            assert [choice.cell for choice in choices] == [
                "embedding=random embedding.trainable=True",
                "embedding=glove embedding.trainable=True",
                "embedding=glove embedding.trainable=False",
            ]
        with pytest.raises(UserError, match="one of its lists is empty"):
            expand(typed, {}, hydra.config_loader, ["training.learning_rate=0.001"])


def test_trials_are_kept_apart_and_no_protocol_is_fixed_by_them(study: Study) -> None:
    store, plan = Store(study.results), plan_of(study, "seed=0,1")
    path = plan.write(store, trials=True)
    assert path.parent == study.results / "sweeps" / "study" / "tuning"
    assert path.name.startswith("trials-")
    assert stored_protocols(store, "study") == []
    (trials,) = stored_trials(store, "study")
    plan.write(store)
    assert stored_plans(store, "study") == [trials]
    assert len(stored_protocols(store, "study")) == 1


# -- the program's questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml")))
def test_every_question_plans(name: str, study: Study, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    lines = [f"{word} " + " ".join(["0.5"] * 50) for word in ("the", "a", "of")]
    (study.folder / "glove.6B.50d.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("BENCH_VECTORS", str(study.folder))
    answer = study.command("-m", f"+sweep={name}", "dry_run=true")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"{name}: ")
    runs = int(answer.stdout.split(": ")[1].split()[0])
    stated = re.findall(r"# Budget: (\d+) runs", (ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert stated == ([] if name == "smoke" else [str(runs)])
    assert not study.results.exists()


def test_there_is_a_question_on_each_subject() -> None:
    wanted = {"gru_first", "gru_first_small", "embeddings", "pretrained", "length", "small_data", "smoke",
              "gradients"}  # fmt: skip
    assert wanted <= set(sweep_files())
