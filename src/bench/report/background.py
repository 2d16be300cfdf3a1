"""What stands behind a verdict: failures and gaps, the machines, the protocol, and how to repeat it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise

import pandas as pd

from bench.analysis.disturbance import disturbed_timings
from bench.analysis.pairing import Study
from bench.analysis.set_apart import SetApart
from bench.analysis.verdict import Verdict
from bench.config import ProtocolConfig
from bench.files import without_home
from bench.options import conf_folder
from bench.report.cells import MATCHINGS
from bench.report.document import Block, Column, Commands, Listing, Prose, Section, Table
from bench.report.frames import Shown, of_frame
from bench.report.numbers import number, number_cell, plural, text_cell
from bench.report.question import EVERYTHING, Question


def gaps(study: Study, question: Question, records: pd.DataFrame) -> Section:
    """Failed runs by reason, runs set apart, seeds that one arm alone has, planned runs without a record."""
    blocks: list[Block] = []
    if not study.failures.empty:
        blocks.append(_failures(study.failures))
    if study.apart:
        blocks.append(_apart(study.apart))
    lacking = _missing_seeds(study)
    if lacking.rows:
        blocks.append(lacking)
    absent = sorted((question.run_ids or frozenset()) - set(records["run_id"]))
    if absent:
        shown = ", ".join(absent[:12]) + (", …" if len(absent) > 12 else "")
        blocks.append(Prose(f"{plural(len(absent), 'planned run')} left no record yet: {shown}."))
    return Section("gaps", "Failures and gaps", tuple(blocks) or (Prose("None: every run finished and pairs."),))


def _failures(failures: pd.DataFrame) -> Table:
    named = ["status", "error_type", "error_message"]
    text = failures.assign(**{name: failures[name].astype(object).where(failures[name].notna(), "") for name in named})
    text["error_message"] = [without_home(str(message)) for message in text["error_message"]]
    rows = text.groupby(named, sort=False).size().reset_index(name="runs").sort_values("runs", ascending=False)
    shown = (Shown("Runs", ("runs",), 0), Shown("Ended", ("status",)), Shown("Error", ("error_type",)),
             Shown("Message", ("error_message",)))  # fmt: skip
    return of_frame("failures", "Runs that did not finish, by reason", rows, shown)


def _apart(apart: tuple[SetApart, ...]) -> Table:
    rows = tuple(
        (number_cell(len(entry.run_ids), 0), text_cell(without_home(entry.reason)), text_cell(_some(entry.run_ids)))
        for entry in apart
    )
    columns = (Column("Runs", ("runs",)), Column("Reason", ("reason",), numeric=False),
               Column("Which", ("run_ids",), numeric=False))  # fmt: skip
    return Table("apart", "Runs set apart, and why", columns, rows)


def _some(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def _missing_seeds(study: Study) -> Table:
    """Seeds that some arm of a scene has and another one lacks."""
    seeds: dict[int, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for scene, arm, seed in study.runs[["scene", "arm", "seed"]].itertuples(index=False):
        seeds[int(scene)][str(arm)].add(int(seed))
    rows = []
    for number_of, by_arm in seeds.items():
        scene, union = study.scenes[number_of], set[int]().union(*by_arm.values())
        for arm in study.arms:
            lacks = sorted(union - by_arm[arm])
            if lacks:
                words = (scene.task, MATCHINGS.get(scene.matching, scene.matching), scene.pooling, arm)
                rows.append((*map(text_cell, words), number_cell(len(by_arm[arm]), 0), number_cell(len(lacks), 0),
                             text_cell(_some(tuple(map(str, lacks))))))  # fmt: skip
    titles = (("Task", "task"), ("Held equal", "matching"), ("Pooling", "pooling"), ("Arm", "arm"))
    columns = (*(Column(title, (key,), numeric=False) for title, key in titles), Column("n (seeds)", ("seeds",)),
               Column("Missing", ("missing",)), Column("Seeds missing", ("seeds_missing",), numeric=False))  # fmt: skip
    return Table("missing", "Seeds that one arm has and another lacks", columns, tuple(rows))


_MACHINE = {
    "hardware_key": "Hardware key", "cpu_model": "Processor", "gpu_model": "GPU", "threads": "Threads",
    "operating_system": "System", "python_version": "Python", "torch_version": "PyTorch",
}  # fmt: skip
_CODE = {"code_version": "Code version", "commit": "Commit", "code_committed": "Sources committed"}


def environment(study: Study, records: pd.DataFrame) -> Section:
    """Machines, versions, and how many timings others disturbed. records: all, as `bench.records`."""
    used = records[records["run_id"].isin(set(study.runs["run_id"])) & (records["status"] == "finished")]
    if used.empty:
        return Section("environment", "Environment", (Prose("No run took part, so there is nothing to describe."),))
    disturbed = disturbed_timings(used)
    words = (
        f"The times of {plural(int(disturbed.sum()), 'execution')} of {len(used):,} "
        f"({number(100 * disturbed.mean(), 0)}%) were disturbed: other processes or other virtual machines took so "
        "much of the processor that they are longer than on a quiet machine. Verdicts read them like all others; the "
        "table 'needed' has the time ratios without them."
    )
    return Section("environment", "Environment", (
        _counted(used, "machines", "Machines, a row a kind; speeds compare only within one hardware key", _MACHINE),
        _counted(used, "code", "Versions of the code", _CODE), _packages(used), Prose(words),
    ))  # fmt: skip


def _counted(used: pd.DataFrame, name: str, caption: str, columns: Mapping[str, str]) -> Table:
    words = {"True": "yes", "False": "no"}
    text = used[list(columns)].astype(object).where(used[list(columns)].notna(), "n/a").astype(str).replace(words)
    rows = text.groupby(list(columns), sort=False).size().reset_index(name="executions")
    shown = (*(Shown(title, (key,)) for key, title in columns.items()), Shown("Executions", ("executions",), 0))
    return of_frame(name, caption, rows, shown, most=50)


def _packages(used: pd.DataFrame) -> Table:
    """Every package with the versions that were in use."""
    versions: dict[str, Counter[str]] = defaultdict(Counter)
    for text, count in used["packages"].dropna().value_counts().items():
        for package, version in json.loads(str(text)).items():
            versions[package][str(version)] += int(count)
    rows = tuple(
        (text_cell(package), text_cell(version), number_cell(count, 0))
        for package in sorted(versions)
        for version, count in versions[package].most_common()
    )
    columns = (Column("Package", ("package",), numeric=False), Column("Version", ("version",), numeric=False),
               Column("Executions", ("executions",)))  # fmt: skip
    return Table("packages", "Packages", columns, rows, folded=True)


def protocol(verdict: Verdict, question: Question, records: pd.DataFrame) -> Section:
    """Every key with its meaning, the hash, whether it was fixed before the runs, and what the looks mean."""
    chosen, meanings = verdict.protocol, _meanings()
    rows = tuple(
        (text_cell(key), text_cell(_plain(value)), text_cell(meanings.get(key, "")))
        for key, value in asdict(chosen).items()
    )
    columns = tuple(Column(title, (title.lower(),), numeric=False) for title in ("Key", "Value", "Meaning"))
    table = Table("protocol", f"Protocol {chosen.name}, hash {verdict.protocol_hash}", columns, rows)
    blocks: list[Block] = [Prose(standing(verdict, question, records), strong=True)]
    if verdict.changed:
        blocks.append(Listing(verdict.changed))
    if len(question.protocols) > 1:
        others = tuple(f"{stored.hash}, stored {_day(stored.fixed_at)}" for stored in question.protocols[1:])
        blocks += [Prose("The sweep was carried out under other protocols later:"), Listing(others)]
    return Section("protocol", "Protocol", (*blocks, Prose(_looks(chosen)), table))


def standing(verdict: Verdict, question: Question, records: pd.DataFrame) -> str:
    """Whether the protocol was fixed before the runs."""
    stored = question.stored
    if stored is None:
        where = "these runs" if question.name == EVERYTHING else "the plan of this sweep"
        return f"Not fixed ahead: no protocol is stored with {where}, so this one was chosen after them."
    if verdict.changed:
        return f"Changed: another protocol was stored with the plan ({stored.hash}, {_day(stored.fixed_at)})."
    used = records["run_id"].isin(set(verdict.study.runs["run_id"]))
    begun = pd.to_datetime(records.loc[used, "started_at"].astype(str), utc=True, format="ISO8601")
    early = int((begun < pd.Timestamp(stored.fixed_at)).sum())
    if early:
        begun_before = f"{plural(early, 'execution')} of {len(begun):,}"
        return f"Stored with the plan on {_day(stored.fixed_at)}, after {begun_before} had begun."
    return f"Fixed before the runs: stored with the plan on {_day(stored.fixed_at)}, before the first of them began."


def _day(moment: str) -> str:
    return f"{pd.Timestamp(moment):%d %B %Y, %H:%M} UTC"


def _looks(chosen: ProtocolConfig) -> str:
    *first, last = map(str, chosen.looks)
    listed = f"{', '.join(first)} and {last}" if first else last
    return (
        f"The evidence is judged at {listed} pairs of runs and at no other number. Intervals are widened so that the "
        f"chance of a wrong verdict, over all of these looks together, is at most {chosen.alpha:.0%}. Pairs beyond the "
        "look that was judged are described and wait for the next one."
    )


def _meanings() -> dict[str, str]:
    """What each key means, from the comments of its configuration file."""
    lines = (conf_folder() / "protocol" / "default.yaml").read_text(encoding="utf-8").splitlines()
    return {key[1]: above.lstrip("# ") for above, line in pairwise(lines) if (key := re.match(r"(\w+):", line))}


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "null" if value is None else str(value)


def commands(question: Question, study: Study, records: pd.DataFrame) -> Section:
    """What to type to run it again."""
    words = "From a checkout of the code version above, with the same data in place:"
    if question.name == EVERYTHING:
        words = "These runs were not planned as one sweep; each one's configuration is in its record. The report alone:"
    return Section("repeat", "Repeat it", (
        Prose(words),
        Commands(tuple(_lines(question, study, records))),
    ))  # fmt: skip


def _lines(question: Question, study: Study, records: pd.DataFrame) -> Iterator[str]:
    used = records[records["run_id"].isin(set(study.runs["run_id"]))]
    commits = used["commit"].dropna().unique()
    if len(commits) == 1:
        yield shlex.join(["git", "checkout", str(commits[0])])
    for arguments in question.asked:
        kept = [without_home(argument) for argument in arguments if not argument.startswith(("force=", "dry_run="))]
        yield shlex.join(["python", "-m", "bench", "-m", *kept])
    compared = [] if study.factor == "model.cell" else [f"compare={study.factor}"]
    named = [] if question.name == EVERYTHING else [f"sweep={question.name}"]
    yield shlex.join(["python", "-m", "bench", "report", *named, *compared])
