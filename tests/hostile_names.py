"""Names that a model may hold, and models whose layers have them."""

from __future__ import annotations

import ast
import math
from functools import cache

import ml_dtypes
import numpy as np
import onnx
from models_for_tests import floats, make_model
from onnx import helper
from planted_findings import plant_finding

from playground.utils.parameter_inspector import Comparison, compare_variants, load_model
from playground.utils.parameter_inspector.judging.findings import Finding

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</title></style><script>alert(1)</script>",
    r"$\frac{1}{2}$ _a_ `b`",
    "a|b, c; \"d\" 'e'",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\ttab",
    "\rreturn",
    "]]>",
    "line\nbreak",
    "']\nimport os  # ",
    "\u202eright to left\u2066",
    "\x1b[31mred\x07\x00\x9b",
    "\u2028\ufeff\ufffe",
    "x" * 10_000,
    "",
    "twice",
    "twice",
    "层/卷积",
)


def chain(names, *, quantized: bool, dtype=np.int8) -> onnx.ModelProto:
    """Return MatMuls in a row, one for each name; quantized ones are per tensor."""
    nodes, arrays = [], {}
    for i, name in enumerate(names):
        weight = floats(7, 7, seed=i)
        arrays[f"w{i}"] = weight
        if quantized:
            del arrays[f"w{i}"]
            info = ml_dtypes.iinfo(dtype)
            scale = np.float32(2 * np.abs(weight).max() / (info.max - info.min - 1))
            middle = 0 if info.min else (info.max + 1) // 2
            codes = (np.rint(weight / scale) + middle).astype(dtype)
            arrays |= {f"q{i}": codes, f"s{i}": scale, f"z{i}": np.array(middle, dtype)}
            inputs = [f"q{i}", f"s{i}", f"z{i}"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"w{i}"]))
        nodes.append(helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], name))
    return make_model(nodes, arrays, inputs={"t0": (2, 7)}, outputs=[f"t{len(names)}"])


@cache
def make_hostile() -> tuple[Comparison, list[Finding]]:
    """Float and quantized variant, their comparison, and a finding about every layer."""
    variants = {
        "FP32": load_model(chain(HOSTILE, quantized=False)),
        "INT8": load_model(chain(HOSTILE, quantized=True)),
    }
    comparison = compare_variants(variants)
    findings = [
        plant_finding(
            "a-rule", "error", "INT8", row, f"{row} is bad", f"help {row}", {"x": math.inf}
        )
        for row in comparison.weights
    ]
    return comparison, findings


def rows_of(hostile, names):
    comparison, _ = hostile
    return [row for row, m in comparison.weights.items() if m["FP32"].layer.node_name in names]


def pasted(text: str) -> ast.expr:
    """Return what the text assigns; it may do nothing else than import and assign."""
    *imports, assignment = ast.parse(text).body
    assert all(isinstance(one, (ast.Import, ast.ImportFrom)) for one in imports)
    assert isinstance(assignment, ast.Assign)
    return assignment.value
