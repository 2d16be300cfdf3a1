"""What a record says about code and machine: complete, comparable, quick, and nothing private."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

import bench
from bench.processor import cpu_limits, limit_spinning, usable_cores
from bench.runs.contention import ContentionReading
from bench.runs.environment import (
    NUMERIC_SOURCES,
    PACKAGE,
    CodeState,
    Machine,
    TorchState,
    code_version,
    describe_code,
    describe_machine,
    describe_torch,
    hardware_key,
)
from bench.runs.memory import PeakMemory
from bench.runs.probe import InferenceSpeed
from bench.runs.record import RunRecord

MACHINE = Machine(
    operating_system="Linux 6.1.0 x86_64",
    cpu_model="Intel(R) Xeon(R) Processor",
    cpu_cores=2,
    memory_bytes=2**34,
    python_version="3.11.7",
    packages={"torch": "2.6.0"},
)
TORCH = TorchState(
    torch_version="2.6.0+cpu", cpu_isa="AVX512", accelerator="cpu", gpu_model=None, gpu_driver=None, threads=2
)


def test_the_fields_are_those_of_the_record():
    known = {item.name for item in fields(RunRecord)}
    for kind in (CodeState, Machine, TorchState, ContentionReading, PeakMemory, InferenceSpeed):
        assert {item.name for item in fields(kind)} <= known


# -- code ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    """A copy of this package's sources, in a checkout's layout."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "conf").mkdir()
    (tmp_path / "docs").mkdir()
    return tmp_path / "src" / "bench"


def fresh_code_version(package: Path) -> str:
    code_version.cache_clear()
    return code_version(package)


def test_the_code_version_is_the_same_wherever_the_package_lies(package):
    assert fresh_code_version(package) == fresh_code_version(PACKAGE)
    assert len(code_version()) == 12
    assert int(code_version(), 16) >= 0


@pytest.mark.parametrize("name", ["verbs/clean.py", "__init__.py", "runs/store.py", "data/notes.md", "report/new.py"])
def test_an_edit_that_affects_no_number_changes_no_code_version(package, name):
    before = fresh_code_version(package)
    (package / name).parent.mkdir(exist_ok=True)
    with (package / name).open("a") as stream:
        stream.write("# edited\n")
    assert fresh_code_version(package) == before


@pytest.mark.parametrize("name", ["seeds.py", "data/__init__.py", "models/__init__.py", "models/new/cell.py"])
def test_an_edit_that_may_affect_numbers_changes_the_code_version(package, name):
    before = fresh_code_version(package)
    (package / name).parent.mkdir(exist_ok=True)
    with (package / name).open("a") as stream:
        stream.write("# edited\n")
    assert fresh_code_version(package) != before


def test_a_renamed_source_changes_the_code_version(package):
    before = fresh_code_version(package)
    (package / "seeds.py").rename(package / "data" / "seeds.py")
    assert fresh_code_version(package) != before


def test_line_endings_change_no_code_version(package):
    before = fresh_code_version(package)
    for path in package.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert fresh_code_version(package) == before


def test_the_numeric_sources_exist():
    missing = [name for name in NUMERIC_SOURCES if not (Path(bench.__file__).parent / name).exists()]
    assert missing == []


@pytest.fixture
def checkout(package):
    """The copy as a git checkout with one commit."""
    root = package.parents[1]
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *identity, *arguments], cwd=root, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_a_clean_checkout_has_a_commit_and_no_dirty_hash(checkout, package):
    head = git(checkout, "rev-parse", "HEAD")
    assert describe_code(package) == CodeState(commit=head, dirty_hash=None, code_committed=True)


def test_only_changes_to_what_affects_numbers_make_the_code_uncommitted(checkout, package):
    (package / "verbs.py").write_text("# no number depends on this\n")
    assert describe_code(package).code_committed
    (package / "seeds.py").write_text("# this draws numbers\n")
    assert describe_code(package).code_committed is False


def test_the_dirty_hash_follows_the_changes(checkout, package):
    seeds = package / "seeds.py"
    original = seeds.read_text()
    seeds.write_text(original + "# one\n")
    one = describe_code(package)
    seeds.write_text(original + "# two\n")
    two = describe_code(package)
    seeds.write_text(original + "# one\n")
    assert describe_code(package) == one
    assert len({None, one.dirty_hash, two.dirty_hash}) == 3
    seeds.write_text(original)
    assert describe_code(package).dirty_hash is None


def test_new_sources_make_a_checkout_dirty_and_other_new_files_do_not(checkout, package):
    (checkout / "docs" / "draft.md").write_text("draft")
    assert describe_code(package).dirty_hash is None
    (checkout / "conf" / "new.yaml").write_text("a: 1")
    first = describe_code(package).dirty_hash
    (checkout / "conf" / "new.yaml").write_text("a: 2")
    assert len({None, first, describe_code(package).dirty_hash}) == 3


def test_an_installed_wheel_has_no_commit_even_inside_somebody_elses_checkout(checkout):
    installed = checkout / ".venv" / "lib" / "site-packages" / "bench"
    installed.mkdir(parents=True)
    assert describe_code(installed) == CodeState()


def test_sources_without_a_checkout_or_without_git_have_no_commit(package, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parents[2]))
    assert describe_code(package) == CodeState()
    git(package.parents[1], "init", "--quiet")
    monkeypatch.setenv("PATH", "")
    assert describe_code(package) == CodeState()


def test_variables_of_a_git_hook_do_not_mislead(checkout, package, monkeypatch, tmp_path_factory):
    expected = describe_code(package)
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    assert describe_code(package) == expected


def test_describing_the_code_takes_less_than_a_tenth_of_a_second(checkout, package):
    durations = []
    for _ in range(5):
        begun = time.perf_counter()
        describe_code(package)
        durations.append(time.perf_counter() - begun)
    assert min(durations) < 0.1


# -- machine ---------------------------------------------------------------------------------------------------------


def test_the_machine_is_described_with_its_packages():
    machine = describe_machine()
    assert machine.python_version == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "pytorch-lightning", "numpy", "pyarrow"} <= set(machine.packages)
    assert machine.cpu_model
    assert machine.memory_bytes > 2**28
    assert 1 <= machine.cpu_cores <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_cores_that_the_process_may_not_use_do_not_count():
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); import bench.processor as p; print(p.usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"1"


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"cpu.max": "150000 100000\n"}, [1.5]),
        ({"cpu.max": "max 100000\n"}, []),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [4.0]),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ({}, []),
    ],
)
def test_a_containers_processor_limit_is_read_in_both_versions_of_control_groups(tmp_path, files, limits):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert list(cpu_limits(tmp_path)) == limits
    assert usable_cores(tmp_path) >= 1


def test_torch_says_what_it_dispatches_to():
    import torch

    state = describe_torch("cpu", threads=None)
    assert state.torch_version == torch.__version__
    assert state.threads == torch.get_num_threads()
    assert (state.accelerator, state.gpu_model, state.gpu_driver) == ("cpu", None, None)
    assert state.cpu_isa
    assert describe_torch("cpu", threads=3).threads == 3


def test_nothing_private_is_described(tmp_path):
    code = """
from dataclasses import asdict
from bench.runs.contention import Contention
from bench.runs.environment import *
machine, state = describe_machine(), describe_torch("cpu", 1)
print(json.dumps([asdict(machine), asdict(state), asdict(describe_code()), asdict(Contention().start().finish())]))
print(hardware_key(machine, state, 1, "32", 1))
"""
    private = {"HOME": str(tmp_path), "USER": "ada-l-private", "HOSTNAME": "host-private", "WANDB_API_KEY": "k-private"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **private}, capture_output=True, check=True)
    described = done.stdout.decode()
    names = {*private.values(), socket.gethostname(), getpass.getuser(), str(Path.home()), sys.prefix}
    assert [name for name in names if name in described] == []


# -- hardware key ----------------------------------------------------------------------------------------------------


def key(machine: Machine = MACHINE, torch_state: TorchState = TORCH, devices: int = 1, precision: str = "32") -> str:
    return hardware_key(machine, torch_state, devices, precision, torch_state.threads)


def test_a_hardware_key_can_be_read_and_used_as_a_file_name():
    assert key().startswith("intel-xeon-2c-2t-cpu-")
    gpu = replace(TORCH, accelerator="cuda", gpu_model="NVIDIA A100-SXM4-80GB")
    assert key(torch_state=gpu, devices=2).startswith("intel-xeon-2c-2t-nvidia-a100-sxm4-80gb-x2-")
    epyc = replace(MACHINE, cpu_model="AMD EPYC 7B13 64-Core Processor @ 2.4GHz")
    assert key(epyc).startswith("amd-epyc-7b13-2c-2t-cpu-")


def test_a_hardware_key_changes_with_all_that_speeds_depend_on():
    keys = [
        key(),
        key(replace(MACHINE, cpu_model="Intel(R) Xeon(R) Gold 6248R")),
        key(replace(MACHINE, cpu_cores=4)),
        key(torch_state=replace(TORCH, threads=1)),
        key(torch_state=replace(TORCH, cpu_isa="AVX2")),
        key(torch_state=replace(TORCH, torch_version="2.7.0+cpu")),
        key(torch_state=replace(TORCH, accelerator="cuda", gpu_model="NVIDIA H100")),
        key(devices=2),
        key(precision="bf16"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_hardware_key_depends_on_nothing_else():
    other = replace(MACHINE, python_version="3.13.0", packages={}, operating_system="Linux 7.0.0 x86_64")
    assert key(other) == key()


def test_threads_stop_spinning_soon_unless_the_person_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
