"""`model.kernel=auto` takes what was measured on this machine, and says so wherever times are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.analysis.decision import EQUIVALENT
from bench.analysis.verdict import verdict
from bench.compose import compose, session
from bench.config import HardwareConfig
from bench.errors import UserError
from bench.report.cells import kernel_words
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.index import frame_of
from bench.runs.kernel_table import (
    TABLE_VERSION,
    KernelTable,
    Row,
    advice,
    current_versions,
    fresh_table,
    place_of,
    store_table,
    stored_table,
    why_stale,
)
from bench.runs.kernel_timing import measure_table, median_interval
from bench.runs.questions import stored_plans
from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.sweeps.grid import expand
from bench.sweeps.kernels import kernel_of, sentence
from bench.sweeps.plan import Plan
from bench.sweeps.planner import Planner
from bench.sweeps.status.members import members_of
from bench.verbs.reproduce import reproduce
from tests.conftest import Study
from tests.test_pairing import PROTOCOL, reasons, record
from tests.test_pairing import study as study_of_records

STUDY_HARDWARE = HardwareConfig(accelerator="cpu", threads=1)  # as in `Study.overrides`


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing was measured yet."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_KERNEL", raising=False)


def row(cell: str, hidden_size: int, ratio: float, noise: float = 0.02) -> Row:
    """A measurement: the project's own kernel takes `ratio` times as long as PyTorch's."""
    return Row(
        cell=cell, hidden_size=hidden_size, torch_milliseconds=10.0, step_milliseconds=10.0 * ratio, ratio=ratio,
        ratio_low=ratio - noise, ratio_high=ratio + noise, turns=21,
    )  # fmt: skip


def measured(*rows: Row, hardware: HardwareConfig = STUDY_HARDWARE) -> KernelTable:
    """Keep a table that says so."""
    table = KernelTable(
        table_version=TABLE_VERSION, place=place_of(hardware), versions=current_versions(), hardware_key="here",
        measured_at="2026-01-01T00:00:00+00:00", input_size=100, batch_size=32, length=100, native="compiled",
        operators={}, rows=list(rows),
    )  # fmt: skip
    store_table(table)
    return table


def resolved(study: Study, *overrides: str) -> ResolvedRun:
    return resolve(compose(study.overrides(*overrides)))


def plan_of(study: Study, *arguments: str) -> Plan:
    overrides = study.overrides(*arguments)
    with session(overrides) as hydra:
        choices = expand(overrides, {}, hydra.config_loader)
        return Planner("choice", overrides, Store(study.results)).plan(choices)


# -- the table -----------------------------------------------------------------------------------------------------


def test_a_table_is_found_again_and_can_be_read_by_people() -> None:
    table = measured(row("gru", 128, 0.7))
    assert fresh_table(STUDY_HARDWARE) == stored_table(table.place) == table
    content = json.loads(table.place.path.read_text())
    assert content["place"]["threads"] == 1
    assert content["versions"]["torch"] == table.versions.torch
    assert content["rows"][0]["ratio"] == 0.7


@pytest.mark.parametrize(
    ("hidden_size", "kernel"), [(1, "step"), (64, "step"), (180, "step"), (182, "torch"), (9999, "torch")]
)
def test_the_nearest_size_on_the_logarithmic_scale_decides(hidden_size: int, kernel: str) -> None:
    table = measured(row("gru", 128, 0.7), row("gru", 256, 1.4), row("lstm", 128, 9.0))
    assert table.fastest("gru", hidden_size) == kernel


def test_what_noise_leaves_open_is_torch_and_so_is_what_was_not_timed() -> None:
    table = measured(row("gru", 128, 0.99, noise=0.02), row("lstm", 128, 0.97, noise=0.02))
    assert table.fastest("gru", 128) == "torch"
    assert table.fastest("lstm", 128) == "step"
    assert table.fastest("rnn", 128) == "torch"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"torch": "1.0"}, "torch was 1.0 and is "),
        ({"kernels": "other"}, "the kernels have changed"),
        ({"compiler": True}, "a C++ compiler was there and is gone"),
        ({"forced": "loop"}, "BENCH_KERNEL was loop and is not set"),
    ],
)
def test_a_table_of_another_torch_or_of_other_kernels_does_not_count(
    part: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    table = measured(row("gru", 128, 0.7))
    stale = replace(table, versions=replace(table.versions, **part))
    store_table(stale)
    assert fresh_table(STUDY_HARDWARE) is None
    assert (why_stale(stale) or "").startswith(reason)


def test_other_threads_another_precision_and_a_gpu_have_tables_of_their_own() -> None:
    measured(row("gru", 128, 0.7))
    for other in ({"threads": 2}, {"precision": "bf16"}, {"accelerator": "gpu"}):
        assert fresh_table(replace(STUDY_HARDWARE, **other)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"table_version": 1}'])
def test_a_damaged_table_is_none(content: str) -> None:
    table = measured(row("gru", 128, 0.7))
    table.place.path.write_text(content)
    assert fresh_table(STUDY_HARDWARE) is None


def test_intervals_of_a_median_hold_it_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    for n in (9, 21, 40):
        intervals = [median_interval(values) for values in draw.lognormal(size=(2000, n)).tolist()]
        held = np.mean([low <= 1 <= high for low, high in intervals])
        assert 0.945 < held < 0.995, n


def test_both_executions_are_timed_in_turns_and_named_by_their_operators() -> None:
    told: list[tuple[str, int]] = []
    table = measure_table(
        STUDY_HARDWARE, cells=("gru", "lstm"), sizes=(4, 8), seconds=0.2, watch=lambda *case: told.append(case)
    )
    assert [(entry.cell, entry.hidden_size) for entry in table.rows] == [
        ("gru", 4), ("gru", 8), ("lstm", 4), ("lstm", 8),
    ]  # fmt: skip
    assert sorted(told) == sorted((entry.cell, entry.hidden_size) for entry in table.rows)
    for entry in table.rows:
        assert 0 < entry.ratio_low <= entry.ratio <= entry.ratio_high
        assert min(entry.torch_milliseconds, entry.step_milliseconds) > 0
    for cell in ("gru", "lstm"):
        step, plain = (set(table.operators[cell][kernel]) for kernel in ("step", "torch"))
        assert any(name.startswith("bench::") for name in step)
        assert not any(name.startswith("bench::") for name in plain)
    store_table(table)
    assert fresh_table(STUDY_HARDWARE) == table


# -- which run is it -----------------------------------------------------------------------------------------------


def test_auto_is_torch_until_kernels_are_timed_and_then_each_cells_faster_one(study: Study) -> None:
    before = resolved(study, "model=gru")
    assert (before.kernel, before.run_id) == ("torch", resolved(study, "model=gru", "model.kernel=torch").run_id)
    measured(row("gru", 12, 0.7), row("lstm", 12, 1.3))
    gru, lstm = resolved(study, "model=gru"), resolved(study, "model=lstm")
    assert (gru.kernel, lstm.kernel) == ("step", "torch")
    assert gru.run_id == resolved(study, "model=gru", "model.kernel=step").run_id != before.run_id
    assert resolved(study, "model=gru", "model.kernel=torch").run_id == before.run_id


def test_a_matched_width_is_looked_up_not_the_declared_one(study: Study) -> None:
    measured(row("rnn", 12, 1.5), row("rnn", 24, 0.5))
    assert resolved(study, "model=rnn").kernel == "torch"
    run = resolved(study, "model=rnn", "model.match=parameters")
    assert run.hidden_size > 20
    assert run.kernel == "step"


def test_runs_pair_under_the_same_declared_execution(study: Study) -> None:
    measured(row("gru", 12, 0.7), row("lstm", 12, 1.3))
    keys = {}
    for kernel in ("auto", "torch", "step"):
        gru, lstm = (resolved(study, f"model={cell}", f"model.kernel={kernel}") for cell in ("gru", "lstm"))
        assert gru.pair_key == lstm.pair_key
        keys[kernel] = gru.pair_key
    assert len(set(keys.values())) == 3


def test_what_does_not_recur_is_the_same_run_under_every_execution(study: Study) -> None:
    measured(row("gru", 12, 0.7))
    runs = [resolved(study, "model=bag", f"model.kernel={kernel}") for kernel in ("auto", "torch", "step")]
    assert {run.kernel for run in runs} == {"torch"}
    assert len({run.run_id for run in runs}) == 1
    assert len({run.pair_key for run in runs}) == 3


def test_a_table_for_the_processor_says_nothing_of_a_gpu(study: Study) -> None:
    measured(row("gru", 12, 0.7))
    assert resolved(study, "model=gru", "hardware.accelerator=gpu").kernel == "torch"


def test_choosing_a_kernel_imports_no_torch(study: Study) -> None:
    measured(row("gru", 12, 0.7))
    code = (
        "import sys; from bench.compose import compose; from bench.runs.identity import resolve\n"
        f"print(resolve(compose({study.overrides('model=gru')!r})).kernel, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["step", "False"]


def test_a_misspelled_kernel_gets_a_hint() -> None:
    with pytest.raises(UserError, match=r"model.kernel=stpe: should be 'auto', 'torch' or 'step'; did you mean 'step'"):
        compose(["model.kernel=stpe"])
    with pytest.raises(UserError, match=r"unknown key 'model.kernl': did you mean 'model.kernel'\?"):
        compose(["model.kernl=step"])


# -- who is told ---------------------------------------------------------------------------------------------------


def test_single_runs_say_once_that_kernels_can_be_timed(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = study.folder / "c++"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr("bench.verbs.run._TOLD", set())  # as in a process that has not run anything yet
    config = compose(study.overrides("model=gru"))
    line = advice(config)
    assert line is not None
    assert line.endswith("type once: python -m bench doctor hardware.threads=1")
    for seed in (0, 1):
        bench.run(study.overrides("model=gru", "training.epochs=1", f"seed={seed}"))
    assert capsys.readouterr().out.count("python -m bench doctor") == 1
    for silent in ("model.kernel=torch", "model=bag", "sweep.kernel=torch", "hardware.precision=bf16"):
        assert advice(compose(study.overrides(silent))) is None, silent
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert advice(config) is None
    monkeypatch.setenv("CXX", str(compiler))
    measured(row("gru", 12, 0.7))
    assert advice(config) is None


# -- sweeps --------------------------------------------------------------------------------------------------------


def test_a_member_runs_the_kernel_that_was_planned_wherever_it_is_carried_out(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(row("gru", 12, 0.7))
    (member,) = plan_of(study, "model=gru", "training.epochs=1").members
    monkeypatch.setenv("BENCH_CACHE", str(study.folder / "another machine"))
    assert resolved(study, "model=gru", "training.epochs=1").run_id != member.run_id
    assert study.command(*member.overrides).returncode == 0
    (made,) = study.records()
    assert (made.run_id, made.kernel, made.kernel_auto) == (member.run_id, "step", "step")
    assert made.config["model.kernel"] == "auto"
    assert any(name.startswith("bench::") for name in made.kernel_operators or [])


def test_an_execution_that_was_declared_and_come_to_is_one_run(study: Study) -> None:
    measured(row("gru", 12, 0.7), row("lstm", 12, 1.3))
    plan = plan_of(study, "model=gru,lstm,bag", "model.kernel=auto,torch,step")
    assert (len(plan.members), plan.duplicates) == (5, 4)
    wanted = {member.choice.label: len(member.wanted) for member in plan.members}
    assert wanted == {
        "model=gru model.kernel=auto": 2, "model=gru model.kernel=torch": 1, "model=lstm model.kernel=auto": 2,
        "model=lstm model.kernel=step": 1, "model=bag model.kernel=auto": 3,
    }  # fmt: skip


def test_a_question_keeps_the_kernels_that_it_was_first_planned_with(study: Study) -> None:
    store = Store(study.results)
    before = plan_of(study, "model=gru,lstm")
    before.write(store)
    assert sentence(before) is None
    measured(row("gru", 12, 0.7), row("lstm", 12, 1.3))
    for typed in ([], ["retry=failed", "force=true"], ["protocol.margin=1"]):
        again = plan_of(study, "model=gru,lstm", *typed)
        assert [member.run_id for member in again.members] == [member.run_id for member in before.members]
    other = plan_of(study, "model=gru,lstm", "training.epochs=2")
    assert [kernel_of(member.overrides) for member in other.members] == ["step", "torch"]
    assert sentence(other) == "model.kernel=auto: gru by step, lstm by torch"


def test_a_kernel_that_changed_with_the_code_leaves_cells_and_labels_as_they_are(study: Study) -> None:
    """Two plans of one question that told their members different things, as two machines may."""
    store = Store(study.results)
    plan_of(study, "model=gru,lstm").write(store)
    (path,) = study.results.glob("sweeps/choice/plan-*.json")
    later = json.loads(path.read_text())
    gru = next(member for member in later["members"] if "model=gru" in member["overrides"])
    gru |= {"run_id": "abc", "arm": "another", "pair_key": "b"}
    gru["overrides"][-1] = "sweep.kernel=step"
    path.with_name("plan-later.json").write_text(json.dumps(later))
    members = members_of(stored_plans(store, "choice"))
    assert len(members.run_ids) == 2
    assert "abc" in members.run_ids
    assert len(members.replaced) == 1
    assert set(members.labels.values()) == {"model=gru seed=0", "model=lstm seed=0"}


def test_reproduce_runs_the_recorded_kernel_whatever_the_table_says_by_then(study: Study) -> None:
    measured(row("gru", 12, 0.7))
    made = bench.run(study.overrides("model=gru", "training.epochs=1"))
    measured(row("gru", 12, 1.3))
    assert reproduce([made.run_id, f"results={study.results}"]) == 0
    first, second = Store(study.results).executions(made.run_id)
    assert (first.kernel, second.kernel) == ("step", "step")
    assert first.test_log_loss == second.test_log_loss


# -- verdicts ------------------------------------------------------------------------------------------------------


def ran(cell: str, declared: str, kernel: str, seed: int = 0, **changes: object) -> RunRecord:
    """A record by one execution. Its id is that of cell, kernel and seed, as a run's is."""
    return record(
        cell, seed, run_id=f"{cell}-{kernel}-{seed}", model__kernel=declared, kernel=kernel,
        **{"kernel_auto": {"gru": "step"}.get(cell, "torch")} | changes,
    )  # fmt: skip


def pairs_by_execution(*records: RunRecord) -> dict[str, set[str]]:
    """Of each scene's execution, the runs."""
    found = study_of_records(*records)
    return {scene.execution: set(found.runs[found.runs.scene == n].run_id) for n, scene in enumerate(found.scenes)}


def test_cells_are_compared_under_the_same_declared_execution() -> None:
    records = [ran(cell, kernel, kernel) for cell in ("gru", "lstm") for kernel in ("torch", "step")]
    assert pairs_by_execution(*records) == {
        "torch": {"gru-torch-0", "lstm-torch-0"},
        "step": {"gru-step-0", "lstm-step-0"},
    }


def test_one_run_answers_for_auto_and_for_what_auto_came_to() -> None:
    records = [ran("gru", "auto", "step"), ran("lstm", "auto", "torch"), ran("gru", "torch", "torch")]
    assert pairs_by_execution(*records) == {
        "auto": {"gru-step-0", "lstm-torch-0"}, "torch": {"gru-torch-0", "lstm-torch-0"},
    }  # fmt: skip


def test_a_run_made_under_its_own_name_answers_for_auto_too() -> None:
    records = [ran("gru", "step", "step"), ran("lstm", "auto", "torch"), ran("lstm", "step", "step")]
    assert pairs_by_execution(*records)["auto"] == {"gru-step-0", "lstm-torch-0"}


def test_what_nobody_asked_for_makes_no_scene() -> None:
    assert set(pairs_by_execution(ran("gru", "auto", "torch"), ran("lstm", "auto", "torch"))) == {"auto"}
    torch_alone = [ran("gru", "auto", "torch"), ran("lstm", "torch", "torch", kernel_auto="torch")]
    assert pairs_by_execution(*torch_alone) == {"auto": {"gru-torch-0", "lstm-torch-0"}}


def test_a_baseline_stands_beside_the_cells_under_every_execution() -> None:
    bag = replace(ran("bag", "torch", "torch"), hidden_size_resolved=128)
    cells = [ran(cell, kernel, kernel) for cell in ("gru", "lstm") for kernel in ("torch", "step")]
    for run_ids in pairs_by_execution(bag, *cells).values():
        assert "bag-torch-0" in run_ids


def test_times_of_two_kernels_do_not_mix_within_an_arm() -> None:
    """The table was measured while the sweep was under way."""
    gru = [ran("gru", "auto", "torch", 0), *(ran("gru", "auto", "step", seed) for seed in range(3))]
    found = study_of_records(*gru, *(ran("lstm", "auto", "torch", seed) for seed in range(3)))
    assert "gru-torch-0" not in set(found.runs.run_id)
    assert "gru ran by torch, most runs of the same comparison by another kernel" in reasons(found)
    assert len(found.runs) == 6


def test_folders_of_two_machines_keep_what_was_fastest_on_each() -> None:
    here = [ran("gru", "auto", "step", 0), ran("lstm", "auto", "torch", 0)]
    there = [ran(cell, "auto", "torch", 1, hardware_key="other") for cell in ("gru", "lstm")]
    assert len(study_of_records(*here, *there).runs) == 4


def judged(*records: RunRecord) -> tuple[str, str, list[str]]:
    """The sentence, the words of column Kernel in the headline, and the warnings."""
    found = verdict(frame_of(records), replace(PROTOCOL, looks=[3], matching="width"))
    (entry,) = found.headline
    return found.sentence, kernel_words(entry), list(found.warnings)


def runs(cell: str, declared: str, kernel: str) -> list[RunRecord]:
    return [
        ran(cell, declared, kernel, seed, test_accuracy=0.8 + 0.001 * seed, train_seconds=9.0 + (cell == "lstm"))
        for seed in range(3)
    ]


def test_the_answer_says_by_which_kernels_the_cells_ran() -> None:
    sentence, words, warnings = judged(*runs("gru", "auto", "step"), *runs("lstm", "auto", "torch"))
    assert "GRU ran by step, LSTM by torch" in sentence
    assert words == "gru step, lstm torch"
    assert not any("model.kernel" in line for line in warnings)
    sentence, words, _ = judged(*runs("gru", "auto", "torch"), *runs("lstm", "auto", "torch"))
    assert "ran by" not in sentence
    assert words == "torch"


def test_the_headline_is_auto_where_it_was_run_else_torch() -> None:
    both = [entry for cell in ("gru", "lstm") for kernel in ("torch", "step") for entry in runs(cell, kernel, kernel)]
    _, words, warnings = judged(*both)
    assert words == "torch"
    assert "runs under model.kernel=torch and model.kernel=step: the headline is torch, the others describe" in warnings
    _, words, warnings = judged(
        *both, replace(both[3], run_id="x", seed=9, config=both[3].config | {"model.kernel": "auto"})
    )
    assert words == "gru step, lstm torch"
    assert any("the headline is auto" in line for line in warnings)


def test_the_kernels_themselves_can_be_compared() -> None:
    records = [entry for kernel in ("torch", "step") for entry in runs("gru", kernel, kernel)]
    found = verdict(frame_of(records), replace(PROTOCOL, looks=[3], matching="width", margin=1.0), "model.kernel")
    assert found.study.arms == ("kernel=step", "kernel=torch")
    assert found.verdict == EQUIVALENT
    assert "ran by" not in found.sentence
