"""What onnxruntime cannot run is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from playground.utils.parameter_inspector import compare_variants, open_folder
from playground.utils.parameter_inspector.changing.runtime_support import why_not_run
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.records import Layer

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def dscnn():
    variants = open_folder(MODELS / "dscnn").variants
    return compare_variants(variants)


def test_float4_and_narrow_types_beside_quantized_activations_are_not_proposed(dscnn):
    comparison = dscnn
    layer: Layer = comparison.weights["/conv/Conv"]["UINT8"].layer
    assert "float4e2m1" in why_not_run(layer, Scheme("float4e2m1"))
    assert "int2" in why_not_run(layer, Scheme("int2"))
    assert why_not_run(layer, Scheme("int4")) is None
    alone = replace(layer, inputs=())
    assert why_not_run(alone, Scheme("int2")) is None
    assert "wrongly" in why_not_run(replace(alone, op_type="Gemm"), Scheme("int2"))
    blocks = Scheme("int8", "per-block", block_size=16)
    assert "int8 weights in blocks" in why_not_run(layer, blocks)
    assert why_not_run(alone, blocks) is None
