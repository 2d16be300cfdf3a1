"""Sentences in the CoNLL-U format of Universal Dependencies (https://universaldependencies.org/format.html)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from bench.data.reading.lines import Choose, utf8_lines
from bench.errors import UserError

_FIELDS = {"tokens": 1, "form": 1, "lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "head": 6, "deprel": 7}
_SENTENCES = 4_096  # of one piece


def read_conllu(path: Path, choose: Choose) -> Iterator[pa.Table]:
    """The chosen fields, a list of words' fields for each sentence; `id` is the comment `sent_id`.

    Words are syntactic words: ranges such as `4-5` and empty nodes such as `8.1` are left out. `_` is no tag.
    Raises: `UserError` that names the line if it has not ten fields, or if the file ends within a sentence.
    """
    chosen = choose([*_FIELDS, "id"])
    columns: dict[str, list[object]] = {name: [] for name in chosen}
    for identity, words in _sentences(path):
        for name in chosen:
            columns[name].append(identity if name == "id" else [_field(word, name) for word in words])
        if len(columns[chosen[0]]) == _SENTENCES:
            yield _table(columns)
            columns = {name: [] for name in chosen}
    if columns[chosen[0]]:
        yield _table(columns)


def _table(columns: dict[str, list[object]]) -> pa.Table:
    kinds = {name: pa.string() if name == "id" else pa.list_(pa.string()) for name in columns}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def _field(word: list[str], name: str) -> str | None:
    value = word[_FIELDS[name]]
    return None if value == "_" and name not in ("tokens", "form", "lemma") else value


def _sentences(path: Path) -> Iterator[tuple[str | None, list[list[str]]]]:
    """The `sent_id` and the ten fields of each word, sentence by sentence."""
    identity: str | None = None
    words: list[list[str]] = []
    number = 0
    for number, line in enumerate(utf8_lines(path), start=1):
        text = line.rstrip("\r\n")
        key, equals, value = text.partition("=")
        if text.startswith("#"):
            identity = value.strip() if equals and key[1:].strip() == "sent_id" else identity
        elif text:
            fields = text.split("\t")
            if len(fields) != 10:
                counted = f"{len(fields)} field{'s' * (len(fields) > 1)} where CoNLL-U has 10, divided by tabs"
                raise UserError(f"{path}, line {number}: {counted}; mend that line")
            if fields[0].isdecimal():
                words.append(fields)
            if fields[0].isdecimal() and fields[0] != str(len(words)):
                due = f"word {fields[0]} where word {len(words)} is due"
                raise UserError(f"{path}, line {number}: {due}; an empty line closes a sentence")
        elif words:
            yield identity, words
            identity, words = None, []
    if words:
        raise UserError(
            f"{path}, line {number}: the file ends within a sentence, without the empty line that closes it: "
            "copy it again, or add that line"
        )
