"""The record is a format that others read: what is written comes back, and what is no record is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.runs.record import SCHEMA_VERSION, RunRecord, Status, field_types

numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
measured = [name for name, kind in field_types().items() if kind is float]
strategies = {str: st.text(), int: integers, float: numbers, bool: st.booleans()}
required = {"run_id", "execution_id", "pair_key", "arm", "code_version", "hardware_key", "started_at", "finished_at"}


def a_record(**changes: object) -> RunRecord:
    """A finished record with little in it."""
    now = datetime(2026, 11, 21, 22, 34, 55, tzinfo=UTC).isoformat()
    values = {name: f"some {name}" for name in required} | {"started_at": now, "finished_at": now}
    return RunRecord(**{**values, "status": Status.FINISHED, "seed": 0, **changes})  # type: ignore[arg-type]


@st.composite
def records(draw: st.DrawFn) -> RunRecord:
    """Any record that this version can write."""
    scalars = {
        name: draw(strategies[kind] if name in required or name == "seed" else st.none() | strategies[kind])
        for name, kind in field_types().items()
        if name not in ("status", "schema_version")
    }
    config = draw(st.dictionaries(st.text(min_size=1).map("model.{}".format), st.none() | st.booleans() | numbers))
    packages = draw(st.dictionaries(st.text(), st.text(), max_size=3))
    status = draw(st.sampled_from(Status))
    return RunRecord(**scalars, status=status, packages=packages, config=config)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(records())
def test_a_record_comes_back_as_it_was_written(record):
    assert RunRecord.from_json(record.to_json()) == record


def test_the_file_is_flat_with_the_configuration_beside_the_results():
    tree = json.loads(a_record(test_accuracy=0.9, config={"model.cell": "gru", "model.dropout": 0.3}).to_json())
    assert (tree["test_accuracy"], tree["model.cell"], tree["model.dropout"]) == (0.9, "gru", 0.3)
    assert (tree["schema_version"], tree["status"]) == (SCHEMA_VERSION, "finished")
    assert "config" not in tree


@given(
    st.sampled_from([n for n, kind in field_types().items() if kind is float]), st.sampled_from([math.nan, math.inf])
)
def test_a_number_that_is_not_finite_is_never_written(name, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        a_record(**{name: value}).to_json()


def test_a_newer_schema_is_refused_and_says_to_update():
    with pytest.raises(UserError, match=r"newer than .* update this program"):
        RunRecord.from_json(a_record(schema_version=SCHEMA_VERSION + 1).to_json())


@given(st.data())
def test_no_beginning_of_a_record_passes_for_a_record(data):
    text = a_record(packages={"torch": "2.6"}, config={"model.cell": "gru"}).to_json().rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(UserError, match="not a run record"):
        RunRecord.from_json(text[:cut])


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"schema_version": "1"}', "<html>"])
def test_what_is_no_record_is_refused_in_one_line(text):
    with pytest.raises(UserError) as refusal:
        RunRecord.from_json(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["run_id", "execution_id", "pair_key", "arm", "status", "seed"])
def test_a_missing_identity_is_named(name):
    tree = json.loads(a_record().to_json())
    del tree[name]
    with pytest.raises(UserError, match=f"{name} is missing"):
        RunRecord.from_mapping(tree)


def test_every_field_has_a_type_that_a_table_can_hold():
    lists = {"packages", "kernel_operators", "test_confusion", "test_by_length", "validation_curve", "gradient_flow",
             "config"}  # fmt: skip
    assert {item.name for item in fields(RunRecord)} == set(field_types()) | lists
