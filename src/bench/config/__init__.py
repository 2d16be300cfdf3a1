"""What a run *is*: frozen dataclasses with units and ranges, the schema of everything in `conf/`.

YAML composes, these classes validate: the composed tree becomes one `BenchConfig` at the door (`build_config`), and
no untyped configuration travels further. The comment above each key in `conf/` says what the key means.
"""

from bench.config.questions import DuelConfig, ProtocolConfig, SweepConfig, TuningConfig, protocol_hash
from bench.config.run import DataConfig, EmbeddingConfig, ModelConfig, TrainingConfig
from bench.config.surroundings import HardwareConfig, LoggerConfig, WandbConfig
from bench.config.tree import BenchConfig, flatten, known_keys
from bench.config.validation import build_config
from bench.config.values import Cell, Keep, Kernel, Pooling, Probe, Scalar, Task

__all__ = [
    "BenchConfig",
    "Cell",
    "DataConfig",
    "DuelConfig",
    "EmbeddingConfig",
    "HardwareConfig",
    "Keep",
    "Kernel",
    "LoggerConfig",
    "ModelConfig",
    "Pooling",
    "Probe",
    "ProtocolConfig",
    "Scalar",
    "SweepConfig",
    "Task",
    "TrainingConfig",
    "TuningConfig",
    "WandbConfig",
    "build_config",
    "flatten",
    "known_keys",
    "protocol_hash",
]
