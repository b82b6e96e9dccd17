"""Models to put in files, and what a refusal has to read like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from models_for_tests import codes, dequantize_node, floats, make_model
from onnx import helper


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def is_one_sentence(text: str) -> bool:
    return "\n" not in text and 10 < len(text) < 400


def function(
    name: str, nodes: Sequence[onnx.NodeProto], imports: Sequence[str] = ("", "local")
) -> onnx.FunctionProto:
    versions = [helper.make_opsetid(domain, 21 if domain == "" else 1) for domain in imports]
    return helper.make_function("local", name, ["a"], ["b"], nodes, versions)


def large(data_type: str) -> np.ndarray:
    """Return an array of 3 KB and more, no two rows alike."""
    return codes(data_type, 61, 103) if data_type != "float32" else floats(61, 103)


def dequantized(arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return a MatMul for each array of codes, named as it, one scale for all."""
    nodes = []
    for name in arrays:
        nodes.append(dequantize_node((name, "s"), f"w_{name}"))
        nodes.append(helper.make_node("MatMul", ["x", f"w_{name}"], [f"y_{name}"], name))
    held = arrays | {"s": np.float32(0.3)}
    return make_model(nodes, held, inputs={"x": (2, 61)}, outputs=[f"y_{n}" for n in arrays])
