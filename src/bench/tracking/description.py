"""What W&B shows of a run beside its numbers: the same whether the run is under way or read back from its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.config import Scalar
from bench.models.sizes import LINEAR
from bench.runs.assemble import public_config
from bench.runs.identity import ResolvedRun
from bench.runs.record import RunRecord

TRIAL = "trial"  # tag of a run that searched for a recipe; its job type ends so, too
_PRIVATE = {"results", "data.path", "embedding.path"}  # where things lie on this machine is nobody's business


@dataclass(frozen=True, kw_only=True)
class Description:
    """A run's name and whereabouts in W&B. group: the arm, so that a group's spread is over seeds;
    job_type: the sweep, `<sweep> trial` for its tuning;  config: dotted keys, and `bench_run_id`."""

    run_id: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Scalar] = field(default_factory=dict)


def describe_run(resolved: ResolvedRun) -> Description:
    """The description of a run that is about to begin."""
    config = resolved.config
    width = None if config.model.cell == LINEAR else resolved.hidden_size
    return _describe(resolved, public_config(config), config.seed, width)


def describe_record(record: RunRecord) -> Description:
    """The description of a run that has a record."""
    return _describe(record, record.config, record.seed, record.hidden_size_resolved)


def _describe(
    run: ResolvedRun | RunRecord, config: Mapping[str, Scalar], seed: int, hidden_size: int | None
) -> Description:
    sweep, trial = config.get("sweep.name") or "run", config.get("tuning.trial")
    named_by = ("model.cell", "data.name", "embedding.name")
    what = tuple(str(config.get(key)) for key in (named_by[:2] if config.get("model.cell") == LINEAR else named_by))
    public = {key: value for key, value in config.items() if not key.startswith("logger.") and key not in _PRIVATE}
    named: dict[str, Scalar] = {
        "seed": seed, "bench_run_id": run.run_id, "pair_key": run.pair_key, "hidden_size_resolved": hidden_size,
    }  # fmt: skip
    return Description(
        run_id=run.run_id,
        name=f"{' '.join(what)} " + (f"seed {seed}" if trial is None else f"trial {trial}"),
        group=run.arm,
        job_type=f"{sweep}" if trial is None else f"{sweep} {TRIAL}",
        tags=what if trial is None else (*what, TRIAL),
        config=public | named,
    )
