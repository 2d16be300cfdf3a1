"""GloVe files as they come, bad ones in one line, and the table of vectors."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from bench.config import EmbeddingConfig
from bench.embeddings.formats import find_vectors, read_vectors
from bench.embeddings.table import build_table
from bench.errors import UserError

ROWS = "the 0.1 0.2 0.3\nfilm 1 2 3\n. -1e-2 0 4\n"
COUNTS = np.array([5, 3, 2])


def glove(path: Path | str, **more: object) -> EmbeddingConfig:
    return EmbeddingConfig(name="glove", path=str(path), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["txt", "txt.gz", "txt.xz"])
def test_plain_and_compressed_files_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"glove.{suffix}"
    {"txt": path.write_bytes, "txt.gz": lambda raw: path.write_bytes(gzip.compress(raw)),
     "txt.xz": lambda raw: path.write_bytes(lzma.compress(raw))}[suffix](ROWS.encode())  # fmt: skip
    file = find_vectors(glove(path))
    assert file is not None
    assert file.dimension == 3
    vectors = read_vectors(file, ["film", "absent", "."])
    assert vectors.rows.tolist() == [0, 2]
    np.testing.assert_allclose(vectors.values, [[1, 2, 3], [-0.01, 0, 4]])


def test_words_that_the_file_lacks_keep_the_vector_they_would_have_at_random(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(ROWS)
    words = ["film", "absent", "the"]
    table = build_table(glove(path), words, COUNTS, find_vectors(glove(path)), seed=3)
    at_random = build_table(EmbeddingConfig(name="random", dimension=3), words, COUNTS, None, seed=3)
    assert not table.values[0].any()
    np.testing.assert_allclose(table.values[2], [1, 2, 3])
    np.testing.assert_array_equal(table.values[3], at_random.values[3])
    assert table.coverage_types == pytest.approx(2 / 3)
    assert table.coverage_tokens == pytest.approx(7 / 10)


def test_random_vectors_are_the_seeds() -> None:
    embedding = EmbeddingConfig(name="random", dimension=4, scale=0.5)
    first, again, other = (build_table(embedding, ["a"] * 400, COUNTS, None, seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[2:] != other[2:]).all()
    assert first[1:].std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"the 0.1 0.2\nfilm 1\n", "line 2: 1 numbers where 2 were expected"),
        (b"the 0.1 0.2\nfilm 1 two\n", "line 2: not a row of numbers"),
        (b"the 0.1 0.2\nfilm 1 nan\n", "line 2: a value is not finite"),
        (b"just some text\n", "not word vectors in text format"),
        (b"", "not word vectors in text format"),
        (b"\xff\xfe 1 2\n", "not UTF-8"),
    ],
)
def test_bad_files_are_named_with_line_and_reason(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as error:
        read_vectors(find_vectors(glove(path)), ["film"])  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt.xz"
    path.write_bytes(lzma.compress(b"the 0.1 0.2\n" * 5_000)[:-40])
    with pytest.raises(UserError, match="is the download complete"):
        read_vectors(find_vectors(glove(path)), ["absent"])  # type: ignore[arg-type]


def test_another_dimension_than_the_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(ROWS)
    with pytest.raises(UserError, match="holds 3-dimensional vectors"):
        find_vectors(glove(path, dimension=100))


def test_a_missing_file_names_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = EmbeddingConfig(name="glove", files=["glove*.txt*"])
    with pytest.raises(UserError, match=r"BENCH_VECTORS is not set; .*embedding.path=FILE"):
        find_vectors(nowhere)
    monkeypatch.setenv("BENCH_VECTORS", str(tmp_path))
    with pytest.raises(UserError, match="no glove"):
        find_vectors(nowhere)


def test_real_glove_covers_real_words(real_data: Path) -> None:
    file = find_vectors(glove(real_data / "vectors" / "glove.6B.50d.trim.txt.xz"))
    assert file is not None
    assert file.dimension == 50
    vectors = read_vectors(file, ["film", "the", "xqzzy"])
    assert vectors.rows.tolist() == [1, 0]
    assert np.abs(vectors.values).max() < 10
