"""Baselines that do not recur: exact under padding, counted in closed form, and full citizens beside the cells."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.analysis.pairing import Study as Pairing
from bench.analysis.pairs import pairs_of
from bench.compose import compose
from bench.config import Cell, ModelConfig, Pooling
from bench.declarations import BASELINES
from bench.errors import UserError
from bench.models.baselines import AttentionEncoder, AttentionLayer, sinusoids
from bench.models.encoder import TextClassifier
from bench.models.sizes import (
    attended_length,
    encoder_flops_per_token,
    encoder_parameters,
    matched_width,
    settled_model,
    sizes_of,
)
from bench.runs.identity import resolve
from tests.conftest import Study
from tests.test_padding import WORDS, batch_of, texts_strategy
from tests.test_pairing import PROTOCOL, record
from tests.test_pairing import study as pairs_in

POOLINGS: list[Pooling] = ["last", "mean", "max", "attention"]


def classifier(cell: Cell, pooling: Pooling = "mean", num_layers: int = 1, dimension: int = 4) -> TextClassifier:
    model = ModelConfig(cell=cell, hidden_size=6, heads=2, num_layers=num_layers, pooling=pooling, dropout=0.5)
    vectors = torch.randn(WORDS, dimension, generator=torch.Generator().manual_seed(1))
    vectors[0] = 0
    return TextClassifier(model, 6, vectors, trainable_vectors=True, classes=3, seed=2).double().eval()


@settings(max_examples=100, deadline=None)
@given(
    texts=texts_strategy,
    padding=st.integers(0, 6),
    cell=st.sampled_from(BASELINES),
    pooling=st.sampled_from(POOLINGS),
    num_layers=st.integers(1, 3),
)
def test_padding_and_company_change_no_logit(
    texts: list[list[int]], padding: int, cell: Cell, pooling: Pooling, num_layers: int
) -> None:
    network = classifier(cell, pooling, num_layers)
    together = network(*batch_of(texts, padding))
    alone = torch.cat([network(*batch_of([text], 0)) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(texts=texts_strategy, cell=st.sampled_from(BASELINES), pooling=st.sampled_from(POOLINGS))
def test_padding_changes_no_gradient(texts: list[list[int]], cell: Cell, pooling: Pooling) -> None:
    gradients = []
    for padding in (0, 7):
        network = classifier(cell, pooling, num_layers=2)
        network(*batch_of(texts, padding)).square().sum().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cell", BASELINES)
def test_the_last_state_is_that_of_the_last_valid_token(cell: Cell) -> None:
    network = classifier(cell, "last")
    tokens, lengths = batch_of([[3, 4, 5], [6]], padding=2)
    states = network.encode(tokens, lengths)
    expected = torch.stack([states[0, 2], states[1, 0]])
    assert torch.equal(network.pool(states, lengths), expected)


def test_a_bag_with_mean_pooling_is_linear_in_the_mean_of_word_vectors() -> None:
    network = classifier("bag")
    tokens, lengths = batch_of([[3, 4, 5, 5], [6]], padding=1)
    means = torch.stack([network.embedding.weight[[3, 4, 5, 5]].mean(dim=0), network.embedding.weight[6]])
    torch.testing.assert_close(network(tokens, lengths), network.output(means), rtol=0, atol=1e-14)


def test_a_bag_does_not_know_the_order_of_words_and_attention_does() -> None:
    one, other = batch_of([[3, 4, 5, 6]], 0), batch_of([[6, 4, 3, 5]], 0)
    bag, attention = classifier("bag"), classifier("attention")
    torch.testing.assert_close(bag(*one), bag(*other), rtol=0, atol=1e-14)
    assert not torch.allclose(attention(*one), attention(*other), rtol=0, atol=1e-4)


def test_the_attention_layer_is_pytorchs() -> None:
    torch.manual_seed(0)
    layer = AttentionLayer(6, 2, dropout=0.0).double()
    theirs = torch.nn.TransformerEncoderLayer(
        6, 2, 24, dropout=0.0, activation="relu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "attention_norm": "norm1", "queries_keys_values": "self_attn.in_proj_", "attended": "self_attn.out_proj",
        "feed_forward_norm": "norm2", "widening": "linear1", "narrowing": "linear2",
    }  # fmt: skip
    weights = {}
    for name, weight in layer.state_dict().items():
        module, _, kind = name.partition(".")
        weights[names[module] + kind if names[module].endswith("_") else f"{names[module]}.{kind}"] = weight
    theirs.load_state_dict(weights)
    states, lengths = torch.randn(3, 5, 6, dtype=torch.float64), torch.tensor([5, 2, 4])
    padding = torch.arange(5) >= lengths[:, None]
    ours = layer(states, ~padding[:, None, None, :])
    expected = theirs(states, src_key_padding_mask=padding)
    torch.testing.assert_close(ours[~padding], expected[~padding], rtol=0, atol=1e-12)


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(50, 7, torch.zeros(1, dtype=torch.float64))
    assert table.shape == (50, 7)
    for position, feature in ((0, 0), (0, 1), (3, 0), (3, 1), (49, 4), (49, 5), (49, 6)):
        angle = position / 10_000 ** (2 * (feature // 2) / 7)
        expected = math.cos(angle) if feature % 2 else math.sin(angle)
        assert table[position, feature].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dimension", [4, 6])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", BASELINES)
def test_closed_formulas_count_every_parameter(cell: Cell, num_layers: int, dimension: int, pooling: Pooling) -> None:
    network = classifier(cell, pooling, num_layers, dimension)
    model = ModelConfig(cell=cell, hidden_size=6, num_layers=num_layers, bidirectional=True, pooling=pooling)
    sizes = sizes_of(model, 6, rows=WORDS, dimension=dimension, classes=3)
    assert sizes.total == sum(weight.numel() for weight in network.parameters())
    assert sizes.recurrent == sum(weight.numel() for weight in network.encoder.parameters())


@pytest.mark.parametrize("length", [16, 96])
@pytest.mark.parametrize("dimension", [8, 12])
def test_attention_costs_what_the_formula_says_as_counted_by_pytorch(length: int, dimension: int) -> None:
    model = ModelConfig(cell="attention", hidden_size=8, heads=2, num_layers=2)
    encoder = AttentionEncoder(model, dimension, 8)
    plain = sdpa_kernel(SDPBackend.MATH)  # as matrix products, which are counted
    with torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, length, dimension), torch.tensor([length]))
    assert counter.get_total_flops() == length * encoder_flops_per_token(model, dimension, 8, length)


def test_a_corpus_costs_what_its_texts_cost_one_by_one() -> None:
    model = ModelConfig(cell="attention", hidden_size=8)
    lengths = [3, 50, 17, 4]
    one_by_one = sum(length * encoder_flops_per_token(model, 8, 8, length) for length in lengths)
    together = sum(lengths) * encoder_flops_per_token(model, 8, 8, attended_length(lengths))
    assert together == pytest.approx(one_by_one, rel=1e-3)
    assert encoder_flops_per_token(model, 8, 8, 2000) > 5 * encoder_flops_per_token(model, 8, 8, 10)
    gru = replace(model, cell="gru")
    assert encoder_flops_per_token(gru, 8, 8, 2000) == encoder_flops_per_token(gru, 8, 8, 10)


@pytest.mark.parametrize("hidden_size", [50, 256])
@pytest.mark.parametrize("input_size", [100, 204, 300])
def test_matched_attention_comes_nearest_to_the_lstm(input_size: int, hidden_size: int) -> None:
    attention = ModelConfig(cell="attention", hidden_size=hidden_size, match="parameters")
    target = encoder_parameters(replace(attention, cell="lstm"), input_size, hidden_size)
    distances = {
        width: abs(encoder_parameters(attention, input_size, width) - target)
        for width in range(attention.heads, 4 * hidden_size, attention.heads)
    }
    width = matched_width(attention, input_size)
    assert distances[width] == min(distances.values())
    assert distances[width] < 0.1 * target


def test_a_bag_is_as_wide_as_its_vectors_whatever_is_asked(study: Study) -> None:
    asked = [(), ("model.hidden_size=64",), ("model.match=parameters",), ("model.num_layers=3",), ("model.heads=1",),
             ("model.bidirectional=true",), ("model.kernel=step",)]  # fmt: skip
    runs = [resolve(compose(study.overrides("model=bag", *more))) for more in asked]
    assert {run.run_id for run in runs} == {runs[0].run_id}
    assert {run.hidden_size for run in runs} == {8}


def test_keys_without_effect_make_no_other_run_and_keep_who_pairs(study: Study) -> None:
    def run(*more: str) -> tuple[str, str]:
        resolved = resolve(compose(study.overrides("model.hidden_size=12", *more)))
        return resolved.run_id, resolved.pair_key

    both = "model.bidirectional=true"
    for idle in (both, "model.kernel=step"):
        assert run("model=attention")[0] == run("model=attention", idle)[0]
    assert run("model=attention")[0] != run("model=attention", "model.heads=2")[0]
    assert run("model=gru")[0] == run("model=gru", "model.heads=2")[0]
    for baseline in BASELINES:
        assert run("model=gru")[1] == run(f"model={baseline}")[1]
        assert run("model=gru", both)[1] == run(f"model={baseline}", both)[1] != run("model=gru")[1]


def test_settling_twice_is_settling_once() -> None:
    for cell in ("bag", "attention", "gru"):
        model = ModelConfig(cell=cell, hidden_size=64, num_layers=2, bidirectional=True, kernel="step")  # type: ignore[arg-type]
        once = settled_model(model, 100)
        assert settled_model(once, 100) == once


def test_heads_that_do_not_divide_the_width_are_refused_in_one_line(study: Study) -> None:
    with pytest.raises(UserError, match=r"model\.hidden_size=130: .* use a multiple, such as model\.hidden_size=128"):
        compose(study.overrides("model=attention", "model.hidden_size=130"))
    compose(study.overrides("model=attention", "model.hidden_size=130", "model.match=parameters"))


@pytest.mark.parametrize("cell", BASELINES)
def test_a_baseline_has_no_forget_gate(cell: str, study: Study) -> None:
    with pytest.raises(UserError, match=f"the cell {cell} has no forget gate"):
        compose(study.overrides(f"model={cell}", "model.forget_bias=1.0"))


def test_equal_seeds_start_from_equal_weights_and_the_same_output_layer() -> None:
    first, second, cell = classifier("attention"), classifier("attention"), classifier("gru")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first.output.weight, cell.output.weight)
    limit = math.sqrt(6 / (6 + 24))  # Glorot and Bengio 2010, for 6 inputs and 24 outputs
    widening = first.get_parameter("encoder.layers.0.widening.weight")
    assert 0.5 * limit < widening.abs().max().item() <= limit


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    network = classifier("attention")
    batch = batch_of([[3, 4, 5, 6]], 0)
    assert torch.equal(network(*batch), network(*batch))
    network.train()
    assert not torch.equal(network(*batch), network(*batch))


def test_attention_of_equal_size_is_matched_to_an_lstm_of_the_same_directions() -> None:
    one = ModelConfig(cell="attention", hidden_size=64, match="parameters")
    both = replace(one, bidirectional=True)
    assert settled_model(both, 100).bidirectional
    assert encoder_parameters(both, 100, matched_width(both, 100)) > 1.7 * encoder_parameters(
        one, 100, matched_width(one, 100)
    )


def runs_by_scene(found: Pairing, matching: str) -> list[set[str]]:
    """The ids of the runs in each scene of a matching, in the order of scenes."""
    runs = found.runs[found.runs.matching == matching]
    return [set(rows.run_id) for _, rows in runs.groupby("scene")]


def test_one_run_of_a_baseline_stands_beside_cells_of_one_direction_and_of_both() -> None:
    bag = record("bag", model__hidden_size=100, hidden_size_resolved=100, model__kernel="torch")
    attention = record("attention", model__kernel="torch", model__heads=8)
    cells = [record(cell, model__bidirectional=both) for cell in ("gru", "lstm") for both in (False, True)]
    found = pairs_in(bag, attention, *cells)
    assert found.arms == ("bag", "gru", "lstm", "attention")
    assert found.apart == ()
    assert runs_by_scene(found, "width") == [
        {bag.run_id, attention.run_id, *(cell.run_id for cell in cells if cell.config["model.bidirectional"] is both)}
        for both in (False, True)
    ]


def test_attention_of_equal_size_keeps_its_own_directions() -> None:
    sized = [
        record("attention", hidden_size_resolved=width, model__match="parameters", model__bidirectional=both)
        for width, both in ((72, False), (120, True))
    ]
    cells = [record("lstm", model__bidirectional=both) for both in (False, True)]
    found = pairs_in(*sized, *cells)
    assert runs_by_scene(found, "parameters") == [{a.run_id, b.run_id} for a, b in zip(sized, cells, strict=True)]


def test_a_bag_answers_at_equal_width_and_at_equal_size() -> None:
    found = pairs_in(record("bag"), record("lstm"), record("gru", hidden_size_resolved=148, model__match="parameters"))
    assert set(found.runs[found.runs.arm == "bag"].matching) == {"width", "parameters"}


def test_the_headline_stays_where_gru_and_lstm_meet() -> None:
    runs = [record(cell, seed) for cell in ("bag", "gru", "lstm") for seed in range(5)]
    headline = [pairs for pairs in pairs_of(pairs_in(*runs), PROTOCOL) if pairs.headline]
    assert [(pairs.baseline, pairs.alternative, pairs.scene.matching) for pairs in headline] == [
        ("gru", "lstm", "width")
    ]


def test_baselines_go_through_a_sweep_and_into_the_report(study: Study) -> None:
    asked = study.overrides("training.epochs=1", "protocol.looks=[2,3]", "protocol.uncommitted=allow")
    swept_cells = {"bag", "rnn", "gru", "lstm", "attention"}
    grid = ["model=bag,rnn,gru,lstm,attention", "seed=0"]
    swept = study.command("-m", *asked, *grid, "+sweep.name=five")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    records = study.records()
    assert Counter(run.config["model.cell"] for run in records) == dict.fromkeys(swept_cells, 1)
    for run in records:
        cell = run.config["model.cell"]
        assert run.parameters_recurrent == 0 if cell == "bag" else run.parameters_recurrent > 0
        assert (run.flops_per_token == 0) is (cell == "bag")
        assert run.kernel == "torch" or cell not in BASELINES
    report = study.command("report", "sweep=five", f"results={study.results}")
    assert report.returncode == 0, report.stdout + report.stderr
    folder = study.results / "reports" / "five"
    frontier = pd.read_csv(folder / "tables" / "pareto_parameters.csv").set_index("arm").cost
    assert set(frontier.index) == swept_cells
    assert frontier["bag"] == 0 < frontier.drop("bag").min()
    (figure,) = (folder / "figures").glob("pareto-parameters-recurrent*.svg")
    assert "attention" in figure.read_text()
    judged = pd.read_csv(folder / "tables" / "judged.csv")
    assert set(judged.baseline) | set(judged.alternative) == swept_cells
