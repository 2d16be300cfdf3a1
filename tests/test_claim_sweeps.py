"""The questions in sweeps/claims/: each plans, declares arms that its grid has, and is answered from its own plan."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml  # type: ignore[import-untyped]

from bench.analysis.claim_runs import chosen, planned_runs
from bench.analysis.claims import judge
from bench.claims import LEAST_SIZES, ClaimConfig, words_of
from bench.compose import compose, question_parts, session
from bench.errors import UserError
from bench.models.sizes import encoder_parameters, matched_width
from bench.options import sweep_files
from bench.runs.assemble import public_config
from bench.runs.identity import resolve
from bench.runs.index import columns
from bench.runs.questions import SweepMember, question_names
from bench.runs.store import Store
from bench.runs.stored_claims import stored_claims, stored_parts
from bench.sweeps.grid import expand
from bench.sweeps.parts import parts_of
from bench.sweeps.plan import Plan
from bench.sweeps.planner import Planner
from tests.conftest import Study

FOLDER = "claims/"
CLAIMS = sorted(name for name in sweep_files() if name.startswith(FOLDER) and not question_parts(name))
NO_RECORDS = pd.DataFrame({"run_id": pd.Series(dtype=str), "status": pd.Series(dtype=str)})


@pytest.fixture
def vectors(study: Study, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    lines = [f"{word} " + " ".join(["0.5"] * 50) for word in ("the", "a", "of")]
    (study.folder / "glove.6B.50d.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("BENCH_VECTORS", str(study.folder))


def plan_of(name: str, study: Study) -> Plan:
    sweeper = yaml.safe_load(sweep_files()[name].read_text(encoding="utf-8"))["hydra"]["sweeper"]
    typed = [f"+sweep={name}", f"results={study.results}"]
    with session(typed) as hydra:
        choices = expand(typed, sweeper["params"], hydra.config_loader, sweeper.get("exclude", ()))
        return Planner(name, typed, Store(study.results)).plan(choices)


def members_of(plan: Plan) -> list[SweepMember]:
    return [
        SweepMember(run_id=member.run_id, pair_key=wanted.pair_key, arm=wanted.arm, seed=wanted.config.seed,
                    overrides=wanted.overrides)
        for member in plan.members for wanted in member.wanted
    ]  # fmt: skip


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_plans_runs_of_both_arms(name: str, study: Study) -> None:
    plan = plan_of(name, study)
    assert plan.claim is not None
    assert plan.name == compose([f"+sweep={name}"]).sweep.name == name
    runs = planned_runs(members_of(plan), NO_RECORDS)
    for measure in plan.claim.measures:
        within = chosen(runs, words_of(measure.where))
        arms = [measure.arm] + ([] if measure.against is None else [measure.against])
        counts = [len(chosen(within, words_of(arm))) for arm in arms]
        assert min(counts) == max(counts) > 0, measure.name
        assert measure.along is None or measure.along in runs, measure.name
        assert measure.kind != "interaction" or runs[measure.along].nunique() >= LEAST_SIZES
        measured = runs.assign(status="finished", **{measure.field: 1.0})
        expected = within["seed"].nunique()
        assert judge(measure, measured).seeds == expected > 1, "runs of the two arms do not pair"
    check_equal_parameters(plan, plan.claim)


def check_equal_parameters(plan: Plan, claim: ClaimConfig) -> None:
    """What a claim says of equal parameters is so."""
    if (stated := re.search(r"recurrent parameters \(within (\d+)%\)", claim.held)) is None:
        return
    sizes = set()
    for member in plan.members:
        model, dimension = member.config.model, member.config.embedding.dimension
        assert dimension is not None
        sizes.add(encoder_parameters(model, dimension, matched_width(model, dimension)))
    assert len(sizes) == 2
    assert max(sizes) / min(sizes) <= 1 + int(stated[1]) / 100


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("name", ["claims/both_directions", "claims/small_data", "claims/cost_against_length"])
def test_the_budget_that_is_stated_is_that_of_the_plan(name: str, study: Study) -> None:
    (stated,) = re.findall(r"# Budget: (\d+) runs", sweep_files()[name].read_text(encoding="utf-8"))
    assert len(plan_of(name, study).members) == int(stated)


def test_there_is_a_claim_on_each_subject() -> None:
    wanted = {
        "fewer_parameters", "comparable_quality", "small_data", "vanishing_gradients", "clipping", "truncation",
        "both_directions", "both_directions_tagging", "depth", "pretrained_vectors", "pooling", "coupled_gates",
        "word_order", "cost_against_length",
    }  # fmt: skip
    assert {f"{FOLDER}{name}" for name in wanted} <= set(CLAIMS)


def test_the_editions_hold_every_claim() -> None:
    small, long = (parts_of([f"+sweep={FOLDER}{edition}"]) for edition in ("all", "long"))
    assert small is not None
    assert long is not None
    assert not {part.name for part in small.parts} & {part.name for part in long.parts}
    asked = {part.overrides[0].removeprefix("+sweep=") for edition in (small, long) for part in edition.parts}
    assert asked == set(CLAIMS)


# -- a claim and its runs ------------------------------------------------------------------------------------------


def test_a_claim_is_no_part_of_a_run(study: Study) -> None:
    plain = study.overrides()
    measure = "{name: a, field: test_accuracy, arm: 'model=gru', against: 'model=lstm', direction: higher}"
    claimed = [*plain, f"sweep.claim={{says: a, source: b, held: c, measures: [{measure}]}}"]
    runs = [resolve(compose(overrides)) for overrides in (plain, claimed)]
    assert runs[1].config.sweep.claim is not None
    assert len({(run.run_id, run.pair_key, run.arm) for run in runs}) == 1
    assert public_config(runs[0].config) == public_config(runs[1].config)
    assert not [name for name in columns() if name.startswith(("sweep.claim", "sweep.parts"))]


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("{says: a}", "sweep.claim.source is not set"),
        ("{says: a, source: b, held: c, measures: []}", "sweep.claim.measures="),
        ("{says: a, source: b, held: c, measures: [{name: a, field: f, arm: 'x=1', direction: up}]}",
         "sweep.claim.measures.0.direction=up: should be 'higher', 'lower' or 'equal'"),
        ("{says: a, source: b, held: c, measures: [{name: a, field: f, arm: 'x=1', direction: higher}]}",
         "a difference needs against="),
    ],
)  # fmt: skip
def test_a_claim_that_is_declared_wrongly_is_refused_in_one_line(claim: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        compose([f"sweep.claim={claim}"])


# -- questions made of several -------------------------------------------------------------------------------------

MINE = """
sweep:
  claim:
    says: A GRU has more parameters than a simple network
    source: nobody
    held: width
    measures:
      - name: parameters
        kind: ratio
        field: parameters_recurrent
        arm: model=gru
        against: model=rnn
        direction: higher
      - name: five times as many
        kind: ratio
        field: parameters_recurrent
        arm: model=gru
        against: model=rnn
        direction: higher
        margin: 5
hydra:
  sweeper:
    params:
      seed: 0,1
      model: rnn,gru
"""


def write_sweeps(folder: Path, parts: Sequence[str]) -> None:
    (folder / "sweeps" / "claims").mkdir(parents=True)
    (folder / "sweeps" / "claims" / "mine.yaml").write_text(MINE)
    listed = json.dumps({"sweep": {"parts": list(parts)}})
    (folder / "sweeps" / "claims" / "several.yaml").write_text(listed)


def test_what_is_typed_applies_to_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweeps(tmp_path, ["claims/mine", "claims/mine sweep.name=claims/again seed=3"])
    asked = parts_of(["dry_run=true", "+sweep=claims/several", "training.epochs=1"])
    assert asked is not None
    assert [part.name for part in asked.parts] == ["claims/mine", "claims/again"]
    assert asked.parts[1].overrides == (
        "+sweep=claims/mine", "sweep.name=claims/again", "seed=3", "dry_run=true", "training.epochs=1",
    )  # fmt: skip
    assert parts_of(["+sweep=claims/mine"]) is None
    assert parts_of(["model=gru"]) is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["claims/min"], "did you mean 'claims/mine'"),
        (["claims/several"], "is made of parts itself"),
        ([1], "should be a list of questions"),
    ],
)
def test_parts_that_are_no_questions_are_refused(
    parts: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweeps(tmp_path, parts)
    with pytest.raises(UserError, match=message):
        parts_of(["+sweep=claims/several"])
    with pytest.raises(UserError, match="each with a name of its own"):
        parts_of(["+sweep=claims/all", "sweep.name=x"])


def test_several_claims_are_carried_out_reported_and_watched_as_one(study: Study) -> None:
    lost = "claims/mine sweep.name=claims/lost data.train_fraction=-1"
    write_sweeps(study.folder, ["claims/mine", "claims/mine sweep.name=claims/again", lost])
    typed = ("-m", "+sweep=claims/several", *study.overrides("training.epochs=1"))
    planned = study.command(*typed, "dry_run=true")
    assert "claims/several, 3 of 3: claims/lost" in planned.stdout, planned.stderr
    assert not study.results.exists()

    done = study.command(*typed)
    assert done.returncode == 1, done.stderr
    assert "left out claims/lost: data.train_fraction=-1" in done.stdout
    assert len(study.records()) == 4
    assert not [key for key in study.records()[0].config if key.startswith(("sweep.claim", "sweep.parts"))]
    store = Store(study.results)
    assert question_names(store) == ["claims/again", "claims/mine"]
    assert stored_parts(store, "claims/several") == ("claims/mine", "claims/again", "claims/lost")
    (kept,) = stored_claims(store, "claims/mine")
    assert kept.fixed_at < min(record.started_at for record in study.records())

    watched = study.command("status", "sweep=claims/several")
    assert "claims/mine" in watched.stdout
    assert "claims/again" in watched.stdout
    told = study.command("report", "sweep=claims/several")
    assert told.returncode == 0, told.stderr
    assert "Of 2 claims, 0 held here, 2 did not" in told.stdout
    report = study.results / "reports" / "claims-several"
    text = (report / "report.md").read_text()
    assert "No, it did not hold here: A GRU has more parameters than a simple network." in text
    assert "3.00 [3.00, 3.00]" in text.replace("\\", "")
    assert "claims/lost" in text.replace("\\", "")
    assert (report / "index.html").stat().st_size > 1000
    assert sorted(path.name for path in (report / "figures").glob("*.svg")) == [
        "claims-again_estimates.svg", "claims-mine_estimates.svg",
    ]  # fmt: skip
