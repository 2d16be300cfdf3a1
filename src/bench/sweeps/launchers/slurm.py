"""What is asked of Slurm beside submitting: its limits, what has become of jobs, and to end them.

`squeue` is asked, never `sacct`: many small clusters keep no accounts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from bench.errors import UserError

MOST_IN_ARRAY = 1000
PENDING = "PENDING"
# https://slurm.schedmd.com/squeue.html, job state codes; a job in any other state goes on, or will.
OVER = frozenset(("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"))
_NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_PATIENCE_SECONDS = 60


def check_cluster() -> None:
    """Whether this machine can submit jobs.

    Raises: `UserError` where it is no part of a Slurm cluster, or Slurm does not answer.
    """
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"hydra/launcher=slurm: no {missing[0]} on this machine; type it on a machine of a Slurm cluster, or leave "
            "hydra/launcher out to run here"
        )
    array_limit()


def array_limit() -> int:
    """How many jobs one array may hold.

    Raises: `UserError` if Slurm does not answer.
    """
    done = _type("scontrol", "show", "config")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
        raise UserError(f"hydra/launcher=slurm: Slurm does not answer ({reason}); leave hydra/launcher out to run here")
    limit = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, min(MOST_IN_ARRAY, int(limit[1]))) if limit else MOST_IN_ARRAY


def states(job_ids: Sequence[str]) -> dict[str, str] | None:
    """The state of each job that Slurm knows, elements of arrays one by one; None where it does not answer."""
    done = _type("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={_arrays(job_ids)}")
    if done.returncode != 0:
        return {} if "Invalid job id" in done.stderr else None
    rows = (line.strip().partition("|") for line in done.stdout.splitlines())
    return {job_id: state for job_id, _, state in rows}


def cancel(job_ids: Sequence[str], *options: str) -> None:
    """`scancel`; what has ended already is no error."""
    if job_ids:
        _type("scancel", "--quiet", *options, *job_ids)


def _arrays(job_ids: Sequence[str]) -> str:
    return ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))


def _type(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} took more than {_PATIENCE_SECONDS} s")
