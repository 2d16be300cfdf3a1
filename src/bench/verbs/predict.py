"""`python -m bench predict RUN_ID < texts`: label texts, one a line, with a finished run that kept its weights.

RUN_ID may be the beginning of one, or `latest`: of the finished runs with weights, the one started last. FILE takes the
place of standard input. Every line, an empty one too, gets one line of JSON, in the same order and as soon as it has
arrived: label, probability (the label's), probabilities (of every class), unseen. `unseen` is true where no token that
was read has a vector of its own, so that the answer says nothing of the text. text=true repeats the text in front.
Texts are cleaned and cut as the run cut its test texts (data.max_length, data.test_max_length).
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError, did_you_mean, notice
from bench.processor import limit_spinning, usable_cores
from bench.runs.environment import code_version
from bench.runs.store import Store
from bench.runs.weights import check_labels_texts, find_weights
from bench.verbs.arriving_lines import arriving_lines

if TYPE_CHECKING:
    from bench.runs.trained import Prediction, TrainedRun

USAGE = "python -m bench predict RUN_ID [FILE] [results=DIR] [text=true] [device=cpu|cuda]"

_KEYS = ("results", "text", "device")
_TRUTH = {"true": True, "false": False}
_MOST_LINES = 2048  # answered together where so many wait


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. run: as typed;  file: None for standard input;  text: whether answers repeat their text."""

    run: str
    file: Path | None
    results: Path
    text: bool
    device: str


def predict(arguments: Sequence[str]) -> int:
    """Label every line of the input; returns the exit code.

    Raises: `UserError` if the run or the file cannot be used, before anything is read, and for a line that is not
    UTF-8, once the lines before it are answered.
    """
    request = _parse(arguments)
    store = Store(request.results)
    record, _ = find_weights(store, request.run)  # a wrong one is answered before torch is imported
    check_labels_texts(record)
    with _opened(request.file) as descriptor:
        trained = _loaded(store, request)
        if os.isatty(descriptor):
            print("one text a line; Ctrl-D ends", file=sys.stderr)
        source, first = "standard input" if request.file is None else str(request.file), 1
        for lines in arriving_lines(descriptor, _MOST_LINES):
            texts, refused = _decoded(lines, first, source)
            _write(texts, trained.predict(texts), with_text=request.text)
            if refused is not None:
                raise refused
            first += len(lines)
    return 0


def _parse(arguments: Sequence[str]) -> Request:
    """Raises: `UserError` for arguments that are not understood, with the usage."""
    names: list[str] = []
    given = {"results": "results", "text": "false", "device": "cpu"}
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals and (word == "-" or not word.startswith("-")):
            names.append(word)
        elif key not in given:
            raise UserError(f"predict: unknown argument '{word}': {did_you_mean(key, _KEYS)} ({USAGE})")
        elif not value:
            raise UserError(f"predict: {key} needs a value ({USAGE})")
        else:
            given[key] = value
    if not 1 <= len(names) <= 2:
        raise UserError(f"predict: name one run, by its id, the beginning of it, or latest ({USAGE})")
    if given["text"] not in _TRUTH:
        raise UserError(f"predict: text={given['text']}: {did_you_mean(given['text'], _TRUTH)}")
    return Request(
        run=names[0],
        file=None if names[1:] in ([], ["-"]) else Path(names[1]).expanduser(),
        results=Path(given["results"]).expanduser(),
        text=_TRUTH[given["text"]],
        device=given["device"],
    )


@contextmanager
def _opened(file: Path | None) -> Iterator[int]:
    """The descriptor to read from, unbuffered."""
    if file is None and sys.stdin is None:
        raise UserError(f"predict: there is no standard input; name a file with one text a line ({USAGE})")
    if file is None:
        yield sys.stdin.fileno()
        return
    try:
        stream = file.open("rb", buffering=0)
    except OSError as error:
        raise UserError(f"predict: cannot read {file}: {error.strerror}; name a file with one text a line") from None
    with stream:
        yield stream.fileno()


def _loaded(store: Store, request: Request) -> TrainedRun:
    """The run, ready: what is set up at the first use is set up."""
    limit_spinning()
    import torch

    from bench.runs.trained import load

    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    trained = load(store, request.run, request.device)
    recorded, here = trained.record.code_version, code_version()
    if recorded != here:
        notice(
            f"run {trained.record.run_id} was trained by code {recorded}, and this is {here}: "
            "answers may differ from those that it was evaluated with"
        )
    trained.predict([""])
    return trained


def _decoded(lines: Sequence[bytes], first: int, source: str) -> tuple[list[str], UserError | None]:
    """The texts before the first line that is none, and what to say of that one. first: the number of lines[0]."""
    texts = []
    for number, line in enumerate(lines, first):
        whole = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            texts.append(whole.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            return texts, UserError(
                f"{source}, line {number}: byte {error.start + 1} is not UTF-8 (0x{whole[error.start]:02x}): convert "
                "the texts first, such as with iconv -f LATIN1 -t UTF-8"
            )
    return texts, None


def _write(texts: Sequence[str], answers: Sequence[Prediction], *, with_text: bool) -> None:
    """One line of JSON for each answer, in UTF-8 whatever the locale says, and nothing left in a buffer."""
    lines = []
    for text, answer in zip(texts, answers, strict=True):
        entry = {
            **({"text": text} if with_text else {}),
            "label": answer.label,
            "probability": _rounded(answer.probability),
            "probabilities": {name: _rounded(value) for name, value in answer.probabilities.items()},
            "unseen": answer.unseen,
        }
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    sys.stdout.buffer.write("".join(lines).encode())
    sys.stdout.buffer.flush()


def _rounded(probability: float) -> float:
    """Seven significant digits: what float32 holds."""
    return float(f"{probability:.7g}")
