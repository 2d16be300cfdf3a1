"""How long binary vector files take to be read for 30,000 words, beside gensim's readers of the same files.

usage: python benchmarks/binary_vectors.py [REPETITIONS [WORDS]]

Two files of WORDS (200,000) 300-dimensional vectors are written of random numbers: word2vec's binary format, and a
fastText model with as many buckets of n-grams. Each measurement is a process of its own, in turn: `cold` with nothing
in the cache, `warm` with the words there, `gensim` with load_word2vec_format and load_facebook_vectors. The time is
that of opening, and of the vectors of 30,000 known and (fastText) 3,000 unseen words. Process start, imports and the
hash of the file are not counted. Seconds are those of the clock, and in brackets those of the processor: on a busy
machine compare the latter. Memory is what the process holds of its own with the file open (RssAnon), not pages of
mapped files.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DIMENSION, KNOWN, UNSEEN, BLOCK = 300, 30_000, 3_000, 10_000
FILES = ("word2vec.bin", "fasttext.bin")


def word(number: int) -> str:
    """One of the words, six to nine letters long, and no two alike."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(6)) + "ing"[: number % 4]


def blocks(rows: int) -> Iterator[np.ndarray]:
    draw = np.random.default_rng(5)
    for start in range(0, rows, BLOCK):
        yield draw.standard_normal((min(BLOCK, rows - start), DIMENSION), np.float32) / 10


def write_files(folder: Path, words: int) -> None:
    """The same words in both formats; see bench.embeddings.formats.fasttext_layout for the second."""
    encoded = [word(number).encode() for number in range(words)]
    with (folder / FILES[0]).open("wb") as stream:
        stream.write(f"{words} {DIMENSION}\n".encode())
        for start, values in zip(range(0, words, BLOCK), blocks(words), strict=True):
            stream.writelines(
                own + b" " + row.tobytes() for own, row in zip(encoded[start : start + BLOCK], values, strict=True)
            )
    with (folder / FILES[1]).open("wb") as stream:
        stream.write(struct.pack("<2i12id", 793712314, 12, DIMENSION, 5, 5, 1, 5, 1, 2, 2, words, 3, 6, 100, 1e-4))
        stream.write(struct.pack("<3i2q", words, words, 0, 9, -1))
        stream.writelines(own + b"\0" + struct.pack("<qb", 3, 0) for own in encoded)
        stream.write(b"\0" + struct.pack("<2q", 2 * words, DIMENSION))
        stream.writelines(values.tobytes() for values in blocks(2 * words))
        stream.write(b"\0" + struct.pack("<2q", 1, DIMENSION) + bytes(4 * DIMENSION))


def measure(reader: str, path: Path, words: int) -> None:
    """Read a file once; print seconds, processor seconds, megabytes and the sum of what was read."""
    known = [word(number) for number in range(0, words, max(words // KNOWN, 1))]
    unseen = [f"un{own}ed" for own in known[:UNSEEN]] if path.name == FILES[1] else []
    read = with_gensim if reader == "gensim" else with_ours
    read(path, [], [])
    clock, processor = time.perf_counter(), time.process_time()
    total, held = read(path, known, unseen)
    seconds = (time.perf_counter() - clock, time.process_time() - processor)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    megabytes = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))
    del held
    print(*seconds, megabytes, total)


def with_ours(path: Path, known: list[str], unseen: list[str]) -> tuple[float, object]:
    import bench.embeddings.formats.binary_format
    import bench.embeddings.formats.fasttext_format  # noqa: F401  (imports are not counted)
    from bench.embeddings.formats.kinds import inspect, open_vectors
    from bench.embeddings.vectors import VectorFile

    if not known:
        return 0.0, None
    layout = inspect(path)
    vectors = open_vectors(VectorFile(path, layout.dimension, path.name, layout.kind, layout.member))
    composed = vectors.compose(unseen)
    total = float(vectors.values(vectors.find(known)).sum() + (composed[1].sum() if composed else 0.0))
    return total, vectors


def with_gensim(path: Path, known: list[str], unseen: list[str]) -> tuple[float, object]:
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    if not known:
        return 0.0, None
    if path.name == FILES[0]:
        rows = KeyedVectors.load_word2vec_format(path, binary=True)
        return float(rows[known].sum()), rows
    vectors = load_facebook_vectors(str(path))
    return float(vectors[known].sum() + np.stack([vectors.get_vector(own) for own in unseen]).sum()), vectors


def main(repetitions: int = 3, words: int = 200_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, words)
        environment = os.environ | {"BENCH_CACHE": str(folder / "cache")}
        for file in FILES:
            found: dict[str, list[list[float]]] = {"cold": [], "warm": [], "gensim": []}
            for _ in range(repetitions):
                shutil.rmtree(folder / "cache", ignore_errors=True)
                for reader, numbers in found.items():
                    command = [sys.executable, __file__, reader, str(folder / file), str(words)]
                    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    numbers.append([float(number) for number in done.stdout.split()])
            print(f"{file}, {(folder / file).stat().st_size / 1e6:,.0f} MB, load {os.getloadavg()[0]:.1f}")
            for reader, numbers in found.items():
                clock, processor, memory, total = (statistics.median(column) for column in zip(*numbers, strict=True))
                print(f"  {reader:7} {clock:7.2f} s ({processor:6.2f} s)  {memory:6,.0f} MB  sum {total:.4g}")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
