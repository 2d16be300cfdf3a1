"""Tagged sentences from the hub, whose dataset is a loading script: the stock client reads the hub's export of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import List, Value

from bench.compose import compose
from bench.data.sources import Corpus, open_corpus
from tests.hub_server import COMMIT, EXPORT_COMMIT, HubServer
from tests.hub_treebank import FEATURES, TREEBANK, Rows, write_conllu, write_export
from tests.test_hub import Done, run_elsewhere

# Reads DataConfigs and opens each as a run does; writes the tags it found, or the error's one line.
OPEN_ALL = """
import json, sys
from bench.config import DataConfig
from bench.data.sources import open_corpus
from bench.errors import UserError
for name, tree in json.loads(sys.stdin.read()).items():
    try:
        corpus = open_corpus(DataConfig(**tree))
        tags = [corpus.label_names[tag] for tag in corpus.splits["train"].tags.values]
        found = {"origin": corpus.origin, "texts": list(corpus.splits["train"].texts), "tags": tags}
    except UserError as error:
        found = {"error": str(error)}
    print(json.dumps([name, found]))
"""
POS = compose(["data=pos"]).data
TEXT = List(Value("string"))
WITHOUT_HEADS = {name: feature for name, feature in FEATURES.items() if name != "head"}
NUMBERS = {**FEATURES, "upos": List(Value("int64"))}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Done]:
    """A person's folder after `fetch data=pos`, the hub's address (now gone), and what was said."""
    hub, person = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("person")
    write_export(hub)
    write_conllu(person / "conllu")
    with HubServer(hub) as server:
        done = run_elsewhere(person, server.address, ["-m", "bench", "fetch", "data=pos"])
    assert done.returncode == 0, done.stderr
    return person, server.address, done


def tags_of(corpus: Corpus, split: str) -> list[str]:
    tags = corpus.splits[split].tags
    assert tags is not None
    return [corpus.label_names[tag] for tag in tags.values]


def test_the_corpus_from_the_hub_is_that_of_the_conllu_files(
    fetched: tuple[Path, str, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(fetched[0] / "cache"))
    hub = open_corpus(POS)
    files = open_corpus(dataclasses.replace(POS, path=str(fetched[0] / "conllu")))
    assert (hub.origin, files.origin) == (f"hub {TREEBANK}@{EXPORT_COMMIT}", "folder")
    assert hub.fingerprint == files.fingerprint
    assert (hub.label_names, hub.sizes) == (files.label_names, {"train": 3, "dev": 2, "test": 2})
    for split in ("train", "dev", "test"):
        assert list(hub.splits[split].texts) == list(files.splits[split].texts)
        assert list(hub.splits[split].ids) == list(files.splits[split].ids)
        assert tags_of(hub, split) == tags_of(files, split)
    assert list(hub.splits["dev"].texts) == ["Do n't go to 10_000 _ !", "Ann sings and Bo dances"]
    first, second = ["AUX", "PART", "VERB", "ADP", "NUM", "SYM", "PUNCT"], ["PROPN", "VERB", "CCONJ", "PROPN", "NOUN"]
    assert tags_of(hub, "dev") == first + second


def test_the_cache_has_the_layout_of_the_mirror_and_the_commit_of_the_export(fetched: tuple[Path, str, Done]) -> None:
    person, _, done = fetched
    folder = person / "cache/corpora/pos"
    assert sorted(path.name for path in folder.iterdir()) == [
        "dev.parquet",
        "source.json",
        "test.parquet",
        "train.parquet",
    ]
    table = pq.read_table(folder / "dev.parquet").to_pydict()
    assert list(table) == ["tokens", "upos", "id"]
    assert (table["id"], table["tokens"][1]) == (["dev-1", "dev-2"], ["Ann", "sings", "and", "Bo", "dances"])
    assert table["upos"][1] == ["PROPN", "VERB", "CCONJ", "PROPN", "NOUN"]
    source = json.loads((folder / "source.json").read_text())
    assert (source["hub_id"], source["hub_config"], source["revision"]) == (TREEBANK, "en_ewt", EXPORT_COMMIT)
    said = f"pos: train 3, dev 2, test 2; from hub {TREEBANK}@{EXPORT_COMMIT}; revision {EXPORT_COMMIT}"
    assert said in done.stdout


def test_a_run_downloads_what_it_lacks_and_trains_a_tagger(tmp_path: Path) -> None:
    write_export(tmp_path / "hub")
    tiny = ["embedding=random", "embedding.dimension=4", "model.hidden_size=4", "training.epochs=1", "hardware=cpu"]
    where = [f"results={tmp_path / 'results'}", "logger=none"]
    with HubServer(tmp_path / "hub") as server:
        done = run_elsewhere(tmp_path, server.address, ["-m", "bench", "data=pos", "recipe=tagging", *tiny, *where])
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results/runs").rglob("record.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["data_revision"]) == ("finished", EXPORT_COMMIT)
    assert record["test_tokens"] == 12


def ragged(rows: Rows) -> None:
    """The second sentence lacks a tag."""
    rows[1]["upos"] = rows[1]["upos"][:-1]


def headless(rows: Rows) -> None:
    rows[1]["head"] = rows[1]["head"][:-1]


def untagged(rows: Rows) -> None:
    """A word that has a head and no tag."""
    rows[1]["upos"] = ["_", *rows[1]["upos"][1:]]


def numbered(rows: Rows) -> None:
    for row in rows:
        row["upos"] = [0] * len(row["upos"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a person finds who opens many treebanks, sound and not, one after the other."""
    hub, person = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("person")
    write_export(hub)
    write_export(hub, "some/ragged", change=ragged)
    write_export(hub, "some/headless", change=headless)
    write_export(hub, "some/untagged", change=untagged)
    write_export(hub, "some/numbers", change=numbered, features=NUMBERS)
    write_export(hub, "some/words", features={**WITHOUT_HEADS, "upos": TEXT})
    part = write_export(hub, "some/part")
    (part / "train").rename(part / "partial-train")
    shutil.rmtree(write_export(hub, "some/script").parent)
    asked: dict[str, dict[str, Any]] = {
        "sound": {},
        "only": {"hub_config": None},
        "pinned": {"hub_revision": EXPORT_COMMIT},
        "xpos": {"label_column": "xpos", "labels": None},
        "absent": {"hub_revision": "f" * 40},
        "script pinned": {"hub_revision": COMMIT},
        "config": {"hub_config": "en_ewtt"},
        "column": {"label_column": "upo"},
        "no list": {"text_column": "text"},
        "unknown": {"labels": ["NOUN", "VERB"]},
        **{path.name: {"hub_id": f"some/{path.name}"} for path in hub.glob("some/*") if not path.suffix},
    }
    data = {name: dataclasses.replace(POS, name=name, **keys) for name, keys in asked.items()}
    typed = json.dumps({name: dataclasses.asdict(each) for name, each in data.items()})
    with HubServer(hub) as server:
        done = run_elsewhere(person, server.address, ["-c", OPEN_ALL], typed=typed)
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    cached = {path.name.partition("-")[0] for path in (person / "cache/corpora").iterdir()}
    assert cached == {name for name, what in found.items() if "error" not in what}
    return found


@pytest.mark.parametrize("name", ["pinned", "only", "words"])
def test_a_pinned_export_the_only_configuration_and_tags_as_text_are_read_alike(
    name: str, opened: dict[str, dict[str, Any]]
) -> None:
    found, sound = opened[name], opened["sound"]
    assert "error" not in found, found
    if name != "words":
        assert (found["texts"], found["tags"]) == (sound["texts"], sound["tags"])
    else:  # nothing but heads tells an empty node from a word
        assert found["texts"] == [str(text).replace("Bo dances", "Bo sings dances") for text in sound["texts"]]


def test_another_column_of_tags_is_read_where_it_is_asked_for(opened: dict[str, dict[str, Any]]) -> None:
    assert opened["xpos"]["tags"][:7] == ["VB", "RB", "VB", "IN", "CD", "SYM", "."]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("config", f"hub {TREEBANK} has no configuration 'en_ewtt' (data.hub_config): did you mean 'en_ewt'?"),
        ("column", f"hub {TREEBANK}, train split has no column 'upo' (data.label_column): did you mean 'upos'?"),
        ("unknown", "train split, row 1: label 'AUX' is none of data.labels: choose one of: NOUN, VERB"),
        ("no list", "train split: the text column holds string, not a list for each sentence"),
        ("ragged", "hub some/ragged, train split, row 2: 6 words but 5 tags: give every word one tag"),
        ("headless", "hub some/headless, train split, row 2: 6 words but 5 heads"),
        ("untagged", "hub some/untagged, train split: 1 rows without a label, first row 2"),
        ("numbers", "hub some/numbers, train split: upos holds numbers without names"),
        ("part", "hub some/part has no split 'train'"),
        ("script", "hub some/script is a loading script, which `datasets` does not run, and has no branch"),
        (
            "script pinned",
            f"hub {TREEBANK} is a loading script at the revision {COMMIT}, and `datasets` runs none: set",
        ),
        ("absent", f"hub {TREEBANK} has no revision {'f' * 40}: set data.hub_revision=null for the newest one"),
    ],
)
def test_what_the_hub_does_not_have_as_asked_is_named_in_one_line_and_leaves_no_cache(
    name: str, says: str, opened: dict[str, dict[str, Any]]
) -> None:
    line = str(opened[name].get("error"))
    assert says in line
    assert "\n" not in line


def test_without_the_hub_the_cache_serves_and_without_both_one_line_says_what_to_do(
    fetched: tuple[Path, str, Done], tmp_path: Path
) -> None:
    person, address, done = fetched
    assert run_elsewhere(person, address, ["-m", "bench", "fetch", "data=pos"]).stdout == done.stdout
    alone = run_elsewhere(tmp_path, address, ["-m", "bench", "data=pos", "recipe=tagging"])
    assert (alone.returncode, len(alone.stderr.splitlines())) == (2, 1)
    assert f"cannot be asked for {TREEBANK}" in alone.stderr
    assert "run 'python -m bench fetch data=pos' where there is a network, or set BENCH_DATA=DIR" in alone.stderr


def test_a_client_told_to_stay_offline_serves_from_our_cache_alone(
    fetched: tuple[Path, str, Done], tmp_path: Path
) -> None:
    """The client finds no export again by the name of its configuration."""
    person, address, done = fetched
    command = ["-m", "bench", "fetch", "data=pos"]
    assert run_elsewhere(person, address, command, HF_HUB_OFFLINE="1").stdout == done.stdout
    alone = run_elsewhere(person, address, command, HF_HUB_OFFLINE="1", BENCH_CACHE=str(tmp_path))
    assert (alone.returncode, len(alone.stderr.splitlines())) == (2, 1)
    assert "HF_HUB_OFFLINE is set, and the client's own cache does not serve" in alone.stderr
