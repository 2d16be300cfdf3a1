"""Where a run took place: code, packages, processor and accelerator.

Nothing here names a person or a machine: no host name, user, home folder or environment variable.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from bench.processor import cpu_model, usable_cores

PACKAGE = Path(__file__).resolve().parents[1]  # the folder of `bench`

# What can change a number in a record, relative to the package; everything else may be edited freely.
NUMERIC_SOURCES = (
    "seeds.py", "declarations.py", "data", "embeddings", "models",
    "runs/execute.py", "runs/training.py", "runs/trainer.py", "runs/checkpoint.py", "runs/callbacks.py",
    "runs/clock.py", "runs/probe.py", "runs/linear.py",
)  # fmt: skip

_PACKAGES = (
    "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "datasets", "wandb", "pyarrow",
    "gensim", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CodeState:
    """Which sources ran; all absent for an installed wheel."""

    commit: str | None = None
    dirty_hash: str | None = None  # absent for a clean checkout
    code_committed: bool | None = None  # whether the commit holds every source that affects numbers


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What can be known without importing torch; fields as in `RunRecord`."""

    operating_system: str
    cpu_model: str
    cpu_cores: int
    memory_bytes: int
    python_version: str
    packages: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TorchState:
    """What torch sees of the machine; fields as in `RunRecord`."""

    torch_version: str
    cpu_isa: str
    accelerator: str
    gpu_model: str | None
    gpu_driver: str | None
    threads: int


def describe_code(package: Path = PACKAGE) -> CodeState:
    """The commit of the checkout that holds the package's sources, and a hash of what differs from it."""
    root = package.parent.parent
    if package.parent.name != "src":
        return CodeState()
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--full-index")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "src", "conf")
    if commit is None or changes is None or untracked is None:
        return CodeState()
    digest = hashlib.sha256(changes)
    for name in sorted(filter(None, untracked.split(b"\0"))):
        path = root / os.fsdecode(name)
        digest.update(name + b"\0" + (path.read_bytes() if path.is_file() else b""))
    dirty = changes or untracked
    numeric = [f"src/{package.name}/{name}" for name in NUMERIC_SOURCES]
    status = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *numeric)
    return CodeState(
        commit=commit.decode().strip(),
        dirty_hash=digest.hexdigest()[:12] if dirty else None,
        code_committed=None if status is None else not status,
    )


@cache
def code_version(package: Path = PACKAGE) -> str:
    """12 hexadecimal digits that change with the sources that affect numbers, and with nothing else."""
    digest = hashlib.sha256()
    for path in sorted(_numeric_files(package), key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def describe_machine() -> Machine:
    """Processor, memory, operating system and package versions."""
    installed = {name: _version(name) for name in _PACKAGES}
    return Machine(
        operating_system=_operating_system(),
        cpu_model=cpu_model(),
        cpu_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        python_version=platform.python_version(),
        packages={name: version for name, version in installed.items() if version is not None},
    )


def describe_torch(device_type: str, threads: int | None) -> TorchState:
    """What torch sees; imports torch.

    device_type: where the model runs, `cpu` or `cuda`; threads: as configured, None for torch's own choice.
    """
    import torch

    on_gpu = device_type == "cuda" and torch.cuda.is_available()
    return TorchState(
        torch_version=str(torch.__version__),
        cpu_isa=torch.backends.cpu.get_cpu_capability(),
        accelerator=device_type,
        gpu_model=torch.cuda.get_device_name(0) if on_gpu else None,
        gpu_driver=_gpu_driver() if on_gpu else None,
        threads=threads if threads is not None else torch.get_num_threads(),
    )


def hardware_key(machine: Machine, torch_state: TorchState, devices: int, precision: str, threads: int) -> str:
    """A name for all that speeds depend on beside the run itself, such as `intel-xeon-2c-2t-cpu-1a2b3c`.

    Speeds compare only between equal keys. The part before the hash is for people; the hash covers everything.
    """
    parts = {
        "cpu_model": machine.cpu_model,
        "cpu_cores": machine.cpu_cores,
        "cpu_isa": torch_state.cpu_isa,
        "threads": threads,
        "accelerator": torch_state.accelerator,
        "gpu_model": torch_state.gpu_model,
        "devices": devices,
        "precision": precision,
        "torch_version": torch_state.torch_version,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:6]
    accelerator = _slug(torch_state.gpu_model or torch_state.accelerator) + (f"-x{devices}" if devices > 1 else "")
    return f"{_slug(machine.cpu_model)}-{machine.cpu_cores}c-{threads}t-{accelerator}-{digest}"


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it is missing or this is no checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _numeric_files(package: Path) -> Iterator[Path]:
    for name in NUMERIC_SOURCES:
        path = package / name
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.suffix in (".py", ".cpp", ".hpp"))
        elif path.is_file():
            yield path


def _operating_system() -> str:
    """Such as `Linux 6.1.0 x86_64`: a release's suffix may tell whose machine it is, and is left out."""
    release = re.match(r"[\d.]*\d", platform.release())
    return " ".join([platform.system(), *([release.group()] if release else []), platform.machine()])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu_driver() -> str | None:
    """The NVIDIA driver's version."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.split() else None


def _slug(name: str) -> str:
    """The first words of a product name, in lower case: `Intel(R) Xeon(R) Processor` gives `intel-xeon`."""
    plain = re.sub(r"\((r|tm)\)|@.*|\b(processor|\d+-core)\b|(?<=.)\bcpu\b", " ", name.lower())
    return "-".join(re.findall(r"[a-z0-9]+", plain)[:5]) or "unknown"
