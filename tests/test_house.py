"""The house stands: floors hold, pages are true, every key is explained."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, script_of_docs

SOURCE = ROOT / "src" / "bench"
FLOORS = [
    {"config", "compose", "seeds", "errors", "files", "network", "remembered", "processor", "distributed"}
    | {"declarations", "claims", "options", "translation"},
    {"data", "embeddings"},
    {"models"},
    {"runs"},
    {"analysis"},
    {"sweeps", "report", "tracking", "duels"},
    {"verbs", "__main__"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Absolute names that a module imports, and whether only at the top (not inside a function)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((str(node.module), node in top))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_imports_upward(path: Path) -> None:
    room = path.relative_to(SOURCE).with_suffix("").parts[0]
    for name, _ in imports_of(path):
        package, _, rest = name.partition(".")
        if package == "bench" and rest:
            assert FLOOR[rest.split(".")[0]] <= FLOOR[room], f"{path.name} imports {name} from above"
        assert package != "wandb" or room == "tracking", f"{path.name} imports wandb"


def test_analysis_and_report_open_on_a_laptop_without_torch() -> None:
    rooms = [path for path in MODULES if path.relative_to(SOURCE).parts[0] in ("analysis", "report")]
    names = [".".join(("bench", *path.relative_to(SOURCE).with_suffix("").parts)) for path in rooms]
    heavy = ["torch", "pytorch_lightning", "wandb", "torchmetrics"]
    code = f"import sys, {', '.join(names)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(rooms) > 20
    assert done.stdout.strip() == "[]"


def test_the_door_imports_nothing_heavy_before_it_knows_what_is_asked() -> None:
    light = {"__future__", "bench", "collections", "contextlib", "importlib", "os", "sys", "traceback", "warnings"}
    assert {name.split(".")[0] for name, top in imports_of(SOURCE / "__main__.py") if top} <= light


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "conf")))
def test_every_key_has_a_comment_above_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#"), "a file begins with what it is"
    if path.name == "config.yaml":  # its nested keys are Hydra's
        lines = [line for line in lines if not line.startswith(" ")]
    for above, line in zip(["", *lines], lines, strict=False):
        key = re.match(r"(\s*)(\w+):", line)
        if key and key[2] != "defaults":
            assert above.strip().startswith("#"), f"{key[2]} is not explained"


def test_the_page_on_records_is_up_to_date() -> None:
    module = script_of_docs("record_table")
    assert (ROOT / "docs" / "record.md").read_text(encoding="utf-8") == module.page(), (
        "run: python docs/record_table.py"
    )


def test_every_record_field_says_what_it_is() -> None:
    source = (SOURCE / "runs" / "record.py").read_text(encoding="utf-8")
    body = source[source.index("class RunRecord:") : source.index("def to_json")]
    silent = re.findall(r"^    (\w+): [^#\n]+$", body, flags=re.MULTILINE)
    assert silent == [], "a field without a comment says nothing of its unit"


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


def floor_rows() -> list[list[str]]:
    """What the table of floors names, row by row: a folder with the files in it, or files."""
    page = (ROOT / "docs" / "how-a-run-flows.md").read_text(encoding="utf-8")
    return [re.findall(r"`([^`]+)`", line.split("|")[2]) for line in page.splitlines() if re.match(r"\| \d \|", line)]


def test_the_table_of_floors_names_every_module_beside_its_folder() -> None:
    named = set()
    for first, *others in floor_rows():
        named |= {first + other for other in others} if first.endswith("/") else {first, *others}
    rooms = [path.relative_to(SOURCE) for path in MODULES if path.name not in ("__init__.py", "__main__.py")]
    missing = {room.as_posix() for room in rooms if room.parts[0] != "verbs"} - named
    assert missing == set()


def test_rows_of_the_table_of_floors_are_short_enough_to_merge() -> None:
    page = (ROOT / "docs" / "how-a-run-flows.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) > 50
    assert [row for row in rows if len(row) > 200] == []


def test_the_results_table_is_that_of_the_published_records() -> None:
    table = pd.read_parquet(ROOT / "results" / "reference" / "main_job.parquet")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for (data, cell), runs in table.groupby(["data.name", "model.cell"]):
        accuracies = (100 * runs.sort_values("seed").test_accuracy).tolist()
        digits = 2 if data == "imdb" else 1
        shown = ", ".join(f"{accuracy:.{digits}f}" for accuracy in accuracies)
        assert f"{sum(accuracies) / len(accuracies):.{digits}f} ({shown})" in readme, f"{data}, {cell}"
