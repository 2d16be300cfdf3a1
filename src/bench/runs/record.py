"""The run record: every field of `record.json`, its unit, and when it is absent. This page is the format's definition.

A record is flat and typed. Beside the fields below it holds the run's configuration under its dotted keys
(`model.cell`, `data.max_length`, …). A field is None where it could not be known: a failed run has no accuracy, a CPU
run no GPU. Records only ever gain fields within one `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum

from bench.config import Scalar
from bench.errors import UserError

SCHEMA_VERSION = 1
OF_QUESTIONS = ("protocol.", "duel.", "sweep.claim", "sweep.parts")  # how keys begin that belong to no single run


class Status(StrEnum):
    """How an execution ended."""

    FINISHED = "finished"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One execution of one run."""

    # -- identity ------------------------------------------------------------------------------------------------
    run_id: str  # hash of the scientific configuration and the code version: which run this is
    execution_id: str  # which execution of it, sorts by start time
    pair_key: str  # equal for runs that differ only in what is compared (the cell, its width): these pair
    arm: str  # the declared configuration without the seed: runs of one arm differ in their seed alone
    code_version: str  # hash of the sources that affect numbers
    hardware_key: str  # speeds compare only between equal keys
    status: Status  # finished | failed | diverged | interrupted
    started_at: str  # ISO 8601, UTC
    finished_at: str  # ISO 8601, UTC
    seed: int  # of all random streams
    sweep_name: str | None = None  # the question that asked for this run; absent for a single run
    schema_version: int = SCHEMA_VERSION  # of this page
    error_type: str | None = None  # absent when finished
    error_message: str | None = None  # one line; absent when finished
    stop_reason: str | None = None  # epochs | patience | accuracy | max_seconds | pruned | solved; if finished
    resumed_from: str | None = None  # execution_id that left the checkpoint it went on from; absent for a fresh start
    resumed_epochs: int | None = None  # epochs taken over from there; absent for a fresh start

    # -- data ----------------------------------------------------------------------------------------------------
    data_fingerprint: str | None = None  # hash of texts, labels, splits
    data_origin: str | None = None  # where the corpus came from, in words
    data_revision: str | None = None  # of the hub or package; absent for folders
    train_texts: int | None = None  # training part, the validation share taken off
    validation_texts: int | None = None  # dev split, or the share of train set aside
    test_texts: int | None = None  # absent without a test split
    classes: int | None = None  # distinct labels; absent where labels are numbers
    majority_share: float | None = None  # share of the largest class among the training part's labels; as above
    vocabulary_words: int | None = None  # distinct words with a vector of their own
    train_tokens: int | None = None  # after truncation
    truncated_fraction: float | None = None  # share of training texts cut at data.max_length
    unknown_token_fraction: float | None = None  # of the evaluated split's tokens (test, else validation)
    duplicates_train: int | None = None  # texts of the train split that repeat an earlier one of it, to the letter
    duplicates_dev: int | None = None  # the same within the dev split; absent without one
    duplicates_test: int | None = None  # the same within the test split; absent without one
    shared_train_dev: int | None = None  # distinct texts that stand in both splits, to the letter; absent without dev
    shared_train_test: int | None = None  # the same of train and test; absent without a test split
    shared_dev_test: int | None = None  # the same of dev and test; absent where one is missing
    embedding_origin: str | None = None  # where the vectors came from, in words; absent for random vectors
    embedding_fingerprint: str | None = None  # hash of the vector file; absent where none is read
    embedding_dimension: int | None = None  # elements per word vector
    embedding_coverage_types: float | None = None  # share of vocabulary words found in the vectors, as written or not
    embedding_coverage_tokens: float | None = None  # share of training tokens whose word was found so
    embedding_words_exact: int | None = None  # vocabulary words found as written
    embedding_words_other_case: int | None = None  # found in lower case, capitalised or in upper case
    embedding_words_subwords: int | None = None  # not found, and composed of character n-grams (fastText)
    embedding_words_drawn: int | None = None  # not found, and drawn at random

    # -- sizes ---------------------------------------------------------------------------------------------------
    hidden_size_resolved: int | None = None  # units per direction after matching
    parameters_total: int | None = None  # all weights and biases, word vectors included
    parameters_trainable: int | None = None  # without word vectors that never learn (trainable=false)
    parameters_recurrent: int | None = None  # of the encoder, recurrent or attention; 0 for bag, linear
    flops_per_token: int | None = None  # of the encoder, forward, mean over training tokens; backward about twice it
    inverse_regularisation: float | None = None  # of a linear model, chosen on validation; absent for networks

    # -- quality: fractions of 1; the test split is read once, with the weights of the best validation epoch ------
    test_accuracy: float | None = None  # share of labels that are right: of texts, tokens (tagging), numbers (below)
    test_macro_f1: float | None = None  # mean over classes of F1; absent where labels are numbers, as the next three
    test_log_loss: float | None = None  # nats per label
    test_calibration_error: float | None = None  # expected calibration error, 15 bins
    test_confusion: list[list[int]] | None = None  # rows: true class, columns: predicted class
    test_mean_squared_error: float | None = None  # regression: of the numbers; absent for classes
    test_solved_fraction: float | None = None  # regression: share with an error below data.tolerance; its accuracy
    test_tokens: int | None = None  # tagging: tokens that are judged; absent where whole texts are
    test_correct: str | None = None  # base64 of packed bits, one a text in the split's order: all its labels are right
    test_by_length: list[list[int]] | None = None  # [longest, labels, correct] per class of length, in tokens
    validation_accuracy: float | None = None  # at the best epoch
    validation_macro_f1: float | None = None  # at the best epoch
    validation_log_loss: float | None = None  # at the best epoch, nats per label
    validation_mean_squared_error: float | None = None  # at the best epoch; absent for classes
    train_accuracy: float | None = None  # best weights, over a sample of the training part as large as validation
    generalisation_gap: float | None = None  # train_accuracy minus test_accuracy (validation without a test split)
    best_epoch: int | None = None  # counted from 1
    epochs_run: int | None = None  # evaluations on validation, one an epoch
    validation_curve: list[list[float]] | None = None  # [train_seconds, accuracy] per evaluation on validation

    # -- gradients: norms of the whole gradient before clipping, over all optimiser steps -----------------------------
    clipped_fraction: float | None = None  # share of steps whose norm exceeded training.gradient_clip; absent without
    gradient_norm_p50: float | None = None  # median
    gradient_norm_max: float | None = None  # largest; absent where it was no number

    # -- speed: device-synchronised; warm-up steps and evaluation excluded; maximum over ranks ---------------------
    train_seconds: float | None = None  # of all steps after warm-up; absent where a resumed run changed hardware
    warmup_steps: int | None = None  # first steps that no speed includes; of each part, where a run was resumed
    steps: int | None = None  # optimiser steps, warm-up included
    step_milliseconds_p50: float | None = None  # median time from one step's end to the next one's
    step_milliseconds_p95: float | None = None  # 95th percentile of the same
    samples_per_second: float | None = None  # texts trained on
    tokens_per_second: float | None = None  # real tokens
    padded_tokens_per_second: float | None = None  # real tokens and padding
    padding_fraction: float | None = None  # share of a training batch's cells that is padding
    achieved_flops_per_second: float | None = None  # 3 x flops_per_token x padded_tokens_per_second
    inference_milliseconds_p50: float | None = None  # to label one text by itself, transfers included: median
    inference_milliseconds_p95: float | None = None  # 95th percentile of the same
    inference_samples_per_second: float | None = None  # texts labelled in batches of 256, sorted by length
    seconds_to_target: float | None = None  # train_seconds until validation first reached data.target_accuracy
    epochs_to_target: int | None = None  # epochs until the same
    peak_memory_bytes: int | None = None  # of the GPU where one is used, else of the process
    peak_host_memory_bytes: int | None = None  # resident in the process, from the run's beginning to training's end
    peak_gpu_memory_bytes: int | None = None  # allocated by tensors at the same time; absent on a CPU
    peak_gpu_memory_reserved_bytes: int | None = None  # held by torch's allocator; absent on a CPU
    wall_seconds: float | None = None  # this execution alone, data loading and evaluation included, imports excluded

    # -- gradient flow, with training.gradient_flow=true, of cells that recur; docs/gradients.md ---------------------
    # What ends in _initial is of the weights that training began with, the rest of those of the best epoch.
    gradient_decay_per_step_initial: float | None = None  # factor of the loss gradient's norm in h per token backwards
    gradient_decay_per_step: float | None = None  # median over texts; below 1 it vanishes, above 1 it explodes
    gradient_half_life_tokens_initial: float | None = None  # tokens over which that factor leaves one half
    gradient_half_life_tokens: float | None = None  # absent where nothing is lost
    carousel_decay_per_step_initial: float | None = None  # the same of the cell state c; absent for cells without one
    carousel_decay_per_step: float | None = None  # after training
    carousel_half_life_tokens_initial: float | None = None  # tokens over which one half is left in c
    carousel_half_life_tokens: float | None = None  # after training
    recurrent_singular_value_initial: float | None = None  # largest one of the square blocks of W_hh, one a gate
    recurrent_singular_value: float | None = None  # after training
    recurrent_spectral_radius_initial: float | None = None  # largest absolute eigenvalue of the same blocks
    recurrent_spectral_radius: float | None = None  # after training
    activation_derivative_initial: float | None = None  # mean tanh' (ReLU') over texts, steps and units; 1: linear
    activation_derivative: float | None = None  # after training
    gate_saturation_initial: float | None = None  # share of gate values below 0.1 or above 0.9; absent without gates
    gate_saturation: float | None = None  # after training
    gradient_flow_texts: int | None = None  # validation texts it was measured on
    gradient_flow: dict[str, list[list[float]]] | None = None  # curves: [distance, lower quartile, median, upper one]

    # -- contention: who else used the processor during the training steps; docs/clock.md ---------------------------
    timing_disturbed: bool | None = None  # by the rule of docs/clock.md: times are longer than on a quiet machine
    cpu_steal_fraction: float | None = None  # of the usable cores' time, taken by other virtual machines
    cpu_other_fraction: float | None = None  # of the usable cores' time, used by other processes
    cpu_wait_fraction: float | None = None  # of the threads' time, spent waiting for a core; Linux only
    load_average: float | None = None  # of the machine over the last minute, at the ends of epochs

    # -- environment ---------------------------------------------------------------------------------------------
    commit: str | None = None  # of the checkout the code ran from; absent for an installed wheel
    dirty_hash: str | None = None  # hash of uncommitted changes; absent for a clean checkout
    code_committed: bool | None = None  # no uncommitted change touches what affects numbers; absent without a checkout
    python_version: str | None = None  # such as 3.11.7
    torch_version: str | None = None  # such as 2.13.0+cpu
    packages: dict[str, str] = field(default_factory=dict)  # versions of what computes
    operating_system: str | None = None  # kernel and architecture
    cpu_model: str | None = None  # as the processor names itself
    cpu_cores: int | None = None  # usable by the process
    cpu_isa: str | None = None  # what torch dispatches to, such as AVX512
    memory_bytes: int | None = None  # of the machine
    accelerator: str | None = None  # cpu | cuda
    gpu_model: str | None = None  # absent on a CPU
    gpu_driver: str | None = None  # version; absent on a CPU
    devices: int | None = None  # processes that trained one model together
    threads: int | None = None  # of each process
    kernel: str | None = None  # execution of the recurrence: torch | step
    kernel_auto: str | None = None  # what model.kernel=auto comes to here for this cell and width: torch | step
    kernel_operators: list[str] | None = None  # what the encoder dispatched, forward and backward, views left out

    # -- configuration -------------------------------------------------------------------------------------------
    config: dict[str, Scalar] = field(default_factory=dict)  # dotted keys; flat beside the fields above in the file

    def to_json(self) -> str:
        """The content of `record.json`."""
        flat = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "config"}
        return json.dumps({**flat, **self.config}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read one record.

        Raises: `UserError` if the text is no record, or one of a newer schema than this program knows.
        """
        try:
            tree = json.loads(text, parse_constant=_refuse)
        except ValueError as error:
            raise UserError(f"not a run record: {error}") from None
        return cls.from_mapping(tree)

    @classmethod
    def from_mapping(cls, tree: Mapping[str, object]) -> RunRecord:
        """Build a record from its parsed JSON; see `from_json`."""
        if not isinstance(tree, Mapping) or not isinstance(tree.get("schema_version"), int):
            raise UserError("not a run record: no schema_version")
        if typing.cast(int, tree["schema_version"]) > SCHEMA_VERSION:
            raise UserError(
                f"record of schema {tree['schema_version']}, newer than {SCHEMA_VERSION}: update this program"
            )
        known = {item.name: item for item in fields(cls) if item.name != "config"}
        missing = [name for name, item in known.items() if _is_required(item) and name not in tree]
        if missing:
            raise UserError(f"damaged run record: {missing[0]} is missing")
        values = {name: value for name, value in tree.items() if name in known}
        if values["status"] not in list(Status):
            raise UserError(f"damaged run record: unknown status '{values['status']}'")
        values["status"] = Status(str(values["status"]))
        values["config"] = {name: value for name, value in tree.items() if name not in known}
        return cls(**values)  # type: ignore[arg-type]


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number that a record may hold")


def _is_required(item: Field[object]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def field_types() -> dict[str, type]:
    """The scalar type of every scalar field, None stripped: the schema of a table of records."""
    hints = typing.get_type_hints(RunRecord)
    scalars: dict[str, type] = {}
    for name, hint in hints.items():
        options = [kind for kind in typing.get_args(hint) if kind is not types.NoneType] or [hint]
        if len(options) == 1 and options[0] in (str, int, float, bool, Status):
            scalars[name] = str if options[0] is Status else options[0]
    return scalars
