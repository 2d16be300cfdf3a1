"""The hub path, walked by the stock client in a process of its own against a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import COMMIT, HubServer

# Reads a DataConfig from JSON and opens it as a run does; prints one line, errors as the door prints them. How long it
# looked goes into a file: without what a busy machine needs to start Python.
OPEN = """
import json, sys, time
from pathlib import Path
from bench.config import DataConfig
from bench.data.sources import open_corpus
from bench.errors import UserError
started = time.monotonic()
try:
    corpus = open_corpus(DataConfig(**json.loads(sys.argv[1])))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
finally:
    Path(sys.argv[2]).write_text(str(time.monotonic() - started))
splits = {name: [len(split.texts), split.labels.tolist(), split.texts[0]] for name, split in corpus.splits.items()}
print(json.dumps([corpus.label_names, corpus.origin, corpus.revision, corpus.fingerprint, splits]))
"""
IMDB = {"name": "imdb", "hub_id": "stanfordnlp/imdb", "hub_config": "plain_text", "labels": ["neg", "pos"],
        "hub_splits": {"train": "train", "test": "test"}}  # fmt: skip
CARD = """---
dataset_info:
  config_name: plain_text
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': neg
          '1': pos
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
  - split: test
    path: plain_text/test-*
  - split: unsupervised
    path: plain_text/unsupervised-*
  default: true
---
"""
LOOKING = 2.0  # seconds; Python itself needs up to one more before it can look
SIZES = {"train": 40, "test": 30, "unsupervised": 20}


Done = subprocess.CompletedProcess[str]


def open_elsewhere(folder: Path, endpoint: str, data: dict[str, object], **extra: str) -> tuple[Done, float]:
    """Open a corpus as a person whose caches are in `folder`; also the seconds that looking took."""
    clock = folder / "seconds"
    done = run_elsewhere(folder, endpoint, ["-c", OPEN, json.dumps(data), str(clock)], **extra)
    return done, float(clock.read_text())


def run_elsewhere(folder: Path, endpoint: str, arguments: list[str], typed: str = "", **extra: str) -> Done:
    """Run Python as a person whose caches are in `folder`, and who types something in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "BENCH_"))}
    source = str(Path(__file__).parents[1] / "src")
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "BENCH_CACHE": str(folder / "cache")}
    environment |= {"PYTHONPATH": source, "NO_PROXY": "127.0.0.1", **extra}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, input=typed, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus in the layout that IMDB has on the hub."""
    folder = tmp_path_factory.mktemp("hub")
    content = folder / "stanfordnlp" / "imdb" / "plain_text"
    content.mkdir(parents=True)
    (content.parent / "README.md").write_text(CARD)
    random = np.random.default_rng(0)
    for split, size in SIZES.items():
        labels = random.integers(0, 2, size) if split != "unsupervised" else np.full(size, -1)
        texts = [f"review {row} of {split}: {'good' if label else 'bad'} <br />" for row, label in enumerate(labels)]
        path = content / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return folder


@pytest.fixture(scope="module")
def downloaded(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[object]]:
    """A person's folder after the first download, the hub's address (now gone), and what was opened."""
    folder = tmp_path_factory.mktemp("person")
    with HubServer(hub) as server:
        done, _ = open_elsewhere(folder, server.address, IMDB)
    assert done.returncode == 0, done.stderr
    return folder, server.address, json.loads(done.stdout.splitlines()[-1])


def test_the_stock_client_downloads_the_labelled_splits(hub: Path, downloaded: tuple[Path, str, list[object]]) -> None:
    names, origin, revision, _, splits = downloaded[2]
    assert (names, origin, revision) == (["neg", "pos"], f"hub stanfordnlp/imdb@{COMMIT}", COMMIT)
    assert isinstance(splits, dict)
    assert {name: split[0] for name, split in splits.items()} == {"train": 40, "test": 30}
    for name, (_, labels, first) in splits.items():
        served = pq.read_table(hub / "stanfordnlp/imdb/plain_text" / f"{name}-00000-of-00001.parquet").to_pydict()
        assert (labels, first) == (served["label"], served["text"][0])


def test_fetch_downloads_ahead_what_the_configuration_pins(hub: Path, tmp_path: Path) -> None:
    pinned = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
    with HubServer(hub, commit=pinned) as server:
        done = run_elsewhere(tmp_path, server.address, ["-m", "bench", "fetch", "data=imdb"])
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith(
        f"imdb: train 40, test 30; from hub stanfordnlp/imdb@{pinned}; revision {pinned}; fingerprint"
    )
    assert f"cache/corpora/imdb-{pinned[:12]} (0.0 MB)" in line
    again = run_elsewhere(tmp_path, server.address, ["-m", "bench", "fetch", "data=imdb"])
    assert again.stdout == line + "\n"


def test_json_lines_with_named_labels_and_no_card_download_too(tmp_path: Path) -> None:
    content = tmp_path / "hub" / "SetFit" / "TREC-QC"
    content.mkdir(parents=True)
    for name, labels in {"train": ["NUM", "HUM", "NUM"], "dev": ["HUM"], "test": ["NUM", "HUM"]}.items():
        rows = [{"text": f"{name} {row} ?", "label": row, "coarse": label} for row, label in enumerate(labels)]
        (content / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"name": "trec", "hub_id": "SetFit/TREC-QC", "labels": ["HUM", "NUM"], "label_column": "coarse"}
    with HubServer(tmp_path / "hub") as server:
        done, _ = open_elsewhere(tmp_path, server.address, data)
    assert done.returncode == 0, done.stderr
    splits = json.loads(done.stdout.splitlines()[-1])[4]
    assert splits == {"train": [3, [1, 0, 1], "train 0 ?"], "dev": [1, [0], "dev 0 ?"], "test": [2, [1, 0], "test 0 ?"]}


def test_the_commit_that_the_hub_reported_is_written_down(downloaded: tuple[Path, str, list[object]]) -> None:
    source = json.loads((downloaded[0] / "cache/corpora/imdb/source.json").read_text())
    assert (source["revision"], source["hub_id"]) == (COMMIT, "stanfordnlp/imdb")


def test_without_the_hub_the_cache_gives_the_same_corpus(downloaded: tuple[Path, str, list[object]]) -> None:
    folder, address, first = downloaded
    done, seconds = open_elsewhere(folder, address, IMDB)
    assert json.loads(done.stdout) == first
    assert seconds < LOOKING


def test_a_cached_corpus_does_not_stand_in_for_another_dataset(downloaded: tuple[Path, str, list[object]]) -> None:
    folder, address, _ = downloaded
    done, _ = open_elsewhere(folder, address, {**IMDB, "hub_id": "someone/else"})
    assert done.returncode == 2
    assert "holds another download (stanfordnlp/imdb)" in one_line(done)


def test_a_mirror_of_the_same_content_has_the_same_fingerprint(
    hub: Path, tmp_path: Path, downloaded: tuple[Path, str, list[object]]
) -> None:
    (tmp_path / "imdb").mkdir()
    for split in ("train", "test"):
        served = hub / "stanfordnlp/imdb/plain_text" / f"{split}-00000-of-00001.parquet"
        (tmp_path / "imdb" / f"{split}.parquet").write_bytes(served.read_bytes())
    done, _ = open_elsewhere(tmp_path, downloaded[1], IMDB, BENCH_DATA=str(tmp_path))
    _, origin, revision, fingerprint, _ = json.loads(done.stdout)
    assert (origin, revision, fingerprint) == ("mirror imdb", None, downloaded[2][3])


def test_the_clients_own_cache_serves_when_it_is_told_to_stay_offline(
    downloaded: tuple[Path, str, list[object]], tmp_path: Path
) -> None:
    folder, address, first = downloaded
    data = {**IMDB, "hub_revision": COMMIT}
    extra = {"HF_HUB_OFFLINE": "1", "BENCH_CACHE": str(tmp_path)}
    done, _ = open_elsewhere(folder, address, data, **extra)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == first


def test_a_pinned_revision_that_the_hub_lacks_is_named(hub: Path, tmp_path: Path) -> None:
    with HubServer(hub) as server:
        done, _ = open_elsewhere(tmp_path, server.address, {**IMDB, "hub_revision": "f" * 40})
    assert done.returncode == 2
    assert f"hub stanfordnlp/imdb has no revision {'f' * 40}" in one_line(done)
    assert not (tmp_path / "cache").exists()


def test_a_dataset_that_the_hub_lacks_is_named(hub: Path, tmp_path: Path) -> None:
    with HubServer(hub) as server:
        done, _ = open_elsewhere(tmp_path, server.address, {**IMDB, "hub_id": "nobody/nothing"})
    assert done.returncode == 2
    assert "has no dataset 'nobody/nothing'" in one_line(done)


def test_classes_declared_otherwise_than_on_the_hub_are_refused(hub: Path, tmp_path: Path) -> None:
    with HubServer(hub) as server:
        done, _ = open_elsewhere(tmp_path, server.address, {**IMDB, "labels": ["pos", "neg"]})
    assert done.returncode == 2
    assert "data.labels says ['pos', 'neg']" in one_line(done)


def test_unlabelled_rows_are_refused_not_trained_on(hub: Path, tmp_path: Path) -> None:
    splits = {"train": "train", "test": "unsupervised"}
    with HubServer(hub) as server:
        done, _ = open_elsewhere(tmp_path, server.address, {**IMDB, "hub_splits": splits})
    assert done.returncode == 2
    assert "test split, row 1: label -1 is outside the range 0..1" in one_line(done)
    assert not (tmp_path / "cache/corpora/imdb").exists()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            {"text_column": "txt"},
            "hub stanfordnlp/imdb, train split has no column 'txt' (data.text_column): did you mean",
        ),
        ({"label_column": "stars"}, "hub stanfordnlp/imdb, train split has no column 'stars' (data.label_column)"),
        ({"hub_splits": {"train": "train", "test": "tests"}}, "hub stanfordnlp/imdb has no split 'tests'"),
        ({"task": "tagging"}, "train split: the text column holds string, not a list for each sentence"),
        ({"task": "regression"}, "data.task=regression: such corpora are not downloaded from the hub"),
    ],
)
def test_a_configuration_that_the_hub_does_not_bear_out_is_refused_and_leaves_no_cache(
    hub: Path, tmp_path: Path, wrong: dict[str, object], reason: str
) -> None:
    with HubServer(hub) as server:
        done, _ = open_elsewhere(tmp_path, server.address, {**IMDB, **wrong})
    assert done.returncode == 2
    assert reason in one_line(done)
    assert not list((tmp_path / "cache").rglob("*.parquet"))


def test_a_file_that_is_cut_off_on_the_hub_is_refused_and_leaves_no_cache(hub: Path, tmp_path: Path) -> None:
    whole, cut = hub / "stanfordnlp" / "imdb", tmp_path / "hub" / "stanfordnlp" / "imdb"
    shutil.copytree(whole, cut)
    path = cut / "plain_text" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with HubServer(tmp_path / "hub") as server:
        done, _ = open_elsewhere(tmp_path, server.address, IMDB)
    assert done.returncode == 2
    assert "download of stanfordnlp/imdb failed" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "cache").rglob("*.parquet"))


def test_rows_without_a_text_are_left_out_of_a_download_and_a_warning_says_how_many(tmp_path: Path) -> None:
    content = tmp_path / "hub" / "someone" / "posts"
    content.mkdir(parents=True)
    texts = {"train": ["a post", "", "another post", " \n"], "test": ["a third post", "a fourth post"]}
    for name, split in texts.items():
        rows = [{"text": text, "label": row % 2, "body": 2} for row, text in enumerate(split)]
        (content / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (content / "train.jsonl").open("a") as lines:
        lines.write(json.dumps({"text": "b post", "label": 1, "body": 2}) + "\n")
    data = {"name": "posts", "hub_id": "someone/posts", "text_start_column": "body"}
    with HubServer(tmp_path / "hub") as server:
        done, _ = open_elsewhere(tmp_path, server.address, data)
    assert done.returncode == 0, done.stderr
    assert "hub someone/posts, train split: 2 rows without a text are left out" in done.stderr
    splits = json.loads(done.stdout.splitlines()[-1])[4]
    assert splits == {"train": [3, [0, 0, 1], "post"], "test": [2, [0, 1], "third post"]}
    assert json.loads((tmp_path / "cache/corpora/posts/source.json").read_text())["left_out"] == {"train": 2}


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://hub.invalid", "http://192.0.2.1"])
def test_with_neither_mirror_nor_network_one_line_comes_within_three_seconds(tmp_path: Path, endpoint: str) -> None:
    done, seconds = open_elsewhere(tmp_path, endpoint, IMDB)
    line = one_line(done)
    assert done.returncode == 2
    assert "data=imdb not found: no mirror (BENCH_DATA is not set), not in the cache" in line
    assert f"{endpoint} cannot be asked for stanfordnlp/imdb" in line
    assert "run 'python -m bench fetch data=imdb' where there is a network, or set BENCH_DATA=DIR" in line
    assert seconds < LOOKING
    assert not (tmp_path / "cache").exists()


def test_a_hub_that_accepts_and_then_stays_silent_costs_less_than_three_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done, seconds = open_elsewhere(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", IMDB)
    assert "(timed out)" in one_line(done)
    assert seconds < LOOKING


def test_a_client_told_to_stay_offline_answers_in_one_line(tmp_path: Path) -> None:
    done, seconds = open_elsewhere(tmp_path, "http://127.0.0.1:9", IMDB, HF_HUB_OFFLINE="1")
    assert "(HF_HUB_OFFLINE is set)" in one_line(done)
    assert seconds < LOOKING


def one_line(done: Done) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]
