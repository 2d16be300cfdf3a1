"""The duel itself: blocks of rounds, in which every contestant takes one training step on the same batch.

A repetition visits every setting once, in an order that the seed draws. In each, all contestants are built anew (fresh
memory, as another run would have it), take one round to warm up, and then timed rounds until the block's share of the
time is used; the order of turns is drawn for every round. So noise that lasts longer than a round falls on all, and
repetitions of a setting lie as far apart as the duel allows: what is autocorrelated differs between them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import count

import torch
from torch import Tensor

from bench.analysis.duel_meetings import is_disturbed
from bench.data.batches import Batch
from bench.data.module import PreparedData
from bench.duels.contestant import MATRIX_PRODUCT_FLOPS, MatrixProduct, Trainee, Turn, timed
from bench.duels.plan import Contestant, Plan, Setting
from bench.duels.texts import EqualTexts
from bench.processor import keep_freed_memory
from bench.runs.probe import operators_of
from bench.seeds import generator

WARMUP_ROUNDS = 1
LEAST_ROUNDS = 2
PATIENCE = 2.0

MATRIX_PRODUCT = Contestant("matrix product", "torch", 0, False, False, MATRIX_PRODUCT_FLOPS, 0)


@dataclass(frozen=True)
class TurnRow:
    """One turn of one contestant. position: in its round, from 0;  seconds, waited, stolen: as in `Timing`."""

    repetition: int
    setting: Setting
    round: int
    position: int
    contestant: Contestant
    seconds: float
    waited: float
    stolen: float


class Duel:
    """Times a plan on prepared data. vectors: (rows, dimension), the word vectors of every contestant.

    Call `prepare` first, then `repetition` as often as the plan says; `turns` grows by whole blocks.
    """

    def __init__(self, plan: Plan, data: PreparedData, vectors: Tensor, device: torch.device) -> None:
        """Raises: `UserError` if the corpus has too few texts of some length."""
        self.plan, self.data, self.vectors, self.device = plan, data, vectors, device
        self.seed, self._hardware = plan.first.config.seed, plan.first.config.hardware
        corpus = plan.first.corpus.name
        self._texts = {setting: EqualTexts(data.train, setting, self.seed, corpus) for setting in plan.settings}
        self._share = plan.duel.seconds / (plan.duel.repetitions * len(plan.settings))  # seconds of a block
        self._round_seconds: dict[Setting, float] = {}  # as first measured
        self.operators: dict[tuple[str, str], list[str]] = {}
        self.turns: list[TurnRow] = []
        self._batches = 0

    @property
    def seconds_a_repetition(self) -> float:
        """What one repetition should take."""
        least = WARMUP_ROUNDS + LEAST_ROUNDS
        return sum(max(self._share, least * seconds) for seconds in self._round_seconds.values())

    def prepare(self) -> None:
        """Warm every kernel up, see how long a round of each setting takes, and note the operators."""
        keep_freed_memory()
        for setting in self.plan.settings:
            block = self._block(setting, 0, seconds=0.0, least=1)
            self._round_seconds[setting] = sum(row.seconds for row in block)
        self._note_operators()

    def repetition(self, number: int, on_block: Callable[[], None] = lambda: None) -> None:
        """One block of every setting. number: from 0;  on_block: called after each of them."""
        order = generator(self.seed, "shuffle", number).permutation(len(self.plan.settings))
        for place in order:
            setting = self.plan.settings[place]
            self.turns += self._block(setting, number, self._share, LEAST_ROUNDS)
            on_block()

    def _block(self, setting: Setting, repetition: int, seconds: float, least: int) -> list[TurnRow]:
        """Timed rounds of one setting, after those that warm up, until so many seconds have passed.

        least: rounds at the least; until so many were undisturbed, a block lasts up to `PATIENCE` times as long.
        """
        began, quiet = time.monotonic(), 0
        turns = self._built(setting)
        order = generator(self.seed, "shuffle", repetition, self.plan.settings.index(setting))
        found: list[TurnRow] = []
        with _no_collection():
            for number in count(-WARMUP_ROUNDS):
                used = time.monotonic() - began
                if number >= least and used > (seconds if quiet >= least else PATIENCE * seconds):
                    break
                batch, rows = self._next_batch(setting), []
                for position, place in enumerate(order.permutation(len(turns))):
                    contestant, turn = turns[place]
                    taken = timed(turn, batch, self.device)
                    rows.append(TurnRow(repetition, setting, number, position, contestant, *astuple(taken)))
                if number >= 0:
                    found += rows
                    quiet += not _disturbed(rows)
        return found

    def _built(self, setting: Setting) -> Sequence[tuple[Contestant, Turn]]:
        classes = self.data.classes
        trainees: list[tuple[Contestant, Turn]] = [
            (entry, Trainee(entry, self.plan.runs[entry.cell], self.vectors, classes, self.device))
            for entry in self.plan.contestants(setting)
        ]
        return [*trainees, (MATRIX_PRODUCT, MatrixProduct(self.device, self._hardware))]

    def _next_batch(self, setting: Setting) -> Batch:
        batch = self._texts[setting].batch(self._batches)
        self._batches += 1
        return Batch(*(part.to(self.device) for part in batch))

    def _note_operators(self) -> None:
        for contestant, turn in self._built(self.plan.centre):
            if isinstance(turn, Trainee):
                network = turn.module.network
                found = operators_of(network.encoder, network.embedding.embedding_dim, self.device)
                self.operators[contestant.cell, contestant.kernel] = found


def _disturbed(rows: Sequence[TurnRow]) -> bool:
    """Whether others disturbed these turns of one round."""
    return is_disturbed(*(sum(getattr(row, name) for row in rows) for name in ("seconds", "waited", "stolen")))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage collector would fall on whoever has the turn."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
