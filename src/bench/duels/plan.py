"""What a duel times: its settings, and who takes part in each of them. Imports no torch.

The ladders of lengths, batch sizes and widths are climbed one at a time from a common centre: their middle entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.config import DuelConfig, Kernel, ModelConfig
from bench.declarations import BASELINES
from bench.errors import UserError
from bench.models.sizes import LINEAR, encoder_flops_per_token, encoder_parameters, matched_width
from bench.runs.identity import ResolvedRun


@dataclass(frozen=True, order=True)
class Setting:
    """Where contestants meet. length: tokens per text;  batch_size: texts per step;  width: hidden size, the LSTM's."""

    length: int
    batch_size: int
    width: int

    def __str__(self) -> str:
        return f"{self.length} tokens, {self.batch_size} texts, width {self.width}"


@dataclass(frozen=True)
class Contestant:
    """A cell under one execution at one width.

    equal_width, equal_parameters: the comparisons that it takes part in;  flops: operations of its encoder's matrix
    products in one training step;  parameters: of its encoder.
    """

    cell: str
    kernel: Kernel
    hidden_size: int
    equal_width: bool
    equal_parameters: bool
    flops: int
    parameters: int


@dataclass(frozen=True)
class Plan:
    """A whole duel. runs: by the name of the model, as resolved;  settings: the centre is the first one."""

    runs: Mapping[str, ResolvedRun]
    duel: DuelConfig
    settings: tuple[Setting, ...]

    @property
    def first(self) -> ResolvedRun:
        """One of the runs: corpus, vectors and recipe are those of all."""
        return next(iter(self.runs.values()))

    @property
    def centre(self) -> Setting:
        """Where the ladders cross."""
        return self.settings[0]

    def contestants(self, setting: Setting) -> tuple[Contestant, ...]:
        """Everyone who takes turns in one setting; one that serves both matchings stands once."""
        found = [entry for name, run in self.runs.items() for entry in _of_cell(name, run, setting, self.duel)]
        return tuple(found)


def make_plan(runs: Mapping[str, ResolvedRun], duel: DuelConfig) -> Plan:
    """Check who takes part and lay out the settings. runs: by the name of the model.

    Raises: `UserError` if there are fewer than two contestants, a length that no text can have, a kernel that a
    baseline does not have, or a width that attention's heads do not divide.
    """
    _check(runs, duel)
    plan = Plan(runs, duel, settings_of(duel))
    if len(plan.contestants(plan.centre)) < 2:
        alone = next(iter(runs))
        other = "lstm" if alone != "lstm" else "gru"
        raise UserError(f"model={alone} alone has nobody to race: add another model, as in model={alone},{other}")
    return plan


def settings_of(duel: DuelConfig) -> tuple[Setting, ...]:
    """The centre, then the ladders of lengths, batch sizes and widths, each setting once."""
    length, batch_size, width = map(middle, (duel.lengths, duel.batch_sizes, duel.widths))
    centre = Setting(length, batch_size, width)
    ladders = [centre]
    ladders += [replace(centre, length=entry) for entry in sorted(duel.lengths)]
    ladders += [replace(centre, batch_size=entry) for entry in sorted(duel.batch_sizes)]
    ladders += [replace(centre, width=entry) for entry in sorted(duel.widths)]
    return tuple(dict.fromkeys(ladders))


def middle(ladder: Sequence[int]) -> int:
    """The middle entry of a ladder, in order of size; of two, the second."""
    return sorted(ladder)[len(ladder) // 2]


def _of_cell(name: str, run: ResolvedRun, setting: Setting, duel: DuelConfig) -> list[Contestant]:
    model = run.config.model
    kernels: Sequence[Kernel] = ["torch"] if model.cell in BASELINES else list(dict.fromkeys(duel.kernels))
    widths: dict[int, set[str]] = {}
    for matching in duel.matchings:
        asked = replace(model, hidden_size=setting.width, match=matching)
        width = run.dimension if model.cell == "bag" else matched_width(asked, run.dimension)
        widths.setdefault(width, set()).add(matching)
    trainable = run.config.embedding.frozen_epochs is not None
    return [
        Contestant(
            cell=name,
            kernel=kernel,
            hidden_size=width,
            equal_width="width" in matchings,
            equal_parameters="parameters" in matchings,
            flops=training_flops(model, run.dimension, width, setting, trainable),
            parameters=encoder_parameters(model, run.dimension, width),
        )
        for kernel in kernels
        for width, matchings in widths.items()
    ]


def training_flops(model: ModelConfig, dimension: int, width: int, setting: Setting, trainable: bool) -> int:
    """Operations of one training step: forward, and twice as many backward (gradients of inputs and of weights).

    trainable: whether word vectors learn; otherwise the first layer needs no gradient of its inputs. Elementwise work,
    pooling, the output layer and the optimiser are not counted.
    """
    tokens = setting.length * setting.batch_size
    forward = encoder_flops_per_token(model, dimension, width, setting.length)
    if trainable or model.cell in BASELINES:
        return 3 * forward * tokens
    without = encoder_flops_per_token(replace(model, num_layers=1), 0, width, setting.length)
    inputs = encoder_flops_per_token(replace(model, num_layers=1), dimension, width, setting.length) - without
    return (3 * forward - inputs) * tokens


def _check(runs: Mapping[str, ResolvedRun], duel: DuelConfig) -> None:
    for name, run in runs.items():
        data, model = run.config.data, run.config.model
        if model.cell == LINEAR:
            raise UserError(f"model={name} is not trained in steps, so a duel has nothing to time: leave it out")
        if max(duel.lengths) > data.max_length:
            raise UserError(
                f"duel.lengths={duel.lengths}: data.max_length={data.max_length} cuts texts before that; "
                f"add data.max_length={max(duel.lengths)} or leave the longer lengths out"
            )
        if model.cell in BASELINES and "torch" not in duel.kernels:
            raise UserError(
                f"model={name} does not recur, so it has no kernel 'step': add torch, as in "
                "duel.kernels=[torch,step], or leave the model out"
            )
        if model.cell == "attention" and (odd := [width for width in duel.widths if width % model.heads]):
            raise UserError(
                f"duel.widths={duel.widths}: attention divides its width among model.heads={model.heads}, and "
                f"{odd[0]} is no multiple of that"
            )
