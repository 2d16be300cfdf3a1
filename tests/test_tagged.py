"""Sentences with a tag on every word: lists in Parquet and JSON lines, and CoNLL-U."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.config import DataConfig
from bench.data.sources import Corpus, open_corpus
from bench.errors import UserError

WORDS = [["Time", "flies"], ["Do", "n't", "!"], ["снег"]]
TAGS = [["NOUN", "VERB"], ["AUX", "PART", "PUNCT"], ["NOUN"]]
CONLLU = """# newdoc
# sent_id = first
1\tTime\ttime\tNOUN\tNN\t_\t2\tnsubj\t_\t_
2\tflies\tfly\tVERB\tVBZ\t_\t0\troot\t_\t_

# sent_id = second
# text = Don't!
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_
3\t!\t!\tPUNCT\t.\t_\t1\tpunct\t_\t_

# sent_id = third
1\tснег\tснег\tNOUN\t_\t_\t0\troot\t_\t_

"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def tagged(folder: Path, **keys: object) -> DataConfig:
    data = DataConfig(name="mine", task="tagging", path=str(folder), text_column="tokens", label_column="upos")
    return replace(data, **keys)  # type: ignore[arg-type]


def write(folder: Path, kind: str, words: object = WORDS, tags: object = TAGS, split: str = "train") -> None:
    if kind == ".parquet":
        pq.write_table(pa.table({"tokens": words, "upos": tags}), folder / "train.parquet")
    elif kind == ".jsonl":
        rows = zip(words, tags, strict=True)  # type: ignore[call-overload]
        lines = [json.dumps({"tokens": sentence, "upos": row}) for sentence, row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    else:
        (folder / "train.conllu").write_text(CONLLU, encoding="utf-8")


def complaint(data: DataConfig) -> str:
    with pytest.raises(UserError) as caught:
        open_corpus(data)
    assert "\n" not in str(caught.value)
    assert list(Path(os.environ["BENCH_CACHE"]).rglob("*")) == []
    return str(caught.value)


def tags_of(corpus: Corpus, split: str = "train") -> list[list[str]]:
    """The tags of each sentence, by name."""
    tags = corpus.splits[split].tags
    assert tags is not None
    names = [corpus.label_names[value] for value in tags.values]
    return [names[start:end] for start, end in zip(tags.offsets[:-1], tags.offsets[1:], strict=True)]


@pytest.mark.parametrize("kind", [".parquet", ".jsonl", ".conllu"])
def test_every_format_gives_words_and_their_tags(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    corpus = open_corpus(tagged(tmp_path))
    split = corpus.splits["train"]
    assert [text.split() for text in split.texts] == WORDS
    assert split.texts[1] == "Do n't !"
    assert tags_of(corpus) == TAGS
    assert corpus.label_names == ("AUX", "NOUN", "PART", "PUNCT", "VERB")
    assert (split.labels.shape, split.labels.dtype, corpus.sizes) == ((0,), "int64", {"train": 3})
    assert split.ids == (["first", "second", "third"] if kind == ".conllu" else ["train-0", "train-1", "train-2"])


def test_all_formats_have_one_fingerprint_which_follows_words_and_tags(tmp_path: Path) -> None:
    corpora = []
    for kind in (".parquet", ".jsonl", ".conllu"):
        (tmp_path / kind).mkdir()
        write(tmp_path / kind, kind)
        corpora.append(open_corpus(tagged(tmp_path / kind)))
    same = {corpus.fingerprint for corpus in corpora}
    others = set()
    swapped = [["VERB", "NOUN"], *TAGS[1:]]
    joined = [["Time"], ["flies", "Do", "n't", "!"], ["снег"]]
    for words, tags in ((WORDS, swapped), (joined, [["NOUN"], ["VERB", "AUX", "PART", "PUNCT"], ["NOUN"]])):
        write(tmp_path / ".jsonl", ".jsonl", words, tags)
        others.add(open_corpus(tagged(tmp_path / ".jsonl")).fingerprint)
    assert (len(same), len(others), len(same | others)) == (1, 2, 3)


def test_a_blank_within_a_word_does_not_divide_it(tmp_path: Path) -> None:
    write(tmp_path, ".parquet", [["10 000", "\u2009a\u00a0b"], ["c"]], [["NUM", "X"], ["X"]])
    split = open_corpus(tagged(tmp_path)).splits["train"]
    assert split.texts == ["10_000 _a_b", "c"]
    assert [len(text.split()) for text in split.texts] == [2, 1]


def test_deduplication_keeps_sentences_and_tags_together(tmp_path: Path) -> None:
    write(tmp_path, ".jsonl", [*WORDS, WORDS[1], ["end"]], [*TAGS, ["X", "X", "X"], ["VERB"]])
    corpus = open_corpus(tagged(tmp_path, deduplicate=True))
    assert list(corpus.splits["train"].texts) == ["Time flies", "Do n't !", "снег", "end"]
    assert tags_of(corpus) == [*TAGS, ["VERB"]]
    assert corpus.sizes == {"train": 4}


@pytest.mark.parametrize(
    ("words", "tags", "says"),
    [
        (WORDS, [["NOUN", "VERB"], ["AUX", "PART"], ["NOUN"]], "row 2: 3 words but 2 tags"),
        ([*WORDS, []], [*TAGS, []], "1 empty text, first in row 4"),
        ([["a", " "], ["b"]], [["X", "X"], ["Y"]], "1 empty text, first in row 1"),
        ([["a", None], ["b"]], [["X", "X"], ["Y"]], "1 empty text, first in row 1"),
        ([["a"], ["b", "c"]], [["X"], ["Y", None]], "1 rows without a label, first row 2"),
        (["a b", "c"], [["X"], ["Y"]], "the text column holds string, not a list for each sentence"),
        (WORDS, ["A", "B", "C"], "the label column holds string, not a list for each sentence"),
        ([["a"], ["b"]], [["X"], ["X"]], "holds one class only ('X')"),
    ],
)
def test_what_is_no_tagged_sentence_is_named(tmp_path: Path, words: object, tags: object, says: str) -> None:
    write(tmp_path, ".parquet", words, tags)
    assert f"{tmp_path / 'train.parquet'}" in (line := complaint(tagged(tmp_path)))
    assert says in line


def test_a_tag_that_is_no_class_is_placed_in_its_sentence(tmp_path: Path) -> None:
    write(tmp_path, ".jsonl")
    write(tmp_path, ".jsonl", [["a"], ["b", "c"], ["d"]], [["NOUN"], ["NOUN", "VERBS"], ["NOUN"]], split="test")
    assert "test.jsonl, row 2: label 'VERBS' does not occur in the train split: did you mean 'VERB'?" in complaint(
        tagged(tmp_path)
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2\tflies\tfly\t", "2\tflies\t", "line 4: 9 fields where CoNLL-U has 10, divided by tabs"),
        ("\n\n# sent_id = third", "\n# sent_id = third", "line 14: word 1 where word 4 is due"),
        ("# newdoc", "no comment", "line 1: 1 field where"),
        ("n't\tnot\tPART", "n't\tnot\t_", "1 rows without a label, first row 2"),
    ],
)
def test_malformed_conllu_is_placed(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in CONLLU
    (tmp_path / "train.conllu").write_text(CONLLU.replace(old, new), encoding="utf-8")
    assert "train.conllu" in (line := complaint(tagged(tmp_path)))
    assert says in line


def test_conllu_that_ends_within_a_sentence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.conllu").write_text(CONLLU.rstrip("\n") + "\n", encoding="utf-8")
    assert "train.conllu, line 15: the file ends within a sentence" in complaint(tagged(tmp_path))


def test_a_field_that_conllu_does_not_have_is_named(tmp_path: Path) -> None:
    write(tmp_path, ".conllu")
    assert "no column 'upso' (data.label_column): did you mean 'upos'?" in complaint(
        tagged(tmp_path, label_column="upso")
    )


def test_a_folder_of_labelled_texts_is_no_tagged_corpus(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    assert "put one of train.parquet, train.jsonl, train.conllu there (found: train.csv)" in complaint(tagged(tmp_path))
