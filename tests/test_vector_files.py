"""Text files of word vectors: plain, compressed, with and without a header; bad ones in one line that says where."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.embeddings.formats.kinds import Layout, inspect, open_vectors
from bench.embeddings.formats.store import RepeatedWordError, StoredVectors, build_store
from bench.embeddings.vectors import VectorFile, WordVectors
from bench.errors import UserError
from bench.files import cache_root, sha256_of

ROWS = "the 0.1 0.2 0.3\nfilm 1 2 3\n. -1e-2 0 4\n"
VALUES = [[0.1, 0.2, 0.3], [1, 2, 3], [-0.01, 0, 4]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def described(path: Path, member: str | None = None) -> VectorFile:
    layout = inspect(path, member)
    return VectorFile(path, layout.dimension, sha256_of(path)[:16], layout.kind, layout.member)


def opened(path: Path, member: str | None = None) -> WordVectors:
    return open_vectors(described(path, member))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def stores() -> list[Path]:
    """What the cache holds of converted files, unfinished ones included."""
    return [path for path in cache_root().glob("vectors/*") if path.suffix != ".lock"]


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress, bz2.compress], ids=["txt", "gz", "xz", "bz2"])
def test_plain_and_compressed_files_read_alike_whatever_they_are_called(tmp_path: Path, packed) -> None:  # type: ignore[no-untyped-def]
    vectors = opened(written(tmp_path / "vectors", packed(ROWS.encode())))
    assert vectors.dimension == 3
    assert vectors.find(["film", "absent", ".", "film"]).tolist() == [1, -1, 2, 1]
    np.testing.assert_array_equal(vectors.values(np.array([2, 0, 2])), np.float32([VALUES[2], VALUES[0], VALUES[2]]))
    assert vectors.compose(["absent"]) is None


def test_numbers_are_those_that_gensim_reads_in_files_with_a_header(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    made = KeyedVectors(7)
    words = [f"word{number}" for number in range(500)] + ["ёж", "日本"]
    made.add_vectors(words, draw.standard_normal((len(words), 7)).astype(np.float32))
    path = tmp_path / "word2vec.txt"
    made.save_word2vec_format(path)
    again = KeyedVectors.load_word2vec_format(path)
    vectors = opened(path)
    rows = vectors.find(words)
    assert rows.tolist() == list(range(len(words)))
    np.testing.assert_array_equal(vectors.values(rows), again.vectors)


def test_words_may_hold_blanks_and_odd_spaces(tmp_path: Path) -> None:
    odd = [". . .", "at name@domain.com", "\x85", "a\u00a0b", "a\u2028b", "\ufeff", '"', "a\tb", "\x1c", "#"]
    content = ROWS + "".join(f"{word} {place} 0.5 -0.5\n" for place, word in enumerate(odd))
    vectors = opened(written(tmp_path / "glove.txt", content))
    rows = vectors.find(odd)
    assert rows.tolist() == list(range(3, 3 + len(odd)))
    assert vectors.values(rows)[:, 0].tolist() == list(range(len(odd)))
    assert vectors.find([".", "a", "a b", ""]).tolist() == [2, -1, -1, -1]


def test_a_first_word_may_be_a_number_and_lines_may_end_in_a_blank_or_as_on_windows(tmp_path: Path) -> None:
    for place, content in enumerate(["2 0.1 0.2 \nfilm 1 2 \n", "2 0.1 0.2\r\nfilm 1 2\r\n", "2 0.1 0.2\nfilm 1 2"]):
        vectors = opened(written(tmp_path / f"{place}.vec", content))
        assert vectors.dimension == 2
        np.testing.assert_array_equal(vectors.values(vectors.find(["film", "2"])), np.float32([[1, 2], [0.1, 0.2]]))


def test_every_row_is_found_in_a_file_of_many_blocks(tmp_path: Path) -> None:
    rows = 60_000
    lines = (
        f"w{row}{' .' if row % 7_001 == 0 else ''} {row} {row / 2} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1\n"
        for row in range(rows)
    )
    path = written(tmp_path / "many.txt", "".join(lines))
    assert path.stat().st_size > 2 * (1 << 20)
    vectors = opened(path)
    asked = [f"w{row}{' .' if row % 7_001 == 0 else ''}" for row in range(rows)]
    found = vectors.find(asked[::-1])
    assert found.tolist() == list(range(rows))[::-1]
    np.testing.assert_array_equal(vectors.values(found)[:, 0], np.arange(rows)[::-1])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("the 0.1 0.2\nfilm 1\n", "line 2: 1 numbers where 2 were expected"),
        ("the 0.1 0.2\nfilm 1 2 3\n", "line 2: 3 numbers where 2 were expected"),
        ("the 0.1 0.2\nfilm  1 2\n", "line 2: two blanks in a row"),
        ("the 0.1 0.2\nfilm 1 two\n", "line 2: not a row of numbers .'two'"),
        ("the 0.1 0.2\nfilm 1 1_0\n", "line 2: not a row of numbers .'1_0'"),
        ("the 0.1 0.2\nfilm 1 \n", "line 2: 1 numbers where 2 were expected"),
        ("the 0.1 0.2\nfilm 1 nan\n", "line 2: a value is not finite .'nan'"),
        ("the 0.1 0.2\nfilm 1 -inf\n", "line 2: a value is not finite .'-inf'"),
        ("the 0.1 0.2\nfilm 1 1e39\n", "line 2: a value is not finite .'1e39'"),
        ("the 0.1 0.2\n\nfilm 1 2\n", "line 2: is empty"),
        ("the 0.1 0.2\nfilm 1 2\nthe 3 4\n", "line 3: the word 'the' stands in line 1 already"),
        ("2 2\nthe 0.1 0.2\nthe 3 4\n", "line 3: the word 'the' stands in line 2 already"),
        ("2 3\nthe 0.1 0.2\nfilm 3 4\n", "line 2: 2 numbers where the header promises 3"),
        ("2 2\nthe 0.1 0.2\nfilm 1 x\n", "line 3: not a row of numbers"),
        ("9 2\nthe 0.1 0.2\nfilm 1 2", "promises 9 rows, the file holds 2, and its last line has no end"),
        ("the\t0.1 0.2\nfilm\t1 2\n", "a tab between word and numbers"),
        ("just some text\n", "not word vectors in text format"),
        ("3 2\n", "not word vectors in text format"),
        ("", "not word vectors in text format"),
        (b"\xff\xfe 1 2\n", "line 1: the word is not UTF-8"),
        ("ёж 1 2\n".encode("koi8-r"), "line 1: the word is not UTF-8"),
        ("the 1 2\n".encode("utf-16"), "not word vectors in text format"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line_and_leaves_no_cache(
    tmp_path: Path, content: str | bytes, complaint: str
) -> None:
    path = written(tmp_path / "glove.txt", content)
    with pytest.raises(UserError, match=complaint) as error:
        opened(path)
    assert "glove.txt" in str(error.value)
    assert "\n" not in str(error.value)
    assert stores() == []


def test_a_bad_row_far_into_a_file_is_named_by_its_line(tmp_path: Path) -> None:
    numbers = " 0.25" * 50
    lines = [f"w{row}{numbers}\n" for row in range(20_000)]
    lines[17_654] = f"w17654 x{numbers[5:]}\n"
    path = written(tmp_path / "glove.txt", "".join(lines))
    assert sum(map(len, lines[:17_654])) > 2 << 20, "the row should stand beyond the first blocks"
    with pytest.raises(UserError, match=r"line 17655: not a row of numbers \('x'\)"):
        opened(path)
    assert stores() == []


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
def test_a_truncated_archive_is_refused_and_leaves_no_cache(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    content = "".join(f"w{row} {row} {row * 7919 % 10007}\n" for row in range(20_000))
    path = written(tmp_path / "glove", pack(content.encode())[:-40])
    with pytest.raises(UserError, match=r"glove: cannot be read .*; is the download complete"):
        opened(path)
    assert stores() == []


def test_a_zip_cut_short_or_damaged_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "glove.zip", glove_txt="".join(f"w{row} {row} 1\n" for row in range(5_000))).read_bytes()
    with pytest.raises(UserError, match="is the download complete"):
        opened(written(tmp_path / "short.zip", whole[:-40]))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    with pytest.raises(UserError, match="is the download complete"):
        opened(written(tmp_path / "damaged.zip", bytes(damaged)))
    assert stores() == []


def test_the_only_vector_file_of_an_archive_is_read_and_one_of_several_is_asked_for(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", readme_md="hello", deep__glove_txt=ROWS)
    assert inspect(one, None).member == "deep/glove.txt"
    assert opened(one).find(["film"]).tolist() == [1]
    several = zipped(tmp_path / "several.zip", a_txt=ROWS, b_vec="1 2\nthe 5 6\n")
    with pytest.raises(
        UserError, match=r"several.zip holds 2 vector files: add embedding.member=NAME, one of a.txt, b.v"
    ):
        inspect(several, None)
    np.testing.assert_array_equal(opened(several, "b.vec").values(np.array([0])), [[5, 6]])
    assert opened(several, "a.txt").dimension == 3
    with pytest.raises(UserError, match=r"embedding.member=b.vex: several.zip has no such file; did you mean 'b.vec'"):
        inspect(several, "b.vex")
    with pytest.raises(UserError, match=r"no \.txt, \.vec or \.bin file"):
        inspect(zipped(tmp_path / "none.zip", readme_md="hello"), None)
    with pytest.raises(UserError, match=r"is no \.zip archive"):
        inspect(written(tmp_path / "glove.txt", ROWS), "a.txt")


@pytest.mark.parametrize(
    "name", ["../glove.txt", "deep/../../glove.txt", "/etc/glove.txt", "..\\glove.txt", "C:\\g.txt"]
)
def test_an_archive_with_a_member_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", ROWS)
        archive.writestr(name, ROWS)
    with pytest.raises(UserError, match="leads out of the archive"):
        inspect(path, "good.txt")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["glove.zip"]


def test_a_header_that_promises_other_counts_is_told_once_and_the_rows_are_used(tmp_path: Path) -> None:
    for promised in (2, 9):
        path = written(tmp_path / f"{promised}.vec", f"{promised} 3\n{ROWS}")
        with pytest.warns(UserWarning, match=f"header promises {promised} rows, the file holds 3; these are used"):
            vectors = opened(path)
        assert vectors.find(["the", "film", "."]).tolist() == [0, 1, 2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert opened(path).find(["."]).tolist() == [2]


def test_a_few_words_that_are_no_utf8_are_told_and_never_found(tmp_path: Path) -> None:
    rows = [f"w{row} {row} 1\n".encode() for row in range(300)]
    rows[7] = b"caf\xc3 7 1\n"
    path = written(tmp_path / "cut.vec", b"".join(rows))
    with pytest.warns(UserWarning, match="the word is not UTF-8, nor are 0 more of 300") as told:
        vectors = opened(path)
    assert str(told[0].message).startswith("cut.vec, line 8: ")
    assert vectors.find(["w6", "caf", "caf\udcc3", "cafÃ", "w8"]).tolist() == [6, -1, -1, -1, 8]


def test_words_as_long_as_gloves_tools_cut_them_may_repeat_and_the_first_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "glove.txt", f"{'x' * 1000} 1 2\nfilm 3 4\n{'x' * 1000} 5 6\n")
    assert opened(path).find(["film", "x" * 1000]).tolist() == [1, 0]


def test_what_could_run_code_or_is_no_vector_file_is_refused_in_one_line(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "trapped").write_text, ("",))

    np.save(tmp_path / "objects.npy", np.array([Trap()]), allow_pickle=True)
    written(tmp_path / "model.bin", pickle.dumps({"the": Trap()}))
    zipped(tmp_path / "model.pt", archive__data_pkl="x", archive__version="3")
    (tmp_path / "folder").mkdir()
    expected = {
        "objects.npy": "Python objects, which would have to be unpickled",
        "model.bin": "pickle, which can run code",
        "model.pt": r"no \.txt, \.vec or \.bin file",
        "folder": "name the vector file in it",
        "absent.txt": "No such file",
    }
    for name, complaint in expected.items():
        with pytest.raises(UserError, match=complaint) as error:
            inspect(tmp_path / name, None)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "trapped").exists()
    pickle.loads((tmp_path / "model.bin").read_bytes())
    assert (tmp_path / "trapped").exists(), "the trap should have been one"


def test_formats_are_told_apart_by_their_first_bytes_whatever_files_are_called(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    for dimension in (2, 9, 300):
        made = KeyedVectors(dimension)
        made.add_vectors(["ёж", "the", "."], draw.standard_normal((3, dimension)).astype(np.float32))
        made.save_word2vec_format(tmp_path / "a.txt", binary=True)
        made.save_word2vec_format(tmp_path / "b.bin", binary=False)
        assert inspect(tmp_path / "a.txt", None) == Layout("word2vec_binary", None, dimension)
        assert inspect(tmp_path / "b.bin", None) == Layout("text", None, dimension)
        with gzip.open(tmp_path / "c", "wb") as stream:
            stream.write((tmp_path / "a.txt").read_bytes())
        assert inspect(tmp_path / "c", None) == Layout("word2vec_binary", None, dimension)


def test_to_inspect_a_file_reads_its_beginning_only(tmp_path: Path) -> None:
    path = written(tmp_path / "glove.xz", lzma.compress(("the 0.5 1.5\n" * 3_000_000).encode(), preset=0)[:-100])
    tracemalloc.start()
    assert inspect(path, None).dimension == 2
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def store_of(path: Path) -> Path:
    opened(path)
    (folder,) = stores()
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [Path.unlink, cut, lambda path: path.write_bytes(b"")], ids=["gone", "cut", "empty"])
@pytest.mark.parametrize("name", ["words.arrow", "values.npy"])
def test_a_damaged_store_is_built_again(tmp_path: Path, name: str, damage) -> None:  # type: ignore[no-untyped-def]
    path = written(tmp_path / "glove.txt", ROWS)
    before = (store_of(path) / name).read_bytes()
    damage(store_of(path) / name)
    vectors = opened(path)
    np.testing.assert_array_equal(vectors.values(vectors.find(["film"])), [[1, 2, 3]])
    assert (store_of(path) / name).read_bytes() == before


def test_a_converted_file_is_not_read_again(tmp_path: Path) -> None:
    file = described(written(tmp_path / "glove.txt", ROWS))
    open_vectors(file)
    file.path.unlink()
    assert open_vectors(file).find(["."]).tolist() == [2]


def test_many_processes_at_once_convert_a_file_once(tmp_path: Path) -> None:
    path = written(tmp_path / "w.vec", "60000 2\n" + "".join(f"w{row} {row} 1\n" for row in range(50_000)))
    code = (
        "import sys; from pathlib import Path; from bench.embeddings.formats.kinds import inspect, open_vectors; "
        "from bench.embeddings.vectors import VectorFile; path = Path(sys.argv[1]); "
        "print(*open_vectors(VectorFile(path, inspect(path).dimension, 'aa')).find(['w49999', 'w50000']))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [out.strip() for out, _ in said] == ["49999 -1"] * 3
    assert sorted(error.count("promises 60,000 rows, the file holds 50,000") for _, error in said) == [0, 0, 1]
    assert len(stores()) == 1


WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \n\t"), min_size=1, max_size=8)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.dictionaries(WORD, st.lists(FLOAT32, min_size=2, max_size=2), min_size=1, max_size=12))
def test_whatever_the_words_and_numbers_they_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: dict[str, list[float]]
) -> None:
    end = data.draw(st.sampled_from(["\n", " \n"]))
    header = data.draw(st.sampled_from(["", f"{len(rows)} 2\n"]))
    path = tmp_path_factory.mktemp("any") / "any.txt"
    written(path, header + "".join(f"{word} {a!r} {b!r}{end}" for word, (a, b) in rows.items()))
    vectors = opened(path)
    found = vectors.find(list(rows))
    assert found.tolist() == list(range(len(rows)))
    np.testing.assert_array_equal(vectors.values(found), np.array(list(rows.values()), np.float32))


def test_a_store_is_never_whole_in_memory_while_it_is_built(tmp_path: Path) -> None:
    rows, dimension, block = 100_000, 100, 1_000

    def blocks() -> Iterator[tuple[list[str], np.ndarray]]:
        for start in range(0, rows, block):
            yield [f"w{row}" for row in range(start, start + block)], np.full((block, dimension), start, np.float32)

    tracemalloc.start()
    assert build_store(tmp_path, dimension, blocks()) == rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * dimension * 4 / 10
    store = StoredVectors.open(tmp_path)
    assert store is not None
    assert store.values(store.find(["w23456"]))[0, :2].tolist() == [23_000, 23_000]


def test_a_store_refuses_a_repeated_word_and_tells_its_rows(tmp_path: Path) -> None:
    blocks = [(["a", "b"], np.ones((2, 1), np.float32)), (["c", "b"], np.ones((2, 1), np.float32))]
    with pytest.raises(RepeatedWordError) as error:
        build_store(tmp_path, 1, blocks)
    assert (error.value.word, error.value.first, error.value.second) == ("b", 1, 3)


def test_planning_imports_neither_torch_nor_what_reads_the_values() -> None:
    code = (
        "import sys, bench.embeddings.formats.kinds; "
        "print([name for name in ('torch', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_real_glove_word2vec_and_fasttext_files_are_read_as_they_are(real_data: Path) -> None:
    folder = real_data / "vectors"
    glove = opened(folder / "glove.6B.50d.trim.txt.xz")
    assert glove.dimension == 50
    assert glove.find(["the", "film", "xqzzy"]).tolist()[::2] == [0, -1]
    np.testing.assert_array_equal(glove.values(np.array([0]))[0, :3], np.float32([0.418, 0.24968, -0.41242]))
    google = folder / "word2vec_googlenews_8000" / "GoogleNews-300d.8000.txt.xz"
    reference = KeyedVectors.load_word2vec_format(google, limit=1_000)
    vectors = opened(google)
    np.testing.assert_array_equal(vectors.values(vectors.find(reference.index_to_key)), reference.vectors)
    with pytest.warns(UserWarning, match="promises 2,519,370 rows, the file holds 99"):
        wiki = opened(folder / "fasttext_wiki_en_99" / "wiki.en.99.vec")
    assert wiki.dimension == 300
    assert wiki.find(["the", "</s>", "of"]).min() >= 0
