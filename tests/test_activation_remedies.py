"""What the rules about activations tell to do is done with onnxruntime, and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import floats, run_onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from planted_activation_faults import Graph, with_outlier
from planted_faults import problems_of, quietly

from playground.utils.parameter_inspector.judging.findings import Finding

INT8 = {
    "per_channel": True,
    "weight_type": QuantType.QInt8,
    "activation_type": QuantType.QUInt8,
}
Feeds = dict[str, np.ndarray]


class Batches(CalibrationDataReader):
    def __init__(self, feeds: list[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._left, None)


@dataclass(frozen=True)
class Case:
    """A float network, inputs for it, and the output (a part of it) that is looked at."""

    rule: str
    model: Callable[[], onnx.ModelProto]
    feeds: Callable[[int], Feeds]
    output: str
    first_channel: int = 0


def quantized(case: Case, folder: Path, **options: Any) -> onnx.ModelProto:
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(case.model(), source)
    with quietly():
        quantize_static(
            source, target, Batches([case.feeds(k) for k in range(6)]), **INT8, **options
        )
    return onnx.load(target)


def decibels(case: Case, variant: onnx.ModelProto) -> float:
    exact, found = (
        run_onnxruntime(model, case.feeds(99), [case.output])[0][:, case.first_channel :]
        for model in (case.model(), variant)
    )
    if not np.isfinite(found).all():
        return -np.inf
    error = float(np.linalg.norm(exact - found)) or 1e-9
    return float(20 * np.log10(np.linalg.norm(exact) / error))


def found_by(case: Case, variant: onnx.ModelProto) -> list[Finding]:
    problems = problems_of({"FP32": case.model(), "variant": variant})
    return [finding for finding in problems if finding.rule == case.rule]


def detection_head() -> onnx.ModelProto:
    """Return boxes of 640 pixels beside scores: the scores alone leave the network too."""
    graph = Graph(x=(1, 16, 8, 8))
    wide = graph.constant("wide", 20 * floats(4, 16, 1, 1))
    boxes = graph.add("Conv", ["x", wide], "boxes")
    held = graph.constant("w", floats(20, 16, 1, 1, seed=3))
    scores = graph.add("Sigmoid", [graph.add("Conv", ["x", held], "classes")], "scores")
    return graph.model(graph.add("Concat", [boxes, scores], "joined", axis=1), opset=17)


def masked_attention() -> onnx.ModelProto:
    """Return a Softmax of scores to which (1 - keep) times the lowest float is added."""
    graph = Graph(x=(4, 12), keep=(4, 12))
    scores = graph.add("MatMul", ["x", graph.constant("w", floats(12, 12))], "scores")
    one = graph.constant("one", np.float32(1))
    lowest = graph.constant("lowest", np.float32(np.finfo(np.float32).min))
    mask = graph.add("Mul", [graph.add("Sub", [one, "keep"], "left_out"), lowest], "mask")
    shares = graph.add("Softmax", [graph.add("Add", [scores, mask], "masked")], "shares")
    values = graph.constant("v", floats(12, 7, seed=2))
    return graph.model(graph.add("MatMul", [shares, values], "attended"), opset=17)


def normalization_spelled_out() -> onnx.ModelProto:
    graph = Graph(x=(4, 12))
    hidden = graph.add("MatMul", ["x", graph.constant("w", floats(12, 12))], "hidden")
    variance = graph.add(
        "ReduceMean",
        [graph.add("Mul", [hidden, hidden], "square")],
        "variance",
        axes=[-1],
        keepdims=1,
    )
    kept = graph.add("Add", [variance, graph.constant("epsilon", np.float32(1e-5))], "kept")
    normal = graph.add("Div", [hidden, graph.add("Sqrt", [kept], "deviation")], "normal")
    weight = graph.constant("v", floats(12, 7, seed=2))
    return graph.model(graph.add("MatMul", [normal, weight], "fc"), opset=17)


def uneven_normalization() -> onnx.ModelProto:
    graph = Graph(x=(4, 24))
    given = [
        graph.constant("gamma", with_outlier(24, 0.3, 30)),
        graph.constant("beta", 0.1 * floats(24)),
    ]
    normal = graph.add("LayerNormalization", ["x", *given], "normal")
    weight = floats(24, 7)
    weight[12] = 0  # the wide channel is not listened to
    return graph.model(graph.add("MatMul", [normal, graph.constant("w", weight)], "fc"), opset=17)


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def with_flat_row(values: np.ndarray) -> np.ndarray:
    """Return the values with one token that has no variance: the constant alone keeps it finite."""
    values[2] = 0
    return values


def kept(seed: int) -> np.ndarray:
    kept = np.ones((4, 12), np.float32)
    kept[:, 12 - seed % 5 - 1 :] = 0
    return kept


CASES = [
    Case("swallowed-range", detection_head, lambda k: {"x": normal((1, 16, 8, 8), k)},
         "joined", first_channel=4),
    Case("impossible-scale", masked_attention,
         lambda k: {"x": normal((4, 12), k), "keep": kept(k)}, "attended"),
    Case("lost-constant", normalization_spelled_out,
         lambda k: {"x": with_flat_row(normal((4, 12), k)) if k == 99 else normal((4, 12), k)},
         "fc"),
    Case("coarse-parameter", uneven_normalization, lambda k: {"x": normal((4, 24), k)}, "fc"),
]  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)


@each_case
def test_leaving_out_the_nodes_that_a_finding_names_ends_it(case, tmp_path):
    (finding,) = found_by(case, quantized(case, tmp_path))
    nodes = finding.facts.nodes
    assert nodes.are_all_named
    after = quantized(case, tmp_path, nodes_to_exclude=list(nodes.nodes))
    assert found_by(case, after) == []


@each_case
def test_leaving_them_out_gives_back_what_was_lost(case, tmp_path):
    before = quantized(case, tmp_path)
    (finding,) = found_by(case, before)
    after = quantized(case, tmp_path, nodes_to_exclude=list(finding.facts.nodes.nodes))
    assert decibels(case, after) > max(12, decibels(case, before) + 6)
