"""A small weight to try schemes on."""

from __future__ import annotations

import numpy as np
from models_for_tests import codes, dequantize_node, floats, make_model, scales
from onnx import helper

from playground.utils.parameter_inspector import compare_variants, load_model
from playground.utils.parameter_inspector.changing.trials import WeightOnTrial, open_weight

SHAPE = (7, 12)  # of a MatMul: its channels are the columns


def open_matmul() -> WeightOnTrial:
    """Return a MatMul with a uint8 scale for the whole tensor, beside its float original."""
    exact = floats(*SHAPE)
    parts = {"q": codes("uint8", *SHAPE), "s": scales(), "z": np.uint8(100)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")
    inputs = {"x": (2, SHAPE[0])}
    held = (parts["q"].astype(np.float32) - 100) * parts["s"]
    models = (
        make_model([node], {"w": held + 0.3 * parts["s"] * np.sign(exact)}, inputs=inputs),
        make_model([dequantize_node(), node], parts, inputs=inputs),
    )
    variants = dict(zip(("FP32", "UINT8"), map(load_model, models), strict=True))
    return open_weight(compare_variants(variants), "UINT8", "matmul")
