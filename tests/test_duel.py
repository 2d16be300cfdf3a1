"""Duels: what they say is true of turns with a known truth, and what they time is training, for all alike."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis import duels
from bench.analysis.duel_meetings import MATRIX_PRODUCT
from bench.analysis.duel_sentence import sentence
from bench.compose import compose
from bench.data.module import prepare
from bench.duels.contestant import Trainee
from bench.duels.engine import Duel
from bench.duels.plan import Plan, Setting, fitted, make_plan, settings_of
from bench.duels.table import turns_table
from bench.duels.texts import EqualTexts
from bench.errors import UserError
from bench.models.sizes import matched_width, recurrent_parameters
from bench.report.duel_document import Findings, duel_document
from bench.report.figures import save_svg_png
from bench.runs.assemble import public_config
from bench.runs.identity import resolve
from bench.runs.kernel_table import fresh_table
from bench.runs.trainer import borrowed_torch
from bench.verbs.duel import duel as typed
from tests.conftest import Study
from tests.duel_turns import CELLS, CENTRE, STEP_FACTOR, turns

LADDER = ((16, 16, 32), CENTRE, (256, 16, 32))
TRUE_TORCH = CELLS["gru"][1] / CELLS["lstm"][1]
TRUE_STEP = TRUE_TORCH * STEP_FACTOR["gru"] / STEP_FACTOR["lstm"]


def words(study: Study, *more: str) -> list[str]:
    """What is typed for a duel that takes a second or two; later words win."""
    base = {
        "model": "gru,lstm", "data": "local", "data.path": str(study.data), "data.max_length": "20",
        "embedding.dimension": "8", "hardware": "cpu", "hardware.threads": "1", "results": str(study.results),
        "duel.lengths": "[3,6]", "duel.batch_sizes": "[4]", "duel.widths": "[5]", "duel.repetitions": "3",
        "duel.seconds": "0.5",
    }  # fmt: skip
    base |= dict(word.split("=", 1) for word in more)
    return [f"{key}={value}" for key, value in base.items()]


def plan_of(study: Study, *more: str) -> Plan:
    names, *overrides = words(study, *more)
    runs = {name: resolve(compose([f"model={name}", *overrides])) for name in names.partition("=")[2].split(",")}
    return make_plan(runs, next(iter(runs.values())).config.duel)


def fought(study: Study, *more: str) -> Duel:
    """A duel that is ready to begin."""
    plan = plan_of(study, *more)
    run = plan.first
    data = prepare(run.corpus, run.config.data, run.config.seed)
    rows = int(data.vocabulary.table.max()) + 1
    vectors = torch.linspace(-0.1, 0.1, 8 * rows).reshape(rows, 8)
    return Duel(plan, data, vectors, torch.device("cpu"))


def between_cells(frame: pd.DataFrame, execution: str, length: int = CENTRE[0]) -> pd.Series:  # type: ignore[type-arg]
    found = frame[(frame["comparison"] == "cells") & (frame["matching"] == "width") & (frame["length"] == length)]
    return found[found["execution"] == execution].iloc[0]


# -- what turns say --------------------------------------------------------------------------------------------------


def test_a_known_ratio_is_found() -> None:
    frame = duels.ratios(turns())
    assert between_cells(frame, "torch")["ratio"] == pytest.approx(TRUE_TORCH)
    assert between_cells(frame, "step")["ratio"] == pytest.approx(TRUE_STEP)
    assert between_cells(frame, "fastest")["ratio"] == pytest.approx(TRUE_STEP)
    kernels = frame[frame["comparison"] == "kernels"].set_index("first")["ratio"].to_dict()
    assert kernels == pytest.approx(STEP_FACTOR)


def test_the_simpler_cell_comes_first_whatever_was_typed_first() -> None:
    frame = duels.ratios(turns().iloc[::-1])
    assert set(zip(frame["first"], frame["second"], strict=True)) == {("gru", "lstm"), ("gru", "gru"), ("lstm", "lstm")}


def test_noise_that_hits_all_alike_changes_no_ratio() -> None:
    quiet, noisy = duels.ratios(turns()), duels.ratios(turns(shared=1.0))
    assert noisy["ratio"].to_numpy() == pytest.approx(quiet["ratio"].to_numpy(), rel=1e-12)
    assert (noisy["high"] / noisy["low"]).max() == pytest.approx(1.0)


def test_nine_of_ten_noisy_duels_contain_the_truth() -> None:
    hits = [
        row["low"] <= TRUE_TORCH <= row["high"]
        for seed in range(60)
        for row in [between_cells(duels.ratios(turns(noise=0.05, repetitions=5, seed=seed)), "torch")]
    ]
    assert sum(hits) >= 54


def test_intervals_resample_repetitions_and_not_steps() -> None:
    """Ten times as many steps of the same repetitions tell nothing new, more repetitions do."""

    def width(frame: pd.DataFrame) -> float:
        row = between_cells(duels.ratios(frame), "torch")
        return float(math.log(row["high"] / row["low"]))

    few = turns(noise=0.05, repetitions=4, rounds=5)
    many_steps = pd.concat([few.assign(round=few["round"] + 5 * copy) for copy in range(10)])
    assert width(many_steps) == pytest.approx(width(few))
    assert width(turns(noise=0.05, repetitions=40, rounds=5)) < 0.5 * width(few)


def test_rounds_in_which_threads_waited_for_a_processor_do_not_count() -> None:
    """A competitor costs one cell more than the other; it comes and goes."""
    found = turns(rounds=6)
    busy = (found["round"] < 4) & (found["repetition"] > 0)
    found.loc[busy, "waited"] = 0.2 * found.loc[busy, "seconds"]
    found.loc[busy & (found["cell"] == "lstm"), "seconds"] *= 1.8
    row = between_cells(duels.ratios(found), "torch")
    assert row["ratio"] == pytest.approx(TRUE_TORCH)
    assert not row["disturbed"]


def test_rounds_in_which_another_virtual_machine_took_the_processor_do_not_count() -> None:
    found = turns(rounds=6)
    taken = found["round"] < 4
    found.loc[taken, "stolen"] = 0.1 * found.loc[taken, "seconds"]
    found.loc[taken & (found["cell"] == "gru"), "seconds"] *= 1.5
    row = between_cells(duels.ratios(found), "torch")
    assert row["ratio"] == pytest.approx(TRUE_TORCH)
    assert not row["disturbed"]


def test_where_hardly_any_round_was_undisturbed_all_count_and_the_ratio_says_so() -> None:
    found = turns(rounds=4)
    busy = (found["round"] > 0) | (found["repetition"] > 1)
    found.loc[busy, "waited"] = 0.2 * found.loc[busy, "seconds"]
    row = between_cells(duels.ratios(found), "torch")
    assert row["disturbed"]
    assert row["repetitions"] == 6


def test_where_the_system_tells_nothing_of_waiting_every_round_counts() -> None:
    row = between_cells(duels.ratios(turns().assign(waited=math.nan, stolen=math.nan)), "torch")
    assert row["ratio"] == pytest.approx(TRUE_TORCH)
    assert not row["disturbed"]


def test_one_repetition_has_a_ratio_and_no_interval() -> None:
    row = between_cells(duels.ratios(turns(repetitions=1)), "torch")
    assert row["ratio"] == pytest.approx(TRUE_TORCH)
    assert row["repetitions"] == 1
    assert not row["disturbed"]
    assert math.isnan(row["low"])


def test_the_three_factors_multiply_to_the_measured_ratio() -> None:
    frame = duels.shares(turns(noise=0.05))
    product = frame["arithmetic"] * frame["memory"] * frame["kernel"]
    assert len(frame) == 2  # equal width, equal parameters
    assert product.to_numpy() == pytest.approx(frame["total"].to_numpy())
    assert frame["arithmetic"].to_numpy() == pytest.approx(3 / 4)
    parts = frame[["arithmetic_share", "memory_share", "kernel_share"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(1.0)


def test_the_kernel_s_part_is_what_changes_between_the_executions() -> None:
    (row,) = duels.shares(turns())[:1].to_dict("records")
    assert row["kernel"] == pytest.approx(TRUE_TORCH / TRUE_STEP)
    assert row["memory"] == pytest.approx(TRUE_STEP / 0.75)


def test_growth_is_the_power_of_length_that_was_put_in() -> None:
    found = duels.growth(turns(LADDER, noise=0.001, exponent={"gru": 1.0, "lstm": 2.0})).set_index(["cell", "kernel"])
    assert found.loc[("gru", "torch"), "exponent"] == pytest.approx(1.0, abs=0.02)
    assert found.loc[("lstm", "torch"), "exponent"] == pytest.approx(2.0, abs=0.02)
    assert found["of_arithmetic"].to_numpy() == pytest.approx(1.0)
    low, high = found.loc[("lstm", "torch"), "low"], found.loc[("lstm", "torch"), "high"]
    assert low < 2.0 < high


def test_one_length_has_no_growth() -> None:
    assert duels.growth(turns()).empty


def test_rates_are_operations_over_seconds_and_the_machine_s_own_stands_beside_them() -> None:
    found = duels.speeds(turns()).set_index(["cell", "kernel"])
    flops = 6 * 3 * 32 * (8 + 32) * 64 * 16
    assert found.loc[("gru", "torch"), "gflops"] == pytest.approx(flops / 0.010 / 1e9)
    machine = found.loc[(MATRIX_PRODUCT, "torch"), "gflops"]
    assert found.loc[("gru", "torch"), "rate_fraction"] == pytest.approx(flops / 0.010 / 1e9 / machine)
    assert found.loc[("gru", "torch"), "texts_per_second"] == pytest.approx(16 / 0.010)


@pytest.mark.parametrize(
    ("torch_ratio", "step_ratio", "said"),
    [
        (1.2, 0.8, "the architecture is cheaper, PyTorch's CPU kernel is not"),
        (0.8, 0.8, "the architecture is cheaper, under either execution"),
        (0.8, 1.2, "the architecture is dearer, PyTorch's CPU kernel makes up for it"),
        (1.0, 0.8, "the architecture is cheaper, under PyTorch's CPU kernel that is open"),
        (1.0, 1.0, "the difference is within the noise under either execution"),
    ],
)
def test_one_sentence_says_what_is_the_cell_s_and_what_the_kernel_s(
    torch_ratio: float, step_ratio: float, said: str
) -> None:
    found = turns(noise=0.01)
    for kernel, ratio in (("torch", torch_ratio), ("step", step_ratio)):
        chosen = (found["cell"] == "gru") & (found["kernel"] == kernel)
        other = (found["cell"] == "lstm") & (found["kernel"] == kernel)
        found.loc[chosen, "seconds"] = ratio * found.loc[other, "seconds"].to_numpy()
        if ratio == 1.0:  # too close to call, but not equal to the last bit
            found.loc[chosen, "seconds"] *= np.exp(0.01 * (found.loc[chosen, "repetition"] % 2 - 0.5))
    told = sentence(duels.ratios(found), CENTRE)
    assert told.startswith("GRU over LSTM at equal width (64 tokens, 16 texts, 32 units): ")
    assert told.endswith(f": {said}.")
    assert f"{torch_ratio:.2f} [" in told


# -- what is drawn ---------------------------------------------------------------------------------------------------


def test_the_page_shows_every_finding_and_its_figures_are_valid(tmp_path: Path) -> None:
    settings = (*LADDER, (64, 4, 32), (64, 16, 8))
    found = Findings.of(turns(settings, noise=0.02), CENTRE, "cpu")
    document = duel_document(found, [("Machine", "one")], [], {"gru/torch": ["mm"]})
    assert [figure.name for figure in document.figures] == ["ratios", "ladders", "shares", "growth"]
    assert {table.name for table in document.tables} == {"ratios", "executions", "shares", "growth", "speeds"}
    for figure in document.figures:
        assert figure.chart.to_dict(validate=True)
        svg, png = save_svg_png(figure, tmp_path)
        assert png.stat().st_size > 10_000
        assert "NaN" not in svg.read_text()


def test_a_duel_under_one_execution_has_no_shares_and_still_a_page() -> None:
    found = Findings.of(turns(kernels=("torch",)), CENTRE, "cpu")
    document = duel_document(found, [], [], {})
    assert [section.key for section in document.sections] == ["cells", "speeds", "background"]
    assert "under torch: the first is cheaper" in document.sentence


# -- who takes part, and on what -------------------------------------------------------------------------------------


def test_the_ladders_cross_at_their_middle_and_are_climbed_one_at_a_time(study: Study) -> None:
    duel = compose(["duel.lengths=[16,64,256]", "duel.batch_sizes=[16,64]", "duel.widths=[64,128,256]"]).duel
    found = settings_of(duel)
    centre = Setting(64, 64, 128)
    assert found[0] == centre
    assert set(found) == {centre, Setting(16, 64, 128), Setting(256, 64, 128), Setting(64, 16, 128),
                          Setting(64, 64, 64), Setting(64, 64, 256)}  # fmt: skip


def test_the_default_ladder_of_lengths_suits_every_corpus(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundled corpus reads fewer tokens than the longest length unless told, and other corpora have short texts."""
    assert typed(["dry_run=true"]) == 0
    assert "256 tokens, 64 texts, width 128" in capsys.readouterr().out
    untyped = [word for word in words(study) if not word.startswith(("duel.lengths", "data.max_length"))]
    assert typed(untyped) == 0
    shown = capsys.readouterr().out
    assert "lengths 16: longer texts are too few for 4 a step" in shown
    assert "(16 tokens, 4 texts, 5 units)" in shown


def test_lengths_that_were_not_asked_for_are_cut_to_what_texts_have(study: Study) -> None:
    asked = plan_of(study, "data.max_length=300", "duel.lengths=[16,64,256]", "duel.batch_sizes=[2,4]")
    free = replace(asked, as_asked=False)
    assert fitted(asked, np.array([9, 9, 9, 9, 9])) is asked, "what was asked for stays, and is refused later"
    assert fitted(free, np.array([300, 300, 300, 256])) is free
    assert fitted(free, np.array([300, 99, 120, 100, 100])).duel.lengths == [16, 64, 100]
    assert fitted(free, np.array([300, 70, 70, 70, 5])).duel.lengths == [16, 64], "70 is hardly more than 64"
    assert fitted(free, np.array([9, 8, 7, 7, 1])).duel.lengths == [7]
    assert fitted(free, np.array([9, 8, 7])) is free, "fewer texts than a batch is refused later"


def test_equal_parameters_takes_the_width_that_sizes_finds(study: Study) -> None:
    plan = plan_of(study, "model=gru,lstm,rnn", "duel.widths=[40]")
    found = {(one.cell, one.hidden_size): one for one in plan.contestants(plan.centre) if one.kernel == "step"}
    lstm = found["lstm", 40]
    assert lstm.equal_width
    assert lstm.equal_parameters
    matched = matched_width(compose(["model=gru", "model.match=parameters", "model.hidden_size=40"]).model, 8)
    assert matched != 40
    assert found["gru", matched].equal_parameters
    assert not found["gru", matched].equal_width
    assert found["gru", matched].parameters == recurrent_parameters(3, 8, matched)
    assert found["gru", 40].flops == 3 * found["lstm", 40].flops // 4


def test_no_text_is_padded_and_every_text_is_a_real_one(study: Study) -> None:
    duel = fought(study)
    texts = EqualTexts(duel.data.train, Setting(6, 4, 5), 0, "local")
    batch = texts.batch(3)
    assert batch.tokens.shape == (4, 6)
    assert bool((batch.lengths == 6).all())
    for row, tokens in zip(batch.rows, batch.tokens, strict=True):
        whole, length = duel.data.train.padded(np.array([int(row)]))
        assert length[0] >= 6
        assert whole[0, :6].tolist() == tokens.tolist()


def test_all_train_on_the_same_tensors_and_each_once_a_round(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    duel, seen = fought(study, "duel.seconds=1"), []
    step = Trainee.__call__

    def watched(trainee: Trainee, batch: object) -> None:
        seen.append((id(trainee), batch))
        step(trainee, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainee, "__call__", watched)
    with borrowed_torch(duel.plan.first.config.hardware):
        duel.prepare()
        seen.clear()
        duel.repetition(0)
    everyone = len(duel.plan.contestants(duel.plan.centre))
    rounds = [seen[start : start + everyone] for start in range(0, len(seen), everyone)]
    table = turns_table(duel.turns)
    timed = len(table[["length", "round"]].drop_duplicates())
    assert timed >= 2 * len(duel.plan.settings)
    assert len(rounds) == timed + len(duel.plan.settings), "one round to warm up in each setting"
    for turns_of_round in rounds:
        assert len({trainee for trainee, _ in turns_of_round}) == everyone
        assert len({id(batch) for _, batch in turns_of_round}) == 1
    assert (
        table.groupby(["length", "round"])["position"].apply(lambda found: sorted(found) == [*range(len(found))])
    ).all()
    orders = table[table["length"] == 6].sort_values("position").groupby("round")["cell"].apply(tuple)
    assert orders.nunique() > 1, "the order changes from round to round"


def test_a_turn_is_a_training_step_on_word_vectors_of_one_s_own(study: Study) -> None:
    duel = fought(study)
    run = duel.plan.first
    first, second = (
        Trainee(one, duel.plan.runs[one.cell], duel.vectors, duel.data.classes, duel.device)
        for one in duel.plan.contestants(duel.plan.centre)[:2]
    )
    before = duel.vectors.clone()
    batch = EqualTexts(duel.data.train, duel.plan.centre, 0, "local").batch(0)
    with borrowed_torch(run.config.hardware):
        weights = {name: value.clone() for name, value in first.module.network.named_parameters()}
        first(batch)
    changed = {name for name, value in first.module.network.named_parameters() if not torch.equal(value, weights[name])}
    assert "embedding.weight" in changed
    assert any(name.startswith("encoder.") for name in changed)
    assert torch.equal(duel.vectors, before), "the common table stays as it is"
    assert torch.equal(second.module.network.embedding.weight, before), "and so does another contestant's"


def test_settings_of_duels_are_no_part_of_a_run(study: Study) -> None:
    plain, other = (compose(study.overrides(*more)) for more in ((), ("duel.seconds=7", "duel.lengths=[3]")))
    assert resolve(plain).run_id == resolve(other).run_id
    assert not any(key.startswith("duel.") for key in public_config(other))


# -- at the door -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model=gru,lsmt"], "unknown model 'lsmt': did you mean 'lstm'?"),
        (["model=gru", "duel.kernels=[torch]", "duel.matchings=[width]"], "add another model, as in model=gru,lstm"),
        (["model=gru,gru"], "gru stands there twice"),
        (["duel.lengths=[3,50]"], "data.max_length=20 cuts texts before that; add data.max_length=50"),
        (
            ["duel.lengths=[20]", "duel.batch_sizes=[30]"],
            "training texts of 20 tokens or more, fewer than a batch of 30",
        ),
        (["duel.batch_sizes=[500]", "duel.lengths=[3]"], "90 training texts, fewer than a batch of 500"),
        (["model=gru,bag", "duel.kernels=[step]"], "model=bag does not recur, so it has no kernel 'step'"),
        (["model=gru,linear"], "model=linear is not trained in steps, so a duel has nothing to time: leave it out"),
        (["model=gru,attention", "duel.widths=[6]"], "attention divides its width among model.heads=4"),
        (["model.hidden_size=64"], "use duel.widths=[...]"),
        (["training.batch_size=8"], "use duel.batch_sizes=[...]"),
        (["model.kernel=step"], "use duel.kernels=[torch,step]"),
        (["seed=1,2"], "only model takes several values here"),
        (["duel.lengths=3,6"], "write duel.lengths=[3,6]"),
        (["duel.widths=5"], "write duel.widths=[5]"),
        (["duel.lenghts=[3]"], "did you mean 'duel.lengths'?"),
        (["duel.kernels=[cuda]"], "duel.kernels"),
        (["duel.repetitions=2"], "duel.repetitions=2: should be greater than or equal to 3"),
        (["hardware.devices=2", "hardware.strategy=ddp"], "one process on one device"),
        (["+sweep=smoke"], "a duel is no sweep"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_one_line_that_says_what_to_type(study: Study, more: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        typed(words(study, *more))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(study.results.glob("duels/*/duel.json"))


def test_a_dry_run_says_who_would_meet_and_measures_nothing(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(words(study, "dry_run=true")) == 0
    shown = capsys.readouterr().out
    assert "6 tokens, 4 texts, width 5  (centre)" in shown
    assert "gru of width 5 under step (equal width)" in shown
    assert not study.results.exists()


def test_a_duel_is_measured_recorded_and_shown(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(words(study, "model=gru,lstm,attention,bag", "duel.widths=[8]")) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(line.startswith("measuring for about ") for line in lines), "how long is said beforehand"
    assert lines[-1].startswith("GRU over LSTM at equal width (6 tokens, 4 texts, 8 units): ")
    (folder,) = study.results.glob("duels/*")
    record = json.loads((folder / "duel.json").read_text())
    assert record["status"] == "finished"
    assert record["sentence"] == lines[-1]
    assert record["repetitions"] == 3
    assert record["operators"]["lstm/torch"] != record["operators"]["lstm/step"]
    assert {row["cell"] for row in record["growth"]} == {"gru", "lstm", "attention", "bag"}
    turns_kept = pd.read_parquet(folder / "turns.parquet")
    assert len(turns_kept) == record["turns"]
    again = duels.ratios(turns_kept)["ratio"].to_numpy()
    assert again == pytest.approx([row["ratio"] for row in record["ratios"]])
    page = (folder / "index.html").read_text()
    assert record["sentence"].partition(":")[0] in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.http", page), "the page opens without a network"
    assert {path.name for path in (folder / "figures").glob("*.png")} == {
        "ratios.png",
        "ladders.png",
        "shares.png",
        "growth.png",
    }
    hardware = compose(["hardware=cpu", "hardware.threads=1"]).hardware
    assert fresh_table(hardware) is not None, "model.kernel=auto knows this machine from now on"


def test_ctrl_c_keeps_what_was_complete(study: Study) -> None:
    command = [sys.executable, "-u", "-m", "bench", "duel",
               *words(study, "duel.repetitions=1000", "duel.seconds=600", "duel.kernels=[torch]")]  # fmt: skip
    with subprocess.Popen(command, cwd=study.folder, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line.startswith("repetition 2/"):
                process.send_signal(signal.SIGINT)
                break
        shown += process.stdout.read()
        assert process.wait(timeout=120) == 130
    (folder,) = study.results.glob("duels/*")
    record = json.loads((folder / "duel.json").read_text())
    assert record["status"] == "partial"
    assert 2 <= record["repetitions"] < 1000
    assert f"Interrupted after {record['repetitions']} of 1000 repetitions." in shown
    assert (folder / "index.html").is_file()
