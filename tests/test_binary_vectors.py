"""word2vec's binary format: read in place, and refused when damaged."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from bench.embeddings.formats.binary_format import BinaryVectors, inspect_binary
from bench.embeddings.vectors import VectorFile
from tests.reading_vectors import ENCODED, WORDS, kept, numbers, opened, refusal, vectors_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder


def word2vec_bytes(words: Sequence[bytes], values: np.ndarray, end: bytes = b"") -> bytes:
    header = f"{len(words)} {values.shape[1]}\n".encode()
    return header + b"".join(
        word + b" " + row.astype("<f4").tobytes() + end for word, row in zip(words, values, strict=True)
    )


@pytest.mark.parametrize("suffix", [".bin", ".bin.gz"])
def test_real_word2vec_rows_come_back_bit_for_bit(real_data: Path, tmp_path: Path, suffix: str) -> None:
    source = next((real_data / "vectors" / "word2vec_googlenews_8000").glob("*.txt.xz"), None)
    if source is None:
        pytest.skip("no word2vec rows among the real data")
    expected = KeyedVectors.load_word2vec_format(source, limit=2000)
    path = tmp_path / f"GoogleNews{suffix}"
    expected.save_word2vec_format(str(path), binary=True)
    vectors = opened(path)
    assert vectors.dimension == 300
    assert vectors.find(["no such word", expected.index_to_key[5]]).tolist() == [-1, 5]
    assert np.array_equal(vectors_of(vectors, expected.index_to_key), expected.vectors)
    assert vectors.compose(["no such word"]) is None


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_rows_may_end_with_line_feeds_as_word2vec_c_writes_them(tmp_path: Path, end: bytes) -> None:
    path, values = tmp_path / "v.bin", numbers(5)
    path.write_bytes(word2vec_bytes(ENCODED, values, end))
    assert np.array_equal(vectors_of(opened(path), WORDS), values)


def test_a_word2vec_file_of_several_chunks_is_read_whole(tmp_path: Path) -> None:
    path, values = tmp_path / "v.bin", numbers(6000, 300)
    words = [f"w{row}" for row in range(6000)]
    path.write_bytes(word2vec_bytes([word.encode() for word in words], values))
    assert path.stat().st_size > 1 << 22
    assert np.array_equal(vectors_of(opened(path), words), values)


def test_a_word2vec_member_of_an_archive_is_read(tmp_path: Path) -> None:
    path, values = tmp_path / "v.zip", numbers(5)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/v.bin", word2vec_bytes(ENCODED, values))
    assert np.array_equal(vectors_of(opened(path), WORDS), values)


@pytest.mark.parametrize("cut", [1, 23, 30, 80])
def test_a_word2vec_file_cut_short_is_refused_with_its_row_and_leaves_no_cache(
    tmp_path: Path, cache: Path, cut: int
) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(word2vec_bytes(ENCODED, numbers(5))[:-cut])
    message = refusal(lambda: opened(path))
    assert message.startswith(f"v.bin: ends at byte {path.stat().st_size}, in row ")
    assert "of the 5 " in message
    assert kept(cache) == []


def test_a_compressed_word2vec_file_cut_short_is_refused_and_leaves_no_cache(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "v.bin.gz"
    whole = gzip.compress(word2vec_bytes([f"w{row}".encode() for row in range(500)], numbers(500)))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert "v.bin.gz: cannot be read" in refusal(lambda: opened(path))
    assert kept(cache) == []


def test_bytes_after_the_last_row_are_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(word2vec_bytes(ENCODED, numbers(5)).replace(b"5 6\n", b"4 6\n", 1))
    assert "v.bin: bytes follow the 4 rows that its first line promises" in refusal(lambda: opened(path))
    assert kept(cache) == []


def test_a_word_that_comes_twice_is_refused_with_both_rows(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(word2vec_bytes([*ENCODED[:4], ENCODED[1]], numbers(5)))
    assert "v.bin: 'naïve' stands in row 2 and again in row 5" in refusal(lambda: opened(path))
    assert kept(cache) == []


def test_words_in_another_encoding_are_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(word2vec_bytes([b"the", "кот".encode("cp1251"), "дом".encode("cp1251")], numbers(3)))
    assert "v.bin, row 2: the word is not UTF-8, nor are 1 more of 3" in refusal(lambda: opened(path))
    assert kept(cache) == []


def test_one_broken_word_among_many_is_told_and_never_found(tmp_path: Path) -> None:
    path, values = tmp_path / "v.bin", numbers(300)
    words = [f"w{row}".encode() for row in range(300)]
    words[7] = "длинноеслово".encode()[:-1]  # cut in the middle of a character
    path.write_bytes(word2vec_bytes(words, values))
    with pytest.warns(UserWarning, match="v.bin, row 8: the word is not UTF-8"):
        vectors = opened(path)
    assert vectors.find(["длинноеслов", "длинноеслово"]).tolist() == [-1, -1]
    assert np.array_equal(vectors_of(vectors, ["w8", "w299"]), values[[8, 299]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_when_its_row_is_read(tmp_path: Path, value: float) -> None:
    path, values = tmp_path / "v.bin", numbers(5)
    values[3, 2] = value
    path.write_bytes(word2vec_bytes(ENCODED, values))
    vectors = opened(path)
    assert np.array_equal(vectors_of(vectors, WORDS[:3]), values[:3])
    assert "v.bin, row 4 (byte " in refusal(lambda: vectors_of(vectors, WORDS))


@pytest.mark.parametrize("name", ["words.arrow", "begins.npy"])
def test_a_damaged_index_is_built_again(tmp_path: Path, cache: Path, name: str) -> None:
    path, values = tmp_path / "v.bin", numbers(5)
    path.write_bytes(word2vec_bytes(ENCODED, values))
    opened(path)
    (index,) = cache.rglob(name)
    index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])
    assert np.array_equal(vectors_of(opened(path), WORDS), values)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "v.bin: not vectors in word2vec's binary format"),
        (b"\x80\x04K\x01.", "v.bin: not vectors in word2vec's binary format"),
        (b"0 6\n", "v.bin: its first line promises 0 rows"),
        (b"2 3\nthe 0.1 0.2 0.3\ncat 0.1 0.2 0.3\n", "v.bin: word2vec's text format"),
    ],
)
def test_what_is_no_word2vec_binary_is_refused_by_its_first_bytes(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(content)
    assert refusal(lambda: inspect_binary(path)).startswith(reason)


def test_a_row_without_a_word_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(b"9000 6\n" + b"\xff" * 200_000)
    message = refusal(lambda: BinaryVectors(VectorFile(path, 6, "a" * 16, "word2vec_binary")))
    assert message.startswith("v.bin, row 1 (byte 7): no word")


def test_no_words_have_no_vectors(tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(word2vec_bytes(ENCODED, numbers(5)))
    vectors = opened(path)
    none = vectors.find([])
    assert none.shape == (0,)
    assert vectors.values(none).shape == (0, 6)
