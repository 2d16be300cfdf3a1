"""Every corpus of `conf/data` composes, says what it is, and loads: from a mirror folder, and from the hub."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.compose import compose
from bench.config import DataConfig
from bench.data.sources import Corpus, open_corpus
from bench.errors import UserError
from bench.options import conf_folder, options
from tests.hub_repositories import REPOSITORIES
from tests.hub_server import HubServer
from tests.test_hub import run_elsewhere

CONFIGS: Mapping[str, DataConfig] = {
    name: compose([f"data={name}"]).data for name in options("data") if name != "local"
}
CORPORA = {name: data for name, data in CONFIGS.items() if data.probe is None}
ON_THE_HUB = {name: data for name, data in CORPORA.items() if data.hub_id is not None}
TEXTS_ON_THE_HUB = {name: data for name, data in ON_THE_HUB.items() if data.task == "classification"}


@dataclass(frozen=True)
class Facts:
    """What a mirror folder holds. sizes, duplicates: texts that occur again, within train, dev, test;  shared: texts in
    train and dev, train and test, dev and test."""

    sizes: tuple[int | None, int | None, int | None]
    duplicates: tuple[int | None, int | None, int | None]
    shared: tuple[int | None, int | None, int | None]


def official(train: int, test: int, duplicates: tuple[int, int] = (0, 0), shared: int = 0) -> Facts:
    """A corpus without a dev split."""
    return Facts((train, None, test), (duplicates[0], None, duplicates[1]), (None, shared, None))


IN_THE_MIRROR = {
    "ag_news_subset": official(18_009, 7_600),
    "bbc_news": Facts((1_697, 203, 227), (0, 0, 0), (0, 0, 0)),
    "cr": Facts((3_036, 376, 359), (3, 2, 1), (0, 0, 0)),
    "imdb": official(25_000, 25_000, (96, 199), shared=123),
    "mr": Facts((8_440, 1_148, 1_074), (0, 0, 0), (0, 0, 0)),
    "newsgroups20": official(11_314, 7_532, (35, 25), shared=8),  # of the bodies; whole posts are all distinct
    "rusentitweet": official(10_713, 2_679),
    "spamassassin": Facts((4_864, 596, 586), (81, 12, 7), (0, 0, 0)),
    "sst2": Facts((6_920, 872, 1_821), (9, 0, 0), (0, 2, 0)),
    "sst5": Facts((8_544, 1_101, 2_210), (10, 1, 0), (1, 2, 0)),
    "trec6": official(5_452, 500, (71, 0), shared=10),
    "uci_sentences": Facts((2_384, 329, 287), (15, 2, 1), (0, 0, 0)),
}
HUB_ONLY = {"ag_news", "dbpedia14", "subj", "yelp_polarity"}

# Reads DataConfigs from a file and opens each as a run does; writes what it found, or the error's one line.
OPEN_ALL = """
import json, sys
from bench.config import DataConfig
from bench.data.sources import open_corpus
from bench.errors import UserError
for name, tree in json.loads(sys.stdin.read()).items():
    try:
        corpus = open_corpus(DataConfig(**tree))
        names = corpus.label_names
        rows = {split: [[text, names[label]] for text, label in zip(part.texts, part.labels.tolist())]
                for split, part in corpus.splits.items()}
        found = {"origin": corpus.origin, "revision": corpus.revision, "rows": rows}
    except UserError as error:
        found = {"error": str(error)}
    print(json.dumps([name, found]))
"""


def in_the_mirror(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A corpus from its mirror folder; the test is skipped where that is absent."""
    folder = real_data / (CORPORA[name].mirror or name)
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in the mirror folder {real_data} (docs/data.md)")
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    return open_corpus(CORPORA[name])


def test_every_corpus_of_the_design_is_there() -> None:
    assert set(CORPORA) == set(IN_THE_MIRROR) | HUB_ONLY | {"pos"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_corpus_states_its_licence_its_citation_and_its_classes(name: str) -> None:
    data = CONFIGS[name]
    assert data.licence
    assert re.search(r"\d{4}", data.citation or ""), "a citation names a year"
    if data.task == "regression":
        assert data.labels is None
        return
    assert data.labels is not None
    assert len(data.labels) == len(set(data.labels)) >= 2


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_pinned_revision_is_a_whole_commit_and_cites_where_it_was_read(name: str) -> None:
    revision = CORPORA[name].hub_revision
    lines = (conf_folder() / "data" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    (line,) = [number for number, text in enumerate(lines) if text.startswith("hub_revision:")]
    comment = []
    while lines[line - 1 - len(comment)].startswith("#"):
        comment.append(lines[line - 1 - len(comment)])
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}", revision)
    assert ("recorded in the cache's source.json" if revision is None else "https://") in " ".join(comment)


@pytest.mark.parametrize("name", CORPORA)
def test_the_table_of_corpora_has_every_corpus_with_its_hub_id_and_licence(name: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    table = page[: page.index("### Where they are looked for")]
    (row,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    assert CORPORA[name].hub_id is None or f"`{CORPORA[name].hub_id}`" in row
    assert str(len(CORPORA[name].labels or ())) in row.split("|")[3]


@pytest.mark.parametrize("name", IN_THE_MIRROR)
def test_the_mirror_holds_the_splits_classes_and_duplicates_that_are_known(
    name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, facts = in_the_mirror(name, real_data, monkeypatch), IN_THE_MIRROR[name]
    assert corpus.origin == f"mirror {CORPORA[name].mirror or name}"
    assert tuple(corpus.sizes.get(split) for split in ("train", "dev", "test")) == facts.sizes
    assert corpus.duplicates is not None
    assert dataclasses.astuple(corpus.duplicates) == (*facts.duplicates, *facts.shared)
    assert list(corpus.label_names) == CORPORA[name].labels


@pytest.mark.parametrize("name", sorted(IN_THE_MIRROR.keys() - {"bbc_news"}))
def test_the_classes_have_the_names_and_counts_of_the_mirrors_own_list(
    name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = in_the_mirror(name, real_data, monkeypatch)
    listed = json.loads((real_data / (CORPORA[name].mirror or name) / "info.json").read_text(encoding="utf-8"))
    assert listed["labels"] == list(corpus.label_names)
    for split, part in corpus.splits.items():
        counts = Counter(corpus.label_names[label] for label in part.labels.tolist())
        assert counts == listed["splits"][split]["counts"]


def test_no_folder_of_the_mirror_is_left_without_a_corpus(real_data: Path) -> None:
    folders = {path.parent.name for path in real_data.glob("*/train.parquet")}
    assert len(folders) > 5
    assert folders <= {data.mirror or name for name, data in CORPORA.items()}


def test_newsgroups_are_read_without_the_headers_that_name_them(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = in_the_mirror("newsgroups20", real_data, monkeypatch)
    raw = pq.read_table(real_data / "20news_bydate" / "test.parquet")
    whole, read = raw["text"].to_pylist(), list(corpus.splits["test"].texts)
    assert sum(text.startswith(("From:", "Subject:")) for text in whole) > 7_000
    assert sum(text.startswith(("From:", "Subject:")) for text in read) < 20  # in a body that repeats a header
    assert all(one.endswith(other) for one, other in zip(whole, read, strict=True))
    assert sum(not text.strip() for text in read) == 16  # nothing but headers: such posts stay, without a word


def test_tagged_sentences_have_a_tag_for_every_word(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = in_the_mirror("pos", real_data, monkeypatch)
    assert dict(corpus.sizes) == {"train": 12_544, "dev": 2_001, "test": 2_077}
    assert list(corpus.label_names) == CORPORA["pos"].labels
    dev = corpus.splits["dev"]
    served = pq.read_table(real_data / "ud_en_ewt" / "dev.parquet").to_pydict()
    assert [text.split(" ") for text in dev.texts] == served["tokens"]
    assert dev.tags is not None
    values, offsets = dev.tags.values, dev.tags.offsets
    assert (len(values), len(offsets)) == (25_147, 2_002)
    tags = [[corpus.label_names[tag] for tag in values[a:b].tolist()] for a, b in itertools.pairwise(offsets.tolist())]
    assert tags == served["upos"]


def test_russian_words_are_words(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = in_the_mirror("rusentitweet", real_data, monkeypatch)
    from bench.data.module import prepare

    words = prepare(corpus, CORPORA["rusentitweet"], seed=0).vocabulary.words
    cyrillic = [word for word in words if re.fullmatch(r"[а-яё]+", word)]
    assert len(cyrillic) > 10_000
    assert {"спасибо", "люблю", "не", "ещё"} <= set(cyrillic)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a person finds who has no mirror and opens every corpus that the hub has, one after the other."""
    folder, person = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("person")
    for repository in REPOSITORIES.values():
        repository.write(folder)
    pins = {REPOSITORIES[name].id: data.hub_revision for name, data in TEXTS_ON_THE_HUB.items() if data.hub_revision}
    wanted = json.dumps({name: dataclasses.asdict(data) for name, data in TEXTS_ON_THE_HUB.items()})
    with HubServer(folder, commit=pins) as server:
        done = run_elsewhere(person, server.address, ["-c", OPEN_ALL], typed=wanted)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", TEXTS_ON_THE_HUB)
def test_the_hub_serves_every_corpus_that_names_it(name: str, downloads: dict[str, dict[str, object]]) -> None:
    found, data, repository = downloads[name], TEXTS_ON_THE_HUB[name], REPOSITORIES[name]
    assert "error" not in found, found
    assert found["origin"] == f"hub {data.hub_id}@{found['revision']}"
    assert data.hub_revision in (None, found["revision"])
    rows = found["rows"]
    assert isinstance(rows, dict)
    theirs = {"dev": next((split for split in repository.files if split.startswith("val")), None)}
    assert set(rows) == {"train", "test", *(["dev"] if theirs["dev"] else [])}
    ours = data.labels or []
    for split, part in rows.items():
        hub_split = theirs.get(split, split)
        for number, (text, label) in enumerate(part):
            assert text == f"{hub_split} {number}: {repository.classes[number % len(ours)]}"
            assert label in (repository.classes[number % len(ours)], ours[number % len(ours)])
        assert {label for _, label in part} == set(ours)
        assert len(part) == len(ours) * (4 if split == "train" else 2)


def test_names_that_the_hub_gives_its_classes_are_ours_or_close_to_them() -> None:
    short = {"very neg": "very negative", "neg": "negative", "pos": "positive", "very pos": "very positive"}
    for name, data in TEXTS_ON_THE_HUB.items():
        theirs = list(REPOSITORIES[name].classes)
        if REPOSITORIES[name].label is not None:
            assert sorted(theirs) == sorted(data.labels or []), name
        else:
            assert theirs in (data.labels, [short.get(label, label) for label in data.labels or []]), name


def test_all_that_is_on_the_hub_has_a_repository_to_be_tried_with() -> None:
    assert set(ON_THE_HUB) == set(REPOSITORIES) | {"pos"}  # pos: tests/test_hub_sentences.py
    assert {name: data.hub_id for name, data in TEXTS_ON_THE_HUB.items()} == {
        name: repository.id for name, repository in REPOSITORIES.items()
    }


def test_a_corpus_that_no_hub_has_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    for name in sorted(CORPORA.keys() - ON_THE_HUB.keys() - {"bbc_news"}):
        with pytest.raises(UserError, match=rf"^data={name} not found: .*: set BENCH_DATA=DIR or data\.path=DIR$"):
            open_corpus(CORPORA[name])
    assert os.listdir(tmp_path) == []
