"""A gradient of the rows that a batch uses trains as one of the whole table does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.compose import compose
from bench.config import ModelConfig
from bench.data.batches import Batch
from bench.data.tokens.vocabulary import PADDING
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.models.kernels import native_lookup
from bench.models.lookup import WordVectors, clip_gradients, distinct_rows

WORDS = 40


def batches(steps: int) -> list[Batch]:
    """Each uses a few of the words, and pads."""
    found = []
    for step in range(steps):
        random = np.random.default_rng(step)
        lengths = np.array([6, 3, 1])
        tokens = random.integers(1, WORDS, (3, 6)) * (np.arange(6) < lengths[:, None])
        found.append(Batch(*map(torch.from_numpy, (tokens, lengths, random.integers(0, 2, 3), np.arange(3),
                                                   np.full(3, 1 / 3)))))  # fmt: skip
    return found


def trained(
    recipe: dict[str, object], *, by_rows: bool, steps: int = 6, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Weights after some steps."""
    torch.manual_seed(0)
    vectors = torch.randn(WORDS, 4, generator=torch.Generator().manual_seed(1))
    model = ModelConfig(cell="gru", hidden_size=5, pooling="mean", dropout=0.3)
    network = TextClassifier(model, 5, vectors, trainable_vectors=True, classes=2, seed=2)
    training = replace(compose([]).training, schedule="constant", learning_rate=0.05, **recipe)  # type: ignore[arg-type]
    module = Classifier(network, training, 2, 1, 0).to(dtype).train()
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert network.embedding.gradient_by_rows
    network.embedding.gradient_by_rows = by_rows
    for batch in batches(steps):
        optimizer.zero_grad()
        module.training_loss(batch).backward()  # type: ignore[no-untyped-call]
        assert network.embedding.weight.grad is not None
        assert network.embedding.weight.grad.is_sparse == by_rows
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("limit", [None, 1e-3, 1e3])
@pytest.mark.parametrize(
    "recipe",
    [{"optimizer": "adam"}, {"optimizer": "adam", "weight_decay": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1},
     {"optimizer": "sgd"}, {"optimizer": "sgd", "weight_decay": 0.1}],
)  # fmt: skip
def test_the_gradient_by_rows_trains_as_the_whole_tables_does(recipe: dict[str, object], limit: float | None) -> None:
    recipe = recipe | {"gradient_clip": limit}
    by_rows, whole = trained(recipe, by_rows=True), trained(recipe, by_rows=False)
    for name, weights in whole.items():
        torch.testing.assert_close(by_rows[name], weights, rtol=0, atol=1e-11)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.0])
def test_native_code_and_pytorch_look_up_drop_and_sum_the_same(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native_lookup.available():
        pytest.skip("no compiler")
    tokens = torch.randint(0, 200, (17, 9), generator=torch.Generator().manual_seed(1))
    arriving = torch.randn(17, 9, 33, generator=torch.Generator().manual_seed(2))

    def looked_up() -> tuple[Tensor, Tensor]:
        torch.manual_seed(5)
        words = WordVectors(torch.randn(200, 33), trainable=True, dropout=p).train()
        words.gradient_by_rows = True
        found = words(tokens)
        (found * arriving).sum().backward()
        words.spread_gradient()
        assert words.weight.grad is not None
        return found.detach(), words.weight.grad

    native = looked_up()
    monkeypatch.setenv("BENCH_KERNEL", "loop")
    plain = looked_up()
    assert (p == 0) != bool((native[0] == 0).any())
    assert torch.equal(native[0], plain[0])
    torch.testing.assert_close(native[1], plain[1], rtol=1e-5, atol=1e-5)


def test_in_single_precision_too_the_gradient_by_rows_trains_as_the_whole_tables_does() -> None:
    by_rows, whole = (trained({}, by_rows=which, dtype=torch.float32) for which in (True, False))
    for name, weights in whole.items():
        torch.testing.assert_close(by_rows[name], weights, rtol=0, atol=1e-4)


def test_rows_move_by_their_momentum_and_the_padding_row_never() -> None:
    before = torch.randn(WORDS, 4, generator=torch.Generator().manual_seed(1)).double()
    one, six = (trained({}, by_rows=True, steps=steps)["embedding.weight"] for steps in (1, 6))
    first = {row for row in batches(1)[0].tokens.flatten().tolist() if row != PADDING}
    last = {row for batch in batches(6)[1:] for row in batch.tokens.flatten().tolist()}
    resting = sorted(first - last)
    assert resting
    moved = one[resting] != before[resting]
    assert moved.any(dim=1).all()
    assert torch.equal(six[resting] != one[resting], moved)
    assert torch.equal(six[PADDING], before[PADDING])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_distinct_rows_are_in_order_and_tokens_find_theirs(tokens: list[int]) -> None:
    rows, places = distinct_rows(np.array(tokens), 31)
    assert rows.tolist() == sorted(set(tokens))
    assert rows[places].tolist() == tokens


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_gradients_are_clipped_as_pytorch_does(limit: float) -> None:
    weights = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(5))]
    for number, weight in enumerate(weights):
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    ours = [weight.grad.clone() for weight in weights if weight.grad is not None]
    norm = clip_gradients(ours, limit)
    expected = nn.utils.clip_grad_norm_(weights, limit)
    torch.testing.assert_close(norm, expected)
    for mine, weight in zip(ours, weights, strict=True):
        torch.testing.assert_close(mine, weight.grad)


def test_a_gradient_that_is_no_number_stays_none() -> None:
    gradients = [torch.tensor([1.0, float("nan")]), torch.ones(2)]
    assert clip_gradients(gradients, 1.0).isnan()
    assert gradients[1].isnan().all()
