"""`python -m bench clean`: what results and caches weigh, and less of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from rich.console import Console
from rich.table import Table

from bench.errors import UserError, did_you_mean
from bench.files import cache_root
from bench.runs.folders import CHECKPOINT, RECORD
from bench.runs.store import CURVE, PREDICTIONS, WEIGHTS, WEIGHTS_LAST, Store
from bench.verbs.sizes import files_below, readable

USAGE = "python -m bench clean [keep=none|best|all] [cache=true|vectors|all] [pages=true] [results=DIR]"

_CHOICES = {"keep": ("none", "best", "all"), "cache": ("true", "vectors", "all", "false"), "pages": ("true", "false")}
_KINDS = {
    RECORD: "records", CHECKPOINT: "checkpoints", PREDICTIONS: "predictions", CURVE: "curves",
    WEIGHTS: "weights", WEIGHTS_LAST: "weights",
}  # fmt: skip
# What may be asked for, and the parts of the cache that go then.
_MADE_AGAIN = ("encoded", "composed", "fingerprints")  # by the next run, in seconds
_VECTORS = ("vectors", "trained")  # made again from vector files and corpora
_DOWNLOADS = ("corpora", "vectors-files")  # to be had again from a network alone
_PARTS: dict[str, tuple[str, ...]] = {
    "false": (), "true": _MADE_AGAIN, "vectors": _VECTORS, "all": (*_MADE_AGAIN, *_VECTORS, *_DOWNLOADS),
}  # fmt: skip
_TRACKERS = ("wandb", "csv", "tensorboard")
_PAGES = "inspect"  # the folder of what `inspect` wrote, which it writes again in seconds
_FOLDERS = (*_TRACKERS, _PAGES)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. keep: the weights to keep, None to only report; parts: of the cache, to be emptied; pages:
    whether those of `inspect` go."""

    keep: Literal["none", "best", "all"] | None
    parts: tuple[str, ...]
    pages: bool
    results: Path


@dataclass
class Pile:
    """A number of files and their size in bytes."""

    files: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Put one more file on it."""
        self.files += 1
        self.size += size


def clean(arguments: Sequence[str]) -> int:
    """Report what lies on disk, or make it less; never deletes a record, a prediction or a curve.

    Raises: `UserError` for arguments it does not know, and for files that cannot be deleted.
    """
    request = _parse(arguments)
    console = Console(highlight=False, soft_wrap=True)
    freed = _delete(_unwanted_weights(request))
    folders = [cache_root() / name for name in request.parts]
    for folder in [*folders, *([request.results / _PAGES] if request.pages else [])]:
        emptied = _empty(folder)
        freed = Pile(freed.files + emptied.files, freed.size + emptied.size)
    results, caches = _results_piles(request.results), _cache_piles()
    for title, piles in ((f"results in {request.results}", results), (f"caches in {cache_root()}", caches)):
        console.print(title, _as_table(piles), sep="\n", markup=False)
    if request.parts or request.pages or request.keep in ("none", "best"):
        console.print(f"freed {readable(freed.size)}, {freed.files} files")
    else:
        console.print("\n".join(_advice(request.results, results, caches)))
    return 0


def _parse(arguments: Sequence[str]) -> Request:
    """The arguments as a request.

    Raises: `UserError` for unknown keys and values, and for a results folder that was named and does not exist.
    """
    given: dict[str, str] = {}
    known = (*_CHOICES, "results")
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in known:
            raise UserError(f"clean: unknown argument '{argument}': {did_you_mean(key, known)} ({USAGE})")
        if not value:
            raise UserError(f"clean: {key} needs a value ({USAGE})")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise UserError(f"clean: {argument}: {did_you_mean(value, _CHOICES[key])}")
        given[key] = value
    results = Path(given.get("results", "results")).expanduser()
    if "results" in given and not results.is_dir():
        raise UserError(f"clean: results={results}: no such folder")
    keep = cast(Literal["none", "best", "all"] | None, given.get("keep"))
    return Request(
        keep=keep, parts=_PARTS[given.get("cache", "false")], pages=given.get("pages") == "true", results=results
    )


def _unwanted_weights(request: Request) -> list[Path]:
    """The weight files that `keep` leaves no place for."""
    store = Store(request.results)
    if request.keep == "none":
        return [path for name in (WEIGHTS, WEIGHTS_LAST) for path in store.runs.glob(f"*/*/{name}")]
    if request.keep == "best" and request.results.is_dir():
        return _all_but_the_best(store)
    return []


def _all_but_the_best(store: Store) -> list[Path]:
    """Weights that are not of the best epoch of the best run of an arm: highest validation accuracy, earliest at a tie.

    Only runs whose best weights are still on disk compete, so that every arm keeps one. Weights without a readable
    record belong to no arm and stay.
    """
    table = store.table()
    columns = ("arm", "run_id", "execution_id", "validation_accuracy")
    kept: dict[str, tuple[float, Path]] = {}
    found: list[Path] = []
    for arm, run_id, execution_id, accuracy in zip(*(table[name].tolist() for name in columns), strict=True):
        folder = store.folder(run_id, execution_id)
        found += [path for path in (folder / WEIGHTS, folder / WEIGHTS_LAST) if path.exists()]
        score = -1.0 if math.isnan(accuracy) else accuracy  # a run that failed before its first evaluation
        if (folder / WEIGHTS).exists() and (arm not in kept or score > kept[arm][0]):
            kept[arm] = (score, folder / WEIGHTS)
    best = {path for _, path in kept.values()}
    return [path for path in found if path not in best]


def _delete(paths: Iterable[Path]) -> Pile:
    freed = Pile()
    for path in paths:
        try:
            size = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"clean: cannot delete {path}: {error.strerror}") from None
        freed.add(size)
    return freed


def _empty(folder: Path) -> Pile:
    """Delete what a folder holds, subfolders included, and keep the folder."""
    freed = _delete(path for path, _ in files_below(folder))
    for child in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(child, ignore_errors=True)
    return freed


def _results_piles(results: Path) -> dict[str, Pile]:
    piles = {name: Pile() for name in (*dict.fromkeys(_KINDS.values()), *_FOLDERS, "other")}
    for path, size in files_below(results):
        top = path.relative_to(results).parts[0]
        piles[_KINDS.get(path.name, "other") if top == "runs" else top if top in _FOLDERS else "other"].add(size)
    return piles


def _cache_piles() -> dict[str, Pile]:
    root = cache_root()
    piles = {path.name: Pile() for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}
    for name, pile in piles.items():
        for _, size in files_below(root / name):
            pile.add(size)
    return piles


def _as_table(piles: dict[str, Pile]) -> Table:
    table = Table("what")
    table.add_column("files", justify="right")
    table.add_column("size", justify="right")
    for name, pile in piles.items():
        table.add_row(name, f"{pile.files:,}", readable(pile.size))
    total = Pile(sum(pile.files for pile in piles.values()), sum(pile.size for pile in piles.values()))
    table.add_section()
    table.add_row("total", f"{total.files:,}", readable(total.size))
    return table


def _advice(results: Path, piles: dict[str, Pile], caches: dict[str, Pile]) -> Iterator[str]:
    """What to type to have less of it."""
    where = "" if results == Path("results") else f" results={results}"
    weights = piles["weights"]
    if weights.files:
        yield f"python -m bench clean keep=best{where}   keeps the weights of the best run of each arm only"
        yield f"python -m bench clean keep=none{where}   frees all weights, {readable(weights.size)}"
    if size := piles[_PAGES].size:
        yield f"python -m bench clean pages=true{where}  frees the pages of inspect, {readable(size)}"
    yield f"python -m bench clean cache=true{where}  frees the encoded corpora; the next run encodes them again"
    if size := sum(caches[name].size for name in _VECTORS if name in caches):
        yield f"python -m bench clean cache=vectors{where}  frees vectors made ready to read, {readable(size)}"
    if size := sum(caches[name].size for name in _DOWNLOADS if name in caches):
        yield f"python -m bench clean cache=all{where}  frees downloads, too, {readable(size)}"
