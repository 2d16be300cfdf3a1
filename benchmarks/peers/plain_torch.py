"""Plain PyTorch as its tutorials write it: packed sequences, padded batches, or padded batches of our bucketing.

usage (by the driver): python -m peers.plain_torch packed|padded|bucketed [flush]

flush: numbers too small for a normal float become zero (`torch.set_flush_denormal`). Gradients that vanish over
hundreds of steps are such numbers, and take the processor many times as long. TensorFlow and JAX flush them unasked,
and so does this program.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

from peers.protocol import serve
from peers.work import Ready, Texts, Turn, Work

MODULES: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
Example = tuple[Tensor, int]
PaddedBatch = tuple[Tensor, Tensor, Tensor]  # tokens (batch, time), lengths (batch,), labels (batch,) float


class Reader(nn.Module):
    """Word vectors, one recurrent layer, its last state, one logit. packed: as a packed sequence, else padded."""

    def __init__(self, work: Work, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding = nn.Embedding(work.rows, work.embedding, padding_idx=0)
        self.recurrent = MODULES[work.cell](work.embedding, work.hidden, batch_first=True)
        self.output = nn.Linear(work.hidden, 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (batch, time);  lengths: (batch,) → logits (batch,)."""
        vectors = self.embedding(tokens)
        if self.packed:
            _, last = self.recurrent(pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False))
            state = (last[0] if isinstance(last, tuple) else last)[-1]
        else:
            states, _ = self.recurrent(vectors)
            state = states[torch.arange(len(lengths)), lengths - 1]
        logits: Tensor = self.output(state).squeeze(1)
        return logits


def collate(examples: list[Example]) -> PaddedBatch:
    """Pad to the longest of the batch."""
    tokens, labels = zip(*examples, strict=True)
    lengths = torch.tensor([len(text) for text in tokens])
    return pad_sequence(tokens, batch_first=True), lengths, torch.tensor(labels, dtype=torch.float32)


def shuffled(work: Work) -> Iterable[PaddedBatch]:
    """Batches in random order, through PyTorch's own loader."""
    texts = Texts.load(work.folder)
    examples = [(torch.from_numpy(text).long(), int(label)) for text, label in
                zip(texts.tokens, texts.labels, strict=True)]  # fmt: skip
    return DataLoader(examples, work.batch, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]


class Bucketed:
    """The program's own batches, anew for each pass, without anything else of it."""

    def __init__(self, work: Work) -> None:
        from bench.compose import compose
        from bench.data.batches import BatchDataset, BucketSampler
        from bench.data.module import prepare
        from bench.data.sources import open_corpus

        config = compose(work.overrides)
        train = prepare(open_corpus(config.data), config.data, config.seed).train
        train = train.subset(Texts.load(work.folder).chosen)
        self.sampler = BucketSampler(train.lengths, work.batch, work.seed)
        self.loader = DataLoader(BatchDataset(train), batch_size=None, sampler=self.sampler)

    def __iter__(self) -> Iterator[PaddedBatch]:
        self.sampler.set_epoch(self.sampler.epoch + 1)
        for batch in self.loader:
            yield batch.tokens, batch.lengths, batch.labels.float()


def prepare(work: Work) -> tuple[Ready, Callable[[], Turn]]:
    """Build the model, the optimiser and the loader."""
    way = sys.argv[1]
    torch.set_flush_denormal("flush" in sys.argv)
    torch.set_num_threads(work.threads)
    torch.manual_seed(work.seed)
    model = Reader(work, packed=way == "packed")
    optimizer = torch.optim.Adam(model.parameters(), lr=work.learning_rate)
    criterion = nn.BCEWithLogitsLoss()
    loader = Bucketed(work) if way == "bucketed" else shuffled(work)

    def train() -> Turn:
        samples = tokens = padded = 0
        began = time.perf_counter()
        for inputs, lengths, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs, lengths), labels)
            loss.backward()
            optimizer.step()
            samples, tokens = samples + len(labels), tokens + int(lengths.sum())
            padded += int(lengths.sum()) if model.packed else inputs.numel()
        return Turn(time.perf_counter() - began, samples, tokens, padded)

    parameters = sum(weight.numel() for weight in model.parameters())
    return Ready(parameters, {"torch": str(torch.__version__)}, torch.get_num_threads()), train


if __name__ == "__main__":
    serve(prepare)
