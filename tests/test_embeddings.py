"""The table of vectors for a vocabulary: found, in other case, made of n-grams, drawn; scaled; shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.config import EmbeddingConfig
from bench.embeddings.lookup import find_vectors
from bench.embeddings.table import EmbeddingTable, build_table
from bench.errors import UserError

ROWS = "the 0.1 0.2 0.3\nfilm 1 2 3\n. -1e-2 0 4\n"
COUNTS = np.array([5, 3, 2])


def glove(path: Path | str, **more: object) -> EmbeddingConfig:
    return EmbeddingConfig(name="glove", path=str(path), **more)  # type: ignore[arg-type]


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


def written(folder: Path, words: Sequence[str], dimension: int = 6) -> dict[str, np.ndarray]:
    """A vector file in this folder, and what it holds: no two vectors alike."""
    vectors = np.random.default_rng(0).normal(size=(len(words), dimension)).round(3)
    lines = (f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(words, vectors, strict=True))
    (folder / "vectors.txt").write_text("".join(lines))
    return dict(zip(words, vectors.astype(np.float32), strict=True))


def table_of(folder: Path, words: Sequence[str], counts: Sequence[int] | None = None, **more: object) -> EmbeddingTable:
    embedding = glove(folder / "vectors.txt", **more)
    weights = np.ones(len(words)) if counts is None else np.array(counts)
    return build_table(embedding, words, weights, find_vectors(embedding), seed=4)


def test_a_word_is_found_as_written_else_in_lower_case_capitalised_or_in_upper_case(tmp_path: Path) -> None:
    has = written(tmp_path, ["Goal", "goal", "GOAL", "Bank", "BANK", "NATO", "euro", "EURO"])
    words = ["goal", "gOAL", "bank", "nato", "Euro", "absent"]
    table = table_of(tmp_path, words, [10, 5, 4, 3, 2, 1])
    expected = [has[name] for name in ("goal", "goal", "Bank", "NATO", "euro")]
    np.testing.assert_allclose(table.values[2:7], expected, rtol=1e-6)
    assert (table.words_exact, table.words_other_case, table.words_subwords, table.words_drawn) == (1, 4, 0, 1)
    assert table.coverage_types == pytest.approx(5 / 6)
    assert table.coverage_tokens == pytest.approx(24 / 25)
    as_written = table_of(tmp_path, words, [10, 5, 4, 3, 2, 1], case_fallback=False)
    assert (as_written.words_exact, as_written.words_other_case, as_written.words_drawn) == (1, 0, 5)
    assert as_written.coverage_tokens == pytest.approx(10 / 25)
    np.testing.assert_array_equal(as_written.values[7], table.values[7])


def test_words_without_a_vector_are_made_of_n_grams_as_gensim_makes_them(tmp_path: Path) -> None:
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    texts = [["goals", "and", "keepers"], ["banks", "and", "shares"]] * 20
    model = FastText(texts, vector_size=6, bucket=500, min_count=1, workers=1, epochs=2)
    save_facebook_model(model, str(tmp_path / "vectors.bin"))
    words = ["goals", "Banks", "goalkeepers", "shareholders"]
    embedding = EmbeddingConfig(name="fasttext", path=str(tmp_path / "vectors.bin"))
    table = build_table(embedding, words, np.ones(4), find_vectors(embedding), seed=4)
    assert (table.words_exact, table.words_other_case, table.words_subwords, table.words_drawn) == (1, 1, 2, 0)
    expected = [model.wv[word] for word in ("goals", "banks", "goalkeepers", "shareholders")]
    np.testing.assert_allclose(table.values[2:], expected, atol=1e-6)
    assert (table.coverage_types, table.coverage_tokens) == (0.5, 0.5), "what is composed was not found"
    plain = replace(embedding, subwords=False)
    drawn = build_table(plain, words, np.ones(4), find_vectors(plain), seed=4)
    assert (drawn.words_subwords, drawn.words_drawn) == (0, 2)


def test_all_vectors_get_one_length_and_those_of_length_zero_stay(tmp_path: Path) -> None:
    has = written(tmp_path, ["the", "film", "void"])
    path = tmp_path / "vectors.txt"
    path.write_text(
        "".join(f"{word} {' '.join(map(str, vector * (word != 'void')))}\n" for word, vector in has.items())
    )
    words = ["the", "film", "absent", "void"]
    table = table_of(tmp_path, words, norm=2.5)
    lengths = np.linalg.norm(table.values, axis=1)
    np.testing.assert_allclose(lengths, [0, 2.5, 2.5, 2.5, 2.5, 0], rtol=1e-6)
    plain = table_of(tmp_path, words)
    cosines = (table.values[1:5] * plain.values[1:5]).sum(axis=1) / (2.5 * np.linalg.norm(plain.values[1:5], axis=1))
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)
    at_random = [
        build_table(EmbeddingConfig(name="random", dimension=6, norm=2.5, scale=scale), words, COUNTS, None, 4).values
        for scale in (0.1, 0.7)
    ]
    np.testing.assert_array_equal(at_random[0], at_random[1])
    np.testing.assert_array_equal(at_random[0][4], table.values[4])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.integers(0, 30), absent=st.integers(0, 5), seed=st.integers(0, 99))
def test_shuffled_vectors_stand_all_at_other_words_and_none_is_lost(
    tmp_path: Path, found: int, absent: int, seed: int
) -> None:
    has = written(tmp_path, ["unused", *(f"w{k}" for k in range(found))])
    words = [*(f"w{k}" for k in range(found)), *(f"absent{k}" for k in range(absent))]
    counts = np.arange(1, len(words) + 1)
    right, wrong = (
        build_table(embedding, words, counts, find_vectors(embedding), seed)
        for embedding in (glove(tmp_path / "vectors.txt"), glove(tmp_path / "vectors.txt", shuffle=True))
    )
    ours = slice(2, 2 + found)
    assert sorted(map(tuple, wrong.values[ours])) == sorted(map(tuple, right.values[ours]))
    if found >= 2:
        assert (wrong.values[ours] != right.values[ours]).any(axis=1).all()
    np.testing.assert_array_equal(wrong.values[2 + found :], right.values[2 + found :])
    assert replace(wrong, values=right.values) == right
    assert right.words_exact == found == len(has) - 1


def test_another_seed_shuffles_otherwise(tmp_path: Path) -> None:
    words = [f"w{k}" for k in range(40)]
    written(tmp_path, words)
    embedding = glove(tmp_path / "vectors.txt", shuffle=True)
    one, same, other = (
        build_table(embedding, words, np.ones(40), find_vectors(embedding), s).values for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one[2:] != other[2:]).any(axis=1).mean() > 0.8


def test_of_random_vectors_nothing_is_counted() -> None:
    table = build_table(EmbeddingConfig(name="random", dimension=4), ["a", "b"], COUNTS, None, 0)
    assert {value for name, value in vars(table).items() if name != "values"} == {None}


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
    with pytest.raises(UserError, match=r"not in \$BENCH_VECTORS"):
        find_vectors(nowhere)
