"""Many configurations that differ in few words: Hydra composes each choice of groups once, the rest is set on a copy.

Hydra takes about a tenth of a second for one composition. A word such as `training.epochs=3` only sets a leaf of what
it composes, so it is set here, before interpolations (`${data.epochs}`) are resolved. Whatever is less plain than that
goes through Hydra as a whole, and so does whatever fails: every error is the one that a single run would show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.compose import build_plain, compose, compose_tree, plain, session
from bench.config import BenchConfig, Scalar
from bench.errors import UserError
from bench.options import groups
from bench.sweeps.known_trees import KnownTrees, Tree

Path = tuple[str, ...]  # of a leaf, such as ("training", "epochs")

_LEAF = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=.*", re.DOTALL)
_INTERPOLATION = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}")
_NOT_SET = "???"


class _NotPlain(Exception):
    """What is asked is for Hydra to compose, or to refuse."""


@dataclass(frozen=True)
class _Base:
    """What Hydra composes of some groups. links: where an interpolation stands, and what it points to."""

    tree: Tree
    links: dict[Path, Path]


@dataclass(frozen=True)
class _Word:
    """One override. leaf: where it sets `value`; None for what chooses a group, or is for Hydra for another reason;
    touches: what it may change beside choosing a group, () where nothing."""

    leaf: Path | None
    value: Scalar
    touches: Path


class Compositions:
    """Configurations of many runs; what has been composed for one serves the next."""

    def __init__(self) -> None:
        self._groups = {*groups(), "sweep"}
        self._known = KnownTrees()
        self._words: dict[str, _Word] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}

    def config(self, overrides: Sequence[str]) -> BenchConfig:
        """Exactly what `bench.compose.compose` gives for these overrides.

        Raises: `UserError`, the same one.
        """
        try:
            tree = self._tree(overrides)
        except _NotPlain:
            return compose(overrides)
        return build_plain(tree)

    def keep(self) -> None:
        """Keep what was composed, for later calls of the program."""
        self._known.save()

    def _tree(self, overrides: Sequence[str]) -> Tree:
        """The tree of a run, interpolations resolved."""
        words = {override: self._word(override) for override in overrides}
        leaves = {word.leaf: word.value for word in map(words.__getitem__, overrides) if word.leaf}
        rest = [override for override in overrides if words[override].leaf is None]
        touched = [words[override].touches for override in rest]
        if any(_related(path, leaf) for path in touched if path for leaf in leaves):
            raise _NotPlain
        base = self._base(tuple(rest))
        tree = _copied(base.tree)
        for leaf, value in leaves.items():
            _set(tree, leaf, value)
        for path, target in base.links.items():
            if path not in leaves:
                _set(tree, path, _resolved(base, leaves, target))
        if any(value == _NOT_SET for _, value in _leaves(tree)):
            raise _NotPlain
        return tree

    def _base(self, chosen: tuple[str, ...]) -> _Base:
        if chosen not in self._bases:
            tree = self._known.get(chosen)
            if tree is None and (tree := _compose_unresolved(chosen)) is not None:
                self._known.add(chosen, tree)
            links = None if tree is None else _links(tree)
            self._bases[chosen] = None if tree is None or links is None else _Base(tree, links)
        base = self._bases[chosen]
        if base is None:
            raise _NotPlain
        return base

    def _word(self, text: str) -> _Word:
        if text not in self._words:
            self._words[text] = self._read(text)
        return self._words[text]

    def _read(self, text: str) -> _Word:
        """Read one override as Hydra does."""
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException

        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            raise _NotPlain from None
        key = override.key_or_group
        if override.package is not None or override.is_delete() or override.is_sweep_override():
            raise _NotPlain
        value = override.value()
        if key in self._groups and isinstance(value, str | list):
            return _Word(None, None, ())
        matched, path = _LEAF.fullmatch(text), tuple(key.split("."))
        if not matched or matched[1] != key or key in self._groups or path[0] == "hydra" or not _is_plain(value):
            return _Word(None, None, path)
        assert value is None or isinstance(value, str | int | float)
        return _Word(path, value, path)


def _compose_unresolved(chosen: Sequence[str]) -> Tree | None:
    """What Hydra composes; None where it refuses."""
    try:
        with session(chosen) as hydra:
            return plain(compose_tree(hydra, chosen), resolve=False)
    except UserError:
        return None


def _links(tree: Tree) -> dict[Path, Path] | None:
    """Where a tree holds interpolations; None if one of them is more than the name of a key."""
    links = {}
    for path, value in _leaves(tree):
        if isinstance(value, str) and "${" in value:
            matched = _INTERPOLATION.fullmatch(value)
            if matched is None or path[-1] == "":
                return None
            links[path] = tuple(matched[1].split("."))
    return links


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return "${" not in value and value != _NOT_SET
    return value is None or isinstance(value, bool | int | float)


def _related(one: Path, other: Path) -> bool:
    """Whether one of two keys holds the other."""
    return all(mine == theirs for mine, theirs in zip(one, other, strict=False))


def _leaves(tree: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value below a tree; the paths of those in lists end in ""."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, (*path, ""))
    else:
        yield path, tree


def _copied(tree: Mapping[str, object]) -> Tree:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in tree.items()}


def _set(tree: Tree, path: Path, value: object) -> None:
    """Set a leaf that is there; what is not, or is no leaf, is for Hydra."""
    node: object = tree
    for name in path[:-1]:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or path[-1] not in node or isinstance(node[path[-1]], dict | list):
        raise _NotPlain
    node[path[-1]] = value


def _resolved(base: _Base, leaves: Mapping[Path, Scalar], target: Path) -> object:
    """What an interpolation points to, through further ones."""
    for _ in range(len(base.links) + 1):
        if target in leaves:
            return leaves[target]
        if target not in base.links:
            break
        target = base.links[target]
    else:
        raise _NotPlain  # in a circle
    node: object = base.tree
    for name in target:
        node = node.get(name, _NOT_SET) if isinstance(node, dict) else _NOT_SET
    if isinstance(node, dict | list) or node == _NOT_SET:
        raise _NotPlain
    return node
