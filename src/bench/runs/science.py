"""Which keys of a configuration a run's numbers depend on: what names a run, and what must be equal within a pair."""

from __future__ import annotations

from collections.abc import Iterable

from bench.config import BenchConfig, Scalar, flatten
from bench.models.sizes import LINEAR, LINEAR_KEYS

GROUPS = ("model", "data", "embedding", "training")  # of the configuration, that a run's numbers depend on
# What a run computes does not depend on these: where it looks, what it is called, how it is written down.
_NOT_SCIENCE = {
    "model.hidden_size", "model.match", "model.kernel",
    "data.name", "data.path", "data.mirror", "data.package", "data.hub_id", "data.hub_config", "data.hub_revision",
    "data.hub_splits", "data.text_column", "data.label_column", "data.text_start_column", "data.labels",
    "data.deduplicate", "data.probe", "data.epochs", "data.learning_rate", "data.target_accuracy", "data.licence",
    "data.citation",
    "embedding.path", "embedding.files", "embedding.package", "embedding.url", "embedding.sha256", "embedding.member",
    "embedding.dimension",
    "training.log_every_steps", "training.gradient_flow",
    "results", "force", "keep", "dry_run", "until", "retry",
}  # fmt: skip
# Tables tell generated corpora apart by these; in a run's name, the fingerprint of what they generate stands for them.
_GENERATED = {"data.length", "data.test_length", "data.size", "data.probe_seed"}
# Keys that came later, and what they do without: there they are left out, so that earlier runs keep names and partners.
_LATER: dict[str, Scalar] = {
    "training.tbptt": None, "data.inputs": "words", "data.tolerance": None, "embedding.open_vocabulary": False,
    "data.test_max_length": None, "training.stop_at_accuracy": None,
    "model.chrono": None, "model.weight_drop": 0.0, "model.recurrent_dropout": 0.0, "model.variational": False,
}  # fmt: skip
_NOT_SCIENCE_GROUPS = ("hardware.", "logger.", "sweep.", "protocol.", "tuning.", "duel.")
_LINEAR = {f"model.{name}" for name in LINEAR_KEYS}  # in the name of no other model
# What may differ between the two sides of a pair: the cell, its width, and values tuned for it.
COMPARED = {
    "model.cell", "model.cell_fingerprint", "model.forget_bias", "model.heads", "model.hidden_size_resolved",
    "model.kernel_resolved",
    *_LINEAR,
}  # fmt: skip


def is_science(key: str) -> bool:
    """Whether what a run computes depends on this dotted configuration key; the precision is added beside them."""
    return key not in _NOT_SCIENCE and not key.startswith(_NOT_SCIENCE_GROUPS)


def science_columns(columns: Iterable[str]) -> list[str]:
    """Of a table of records, the columns of the configuration that a run's numbers depend on, the seed included."""
    declared = (name for name in columns if "." in name or name == "seed")
    return [name for name in declared if is_science(name) or name == "hardware.precision"]


def science_of(config: BenchConfig) -> dict[str, Scalar]:
    """What is typed of what a run computes; what it resolves to is added beside it."""
    sections = {name: getattr(config, name) for name in GROUPS}  # no other group holds science
    leaves = [leaf for name, section in sections.items() for leaf in flatten(section, f"{name}.")]
    left_out = _GENERATED if config.model.cell == LINEAR else _GENERATED | _LINEAR
    return {
        **{key: value for key, value in leaves if is_science(key) and key not in left_out and not is_idle(key, value)},
        "seed": config.seed,
        "precision": config.hardware.precision,
    }


def is_idle(key: str, value: Scalar) -> bool:
    """Whether a key that came later does what was done without it."""
    return key in _LATER and value == _LATER[key]


def search_of(config: BenchConfig) -> dict[str, Scalar]:
    """What tells a run from the same one without this search.

    A winner's record names the budget that it came from, so another budget is another run. Whether a trial is stopped
    early depends on the other trials of its study. Any other trial is the same run whatever search it belongs to.
    """
    _, budget = tuning_of(config)
    if not budget or config.tuning.trial is None:
        return budget
    if config.tuning.pruner == "none":
        return {}
    return {key: value for key, value in budget.items() if key != "tuning.trials"} | {"sweep.name": config.sweep.name}


def tuning_of(config: BenchConfig) -> tuple[list[str], dict[str, Scalar]]:
    """The keys that were tuned, which may differ within a pair, and what must not: the space and the budget."""
    tuning = config.tuning
    if not tuning.trials:
        return [], {}
    budget = {key: value for key, value in flatten(tuning, "tuning.") if key not in ("tuning.storage", "tuning.trial")}
    return tuning.keys, budget
