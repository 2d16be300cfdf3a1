"""Word vectors with their dropout in native code (lookup.cpp): float32 on the CPU, compiled at first use.

Registered with PyTorch as `bench::look_up` and `bench::sum_rows`, so that a profiler sees them. Where nothing can be
compiled, `available()` is false, and PyTorch's operators compute the same (models/lookup.py, models/dropout.py).

What dropout may zero has a random number each, in `bits` (int8 or int16, of the shape of the vectors), and is kept, and
multiplied by `scale`, where that number is at least `threshold`; without bits everything is kept as it is.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.models.kernels.compiler import CompilerError, library
from bench.models.kernels.native_library import launcher

_operators = torch.library.Library("bench", "FRAGMENT")  # type: ignore[no-untyped-call]
_operators.define(  # type: ignore[no-untyped-call]
    "look_up(Tensor table, Tensor tokens, Tensor? bits, int threshold, float scale) -> Tensor"
)
_operators.define(  # type: ignore[no-untyped-call]
    "sum_rows(Tensor gradients, Tensor tokens, int table_rows, Tensor? bits, int threshold, float scale)"
    " -> (Tensor, Tensor)"
)


def available() -> bool:
    """Whether native code can be used here; a machine's first call compiles it, in some seconds."""
    return os.environ.get("BENCH_KERNEL") != "loop" and _loaded() is not None


def handles(table: Tensor) -> bool:
    """Whether a table of this kind is looked up natively: float32 on the CPU, its rows one after another."""
    return table.device.type == "cpu" and table.dtype == torch.float32 and table.is_contiguous()


def random_words(source: np.random.SFC64, words: int) -> np.ndarray:
    """(words,) uint64: the next numbers of NumPy's generator, which itself stays where it is."""
    state = np.array(source.state["state"]["state"], dtype=np.uint64)
    drawn = np.empty(words, np.uint64)
    _library().random(state.ctypes.data, words, drawn.ctypes.data)
    return drawn


def look_up(table: Tensor, tokens: Tensor, bits: Tensor | None, threshold: int, scale: float) -> Tensor:
    """Rows of a table. (rows, dimension), (...) int64 rows → (..., dimension)."""
    found: Tensor = torch.ops.bench.look_up(table, tokens, bits, threshold, scale)
    return found


def sum_rows(
    gradients: Tensor, tokens: Tensor, table_rows: int, bits: Tensor | None, threshold: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The derivative of `look_up` by the rows that occur, the padding row 0 left out.

    gradients: (..., dimension), of what was looked up. Returns: (distinct,) int64 rows in order, (distinct, dimension).
    """
    rows, sums = torch.ops.bench.sum_rows(gradients, tokens, table_rows, bits, threshold, scale)
    return rows, sums


class _Library:
    """The functions of one compiled library."""

    def __init__(self, path: Path) -> None:
        """Raises: `OSError`, `AttributeError` if it cannot be loaded or is something else."""
        opened = ctypes.CDLL(str(path))
        pointer, size, number, real = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_float
        dropout: list[type] = [pointer, number, number, real]
        self.random = opened.bench_random
        self._look_up, self._group, self._sum_rows = opened.bench_look_up, opened.bench_group, opened.bench_sum_rows
        self.random.argtypes = [pointer, size, pointer]
        self._look_up.argtypes = [pointer, pointer, size, size, *dropout, pointer, pointer, number]
        self._group.argtypes = [pointer, size, size, pointer, pointer, pointer]
        self._group.restype = ctypes.c_int64
        self._sum_rows.argtypes = [pointer, size, size, pointer, pointer, *dropout, pointer, pointer, number]
        self._launch = launcher()

    def look_up(self, table: Tensor, tokens: Tensor, bits: Tensor | None, threshold: int, scale: float) -> Tensor:
        """As the function of this name."""
        tokens, size = tokens.contiguous(), table.shape[1]
        found = table.new_empty((*tokens.shape, size))
        self._look_up(
            table.data_ptr(), tokens.data_ptr(), tokens.numel(), size, *_numbers(bits), threshold, scale,
            found.data_ptr(), self._launch, torch.get_num_threads(),
        )  # fmt: skip
        return found

    def sum_rows(
        self, gradients: Tensor, tokens: Tensor, table_rows: int, bits: Tensor | None, threshold: int, scale: float
    ) -> tuple[Tensor, Tensor]:
        """As the function of this name."""
        gradients, tokens, size = gradients.contiguous(), tokens.contiguous(), gradients.shape[-1]
        rows, starts, order = (tokens.new_empty(tokens.numel() + 1) for _ in range(3))
        count = self._group(
            tokens.data_ptr(), tokens.numel(), table_rows, rows.data_ptr(), starts.data_ptr(), order.data_ptr()
        )
        if count < 0:
            raise MemoryError("no memory to sort the rows of a batch")
        sums = gradients.new_empty((count, size))
        self._sum_rows(
            gradients.data_ptr(), count, size, starts.data_ptr(), order.data_ptr(), *_numbers(bits), threshold, scale,
            sums.data_ptr(), self._launch, torch.get_num_threads(),
        )  # fmt: skip
        return rows[:count], sums


def _numbers(bits: Tensor | None) -> tuple[int | None, int]:
    """Where random numbers lie, and how many bytes each takes."""
    return (None, 0) if bits is None else (bits.data_ptr(), bits.element_size())


@cache
def _loaded() -> _Library | None:
    try:
        return _Library(library("float", _check, main="lookup.cpp"))
    except (CompilerError, OSError, AttributeError):
        return None


def _library() -> _Library:
    loaded = _loaded()
    if loaded is None:
        raise RuntimeError("there is no native code for word vectors: ask available() first")
    return loaded


def _check(path: Path) -> None:
    """Raise `CompilerError` for a library that does not compute what PyTorch does. Draws no random number."""
    try:
        compiled = _Library(path)
    except (OSError, AttributeError) as error:
        raise CompilerError(f"the compiled kernel cannot be loaded: {error}") from None
    table, tokens = torch.arange(1.0, 78.0).sin().view(7, 11), torch.tensor([[3, 1, 3], [6, 0, 0]])
    gradients = torch.arange(1.0, 67.0).cos().view(2, 3, 11)
    for bits, threshold, scale in ((None, 0, 1.0), (_ramp(torch.int8), 9, 2.0), (_ramp(torch.int16), -5, 0.5)):
        kept = 1.0 if bits is None else (bits >= threshold) * scale
        found = compiled.look_up(table, tokens, bits, threshold, scale)
        rows, sums = compiled.sum_rows(gradients, tokens, 7, bits, threshold, scale)
        expected = torch.zeros(7, 11).index_put_((tokens,), gradients * kept, accumulate=True)
        right = rows.tolist() == [1, 3, 6] and torch.allclose(sums, expected[rows])
        if not right or not torch.equal(found, table[tokens] * kept):
            raise CompilerError("the compiled kernel looks word vectors up wrongly and is not used")
    drawn, source = np.empty(9, np.uint64), np.random.SFC64(1)
    compiled.random(np.array(source.state["state"]["state"], np.uint64).ctypes.data, 9, drawn.ctypes.data)
    if not np.array_equal(drawn, source.random_raw(9)):
        raise CompilerError("the compiled kernel draws other numbers than NumPy and is not used")


def _ramp(dtype: torch.dtype) -> Tensor:
    return (torch.arange(66) * 7 % 101 - 50).to(dtype).view(2, 3, 11)


def _look_up(table: Tensor, tokens: Tensor, bits: Tensor | None, threshold: int, scale: float) -> Tensor:
    return _library().look_up(table, tokens, bits, threshold, scale)


def _sum_rows(
    gradients: Tensor, tokens: Tensor, table_rows: int, bits: Tensor | None, threshold: int, scale: float
) -> tuple[Tensor, Tensor]:
    return _library().sum_rows(gradients, tokens, table_rows, bits, threshold, scale)


_operators.impl("look_up", _look_up, "CPU")  # type: ignore[no-untyped-call]
_operators.impl("sum_rows", _sum_rows, "CPU")  # type: ignore[no-untyped-call]
