"""Arrays of Slurm jobs: submitted through submitit, and what has become of each job."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.runs.lease import holder_of
from bench.runs.store import Store
from bench.sweeps.launchers import slurm
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.launchers.slurm_job import SlurmRun, held_back
from bench.sweeps.plan import Member

if TYPE_CHECKING:
    from submitit import Job


@dataclass
class Submitted:
    """A run that Slurm has. absent: how often in a row it was seen to have ended without a result."""

    member: Member
    job: Job[dict[str, object]]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    absent: int = 0

    @property
    def job_id(self) -> str:
        """Such as 17, or 17_3 in an array."""
        return self.job.job_id

    def is_held(self, store: Store) -> bool:
        """Whether a lease says that it is being carried out; that of a process that died on another node still does,
        for a while."""
        return holder_of(store.runs / self.member.run_id) is not None


def submit(
    members: Sequence[Member], runs: Sequence[SlurmRun], folder: Path, parameters: Mapping[str, object], timeouts: int
) -> list[Submitted]:
    """Submit one array; Ctrl-C waits until it is known which jobs these are.

    folder: for what submitit keeps, on a shared file system;  parameters: submitit's, which are those of sbatch;
    timeouts: how often a job may reach its time limit and be requeued.
    Raises: `UserError` with what sbatch said.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    # submitit prints what sbatch says, too
    with _as_a_new_job(), redirect_stderr(io.StringIO()), held_back(signal.SIGINT, signal.SIGTERM):
        executor = SlurmExecutor(folder, max_num_timeout=timeouts)
        try:
            executor.update_parameters(**parameters)
            with executor.batch():
                jobs = [executor.submit(run) for run in runs]
            return [Submitted(member, job) for member, job in zip(members, jobs, strict=True)]
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None


def ended(submitted: Sequence[Submitted], store: Store) -> Iterator[tuple[Submitted, Outcome]]:
    """Those that have ended: that have left a result, or whose end Slurm has told twice in a row."""
    if not submitted:
        return
    states = slurm.states([entry.job_id for entry in submitted])  # first: a result may come in between
    folder = submitted[0].job.paths.folder
    results = set(os.listdir(folder))  # shared file systems remember for long that a single file is absent
    for entry in submitted:
        if entry.job.paths.result_pickle.name in results:
            yield entry, _outcome(entry)
        elif states is not None:
            state = states.get(entry.job_id)
            entry.absent = entry.absent + 1 if state is None or state in slurm.OVER else 0
            if entry.absent > 1 and not entry.is_held(store):
                yield entry, _died(entry, state)


def _outcome(entry: Submitted) -> Outcome:
    from submitit.core.utils import pickle_load

    kind, content = pickle_load(entry.job.paths.result_pickle)
    if kind == "success":
        return Outcome(**content)
    return Outcome(entry.at, 1, f"the Slurm job {entry.job_id} failed: {str(content).strip().splitlines()[-1]}")


def _died(entry: Submitted, state: str | None) -> Outcome:
    """What is said of a job that could not speak. state: None where Slurm has forgotten it."""
    if state == "OUT_OF_MEMORY":
        return Outcome(entry.at, -signal.SIGKILL)
    how = f"ended as {state} without a word" if state else "ended without a word: cancelled, killed or out of time"
    return Outcome(entry.at, 1, f"the Slurm job {entry.job_id} {how}; its output is in {entry.job.paths.stderr}")


@contextmanager
def _as_a_new_job() -> Iterator[None]:
    """Where a sweep is itself a Slurm job, what it submits inherits nothing of it."""
    from submitit.helpers import clean_env

    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    configuration = os.environ.get("SLURM_CONF")
    with clean_env():
        if configuration is not None:
            os.environ["SLURM_CONF"] = configuration
        yield
