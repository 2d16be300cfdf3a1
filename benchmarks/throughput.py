"""How fast one piece of work is trained: by this program, by plain PyTorch, and by Keras on TensorFlow and on JAX.

usage: python benchmarks/throughput.py [--cells gru,lstm] [--peers all] [--python-peers PATH] [--seconds 300] ...

IMDB, batch 64, at most 256 tokens, 25,000 words, word vectors of 100 elements, one recurrent layer of 128 units, its
last state, one logit, Adam. Each contestant is a process of its own; they take turns, and a turn is one pass over the
same texts, loading included. Ratios are taken within rounds. What each contestant does is in docs/peers.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peers.contestants import Contestant, choose
from peers.measure import Session, measure, sessions_in
from peers.table import markdown
from peers.work import Work

from bench.compose import compose
from bench.errors import UserError
from bench.processor import limit_spinning, usable_cores

WORK = [
    "data=imdb", "data.max_length=256", "data.vocabulary_size=25000", "embedding=random", "embedding.dimension=100",
    "model.hidden_size=128", "model.pooling=last", "model.output=sigmoid", "model.dropout=0",
    "training.batch_size=64", "training.optimizer=adam", "training.learning_rate=0.001", "training.schedule=constant",
    "training.gradient_clip=null", "training.epochs=100000", "training.patience=null", "hardware=cpu", "logger=none",
]  # fmt: skip


def arguments(typed: Sequence[str] | None) -> argparse.Namespace:
    """What is typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("overrides", nargs="*", help="changes to the work, such as data=sst2 model.hidden_size=64")
    parser.add_argument("--cells", default="gru,lstm", help="gru, lstm, rnn, separated by commas")
    parser.add_argument("--peers", default="all", help="all, torch, keras, or names, separated by commas")
    parser.add_argument("--python-peers", default=sys.executable, help="an interpreter that has Keras")
    parser.add_argument("--seconds", type=float, default=300, help="for each cell, start and warm-up included")
    parser.add_argument("--batches", type=int, default=10, help="of a turn, at most 50")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of every contestant")
    parser.add_argument("--json", type=Path, help="JSON Lines file to append the measurements to")
    parser.add_argument("--table", type=Path, help="print the table of such a file, and measure nothing")
    return parser.parse_args(typed)


def run_cell(cell: str, contestants: Sequence[Contestant], options: argparse.Namespace) -> Session:
    """Measure one cell."""
    overrides = [*WORK, *options.overrides, f"model={cell}", f"hardware.threads={options.threads}"]
    config = compose(overrides)
    from peers.corpus import write_texts  # imports torch, which a table or a wrong argument can do without

    with tempfile.TemporaryDirectory() as folder:
        prepared = write_texts(overrides, options.batches, Path(folder))
        work = Work(
            folder=folder,
            cell=cell,
            rows=prepared.rows,
            embedding=config.embedding.dimension or 0,
            hidden=config.model.hidden_size,
            batch=config.training.batch_size,
            max_length=config.data.max_length,
            learning_rate=config.training.learning_rate,
            threads=options.threads,
            seed=config.seed,
            overrides=tuple(overrides),
        )
        return measure(contestants, options.python_peers, work, options.seconds, say)


def say(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)


def end(number: int, frame: object) -> None:
    """SIGTERM ends the contestants' processes too."""
    sys.exit(128 + number)


def main(typed: Sequence[str] | None = None) -> int:
    """Measure, print a table; 2 if something is wrong with what was asked."""
    options = arguments(typed)
    signal.signal(signal.SIGTERM, end)
    limit_spinning()  # as the program does for itself: the peers have it too
    try:
        sessions = sessions_in(options.table) if options.table else []
        contestants = choose(options.peers)
        for cell in [] if options.table else options.cells.split(","):
            sessions.append(run_cell(cell, contestants, options))
            if options.json:
                sessions[-1].append_to(options.json)
        print(markdown(sessions))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
