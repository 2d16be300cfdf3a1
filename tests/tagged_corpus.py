"""A tiny corpus of tagged sentences in which some words need their neighbours to be told."""

from __future__ import annotations

import json
import random

from tests.conftest import Study

TAGS = ("DET", "NOUN", "PRON", "PUNCT", "VERB")
_NOUNS = ["can", "fish", "boat", "river", "cook"]
_VERBS = ["can", "fish", "cook", "swim"]


def sentence(draw: random.Random) -> list[tuple[str, str]]:
    """Words and their tags: `can`, `fish` and `cook` are nouns behind an article and verbs behind a pronoun."""
    words: list[tuple[str, str]] = []
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.5:
            words += [(draw.choice(["the", "a"]), "DET"), (draw.choice(_NOUNS), "NOUN")]
        else:
            words += [(draw.choice(["they", "we"]), "PRON"), (draw.choice(_VERBS), "VERB")]
    return [*words, (".", "PUNCT")]


def write_tagged(study: Study, texts: int = 90, splits: tuple[str, ...] = ("train", "dev", "test")) -> None:
    """Sentences as JSON lines; a third as many in dev and in test."""
    for old in study.data.glob("*.jsonl"):
        old.unlink()
    draw = random.Random(11)
    for split in splits:
        rows = [sentence(draw) for _ in range(texts if split == "train" else texts // 3)]
        lines = [json.dumps({"tokens": [w for w, _ in row], "upos": [t for _, t in row]}) for row in rows]
        (study.data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


TAGGED = ("data.task=tagging", "data.text_column=tokens", "data.label_column=upos", "model.dropout=0")
