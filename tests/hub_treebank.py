"""A treebank as the Hugging Face hub has it: a loading script that nobody runs, and the hub's Parquet export of it.

Files, columns and tag names are those of https://huggingface.co/datasets/universal-dependencies/universal_dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

TREEBANK = "universal-dependencies/universal_dependencies"
TAGS = [
    "NOUN", "PUNCT", "ADP", "NUM", "SYM", "SCONJ", "ADJ", "PART", "DET", "CCONJ", "PROPN", "PRON", "X", "_", "ADV",
    "INTJ", "VERB", "AUX",
]  # fmt: skip
FIELDS = {"tokens": 1, "lemmas": 2, "upos": 3, "xpos": 4, "feats": 5, "head": 6, "deprel": 7, "deps": 8, "misc": 9}
SPLITS = {"train": "train", "dev": "validation", "test": "test"}  # our names and the hub's

_TEXT = {name: List(Value("string")) for name in FIELDS}
FEATURES = {"idx": Value("string"), "text": Value("string"), **_TEXT, "upos": List(ClassLabel(names=TAGS))}

# A range, an empty node, a word in capitals, one with a blank in it, and one whose form and lemma are `_`.
SENTENCES = """# sent_id = {split}-1
# text = Don't go to 10 000 _ !
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
4\tto\tto\tADP\tIN\t_\t5\tcase\t_\t_
5\t10 000\t10000\tNUM\tCD\t_\t3\tobl\t_\t_
6\t_\t_\tSYM\tSYM\t_\t5\tdep\t_\t_
7\t!\t!\tPUNCT\t.\t_\t3\tpunct\t_\t_

# sent_id = {split}-2
# text = Ann sings and Bo dances
1\tAnn\tAnn\tPROPN\tNNP\tNumber=Sing\t2\tnsubj\t2:nsubj\t_
2\tsings\tsing\tVERB\tVBZ\t_\t0\troot\t0:root\t_
3\tand\tand\tCCONJ\tCC\t_\t2\tcc\t2:cc\t_
4\tBo\tBo\tPROPN\tNNP\t_\t2\tconj\t2:conj\t_
4.1\tsings\tsing\tVERB\tVBZ\t_\t_\t_\t2:conj\tCopyOf=2
5\tdances\tdance\tNOUN\tNNS\t_\t4\torphan\t4.1:obj\t_

"""
Rows = list[dict[str, Any]]


def conllu(split: str) -> str:
    """Two sentences of a split, and a third one to train."""
    third = SENTENCES.format(split="train").split("\n\n")[1].replace("train-2", "train-3").replace("Ann", "Eve")
    return SENTENCES.format(split=split) + (f"{third}\n\n" if split == "train" else "")


def write_conllu(folder: Path) -> None:
    """The treebank in the files of its makers."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        (folder / f"{split}.conllu").write_text(conllu(split), encoding="utf-8")


def rows_of(text: str) -> Rows:
    """Every line of a sentence is a word to the hub, ranges and empty nodes too; what is absent is written `None`."""
    rows: Rows = []
    for block in text.strip().split("\n\n"):
        identity, sentence, *lines = block.split("\n")
        words = [line.split("\t") for line in lines]
        row: dict[str, Any] = {"idx": identity.partition(" = ")[2], "text": sentence.partition(" = ")[2]}
        row |= {name: [word[field] for word in words] for name, field in FIELDS.items()}
        rows.append(row | {"head": [word[6].replace("_", "None") for word in words]})
    return rows


def write_export(
    folder: Path,
    name: str = TREEBANK,
    *,
    change: Callable[[Rows], object] = len,
    features: Mapping[str, object] = FEATURES,
    config: str = "en_ewt",
) -> Path:
    """A dataset for a `HubServer`: its script, and the export. change: is done to the rows of every split."""
    (folder / name).mkdir(parents=True)
    (folder / name / f"{name.rpartition('/')[2]}.py").write_text("raise SystemExit('a script that nobody runs')\n")
    (folder / name / "README.md").write_text("# A treebank\n")
    export = folder / f"{name}.export" / config
    for split, theirs in SPLITS.items():
        rows = rows_of(conllu(split))
        change(rows)
        (export / theirs).mkdir(parents=True)
        columns = {column: [row[column] for row in rows] for column in features}
        Dataset.from_dict(columns, Features(features)).to_parquet(export / theirs / "0000.parquet")
        (export / theirs / "index.duckdb").write_bytes(b"no data")
    return export
