"""Whether the program's speed costs accuracy: it and padded plain PyTorch, trained to the end by the same recipe.

usage: python benchmarks/peers/accuracy.py FILE [--seeds 3] [--cells gru,lstm] [--results DIR] [OVERRIDE ...]

FILE receives a JSON line for each run that has ended; runs that it holds are not repeated, so the command may be broken
off and typed again. The recipe is the program's own for IMDB, at the batch, lengths and sizes of `throughput.py`: mean
pooling, dropout 0.5, Adam with a linear schedule, two epochs. The plain side has the same vocabulary, the same split,
initial weights of the same distributions, and random batches padded to their longest. Both choose the epoch on
validation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import bench
from bench.compose import compose
from bench.config import BenchConfig
from bench.data.batches import Batch, BatchDataset, Share, Texts
from bench.data.module import prepare
from bench.data.sources import open_corpus
from bench.embeddings.table import SPECIAL_ROWS
from bench.errors import UserError

RECIPE = [
    "data=imdb", "data.max_length=256", "data.vocabulary_size=25000", "embedding=random", "embedding.dimension=100",
    "model.hidden_size=128", "model.output=sigmoid", "training.batch_size=64", "training.epochs=2", "hardware=cpu",
    "logger=none", "keep=none",
]  # fmt: skip
MARGIN = 0.5  # percentage points
_MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Reader(nn.Module):
    """Word vectors, dropout, one recurrent layer, the mean of its valid states, dropout, one logit."""

    def __init__(self, config: BenchConfig, rows: int) -> None:
        super().__init__()
        dimension, hidden = config.embedding.dimension or 0, config.model.hidden_size
        self.embedding = nn.Embedding(rows, dimension, padding_idx=0)
        self.recurrent = _MODULES[config.model.cell](dimension, hidden, batch_first=True)
        self.dropout = nn.Dropout(config.model.dropout)
        self.output = nn.Linear(hidden, 1)
        self._initialise(config.embedding.scale)

    @torch.no_grad()
    def _initialise(self, scale: float) -> None:
        self.embedding.weight.mul_(scale)
        for name, weight in self.recurrent.named_parameters():
            if name.startswith("bias"):
                weight.zero_()
                continue
            for block in weight.chunk(len(weight) // self.recurrent.hidden_size):
                (nn.init.orthogonal_ if "hh" in name else nn.init.xavier_uniform_)(block)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (batch, time);  lengths: (batch,) → logits (batch,)."""
        states, _ = self.recurrent(self.dropout(self.embedding(tokens)))
        valid = torch.arange(tokens.shape[1]) < lengths[:, None]
        pooled = (states * valid[:, :, None]).sum(dim=1) / lengths[:, None]
        logits: Tensor = self.output(self.dropout(pooled)).squeeze(1)
        return logits


def batches(texts: Texts, size: int, *, shuffle: bool) -> Iterator[Batch]:
    """Batches padded to their longest, in random order or as the texts stand."""
    rows = torch.randperm(len(texts)).numpy() if shuffle else np.arange(len(texts))
    shares = [Share(rows[at : at + size], np.ones(len(rows[at : at + size]), np.float32)) for at in
              range(0, len(rows), size)]  # fmt: skip
    yield from DataLoader(BatchDataset(texts), batch_size=None, sampler=shares)


@torch.inference_mode()
def accuracy(model: Reader, texts: Texts) -> float:
    """The share of texts that are labelled correctly."""
    model.eval()
    right = sum(
        int(((model(batch.tokens, batch.lengths) > 0) == (batch.labels > 0)).sum())
        for batch in batches(texts, 256, shuffle=False)
    )
    return right / len(texts)


def plain(overrides: Sequence[str]) -> float:
    """Train padded plain PyTorch; test accuracy at the epoch that validates best."""
    config = compose(overrides)
    data = prepare(open_corpus(config.data), config.data, config.seed)
    assert data.test is not None
    torch.manual_seed(config.seed)
    model = Reader(config, SPECIAL_ROWS + len(data.vocabulary.words))
    recipe = config.training
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    steps = recipe.epochs * -(-len(data.train) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    found = []
    for _ in range(recipe.epochs):
        model.train()
        for batch in batches(data.train, recipe.batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                model(batch.tokens, batch.lengths), batch.labels.float()
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip or float("inf"))
            optimizer.step()
            schedule.step()
        found.append((accuracy(model, data.validation), accuracy(model, data.test)))
    return max(found)[1]


def ours(overrides: Sequence[str]) -> float:
    """Train with the program itself."""
    record = bench.run([*overrides, "model.kernel=step"])
    if record.test_accuracy is None:
        raise UserError(f"run {record.run_id} ended as {record.status}: {record.error_message}")
    return record.test_accuracy


SIDES = {"plain PyTorch, padded": plain, "this program, model.kernel=step": ours}


def table(lines: Sequence[dict[str, object]]) -> str:
    """A row for each cell and side, and the difference of the means."""
    rows = ["| cell | trained by | test accuracy, mean | each seed |", "|---|---|---|---|"]
    for cell in dict.fromkeys(str(line["cell"]) for line in lines):
        means = {}
        for side in SIDES:
            found = [
                100 * float(str(line["accuracy"])) for line in lines if (line["cell"], line["side"]) == (cell, side)
            ]
            if found:
                means[side] = mean(found)
                rows.append(f"| {cell} | {side} | {means[side]:.2f} | {', '.join(f'{one:.2f}' for one in found)} |")
        if len(means) == len(SIDES):
            difference = means[next(reversed(SIDES))] - means[next(iter(SIDES))]
            verdict = "within" if abs(difference) <= MARGIN else "beyond"
            rows.append(f"| {cell} | difference | {difference:+.2f} | {verdict} {MARGIN} points |")
    return "\n".join(rows)


def main() -> int:
    """Train what is missing, print the table; 2 if something is wrong with what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("overrides", nargs="*", help="changes to the recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", default="gru,lstm")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the program's own records")
    options = parser.parse_args()
    text = options.file.read_text(encoding="utf-8") if options.file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    done = {(line["cell"], line["side"], line["seed"]) for line in lines}
    try:
        for seed in range(options.seeds):
            for cell in options.cells.split(","):
                for side, train in SIDES.items():
                    if (cell, side, seed) in done:
                        continue
                    own = [f"model={cell}", f"seed={seed}", f"results={options.results}"]
                    reached = train([*RECIPE, *options.overrides, *own])
                    lines.append({"cell": cell, "side": side, "seed": seed, "accuracy": reached})
                    with options.file.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(lines[-1]) + "\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
