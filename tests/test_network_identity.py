"""Whether a file is the network of its original, where the weights are known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks_to_run import conv_network, model, node, quantize

from playground.utils.parameter_inspector import compare_variants, load_model
from playground.utils.parameter_inspector.measuring.network_identity import (
    DifferenceKind,
    NetworkIdentity,
    identify_network,
)


def weights(seed: int, count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(16, 16)).astype(np.float32) for _ in range(count)]


def chain(arrays: list[np.ndarray]) -> onnx.ModelProto:
    """A product for each weight, under the same names whatever the weights are."""
    nodes, last = [], "x"
    for number in range(len(arrays)):
        nodes += [node("MatMul", f"{last} w{number}", f"m{number}")]
        last = f"m{number}"
    constants = {f"w{number}": array for number, array in enumerate(arrays)}
    return model(nodes, {"x": ["N", arrays[0].shape[0]]}, [last], constants)


def identify(original: onnx.ModelProto, variant: onnx.ModelProto) -> NetworkIdentity:
    comparison = compare_variants({"FP32": load_model(original), "INT8": load_model(variant)})
    assert identify_network(comparison, "FP32") is None
    found = identify_network(comparison, "INT8")
    assert found is not None
    return found


def test_a_quantized_file_is_the_network_it_was_made_from(tmp_path: Path):
    found = identify(conv_network(), quantize(conv_network(), tmp_path))
    assert (len(found.same), found.differences, found.lost, found.strange) == (3, (), (), ())
    assert not found.is_other_network


@pytest.mark.parametrize("exchanged, is_other", [(1, False), (2, True), (3, True)])
def test_half_of_the_layers_make_another_network(exchanged, is_other):
    ours, others = weights(0), weights(1)
    found = identify(chain(ours), chain([*others[:exchanged], *ours[exchanged:]]))
    assert found.compared == 3
    assert [one.layer_name for one in found.differences] == [
        f"m{number}_node" for number in range(exchanged)
    ]
    assert {one.kind for one in found.differences} == {DifferenceKind.VALUES}
    assert found.is_other_network is is_other
    assert all(abs(one.cosine) < 0.5 for one in found.differences)
