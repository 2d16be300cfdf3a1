"""`python -m bench inspect RUN_ID "a text"`: what a trained network does with a text, token by token.

Writes one page that works offline: the activation of every gate and the norms of the states per token, the prediction
after each token, and what each token adds to the decision (integrated gradients). Two runs stand side by side.

  python -m bench inspect RUN_ID "not a bad film at all"
  python -m bench inspect RUN_A RUN_B "not a bad film at all"      a GRU next to an LSTM
  python -m bench inspect RUN_ID "first text" "second text"
  python -m bench inspect RUN_ID --file reviews.txt                one text a line
  python -m bench inspect RUN_ID < reviews.txt
  python -m bench inspect RUN_ID --gradients                       how gradients vanish over the texts of its corpus

RUN_ID is the id of a run or the beginning of one. After `--` every word is a text, also one that looks like a run.
The page goes to RESULTS/inspect/ or to --output FILE.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, did_you_mean
from bench.files import write_atomically
from bench.processor import limit_spinning

USAGE = 'python -m bench inspect RUN_ID [RUN_ID] ["TEXT" ...] [--file FILE] [--gradients] [--output FILE] [results=DIR]'
MOST_TEXTS = 20  # on one page
_VALUES = ("--file", "--output")
_FLAGS = ("--gradients", *_VALUES)
_LOOKS_LIKE_A_RUN = re.compile(r"(?=.*\d)[0-9a-f]{6,}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. runs: ids or beginnings of them;  output: where the page goes, None for RESULTS/inspect."""

    runs: tuple[str, ...]
    texts: tuple[str, ...]
    results: Path
    output: Path | None
    gradients: bool


def inspect(arguments: Sequence[str]) -> int:
    """Write a page on a text, or on gradients, and say where it lies.

    Raises: `UserError` for arguments it does not know, runs that cannot be loaded and texts without a token.
    """
    request = _parse(arguments)
    limit_spinning()
    if request.gradients:
        from bench.verbs.inspect_gradients import inspect_gradients

        return inspect_gradients(request)
    from bench.verbs.inspect_texts import inspect_texts

    return inspect_texts(request)


def write_page(page: Path, content: bytes) -> None:
    """Put a page where it was asked for, whole.

    Raises: `UserError` if it cannot be written there.
    """
    try:
        write_atomically(page, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise UserError(f"inspect: cannot write {page}: {error.strerror}") from None


def _parse(arguments: Sequence[str]) -> Request:
    """The arguments as a request.

    Raises: `UserError` for unknown flags, missing values, no run, more than two runs, no or too many texts, and a
    folder where a page should go.
    """
    given, words, texts = _sorted_out(list(arguments))
    results = Path(given.get("results", "results")).expanduser()
    if not words:
        raise UserError(f"inspect: name a run, by its id or the beginning of it ({USAGE})")
    count = 1 + next((place for place, word in enumerate(words[1:]) if not _is_run(word, results)), len(words) - 1)
    runs, texts = tuple(words[:count]), [*words[count:], *texts]
    gradients = "--gradients" in given
    if gradients and (texts or "--file" in given):
        raise UserError("inspect: --gradients reads the run's own corpus: leave the text out")
    if len(runs) > 2 and not gradients:
        raise UserError(f"inspect: {', '.join(runs)}: a page shows one or two runs; write -- before the first text")
    if not gradients:
        texts = list(_texts(texts, given.get("--file")))
    output = Path(given["--output"]).expanduser() if "--output" in given else None
    if output is not None and output.is_dir():
        raise UserError(f"inspect: --output {output} is a folder: name a file, such as {output / 'page.html'}")
    return Request(runs=runs, texts=tuple(texts), results=results, output=output, gradients=gradients)


def _sorted_out(arguments: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Flags and keys with their values, words before `--`, and words behind it."""
    given: dict[str, str] = {}
    words: list[str] = []
    while arguments:
        argument = arguments.pop(0)
        name, sign, value = argument.partition("=")
        if argument == "--":
            return given, words, arguments
        if name in _VALUES:
            if not sign and not arguments:
                raise UserError(f"inspect: {name} needs a value ({USAGE})")
            given[name] = value if sign else arguments.pop(0)
        elif argument in _FLAGS:
            given[argument] = ""
        elif name == "results" and sign:
            given[name] = value
        elif re.fullmatch(r"-{1,2}[A-Za-z][\w-]*", name):
            raise UserError(f"inspect: unknown flag '{argument}': {did_you_mean(name, _FLAGS)} ({USAGE})")
        else:
            words.append(argument)
    return given, words, []


def _is_run(word: str, results: Path) -> bool:
    """Whether a word behind the first one names a run and is no text: it begins a run's id, or could only be one."""
    if not re.fullmatch("[0-9a-f]+", word):
        return False
    known = (results / "runs").is_dir() and any((results / "runs").glob(f"{word}*"))
    return bool(_LOOKS_LIKE_A_RUN.fullmatch(word)) or (known and bool(re.search(r"\d", word)))


def _texts(typed: Sequence[str], file: str | None) -> Iterator[str]:
    """The texts: as typed, else the lines of a file, else those of standard input; blank lines are left out.

    Raises: `UserError` where there is none, too many, or one that is no text.
    """
    if typed and file is not None:
        raise UserError("inspect: a text and --file: give one of them")
    lines = list(typed) or _lines(file)
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        where = "the text" if typed else file or "standard input"
        raise UserError(f'inspect: {where} is empty: give a text, as in python -m bench inspect RUN_ID "a good film"')
    if len(found) > MOST_TEXTS:
        raise UserError(
            f"inspect: {len(found):,} texts, and a page shows at most {MOST_TEXTS}: give fewer lines, or label them "
            "with `python -m bench predict RUN_ID`"
        )
    yield from found


def _lines(file: str | None) -> list[str]:
    if file is None and sys.stdin.isatty():
        raise UserError(f'inspect: which text? python -m bench inspect RUN_ID "a good film", or --file FILE ({USAGE})')
    name = file or "standard input"
    try:
        raw = Path(file).expanduser().read_bytes() if file else sys.stdin.buffer.read()
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"inspect: {name} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"inspect: {name}: {error.strerror}") from None
