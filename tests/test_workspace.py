"""`python -m bench report wandb=true`: mirrors that were missing, and a workspace of what is really there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.runs.questions import sweep_members
from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.tracking.workspace import CURVES, FILE
from tests.conftest import Study, cache_folder
from tests.wandb_files import rows_of, summary_of
from tests.wandb_server import ENTITY, WandbServer


class Reported:
    """A GRU that W&B has followed and an LSTM that it has not, reported twice with `wandb=true`, offline."""

    def __init__(self, folder: Path) -> None:
        self.study = Study(folder)
        self.study.write_corpus()
        for cell, logger in (("gru", "wandb"), ("lstm", "none")):
            done = self.study.command(*self.study.overrides(f"model={cell}", f"logger={logger}"))
            assert done.returncode == 0, done.stderr
        self.first, self.second = self.report(), self.report()

    def report(self) -> str:
        done = self.study.command("report", f"results={self.study.results}", "wandb=true")
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def spec(self) -> dict[str, Any]:
        return dict(json.loads((self.study.results / "reports" / "all" / FILE).read_text()))

    def record(self, cell: str) -> RunRecord:
        store = Store(self.study.results)
        (record,) = (r for path in store.runs.iterdir() for r in store.executions(path.name)
                     if r.config["model.cell"] == cell)  # fmt: skip
        return record

    def folder(self, cell: str) -> Path:
        (folder,) = (self.study.results / "wandb").glob(f"offline-run-*-{self.record(cell).run_id}")
        return folder


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(cache_folder(tmp_path_factory)))
        patch.setenv("WANDB_MODE", "offline")
        patch.delenv("WANDB_SWEEP_ID", raising=False)
        return Reported(tmp_path_factory.mktemp("reported"))


def panels(spec: dict[str, Any]) -> list[dict[str, Any]]:
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_a_run_that_wandb_lacks_is_mirrored_from_its_record_once(reported: Reported) -> None:
    assert "mirrored to W&B: 1 of 2 runs, from their records" in reported.first
    assert "mirrored" not in reported.second
    record, shown = reported.record("lstm"), summary_of(reported.folder("lstm"))
    assert shown["run_id"] == shown["config"]["bench_run_id"] == record.run_id
    assert shown["state"] == "finished"
    for field in ("test_accuracy", "validation_accuracy", "train_seconds", "parameters_total", "status", "arm"):
        assert shown["summary"][field] == pytest.approx(getattr(record, field)), field
    assert set(shown["summary"]["test_confusion"]) == {"sport", "money", "music"}


def test_a_mirror_has_all_that_tracking_leaves(reported: Reported) -> None:
    tracked, mirrored = (summary_of(reported.folder(cell)) for cell in ("gru", "lstm"))
    assert set(tracked["config"]) == set(mirrored["config"])
    assert {name for name in tracked["summary"] if not name.startswith("_")} == {
        name for name in mirrored["summary"] if not name.startswith("_")
    }
    before, after = (rows_of(reported.folder(cell)) for cell in ("gru", "lstm"))
    assert len(before) > 5
    assert [set(row) for row in before] == [set(row) for row in after]
    assert [(row["trainer/global_step"], row["epoch"]) for row in before] == [
        (row["trainer/global_step"], row["epoch"]) for row in after
    ]


def test_a_mirror_holds_nothing_of_this_machine(reported: Reported) -> None:
    (file,) = reported.folder("lstm").glob("*.wandb")
    content = file.read_bytes()
    assert b"bench_run_id" in content
    private = [str(reported.study.folder), str(Path(__file__).parents[1]), os.uname().nodename]
    assert [name for name in private if len(name) > 4 and name.encode() in content] == []


def test_every_panel_shows_what_runs_really_send(reported: Reported) -> None:
    summary = set(summary_of(reported.folder("gru"))["summary"])
    curves = {name for row in rows_of(reported.folder("gru")) for name in row}
    shown = set()
    for panel in panels(reported.spec):
        config = panel["config"]
        if panel["viewType"] == "Run History Line Plot":
            assert {config["xAxis"], *config["metrics"]} <= curves
        elif panel["viewType"] == "Bar Chart":
            assert set(config["metrics"]) <= summary
        else:
            for axis in (config["xAxis"], config["yAxis"]):
                assert axis == "config:seed.value" or axis.removeprefix("summary:") in summary, axis
        shown.add(panel["viewType"])
    assert shown == {"Run History Line Plot", "Bar Chart", "Scatter Plot"}
    assert set(CURVES) <= curves


def test_bars_and_curves_are_means_over_the_seeds_of_an_arm(reported: Reported) -> None:
    grouped = [panel["config"] for panel in panels(reported.spec) if panel["viewType"] != "Scatter Plot"]
    assert len(grouped) > 10
    assert {(config["groupBy"], config["groupAgg"], config["groupArea"]) for config in grouped} == {
        ("group", "mean", "stddev")
    }
    (runs,) = reported.spec["spec"]["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]


def test_the_frontier_is_the_running_maximum_of_accuracy(reported: Reported) -> None:
    frontiers = [panel["config"] for panel in panels(reported.spec) if panel["config"].get("showMaxYAxisLine")]
    assert [(config["xAxis"], config["yAxis"]) for config in frontiers] == [
        ("summary:train_seconds", "summary:test_accuracy"),
        ("summary:parameters_total", "summary:test_accuracy"),
        ("summary:inference_milliseconds_p50", "summary:test_accuracy"),
    ]


def test_offline_the_report_says_how_to_upload_and_to_publish(reported: Reported) -> None:
    assert (
        f"runs wait on this disk; upload them with: wandb sync {reported.study.results / 'wandb'}\n" in reported.first
    )
    again = f"wandb login && WANDB_MODE=online python -m bench report results={reported.study.results} wandb=true"
    assert f"{FILE}; publish it with: {again}\n" in reported.first


def test_online_the_workspace_is_saved_once_and_then_brought_up_to_date(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        first, second = reported.report(), reported.report()
    assert [view["displayName"] for view in server.views] == ["bench all", "bench all"]
    created, updated = server.views
    assert (created["entityName"], created["projectName"]) == (ENTITY, "bench")
    assert "id" not in created
    assert (updated["id"], updated["name"]) == ("view", created["name"])
    address = f"workspace: {server.address}/{ENTITY}/bench?nw="
    assert address in first
    assert first.split(address)[1] == second.split(address)[1]
    assert "validation/accuracy" in created["spec"]


def test_a_sweeps_workspace_shows_its_runs_alone(reported: Reported) -> None:
    study = reported.study
    done = study.command("-m", *study.overrides("model=gru", "sweep.name=one_run"))
    assert done.returncode == 0, done.stderr
    done = study.command("report", f"results={study.results}", "sweep=one_run", "wandb=true")
    assert done.returncode == 0, done.stderr
    spec = json.loads((study.results / "reports" / "one_run" / FILE).read_text())
    (shown,) = spec["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (shown["key"], shown["op"]) == ({"section": "config", "name": "bench_run_id"}, "IN")
    assert shown["value"] == [member.run_id for member in sweep_members(Store(study.results), "one_run")]
    assert len(shown["value"]) == 1


def test_without_the_library_one_line_says_what_to_install(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = study.folder / "hidden" / "wandb_workspaces"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    done = study.command("report", "wandb=true")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'recurrent-bench[workspace]'" in done.stderr


@pytest.mark.parametrize(
    ("typed", "advice"), [(["wandb=yes"], "should be true or false"), (["diff=a..b", "wandb=true"], "leave wandb out")]
)
def test_what_cannot_be_meant_is_refused(study: Study, typed: list[str], advice: str) -> None:
    done = study.command("report", *typed)
    assert done.returncode == 2
    assert advice in done.stderr
