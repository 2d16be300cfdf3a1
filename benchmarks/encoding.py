"""How long it takes to turn a corpus into numbers: readers of tokens side by side, then the cache cold and warm.

usage: python benchmarks/encoding.py [CORPUS] [REPETITIONS]

CORPUS is any `data=`, imdb unless given. Four ways to tokenise the same texts are interleaved, so that a busy moment of
the machine meets all of them alike; seconds by the clock, and of processor time in all processes together, which a
busy machine leaves alone. Then the whole of `encode_corpus`, reading included, into an empty cache (cold), and from it
in a fresh process (warm).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.compose import compose
from bench.data.sources import open_corpus
from bench.data.tokens import pieces
from bench.data.tokens.text import TokenRules, encode_texts

COLD_LIMIT, WARM_LIMIT = 8.0, 0.3  # seconds, for IMDB on two cores
ONCE = """
import os, sys, time
from bench.compose import compose
from bench.data.tokens.encoding import encode_corpus
from bench.data.sources import open_corpus
config = compose(["data=" + sys.argv[1]])
corpus = open_corpus(config.data)
began, before = time.perf_counter(), sum(os.times()[:4])
encoded = encode_corpus(corpus, config.data)
words = encoded.words[0], encoded.words[len(encoded.words) - 1]
print(time.perf_counter() - began, sum(os.times()[:4]) - before)
"""


@dataclass
class Times:
    """Seconds of one way, once for each repetition."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, action: Callable[[], object]) -> None:
        """Carry it out once more."""
        began, before = time.perf_counter(), _processor_seconds()
        action()
        self.clock.append(time.perf_counter() - began)
        self.processor.append(_processor_seconds() - before)

    def __str__(self) -> str:
        clock = f"{statistics.median(self.clock):8.3f} s   {min(self.clock):.3f} to {max(self.clock):.3f}"
        return f"{clock}   processor {statistics.median(self.processor):.2f} s"


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def with_tokenizers(texts: list[str]) -> int:
    """Hugging Face's tokenizers, in Rust and in threads: one pass for the vocabulary, one for the ids.

    It has less to do than the others: its own words (runs of letters, runs of punctuation), markup left as it is.
    Returns: the number of words.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="?"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=10_000_000, special_tokens=["?"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    for start in range(0, len(texts), 5_000):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + 5_000], add_special_tokens=False):
            _ = encoding.ids
    return int(tokenizer.get_vocab_size())


def in_pieces(texts: list[str], rules: TokenRules, cores: int) -> None:
    """The program's own way, in so many processes."""
    pieces.usable_cores = lambda: cores
    for _ in pieces.encode_pieces(pieces.pieces_of("train", [texts]), rules):
        pass


def compare(texts: list[str], rules: TokenRules, cores: int, repetitions: int) -> dict[str, Times]:
    """Every way, interleaved."""
    ways: dict[str, Callable[[], object]] = {
        f"tokenizers, {cores} threads": lambda: with_tokenizers(texts),
        "expression, all texts at once": lambda: encode_texts(texts, rules),
        "expression, in pieces, 1 process": lambda: in_pieces(texts, rules, 1),
        f"expression, in pieces, {cores} processes": lambda: in_pieces(texts, rules, cores),
    }
    times = {name: Times() for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            times[name].add(way)
    return times


def of_the_cache(corpus: str, repetitions: int) -> tuple[Times, Times]:
    """`encode_corpus` in fresh processes: into an empty cache, and from the filled one."""
    cold, warm = Times(), Times()
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"BENCH_CACHE": folder}
            for times in (cold, warm, warm):
                command = [sys.executable, "-c", ONCE, corpus]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                clock, processor = map(float, done.stdout.split())
                times.clock.append(clock)
                times.processor.append(processor)
    return cold, warm


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "imdb"
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    cores = pieces.usable_cores()
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    data = compose([f"data={name}"]).data
    texts = [text for split in open_corpus(data).splits.values() for text in split.texts]
    print(f"{name}: {len(texts):,} texts, {sum(map(len, texts)):,} characters; load {os.getloadavg()[0]:.1f}")
    times = compare(texts, TokenRules.of(data), cores, repetitions)
    for way, seconds in times.items():
        print(f"{way:<38}{seconds}, n={repetitions}")
    first, *_, last = (statistics.median(seconds.clock) for seconds in times.values())
    print(f"tokenizers takes {first / last:.2f} times as long as the expression in {cores} processes")
    cold, warm = of_the_cache(name, repetitions)
    print(f"{'encode_corpus, cold':<38}{cold}, n={len(cold.clock)}")
    print(f"{'encode_corpus, warm':<38}{warm}, n={len(warm.clock)}")
    print(
        f"load {os.getloadavg()[0]:.1f} on {cores} cores; limits for imdb: {COLD_LIMIT:g} s cold, {WARM_LIMIT:g} s warm"
    )
    if name == "imdb" and (min(cold.clock) > COLD_LIMIT or min(warm.clock) > WARM_LIMIT):
        raise SystemExit("encoding is too slow, or the machine is busy")


if __name__ == "__main__":
    main()
