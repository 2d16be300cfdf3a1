"""Devices: lent to one run at a time on the whole machine, by locks that a dead process cannot keep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.processor import usable_cores
from bench.sweeps.launchers.devices import Device, Devices, bound_to, core_groups
from bench.sweeps.launchers.gpus import chosen_gpus
from bench.sweeps.launchers.places import Places

GPUS = [Device(gpu=f"GPU-{letter}") for letter in "abcd"]
HOLDER = """
import sys
from pathlib import Path
from bench.sweeps.launchers.devices import Device, Devices
loan = Devices([Device(gpu=name) for name in sys.argv[2:]], Path(sys.argv[1])).take(len(sys.argv[2:]))
assert loan is not None
print("lent", flush=True)
sys.stdin.read()
"""
LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1f22a253-c329-dfb7-0db4-e005efb6a4c7)
  MIG 3g.20gb     Device  0: (UUID: MIG-3f0f5e4e-1111-5f5e-b3b8-6f4a8c0a0c11)
  MIG 3g.20gb     Device  1: (UUID: MIG-77c1a9ce-2222-5a5e-b3b8-6f4a8c0a0c22)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-8a56a4bc-e184-a047-2620-be19fdf913d5)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-29301679-4f18-a8b7-59f9-9e4b2ae3c0ea)
"""


def holder(folder: Path, *gpus: str) -> subprocess.Popen[str]:
    """Another process that has been lent these."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *gpus], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "lent\n"
    return process


def test_no_device_is_lent_twice_and_a_killed_process_keeps_none(tmp_path: Path) -> None:
    devices = Devices(GPUS, tmp_path)
    with holder(tmp_path, "GPU-a", "GPU-c") as other:
        loans = [loan for loan in (devices.take(1) for _ in range(4)) if loan is not None]
        assert [loan.environment["CUDA_VISIBLE_DEVICES"] for loan in loans] == ["GPU-b", "GPU-d"]
        assert devices.in_use(loans) == 2
        other.kill()
        other.wait()
    both = devices.take(2)
    assert both is not None
    assert both.environment == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-c"}


def test_a_loan_ends_with_the_process_that_inherited_it_not_with_the_one_that_took_it(tmp_path: Path) -> None:
    loan = Devices(GPUS[:1], tmp_path).take(1)
    assert loan is not None
    run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=loan.handles)
    for handle in loan.handles:
        os.close(handle)  # as the system does where the sweep is killed
    other = Devices(GPUS[:1], tmp_path)
    assert other.take(1) is None
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert other.take(1) is not None


def test_a_released_loan_is_free_although_something_that_the_run_left_behind_still_has_it_open(tmp_path: Path) -> None:
    loan = Devices(GPUS[:1], tmp_path).take(1)
    assert loan is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=loan.handles) as left:
        loan.release()
        assert left.poll() is None
        assert Devices(GPUS[:1], tmp_path).take(1) is not None
        left.kill()


def test_whoever_waits_for_several_devices_gets_them_before_those_who_come_later(tmp_path: Path) -> None:
    patient, busy = Devices(GPUS[:2], tmp_path), Devices(GPUS[:2], tmp_path)
    first, second = busy.take(1), busy.take(1)
    assert first is not None
    assert second is not None
    assert patient.take(2) is None
    first.release()
    assert patient.take(2) is None
    assert busy.take(1) is None, "the one that waits comes first"
    second.release()
    both = patient.take(2)
    assert both is not None
    both.release()
    assert busy.take(1) is not None


def test_who_waits_no_longer_is_in_nobodys_way(tmp_path: Path) -> None:
    gone, busy = Devices(GPUS[:2], tmp_path), Devices(GPUS[:2], tmp_path)
    loan = busy.take(1)
    assert loan is not None
    assert gone.take(2) is None
    gone.withdraw()
    assert busy.take(1) is not None


def test_groups_of_cores_that_overlap_exclude_each_other(tmp_path: Path) -> None:
    whole, halves = (
        Devices([Device(cores=(0, 1, 2, 3))], tmp_path),
        Devices([Device(cores=(0, 1)), Device(cores=(2, 3))], tmp_path),
    )
    half = halves.take(1)
    assert half is not None
    assert whole.take(1) is None
    whole.withdraw()
    half.release()
    assert whole.take(1) is not None
    assert halves.take(1) is None


def test_cores_are_divided_into_equal_groups_without_overlap() -> None:
    allowed = os.sched_getaffinity(0)
    for count in range(1, usable_cores() + 1):
        groups = [device.cores for device in core_groups(count)]
        assert len({len(group) for group in groups}) == 1
        used = [core for group in groups for core in group]
        assert len(used) == len(set(used)) > len(allowed) - count
        assert set(used) <= allowed
    with pytest.raises(UserError, match=f"choose at most hydra.launcher.workers={usable_cores()}"):
        core_groups(usable_cores() + 1)


def test_what_is_started_on_a_group_of_cores_stays_there_and_we_do_not() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    ask = [
        sys.executable,
        "-c",
        "from bench.processor import usable_cores; import os; print(usable_cores(), os.sched_getaffinity(0))",
    ]
    with bound_to([core]):
        answer = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"1 {{{core}}}"
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (None, ["MIG-3f", "MIG-77", "GPU-8a", "GPU-29"]),
        ("2,1", ["GPU-29", "GPU-8a"]),
        ("0", ["MIG-3f"]),
        ("GPU-29301679,MIG-77c1a9ce-2222-5a5e-b3b8-6f4a8c0a0c22", ["GPU-29", "MIG-77"]),
        ("1,7,2", ["GPU-8a"]),
        ("-1", []),
        ("", []),
    ],
)
def test_only_gpus_that_the_environment_shows_are_used(asked: str | None, seen: list[str]) -> None:
    assert [uuid[:6] for uuid in chosen_gpus(LISTED, asked)] == seen


def test_a_machine_without_gpus_lists_none() -> None:
    assert chosen_gpus("", None) == chosen_gpus("", "0") == []
    assert chosen_gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", None) == []


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_run_that_needs_several_gpus_gets_them_at_once_and_sees_no_others(locks: Path) -> None:
    places = Places(None, ["GPU-a", "GPU-b", "GPU-c"])
    two = HardwareConfig(accelerator="gpu", devices=2, strategy="ddp")
    places.check(two)
    assert places.at_a_time == 3
    loan = places.take(two, [])
    assert loan is not None
    assert loan.environment == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert places.take(two, [loan]) is None
    last = places.take(HardwareConfig(), [loan])
    assert last is not None
    assert last.environment == {"CUDA_VISIBLE_DEVICES": "GPU-c"}
    assert places.in_use([loan, last]) == 0


def test_what_could_never_start_is_refused_before_anything_runs(locks: Path) -> None:
    four = HardwareConfig(accelerator="gpu", devices=4, strategy="ddp")
    with pytest.raises(UserError, match=r"hardware.devices=4: 2 GPUs can be seen here; choose at most 2"):
        Places(None, ["GPU-a", "GPU-b"]).check(four)
    with pytest.raises(UserError, match=r"hardware.devices=4: hydra.launcher.workers=1 allows fewer; choose at most 1"):
        Places(1, ["GPU-a", "GPU-b"]).check(four)
    with pytest.raises(
        UserError, match=r"hydra.launcher.workers=3: every run gets a GPU of its own, and 2 can be seen"
    ):
        Places(3, ["GPU-a", "GPU-b"]).check(HardwareConfig())
    with pytest.raises(UserError, match="every run gets processor cores of its own"):
        Places(usable_cores() + 1, []).check(HardwareConfig(accelerator="cpu"))


def test_fewer_workers_than_gpus_leave_the_others_alone(locks: Path) -> None:
    places = Places(1, ["GPU-a", "GPU-b"])
    places.check(HardwareConfig())
    loan = places.take(HardwareConfig(), [])
    assert loan is not None
    assert places.take(HardwareConfig(), [loan]) is None


def test_several_processes_of_one_run_share_the_cores_where_there_are_no_more_groups(locks: Path) -> None:
    places, two = Places(None, []), HardwareConfig(accelerator="cpu", devices=2, strategy="ddp")
    places.check(two)
    loan = places.take(two, [])
    assert loan is not None
    assert set(loan.cores) == os.sched_getaffinity(0)
    assert places.threads(two, loan) is None, "the run divides them itself"
    assert not places.may_fork(two)


def test_a_run_on_the_processor_beside_gpus_gets_cores(locks: Path) -> None:
    places, on_cpu = Places(None, ["GPU-a"]), HardwareConfig(accelerator="cpu")
    loan = places.take(on_cpu, [])
    assert loan is not None
    assert (set(loan.cores), loan.environment) == (os.sched_getaffinity(0), {})
