"""Model Explorer gets finite numbers and colours for the nodes that it can name."""

from __future__ import annotations

import json
import math

import pytest
from hostile_names import make_hostile, rows_of

from playground.utils import exports
from playground.utils.parameter_inspector import METRICS


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


def test_model_explorer_gets_the_metric_of_every_node_it_can_name(hostile):
    comparison, _ = hostile
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8"))
    (row,) = rows_of(hostile, ["]]>"])
    assert data["results"]["]]>"] == {
        "value": comparison.by_variant(row)["INT8"].metrics[METRICS[0].name]
    }
    assert "twice" not in data["results"]
    assert "" not in data["results"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_model_explorer_gets_finite_numbers_and_colours_for_every_metric(hostile, metric):
    comparison, _ = hostile
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8", metric))
    assert all(math.isfinite(one["value"]) for one in data["results"].values())
    stops = [item.get("value", item.get("stop")) for item in next(iter(
        data[key] for key in ("thresholds", "gradient") if key in data))]  # fmt: skip
    assert stops == sorted(stops)
    if "gradient" in data:
        assert stops == [0, 1]
