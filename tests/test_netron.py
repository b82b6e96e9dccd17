"""Netron finds the node of every entry, and no two entries of one name."""

from __future__ import annotations

import json

import pytest
from hostile_names import HOSTILE, chain, make_hostile, rows_of

from playground.utils import exports
from playground.utils.parameter_inspector import compare_variants, load_model


@pytest.fixture
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    return make_hostile()


@pytest.fixture
def attachment(hostile):
    return json.loads(exports.create_netron_attachment(*hostile))


def test_netron_finds_the_node_of_every_entry(hostile, attachment):
    """Netron matches kind and the node's name up to its first line break."""
    nodes = [node.name.split("\n")[0] for node in chain(HOSTILE, quantized=False).graph.node]
    alone = {name for name in nodes if name and nodes.count(name) == 1}
    assert attachment["signature"] == "netron:attachment"
    for container in ("metrics", "metadata"):
        assert {item["target"] for item in attachment[container]} == alone
        assert {item["kind"] for item in attachment[container]} == {"node"}


def test_netron_shows_the_numbers_of_the_scan(hostile, attachment):
    comparison, _ = hostile
    (row,) = rows_of(hostile, ["a|b, c; \"d\" 'e'"])
    (shown,) = [
        item["value"]
        for item in attachment["metrics"]
        if item["target"] == row and item["name"] == "INT8 SQNR [dB]"
    ]
    assert shown == pytest.approx(comparison.by_variant(row)["INT8"].metrics["sqnr_db"], rel=1e-5)


def test_netron_gets_no_two_entries_of_one_name(hostile, attachment):
    """It would keep the last one only."""
    _, findings = hostile
    twice = json.loads(exports.create_netron_attachment(hostile[0], [*findings, *findings]))
    for content in (attachment, twice):
        for container in ("metrics", "metadata"):
            keys = [(item["target"], item["name"]) for item in content[container]]
            assert len(keys) == len(set(keys)) > 0


def test_an_attachment_for_the_quantized_graph_uses_its_names():
    variants = {
        "FP32": load_model(chain(["a", "b"], quantized=False)),
        "INT8": load_model(chain(["a_q", "b_q"], quantized=True)),
    }
    comparison = compare_variants(variants)
    content = json.loads(exports.create_netron_attachment(comparison, graph="INT8"))
    assert {item["target"] for item in content["metrics"]} == {"a_q", "b_q"}
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8", graph="INT8"))
    assert set(data["results"]) == {"a_q", "b_q"}
