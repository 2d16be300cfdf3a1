"""A cell of another package: found through its entry point, trained, counted, named by its sources; or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import bench
from tests.conftest import Study

DECLARATION = """\
from bench.declarations import CellDeclaration, FurtherWeight

leaky = CellDeclaration(
    gates=1, further=(FurtherWeight("weight_leak_l0", 1, 0.5),), implementation="leaky_cells.equations:leaky_step"
)
"""
EQUATIONS = """\
import torch


def leaky_step(inputs, state, weight_hidden, bias_hidden, leak):
    (hidden,) = state
    candidate = torch.tanh(inputs + hidden @ weight_hidden.T + bias_hidden)
    return (torch.lerp(hidden, candidate, torch.sigmoid(leak).expand_as(hidden)),)
"""
BARE = EQUATIONS.replace("return (torch", "return torch").replace("(hidden),)", "(hidden))")
RUN = """\
import json, sys
import bench

record = bench.run(sys.argv[1:])
shown = ("status", "error_message", "parameters_recurrent", "flops_per_token", "kernel", "packages")
print(json.dumps({name: getattr(record, name) for name in shown}))
"""
PLAN = """\
import json, sys
from bench.compose import compose
from bench.models.sizes import encoder_parameters
from bench.runs.identity import resolve

found = []
for cell in (["model=leaky"], ["model=gru", "model.cell=leaky"], ["model=gru"]):
    run = resolve(compose([*sys.argv[1:], *cell]))
    found.append([run.run_id, run.pair_key, encoder_parameters(run.config.model, run.dimension, run.hidden_size)])
print(json.dumps([found, "torch" in sys.modules]))
"""


@dataclass(frozen=True)
class Package:
    """A package as an installer leaves it: modules, and a dist-info folder beside them."""

    site: Path

    def write(self, declaration: str = DECLARATION, equations: str = EQUATIONS) -> None:
        modules = self.site / "leaky_cells"
        modules.mkdir(parents=True, exist_ok=True)
        (modules / "__init__.py").write_text(declaration)
        (modules / "equations.py").write_text(equations)
        self.install("leaky-cells", "1.2")

    def install(self, name: str, version: str) -> None:
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[bench.cells]\nleaky = leaky_cells:leaky\n")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Installed where every process that a test starts will look."""
    site = tmp_path / "site"
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([before] if before else [])]))
    made = Package(site)
    made.write()
    return made


def printed(program: str, *arguments: str) -> object:
    """What a fresh process prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_trains_and_its_weights_are_those_that_it_declares(package: Package, study: Study) -> None:
    record = printed(RUN, *study.overrides("model=leaky", "training.epochs=1", "model.bidirectional=true"))
    assert isinstance(record, dict)
    assert (record["status"], record["error_message"]) == ("finished", None)
    assert record["parameters_recurrent"] == 2 * (12 * (8 + 12) + 2 * 12 + 12)
    assert record["flops_per_token"] == 2 * 2 * (12 * (8 + 12) + 12)
    assert (record["kernel"], record["packages"]["leaky-cells"]) == ("step", "1.2")
    assert bench.records(study.results)["model.cell"].tolist() == ["leaky"], "readable where the package is not there"


def test_planning_imports_no_torch_and_a_run_is_named_by_the_sources(package: Package, study: Study) -> None:
    asked = study.overrides("model.match=parameters")
    found, imported_torch = printed(PLAN, *asked)  # type: ignore[misc]
    by_name, by_key, gru = found
    assert not imported_torch
    assert by_name == by_key
    assert by_name[2] == pytest.approx(gru[2], rel=0.1)
    assert by_name[1] == gru[1], "they pair"
    assert by_name[0] != gru[0]
    package.write(equations=EQUATIONS.replace("torch.tanh", "torch.sin"))
    changed, _ = printed(PLAN, *asked)  # type: ignore[misc]
    assert changed[0][0] != by_name[0]
    assert changed[0][1] == by_name[1]
    assert changed[2] == gru


def test_it_is_listed_and_planned_beside_the_others(package: Package, study: Study) -> None:
    assert " leaky" in study.command("--help").stdout
    planned = study.command("-m", *study.overrides("dry_run=true", "model=gru,leaky"))
    assert planned.returncode == 0, planned.stderr
    assert "2 runs" in planned.stdout + planned.stderr


TOLD = "bench: model.cell=leaky, of the package leaky-cells 1.2"
STEP = "bench: model.cell=leaky: one step, declared with"


@pytest.mark.parametrize(
    ("declaration", "equations", "expected"),
    [
        ("import nowhere\n", EQUATIONS, f"{TOLD}, cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("leaky = 3\n", EQUATIONS, f"{TOLD}: leaky_cells:leaky should be a bench.declarations.CellDeclaration"),
        (DECLARATION.replace("gates=1", "gates=0"), EQUATIONS, f"{TOLD}, cannot be loaded: ValueError: gates=0"),
        (DECLARATION, "import nowhere\n", f"{TOLD}, cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        (DECLARATION, "leaky_step = 3\n", f"{TOLD}: leaky_cells.equations:leaky_step should be a function"),
        (DECLARATION.replace("gates=1", "gates=2"), EQUATIONS, f"{STEP} gates=2 and states=1, fails: RuntimeError"),
        (DECLARATION.replace("gates=1", "gates=1, states=2"), EQUATIONS, f"{STEP} gates=1 and states=2, fails"),
        (DECLARATION, BARE, f"{STEP} gates=1 and states=1, gave no tuple of tensors"),
    ],
)
def test_a_package_that_cannot_be_used_is_one_line(
    package: Package, study: Study, declaration: str, equations: str, expected: str
) -> None:
    package.write(declaration, equations)
    answer = study.command(*study.overrides("model=leaky"))
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stderr.strip().splitlines()[-1].startswith(expected), answer.stderr
    assert not study.records()


def test_two_packages_with_one_name_are_told_apart_by_neither(package: Package, study: Study) -> None:
    package.install("other-cells", "0.1")
    answer = study.command(*study.overrides("model=leaky", "dry_run=true"))
    assert answer.returncode == 2
    expected = "bench: model.cell=leaky: declared by leaky-cells 1.2 and by other-cells 0.1; uninstall one of them"
    assert answer.stderr.strip().splitlines()[-1] == expected


def test_an_uninstalled_cell_is_unknown(study: Study) -> None:
    answer = study.command(*study.overrides("model.cell=leaky", "dry_run=true"))
    assert answer.returncode == 2
    assert answer.stderr.strip().splitlines()[-1].startswith("bench: model.cell=leaky: unknown cell; ")
