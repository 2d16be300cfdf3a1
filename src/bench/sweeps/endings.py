"""The record of a run whose process could not write one: killed, out of time, or stopped before it could speak."""

from __future__ import annotations

import signal

from bench.files import without_home
from bench.runs.assemble import record_without_fit
from bench.runs.environment import code_version
from bench.runs.lease import BUSY
from bench.runs.record import RunRecord, Status
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.plan import Member


def record_of_the_dead(member: Member, outcome: Outcome, execution_id: str | None = None) -> RunRecord:
    """What is known of an execution that left nothing. execution_id: that its process was started with."""
    status, kind, message = _described(outcome)
    if outcome.code == 0 and code_version.__wrapped__() != member.code_version:
        kind, message = "CodeChanged", "sources that affect numbers were edited after the sweep began: type it again"
    fields = {"status": status, "error_type": kind, "error_message": without_home(message)}
    return record_without_fit(member, outcome.started_at, fields, execution_id)


def was_busy(outcome: Outcome) -> bool:
    """Whether the process gave up at once because another one carries out the same run."""
    return outcome.said is not None and BUSY in outcome.said


def _described(outcome: Outcome) -> tuple[Status, str, str]:
    code = outcome.code
    if outcome.timed_out is not None:
        return Status.FAILED, "TimedOut", f"ended after {outcome.timed_out:g} s, the launcher's timeout_seconds"
    if outcome.stopped or code in (-signal.SIGINT, 130):
        return Status.INTERRUPTED, "Interrupted", "stopped before it could write a record"
    if code == -signal.SIGKILL:
        advice = "try a smaller training.batch_size or data.max_length"
        return Status.FAILED, "Killed", f"killed by SIGKILL, as when memory runs out; {advice}"
    if outcome.said:
        return Status.FAILED, "UserError" if code == 2 else "ProcessDied", outcome.said
    if code < 0:
        name = signal.Signals(-code).name
        return Status.FAILED, name, f"the process was ended by {name}"
    return Status.FAILED, "ProcessDied", f"the process ended with exit code {code} and left no record"
