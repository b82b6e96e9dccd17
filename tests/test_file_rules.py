"""What a file is called is believed only where it should be."""

from __future__ import annotations

import pytest
from planted_faults import float_network, healthy_int8, pair, problems_of


def test_a_name_that_speaks_of_quantization_is_only_believed_of_float_files():
    model = healthy_int8()
    model.graph.name = "net_int8_quantized"
    assert problems_of(pair(model)) == ()


@pytest.mark.parametrize("name", ["printer", "squint", "int64_ids", "a_point", "unit88"])
def test_names_that_only_look_like_quantization_are_not_accused(name):
    model = float_network()
    model.graph.name = name
    assert problems_of({name: model}) == ()


@pytest.mark.parametrize(
    "name", ["model_int8", "net.quantized", "net-q4", "w8a8", "resnet_qdq", "model.uint8", "int4"]
)
def test_names_that_say_quantized_are_taken_at_their_word(name):
    model = float_network()
    model.graph.name = name
    assert [finding.rule for finding in problems_of({name: model})] == ["not-quantized"]
