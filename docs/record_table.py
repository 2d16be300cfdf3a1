"""Writes docs/record.md from the comments in src/bench/runs/record.py: `python docs/record_table.py`."""

# ruff: noqa: E501
from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SECTION = re.compile(r"    # -- (.+?) -+$")
_FIELD = re.compile(r"    (\w+): ([^=#]+?)(?: = [^#]+)?(?:  # (.+))?$")

HEAD = """# The run record

Every execution of a run, however it ended, leaves `RESULTS/runs/<run_id>/<execution_id>/`:

| file | content |
|---|---|
| `record.json` | the fields below, flat, and the configuration under its dotted keys; written last: a folder with it is complete |
| `curve.parquet` | a row per evaluation and per `training.log_every_steps` steps: step, epoch, split, loss, accuracy, macro_f1, learning_rate, gradient_norm, train_seconds |
| `predictions.parquet` | a row per text of the test split (validation where there is none): id, label, predicted, probabilities, length in tokens |
| `weights.safetensors` | weights of the best validation epoch, where `keep` allows; its header holds the vocabulary and the names of the classes ([predict](predict.md)) |
| `weights_last.safetensors` | weights after the last epoch, with `keep=all` |
| `last.ckpt` | the last finished epoch, while the execution runs and where it did not come to its end: the next one goes on from it |

`bench.records("results")` reads all records as one pandas table. Every file appears whole or not at all. A field is null
where it could not be known. This page is made from `src/bench/runs/record.py` by `python docs/record_table.py`.
"""


def page() -> str:
    """The whole of docs/record.md."""
    source = (ROOT / "src/bench/runs/record.py").read_text(encoding="utf-8")
    body = source[source.index("class RunRecord:") : source.index("    def to_json")]
    lines = [HEAD]
    for line in body.splitlines():
        if section := _SECTION.match(line):
            lines += [f"\n## {section[1].rstrip(' -')}\n", "| field | type | meaning |", "|---|---|---|"]
        elif field := _FIELD.match(line):
            kind = field[2].replace(" | None", "").replace("|", "\\|")
            lines.append(f"| `{field[1]}` | {kind} | {field[3] or field[1].replace('_', ' ')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs/record.md").write_text(page(), encoding="utf-8")
