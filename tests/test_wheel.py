"""An installed wheel carries its configuration and finds it beside the package."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

from bench.analysis.simulation import template
from bench.compose import compose
from bench.runs.store import Store
from tests.conftest import ROOT


def test_a_wheel_composes_and_plans_without_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def bench(*arguments: str) -> str:
        command = [sys.executable, "-m", "bench", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import bench; print(bench.__file__)"
    where = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    assert "cell: lstm" in bench("model=lstm", "--cfg", "job")
    assert "would run" in bench("dry_run=true")
    assert "smoke: 3 runs" in bench("-m", "+sweep=smoke", "dry_run=true")
    assert not (tmp_path / "results").exists()
    write_study(tmp_path / "records")
    assert "page: " in bench("report", "results=records")
    assert "window.vegaEmbed" in (tmp_path / "records" / "reports" / "all" / "index.html").read_text(encoding="utf-8")


def write_study(results: Path) -> None:
    """Two runs that pair."""
    like = template(compose([]))
    for cell in ("gru", "lstm"):
        record = replace(like, run_id=cell, execution_id="1", config=like.config | {"model.cell": cell})
        Store(results).write(record)
