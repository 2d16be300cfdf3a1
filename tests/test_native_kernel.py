"""The compiled recurrence: equal to the equations, whole or absent, and never a reason why a run fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.declarations import declared
from bench.models.cells import CELLS
from bench.models.kernels import native
from bench.models.kernels.compiler import CompilerError, library, sources
from bench.models.sizes import GATES

needs_native = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))
COMPILED = sorted(cell for cell, kind in CELLS.items() if kind.compiled)
CELL = pytest.mark.parametrize("cell", COMPILED)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
SAY = "from bench.models.kernels import native; print(native.available(), native.why_not())"


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def parts(cell: str, steps: int, batch: int, hidden: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input products, W_hh, b_hh with what else the cell has, and gradients of the states; some gates saturate."""
    rows = GATES[cell] * hidden
    draw = torch.Generator().manual_seed(steps * 1000 + batch * 100 + hidden)
    products = 3 * torch.randn(steps, batch, rows, generator=draw, dtype=dtype)
    weight = torch.randn(rows, hidden, generator=draw, dtype=dtype) / hidden**0.5
    further = hidden * sum(weight.per_unit for weight in declared(cell).further)
    bias = torch.randn(rows + further, generator=draw, dtype=dtype)
    return products, weight, bias, torch.randn(steps, batch, hidden, generator=draw, dtype=dtype)


def held(steps: int, batch: int, lengths: Tensor | None) -> Tensor:
    """Which steps are a text's own. (time, batch, 1)"""
    ends = torch.full((batch,), steps) if lengths is None else lengths
    return (torch.arange(steps)[:, None] < ends)[..., None]


def by_equations(
    cell: str, products: Tensor, weight: Tensor, bias: Tensor, grad_states: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """States, and gradients of the input products and of b_hh, by autograd over the equations."""
    steps, batch, hidden = grad_states.shape
    bias, *further = bias.split([len(weight), *(hidden * vector.per_unit for vector in declared(cell).further)])
    products, bias = products.clone().requires_grad_(), bias.clone().requires_grad_()
    own = held(steps, batch, lengths)
    state = tuple(weight.new_zeros(batch, hidden) for _ in range(declared(cell).states))
    states = {}
    for time in range(steps) if lengths is None else reversed(range(steps)):
        state = tuple(new * own[time] for new in CELLS[cell].step(products[time], state, weight, bias, *further))
        states[time] = state[0]
    result = torch.stack([states[time] for time in range(steps)])
    gradients = torch.autograd.grad((result * grad_states * own).sum(), (products, bias))
    return result.detach(), *gradients


def natively(
    cell: str, products: Tensor, weight: Tensor, bias: Tensor, grad_states: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """States, and gradients of the input products and of b_hh, by the compiled kernel."""
    states, saved = native.forward(cell, products.clone(), weight, bias, lengths)
    grad_states = grad_states * held(*grad_states.shape[:2], lengths)
    columns = native.backward(cell, grad_states, states, saved, weight, lengths)
    hidden = weight.shape[1]
    by_hidden = torch.cat([columns[..., : 2 * hidden], columns[..., 3 * hidden :]], 2) if cell == "gru" else columns
    return states, columns[..., : len(weight)], by_hidden.sum((0, 1))


@needs_native
@CELL
@pytest.mark.parametrize("dtype", sorted(TOLERANCE, key=str))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_states_and_gradients_are_those_of_the_equations(cell: str, dtype: torch.dtype, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 6), label="steps")
    batch = data.draw(st.sampled_from([1, 2, 5, 6, 7, 12, 13, 64]), label="batch")
    hidden = data.draw(st.sampled_from([1, 5, 7, 8, 16, 31, 37, 64, 65]), label="hidden")
    padded = data.draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch) | st.none(), label="lengths")
    torch.set_num_threads(data.draw(st.integers(1, 3), label="threads"))
    lengths = torch.tensor(padded) if padded else None
    given = parts(cell, steps, batch, hidden, dtype)
    largest = TOLERANCE[dtype] * steps * max(1, batch**0.5) * (1 if dtype == torch.float64 else 3)
    for got, wanted in zip(natively(cell, *given, lengths), by_equations(cell, *given, lengths), strict=True):
        torch.testing.assert_close(got, wanted, rtol=largest, atol=largest)


@needs_native
@CELL
@pytest.mark.parametrize("dtype", sorted(TOLERANCE, key=str))
def test_bits_depend_neither_on_threads_nor_on_the_rest_of_the_batch(cell: str, dtype: torch.dtype) -> None:
    products, weight, bias, grad_states = parts(cell, 40, 23, 133, dtype)
    lengths = torch.arange(23) % 40 + 1
    results = []
    for threads, rows in ((1, slice(None)), (2, slice(None)), (3, slice(None)), (1, slice(0, 11)), (2, slice(0, 1))):
        torch.set_num_threads(threads)
        part = products[:, rows].contiguous(), weight, bias, grad_states[:, rows].contiguous()
        results.append([tensor[:, :1] for tensor in natively(cell, *part, lengths[rows])[:2]])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_native
@CELL
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_are_none_propagate(cell: str, wrong: float) -> None:
    products, weight, bias, grad_states = parts(cell, 4, 3, 20, torch.float32)
    poisoned = weight.clone()
    poisoned[:, 7] = wrong  # times a state of either sign: inf - inf in the sums of a row of weights
    poisoned[:, 8] = -wrong
    states = natively(cell, products, poisoned, bias, grad_states, None)[0]
    assert (
        states[1:].isfinite().all()
        == by_equations(cell, products, poisoned, bias, grad_states, None)[0][1:].isfinite().all()
    )
    products[2, 1, 0] = float("nan")
    states, gradients, _ = natively(cell, products, weight, bias, grad_states, None)
    assert states[2, 1].isnan().any()
    assert states[3, 1].isnan().all(), "the whole next state depends on it"
    assert states[:, 0].isfinite().all(), "another text does not"
    expected = by_equations(cell, products, weight, bias, grad_states, None)[1]
    assert expected[:2, 1].isnan().any() or cell == "rnn_relu"  # whose derivative is one or zero
    assert gradients[:2, 1].isnan().any() == expected[:2, 1].isnan().any()
    assert gradients[:, 0].isfinite().all()


@needs_native
@pytest.mark.parametrize("cell", [cell for cell in COMPILED if cell != "rnn_relu"])
def test_saturated_gates_have_no_gradient_and_stay_finite(cell: str) -> None:
    products, weight, bias, grad_states = parts(cell, 3, 2, 9, torch.float32)
    huge = products.sign() * 1e30
    states, gradients, _ = natively(cell, huge, weight, bias, grad_states, None)
    assert states.isfinite().all()
    assert gradients.isfinite().all()
    torch.testing.assert_close(states, by_equations(cell, huge, weight, bias, grad_states, None)[0])


@needs_native
@CELL
def test_padding_has_no_gradient_and_no_state(cell: str) -> None:
    products, weight, bias, grad_states = parts(cell, 9, 5, 21, torch.float32)
    lengths = torch.tensor([9, 1, 4, 9, 2])
    products[~held(9, 5, lengths)[..., 0]] = float("nan")  # whatever lies there
    states, saved = native.forward(cell, products, weight, bias, lengths)
    columns = native.backward(cell, grad_states, states, saved, weight, lengths)
    padding = ~held(9, 5, lengths)[..., 0]
    assert padding.any()
    assert not columns[padding].any()
    assert not states[padding].any()
    assert columns.isfinite().all()


@needs_native
def test_every_thread_treats_denormal_numbers_as_the_caller_does() -> None:
    torch.set_num_threads(4)
    products, weight, bias = torch.full((4, 64, 512), 1e-39), torch.zeros(512, 512), torch.zeros(512)
    kept, _ = native.forward("rnn", products.clone(), weight, bias, None)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormal numbers")
    try:
        flushed, _ = native.forward("rnn", products.clone(), weight, bias, None)
    finally:
        torch.set_flush_denormal(False)
    assert kept.ne(0).all()
    assert not flushed.any()


@needs_native
def test_tensors_that_native_code_would_misread_are_refused() -> None:
    products, weight, bias, grad_states = parts("gru", 3, 2, 9, torch.float32)
    states, saved = native.forward("gru", products.clone(), weight, bias, None)
    for wrong in (products.transpose(0, 1), products[:2]):
        with pytest.raises(ValueError, match="contiguous"):
            native.backward("gru", grad_states, states, (wrong, saved[1]), weight, None)
    for wrong_weight, lengths in (
        (weight.double(), None),
        (weight[:-1], None),
        (weight, torch.tensor([3, 2, 1])),
        (weight, torch.tensor([3, 2], dtype=torch.int32)),
    ):
        with pytest.raises(ValueError, match="contiguous"):
            native.forward("gru", products, wrong_weight, bias, lengths)


@needs_native
def test_a_bias_that_the_products_lack_may_come_with_the_other() -> None:
    products, weight, bias, _ = parts("gru", 4, 3, 9, torch.float64)
    apart = torch.linspace(-2, 2, 9, dtype=torch.float64)
    together, _ = native.forward("gru", products.clone(), weight, torch.cat([bias, apart]), None)
    products[:, :, 18:] += apart
    added, _ = native.forward("gru", products, weight, bias, None)
    torch.testing.assert_close(together, added, rtol=1e-14, atol=1e-14)


@needs_native
def test_a_profile_names_the_compiled_operators() -> None:
    given = parts("gru", 3, 2, 9, torch.float32)
    with torch.profiler.profile() as profile:
        natively("gru", *given, None)
    names = {event.key for event in profile.key_averages()}
    assert {"bench::native_forward", "bench::native_backward"} <= names


def child(cache: Path, code: str = SAY, **environment: str) -> str:
    """What a fresh process prints."""
    return finish(start(cache, code, **environment))


def start(cache: Path, code: str = SAY, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("BENCH_KERNEL", "CXX")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**inherited, "BENCH_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return said.strip()


def test_without_a_compiler_the_reason_is_said_and_the_layer_still_trains(tmp_path: Path) -> None:
    train = (
        "import torch; from bench.models.kernels.layers import StepLayer; torch.manual_seed(0)\n"
        "layer = StepLayer('gru', 3, 5)\n"
        "for weight in layer.parameters(): torch.nn.init.normal_(weight)\n"
        "layer(torch.randn(2, 4, 3), torch.tensor([4, 2])).sum().backward()\n"
        "print(layer.weight_hh_l0.grad.abs().sum().item() > 0)"
    )
    said = child(tmp_path, f"{SAY}\n{train}", PATH=str(tmp_path / "empty")).splitlines()
    assert said == ["False no C++ compiler (c++, g++, clang++) is on the PATH", "True"]
    assert not any(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "no-such-compiler"}, "False CXX=no-such-compiler is not there"),
        ({"BENCH_KERNEL": "loop"}, "False BENCH_KERNEL=loop asks for the loop in PyTorch"),
    ],
)
def test_what_was_asked_for_is_not_replaced_silently(tmp_path: Path, environment: dict[str, str], reason: str) -> None:
    assert child(tmp_path, **environment) == reason


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\ncase $* in *-E*) echo macros;; *) echo 'error: out of ideas' >&2; exit 1;; esac\n")
    compiler.chmod(0o755)
    assert child(tmp_path / "cache", CXX=str(compiler)) == (
        f"False {compiler} did not compile the kernel: error: out of ideas"
    )


@needs_native
def test_a_library_that_computes_something_else_is_not_used(tmp_path: Path) -> None:
    kernels, copy = sources()[0].parent, tmp_path / "copy"
    wrapper = tmp_path / "wrong"
    wrapper.write_text(
        f"#!/bin/sh\nmkdir -p {copy} && cp {kernels}/*.?pp {copy} && sed -i 's/taylor = 7/taylor = 2/' {copy}/*.hpp\n"
        f'exec c++ $(echo "$@" | sed s:{kernels}:{copy}:)\n'
    )
    wrapper.chmod(0o755)
    assert child(tmp_path / "cache", CXX=str(wrapper)) == (
        "False the compiled kernel computes a rnn wrongly and is not used"
    )
    assert "taylor = 2" in (copy / "vectors.hpp").read_text()


@needs_native
def test_processes_that_compile_at_once_build_one_library_and_a_damaged_one_is_rebuilt(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert [finish(process) for process in both] == ["True None"] * 2
    (built,) = tmp_path.rglob("*.so")
    whole, written = built.read_bytes(), built.stat().st_mtime_ns
    assert child(tmp_path) == "True None"
    assert built.stat().st_mtime_ns == written, "compiled again though nothing had changed"
    built.write_bytes(whole[: len(whole) // 2])
    assert child(tmp_path) == "True None"
    (built,) = tmp_path.rglob("*.so")
    assert len(built.read_bytes()) == len(whole)


@needs_native
def test_another_compiler_flag_makes_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise CompilerError(str(path.parent.name))

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    keys = set()
    for compiler in ("c++", "c++ -O1"):
        monkeypatch.setenv("CXX", compiler)
        with pytest.raises(CompilerError) as refused:
            library("float", fail)
        keys.add(str(refused.value))
    assert len(keys) == 2
    assert not any(tmp_path.rglob("*.so")), "what was refused is not kept"


def test_the_sources_are_found() -> None:
    assert "recurrence.cpp" in [path.name for path in sources()]
