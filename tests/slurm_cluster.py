"""A real Slurm on loopback for the length of a test: one node of two processors, a partition that pre-empts another."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
_DEADLINE_SECONDS = 90

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=15
MaxArraySize=501
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000
PartitionName=low Nodes=localhost Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=localhost PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why no Slurm can be started here; None where one can."""
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {absent[0]} here: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "only root can start a Slurm"


class Slurm:
    """A cluster that is up. configuration: what SLURM_CONF should name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"

    def type(self, *words: str) -> str:
        """What one of Slurm's own commands answers."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """With which Slurm's commands find this cluster."""
        return os.environ | {"SLURM_CONF": str(self.configuration)}

    def jobs(self, state: str = "all") -> list[str]:
        """The jobs that Slurm knows in a state, array elements one by one."""
        return self.type("squeue", "--noheader", "--array", "--states", state, "--format", "%i").split()

    def occupy(self, seconds: int = 3) -> None:
        """Submit a job that pre-empts all others for some seconds."""
        self.type("sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", f"--wrap=sleep {seconds}")

    def cancel_all(self) -> None:
        """Leave nothing behind for the next test."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while jobs := self.jobs("pending,running,completing,suspended"):
            assert time.monotonic() < deadline, f"jobs that will not end: {jobs}"
            subprocess.run(["scancel", "--quiet", "--user=root"], env=self.environment, timeout=60, check=False)
            time.sleep(0.3)


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start a cluster, and end it with everything that it started."""
    slurm = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(256))
    key.chmod(0o400)
    text = _CONFIGURATION.format(folder=folder, controller_port=_free_port(), node_port=_free_port())
    slurm.configuration.write_text(text)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_start(slurm, "munged", "--foreground", "--force", *_munge(folder)))
        _wait((folder / "munge.socket").exists, slurm, daemons)
        daemons.append(_start(slurm, "slurmctld", "-D", "-c"))
        daemons.append(_start(slurm, "slurmd", "-D", "-N", "localhost"))
        _wait(lambda: _idle(slurm), slurm, daemons)
        yield slurm
        slurm.cancel_all()
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
        _end_the_rest(slurm)


def _munge(folder: Path) -> list[str]:
    names = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log",
             "seed-file": "munge.seed"}  # fmt: skip
    return [f"--{option}={folder / name}" for option, name in names.items()]


def _start(slurm: Slurm, *words: str) -> subprocess.Popen[bytes]:
    with (slurm.folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            words, env=slurm.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,  # Ctrl-C is ours, and ends them in order
        )  # fmt: skip


def _idle(slurm: Slurm) -> bool:
    words = ["sinfo", "--noheader", "--partition=low", "--format", "%T"]
    done = subprocess.run(words, env=slurm.environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() == "idle"


def _wait(ready: Callable[[], bool], slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not ready():
        logs = (slurm.folder / "daemons.log").read_text(errors="replace")
        assert all(daemon.poll() is None for daemon in daemons), f"a daemon has ended:\n{logs}"
        assert time.monotonic() < deadline, f"Slurm does not start:\n{logs}"
        time.sleep(0.1)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_the_rest(slurm: Slurm) -> None:
    """What the node had started: these processes, and no others, name this cluster's configuration."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("SLURM_CONF") == str(slurm.configuration):
                for one in (*process.children(recursive=True), process):
                    with suppress(psutil.Error):
                        one.kill()
