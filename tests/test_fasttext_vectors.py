"""fastText's models: vectors of known and unseen words as gensim has them, and damaged files refused."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from gensim.models import FastText
from gensim.models.fasttext import ft_ngram_hashes, load_facebook_vectors, save_facebook_model
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.embeddings.formats.fasttext_format import FastTextVectors, inspect_fasttext
from bench.embeddings.formats.fasttext_layout import is_model
from bench.embeddings.formats.ngrams import ngram_buckets
from bench.embeddings.vectors import VectorFile
from bench.files import sha256_of
from tests.reading_vectors import ENCODED, UNSEEN, WORDS, kept, numbers, opened, refusal, vectors_of

TEXTS = [[WORDS[(row * 7 + place * place) % 5] for place in range(9)] for row in range(40)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder


SETTINGS = [
    {"min_n": 3, "max_n": 6, "bucket": 200, "vector_size": 8, "sg": 1},
    {"min_n": 1, "max_n": 2, "bucket": 50, "vector_size": 5, "sg": 0},
    {"min_n": 2, "max_n": 2, "bucket": 7, "vector_size": 300, "sg": 1},
    {"min_n": 5, "max_n": 5, "bucket": 2000, "vector_size": 4, "sg": 1},
]


def train(path: Path, texts: list[list[str]] = TEXTS, **given: int) -> FastText:
    model = FastText(texts, min_count=1, epochs=1, workers=1, seed=5, **given)
    save_facebook_model(model, str(path))
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fasttext") / "m.bin"
    train(path, **SETTINGS[0])
    return path


@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_vectors_of_known_and_unseen_words_are_those_of_gensim(tmp_path: Path, given: dict[str, int]) -> None:
    path = tmp_path / "m.bin"
    train(path, **given)
    expected = load_facebook_vectors(str(path))
    vectors = opened(path)
    assert sorted(expected.index_to_key) == sorted(WORDS)
    assert vectors.find(UNSEEN).tolist() == [-1] * len(UNSEEN)
    known = vectors_of(vectors, WORDS)
    assert np.abs(known).max() > 1e-3
    assert np.abs(known - np.stack([expected[word] for word in WORDS])).max() < 1e-6
    composed = vectors.compose(UNSEEN)
    assert composed is not None
    has, values = composed
    assert has.tolist() == [bool(ft_ngram_hashes(word, given["min_n"], given["max_n"], 1)) for word in UNSEEN]
    assert has.any()
    assert np.abs(values - np.stack([expected.get_vector(word) for word in UNSEEN])).max() < 1e-6


@pytest.mark.parametrize("name", ["lee_fasttext_new.bin", "crime-and-punishment.bin", "lee_fasttext.bin"])
def test_models_of_gensims_own_tests_are_read_as_gensim_reads_them(name: str) -> None:
    folder = os.environ.get("GENSIM_TEST_DATA")
    if folder is None:
        pytest.skip("set GENSIM_TEST_DATA to gensim/test/test_data of gensim's source distribution")
    path = Path(folder) / name
    expected = load_facebook_vectors(str(path))
    vectors = opened(path)
    words = [word for word in expected.index_to_key if word != "</s>"]  # gensim has n-grams of it, fastText has not
    assert len(words) > 200
    assert np.abs(vectors_of(vectors, words) - np.stack([expected[word] for word in words])).max() < 1e-6
    composed = vectors.compose(UNSEEN)
    assert composed is not None
    assert np.abs(composed[1] - np.stack([expected.get_vector(word) for word in UNSEEN])).max() < 1e-6


@given(st.text(max_size=12), st.integers(0, 4), st.integers(0, 7), st.integers(1, 3_000_000))
@settings(max_examples=300, deadline=None)
def test_any_word_has_the_n_grams_that_gensim_gives_it(word: str, shortest: int, longest: int, buckets: int) -> None:
    expected = ft_ngram_hashes(word, shortest, longest, buckets)
    found, counts = ngram_buckets([b"x", word.encode(), "дом".encode()], shortest, longest, buckets)
    assert counts[1] == len(expected)
    assert found[counts[0] : counts[0] + counts[1]].tolist() == expected


def test_the_end_of_a_sentence_has_no_n_grams(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    trained = train(path, [[*text, "</s>"] for text in TEXTS], **SETTINGS[0])
    own = trained.wv.vectors_vocab[trained.wv.key_to_index["</s>"]]
    assert np.array_equal(vectors_of(opened(path), ["</s>"])[0], own)


def test_a_model_without_n_grams_composes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    trained = train(path, min_n=0, max_n=0, bucket=0, vector_size=4)
    vectors = opened(path)
    assert vectors.compose(UNSEEN) is None
    expected = trained.wv.vectors_vocab[[trained.wv.key_to_index[word] for word in WORDS]]
    assert np.array_equal(vectors_of(vectors, WORDS), expected)


def test_more_words_than_fit_a_block_of_rows_are_composed_alike(model: Path) -> None:
    vectors = opened(model)
    many = [f"слово{number}" for number in range(2500)]
    whole, single = vectors.compose(many), vectors.compose(many[1234:1235])
    assert whole is not None
    assert single is not None
    assert whole[0].all()
    assert np.array_equal(whole[1][1234], single[1][0])


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_a_compressed_model_is_unpacked_once(model: Path, tmp_path: Path, cache: Path, suffix: str) -> None:
    path = tmp_path / f"m.bin{suffix}"
    if suffix == ".gz":
        path.write_bytes(gzip.compress(model.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(model, "m.bin")
    expected = vectors_of(opened(model), WORDS)
    assert np.array_equal(vectors_of(opened(path), WORDS), expected)
    (unpacked,) = cache.rglob(f"{model.stat().st_size}.bin")
    before = unpacked.stat().st_mtime_ns
    assert np.array_equal(vectors_of(opened(path), WORDS), expected)
    assert unpacked.stat().st_mtime_ns == before
    unpacked.write_bytes(b"cut")
    assert np.array_equal(vectors_of(opened(path), WORDS), expected)


def model_bytes(
    words: Sequence[bytes], labels: Sequence[bytes], matrix: np.ndarray, *, version: int = 12, model: int = 3,
    ngrams: tuple[int, int] = (2, 3), quantised: bool = False, pruned: int = -1,
) -> bytes:  # fmt: skip
    """A model as `FastText::saveModel` writes it; version 0: as it did before version 11."""
    buckets, dimension = len(matrix) - len(words), matrix.shape[1]
    signature = struct.pack("<2i", 793712314, version) if version else b""
    arguments = struct.pack("<12id", dimension, 5, 5, 1, 5, 1, 2, model, buckets, *ngrams, 100, 1e-4)
    counts = struct.pack("<3iq", len(words) + len(labels), len(words), len(labels), 99)
    entries = b"".join(word + b"\0" + struct.pack("<qb", 3, 0) for word in words)
    entries += b"".join(label + b"\0" + struct.pack("<qb", 3, 1) for label in labels)
    flag = bytes([quantised]) if version else b""
    values = struct.pack("<2q", *matrix.shape) + matrix.astype("<f4").tobytes()
    output = struct.pack("<2q", 2, dimension) + bytes(8 * dimension)
    pruning = struct.pack("<q", pruned) if version else b""
    return signature + arguments + counts + pruning + entries + flag + values + flag + output


LABELS = [b"__label__a", b"__label__b"]


def written(tmp_path: Path, content: bytes) -> VectorFile:
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    return VectorFile(path, inspect_fasttext(path), sha256_of(path)[:16], "fasttext_binary")


def test_labels_are_no_words_and_n_grams_follow_the_words(tmp_path: Path) -> None:
    matrix = numbers(5 + 40)
    vectors = FastTextVectors(written(tmp_path, model_bytes(ENCODED, LABELS, matrix)))
    assert vectors.find(["__label__a", "the"]).tolist() == [-1, 2]
    own = [2, *(5 + ngram_buckets([b"the"], 2, 3, 40)[0])]
    assert np.allclose(vectors_of(vectors, ["the"])[0], matrix[own].mean(axis=0), atol=1e-6)


def test_models_on_classes_of_version_11_have_no_n_grams(tmp_path: Path) -> None:
    matrix = numbers(5 + 40)
    vectors = FastTextVectors(written(tmp_path, model_bytes(ENCODED, LABELS, matrix, version=11)))
    assert np.array_equal(vectors_of(vectors, WORDS), matrix[:5])
    assert vectors.compose(UNSEEN) is None


def test_models_from_before_version_11_are_read_as_gensim_reads_them(tmp_path: Path) -> None:
    file = written(tmp_path, model_bytes([*ENCODED, b"</s>"], [], numbers(6 + 40), version=0, model=2))
    expected = load_facebook_vectors(str(file.path))
    vectors = opened(file.path)
    words = [*WORDS, "</s>"]
    assert np.abs(vectors_of(vectors, words) - np.stack([expected[word] for word in words])).max() < 1e-6


def test_text_and_other_formats_do_not_begin_as_models_do(tmp_path: Path) -> None:
    assert is_model(model_bytes(ENCODED, LABELS, numbers(45)))
    assert is_model(model_bytes(ENCODED, LABELS, numbers(45), version=0))
    np.save(tmp_path / "v.npy", numbers(5))
    others = [b"the 0.1 0.2\n" * 9, b"5 6\nthe " + bytes(99), (tmp_path / "v.npy").read_bytes(), b""]
    assert not any(is_model(other) for other in others)


@pytest.mark.parametrize("cut", [1, 70, 900, 1150, 1200, 1240])
def test_a_model_cut_short_is_refused_and_leaves_no_cache(tmp_path: Path, cache: Path, cut: int) -> None:
    whole = model_bytes(ENCODED, LABELS, numbers(5 + 40))
    assert len(whole) > 1300
    message = refusal(lambda: FastTextVectors(written(tmp_path, whole[:-cut])))
    assert message.startswith("m.bin: ")
    assert message.endswith(("is the download complete?", "is the file damaged?"))
    assert kept(cache) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (model_bytes(ENCODED, LABELS, numbers(45)) + b"more", "where its own sizes make"),
        (model_bytes(ENCODED, LABELS, numbers(45), version=13), "a fastText model of version 13"),
        (model_bytes(ENCODED, LABELS, numbers(45), quantised=True), "a quantised fastText model (.ftz)"),
        (model_bytes([*ENCODED[:4], ENCODED[0]], [], numbers(45)), "'кот' stands in entry 1 and again in entry 5"),
        (model_bytes(["кот".encode("cp1251"), b"x"], [], numbers(45)), "entry 1: the word is not UTF-8"),
        (
            model_bytes(ENCODED, LABELS, numbers(45)).replace(struct.pack("<2q", 45, 6), struct.pack("<2q", 44, 6)),
            "no matrix of 45 × 6 at byte ",
        ),
        (b"\x80\x04" * 60, "not a fastText model, or damaged"),
        (b"", "ends within its first"),
    ],
)
def test_a_damaged_model_is_refused_and_leaves_no_cache(
    tmp_path: Path, cache: Path, content: bytes, reason: str
) -> None:
    assert reason in refusal(lambda: FastTextVectors(written(tmp_path, content)))
    assert kept(cache) == []


def test_a_label_among_the_words_is_refused_with_its_byte(tmp_path: Path, cache: Path) -> None:
    content = bytearray(model_bytes(ENCODED, LABELS, numbers(45)))
    at = content.index("кот".encode())
    content[at + len("кот".encode()) + 9] = 1
    assert f"no word where one is due (byte {at})" in refusal(
        lambda: FastTextVectors(written(tmp_path, bytes(content)))
    )
    assert kept(cache) == []


def test_a_quantised_model_is_refused_by_its_name(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.ftz"
    path.write_bytes(model.read_bytes())
    assert refusal(lambda: opened(path)).startswith("m.ftz: a quantised fastText model")


def test_a_bad_row_of_a_model_is_refused_when_it_is_read(tmp_path: Path) -> None:
    matrix = numbers(45)
    bucket = ngram_buckets([b"the"], 2, 3, 40)[0][0]
    matrix[5 + bucket, 1] = np.nan
    vectors = FastTextVectors(written(tmp_path, model_bytes(ENCODED, LABELS, matrix)))
    assert f"m.bin, row {5 + bucket + 1} (byte " in refusal(lambda: vectors_of(vectors, ["the"]))


def test_no_words_have_no_vectors(model: Path) -> None:
    vectors = opened(model)
    none = vectors.find([])
    assert none.shape == (0,)
    assert vectors.values(none).shape == (0, 8)
    composed = vectors.compose([])
    assert composed is not None
    assert composed[1].shape == (0, 8)
