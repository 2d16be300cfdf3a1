"""`inspect` on real runs: what it writes, what it says, and one clear line where it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.__main__ import main
from tests.conftest import Study, cache_folder

HOSTILE = 'match <script>alert("x")</script> </style> & goal'
RUSSIAN = "Матч и гол: кот сказал «да»"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with four finished runs of three classes."""
    study = Study(tmp_path_factory.mktemp("inspect"))
    study.write_corpus()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(cache_folder(tmp_path_factory)))
        for more in (
            ("model=gru",),
            ("model=lstm", "model.bidirectional=true", "model.num_layers=2", "model.pooling=attention"),
            ("model=bag", "model.pooling=mean"),
            ("model=attention", "model.pooling=mean", "model.heads=2"),
            ("model=gru", "data.tokens=char", "data.max_length=200"),
        ):
            bench.run(study.overrides("keep=best", "training.epochs=6", "model.kernel=torch", *more))
    return study


@pytest.fixture
def runs(trained: Study) -> dict[str, str]:
    """Their ids by cell; `characters` for the one that reads those."""
    found = {
        "characters" if record.config["data.tokens"] == "char" else str(record.config["model.cell"]): record.run_id
        for record in trained.records()
    }
    assert len(found) == 5
    return found


def inspected(trained: Study, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """The page and what was printed."""
    assert main(["inspect", f"results={trained.results}", *arguments]) == 0
    printed = capsys.readouterr().out
    page = re.search(r"^page  (.+)$", printed, re.MULTILINE)
    assert page is not None
    return Path(page[1]).read_text(encoding="utf-8"), printed


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    return said


def body(page: str) -> str:
    """What the page says, without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_it_says_what_is_predicted_because_of_which_tokens(trained, runs, capsys):
    page, printed = inspected(trained, capsys, runs["gru"], "the goal of the match was on the team")
    record = next(record for record in trained.records() if record.run_id == runs["gru"])
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.8, "a run that learned nothing explains nothing"
    assert re.search(rf"GRU {runs['gru'][:6]}: sport, \d+\.\d% \(next: \w+, \d+\.\d%\); 9 tokens", printed)
    towards = re.search(r"towards it: (.+)", printed)
    assert towards is not None
    assert {"goal", "match", "team"} & {part.split()[0] for part in towards[1].split(", ")}
    assert re.search(r"attributions sum to [+−]\d.*, within the tolerance", printed)
    for word in ("reset gate", "update gate", "candidate", "norm of h", "attribution", "P(sport)"):
        assert word in body(page)
    assert "forget gate" not in body(page)
    assert body(page).count("<canvas") == 4
    assert 'data-figure="running-1"' in page


def test_two_runs_stand_side_by_side(trained, runs, capsys):
    page, printed = inspected(trained, capsys, runs["gru"], runs["lstm"], "the bank and the profit", "a guitar")
    assert "agree on" in page
    for name in (f"GRU {runs['gru'][:6]}", f"LSTM {runs['lstm'][:6]}"):
        assert printed.count(f"  {name}: ") == 2
        assert body(page).count(f"<h3>{name}</h3>") == 4
    text = body(page)
    for layer in ("layer 1, forward", "layer 1, backward", "layer 2, forward", "layer 2, backward"):
        assert f"Inside {layer}:" in text
    for word in ("forget gate", "input gate", "output gate", "norm of c", "share in pooling"):
        assert word in text
    assert text.count("<canvas") == 2 * (4 + 4 * 6)


def test_the_page_asks_for_nothing_and_shows_text_as_text(trained, runs, capsys):
    page, _ = inspected(trained, capsys, runs["gru"], HOSTILE)
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert len(re.findall('<script type="', page)) == 2
    assert not re.search(r'(?:src|href)="(?!#|data:)', body(page))
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_baselines_have_attributions_and_attention_shows_what_it_reads(trained, runs, capsys):
    bag, _ = inspected(trained, capsys, runs["bag"], "the album of the singer")
    assert "<canvas" not in bag
    assert "attribution" in body(bag)
    assert "there are no gates to show" in body(bag)
    attention, _ = inspected(trained, capsys, runs["attention"], "the album of the singer")
    assert "attention received" in body(attention)


def test_a_long_text_is_folded_into_lines_and_cut_as_in_training(trained, runs, capsys):
    page, printed = inspected(trained, capsys, runs["gru"], "the match and the goal " * 60)
    assert "20 tokens, 280 more tokens cut (data.max_length)" in printed
    assert len(re.findall(r'<table class="grid">', page)) == 4


def test_many_tokens_fold_behind_a_line_that_opens_them(trained, runs, capsys):
    page, printed = inspected(trained, capsys, runs["characters"], "a goal " * 20)
    assert "139 tokens" in printed
    text = body(page)
    assert text.count('<table class="grid">') == 16
    assert text.count("<summary>Tokens 77 to 139</summary>") == 2
    assert "␣" in text


def test_russian_and_words_never_seen(trained, runs, capsys):
    page, printed = inspected(trained, capsys, runs["gru"], RUSSIAN)
    assert "without a vector of their own" in printed
    assert "the answer says nothing" in printed
    assert "no token has a vector of its own" in body(page)
    assert "сказал" in body(page)


def test_texts_from_a_file_and_from_standard_input(trained, runs, capsys):
    file = trained.folder / "texts.txt"
    file.write_text("a goal\n\nthe bank of the euro\n", encoding="utf-8")
    page, printed = inspected(trained, capsys, runs["gru"][:8], "--file", str(file), "--output", str(file) + ".html")
    assert f"page  {file}.html" in printed
    assert body(page).count('class="passage"') == 2
    done = subprocess.run(
        [sys.executable, "-m", "bench", "inspect", "latest", "--output=standard.html"],
        cwd=trained.folder, input="a goal\nan album\n", capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (trained.folder / "standard.html").is_file()


def test_asking_again_writes_the_same_file(trained, runs, capsys):
    places = {inspected(trained, capsys, runs["gru"], "a goal")[1].splitlines()[-1] for _ in range(2)}
    other = inspected(trained, capsys, runs["gru"], "a bank")[1].splitlines()[-1]
    assert len({*places, other}) == 2


def test_after_two_dashes_every_word_is_a_text(trained, runs, capsys):
    _, printed = inspected(trained, capsys, runs["gru"], "--", runs["lstm"])
    assert f"LSTM {runs['lstm'][:6]}" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "a text"], "no run ''"),
        (["nosuchrun", "a text"], "no run 'nosuchrun'"),
        (["GRU", "123abc456def", "a text"], "no run '123abc456def'"),
        (["GRU", "GRU", "a text"], "is named twice"),
        (["GRU", "LSTM", "BAG", "a text"], "one or two runs"),
        (["GRU", ""], "the text is empty"),
        (["GRU", "   "], "the text is empty"),
        (["GRU", "a text", "--color"], "unknown flag '--color'"),
        (["GRU", "--file"], "--file needs a value"),
        (["GRU", "--file", "nowhere.txt"], "nowhere.txt: No such file"),
        (["GRU", "a text", "--file", "texts.txt"], "give one of them"),
        (["GRU", *["a text"] * 21], "at most 20"),
        (["GRU", "a text", "--gradients"], "leave the text out"),
        ([], "name a run"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(trained, runs, capsys, arguments, said):
    words = [runs.get(word.lower(), word) if word.isupper() else word for word in arguments]
    assert said in refused(capsys, f"results={trained.results}", *words)


def test_a_file_that_is_no_text_and_a_run_of_another_task_are_refused(trained, runs, capsys, tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"good\n\xff\xfe bad")
    said = refused(capsys, runs["gru"], "--file", str(tmp_path / "texts.txt"), f"results={trained.results}")
    assert "is not UTF-8 (byte 5)" in said
    said = refused(capsys, runs["gru"], "a text", "--output", str(tmp_path), f"results={trained.results}")
    assert "is a folder" in said


def test_a_run_that_kept_no_weights_says_how_to_have_them(study, capsys):
    record = bench.run(study.overrides("keep=none", "training.epochs=1"))
    said = refused(capsys, record.run_id, "a text", f"results={study.results}")
    assert "keep=best" in said


def test_a_run_of_another_task_is_named(study, capsys):
    record = bench.run(study.overrides("keep=best", "training.epochs=1"))
    (path,) = study.results.glob("runs/*/*/record.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data.task": "tagging"}))
    said = refused(capsys, record.run_id, "a text", f"results={study.results}")
    assert "data.task=tagging" in said
