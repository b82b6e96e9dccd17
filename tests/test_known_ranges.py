"""What is known of a tensor's range holds for what the operators really compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
from models_for_tests import floats
from planted_activation_faults import I8, U8, Graph

from playground.utils.parameter_inspector import load_model
from playground.utils.parameter_inspector.judging.known_ranges import Range, find_known_ranges
from playground.utils.parameter_inspector.reading.dataflow import read_dataflow

UNARY = """
    Sigmoid Tanh Softsign Erf Sin Cos Atan Abs Sqrt Exp Softplus LogSoftmax Softmax Hardmax
    HardSwish Gelu Relu LeakyRelu Elu HardSigmoid Log Neg Reciprocal ThresholdedRelu Identity
    Flatten Transpose ReduceL1 ReduceL2 ReduceSumSquare ReduceMean ReduceMax ReduceMin Mean
""".split()
BINARY = "Add Sub Mul Div Max Min Sum Concat".split()


def ranges_of(model: onnx.ModelProto) -> dict[str, Range]:
    known = find_known_ranges(read_dataflow(load_model(model)))
    return {tensor.name: found for tensor, found in known.items()}


def range_of(graph: Graph, output: str) -> Range:
    return ranges_of(graph.model(output)).get(output, Range())


def clipped(graph: Graph, tensor: str, low: float, high: float) -> str:
    ends = [
        graph.constant(f"{tensor}_low", np.float32(low)),
        graph.constant(f"{tensor}_high", np.float32(high)),
    ]
    return graph.add("Clip", [tensor, *ends], f"{tensor}_clipped")


def computed(graph: Graph, output: str) -> np.ndarray:
    """Return what the reference implementation makes of inputs wider than every range here."""
    feeds = {
        name: 4 * floats(*shape, seed=k) for k, (name, shape) in enumerate(graph.inputs.items())
    }
    model = graph.model(output)
    return np.asarray(onnx.reference.ReferenceEvaluator(model).run([output], feeds)[0])


def assert_holds(found: Range, values: np.ndarray) -> None:
    assert found.low - 1e-5 <= values.min() and values.max() <= found.high + 1e-5


@pytest.mark.parametrize("ends", [(-2.0, 3.0), (0.5, 3.0), (-3.0, -0.5)], ids=str)
@pytest.mark.parametrize("op_type", UNARY)
def test_what_an_operator_computes_of_a_known_range_lies_in_the_range_it_is_given(op_type, ends):
    if op_type in ("Sqrt", "Log") and ends[0] <= 0:
        ends = (0.25, 2.0)
    graph = Graph(x=(40, 30))
    output = graph.add(op_type, [clipped(graph, "x", *ends)], "y")
    found = range_of(graph, output)
    assert found != Range() or op_type == "Reciprocal"
    assert_holds(found, computed(graph, output))


@pytest.mark.parametrize("op_type", BINARY)
def test_arithmetic_on_two_known_ranges_holds_what_is_computed(op_type):
    graph = Graph(a=(40, 30), b=(40, 30))
    operands = [clipped(graph, "a", -2, 3), clipped(graph, "b", 0.5, 4)]
    attributes = {"axis": 0} if op_type == "Concat" else {}
    output = graph.add(op_type, operands, "y", **attributes)
    found = range_of(graph, output)
    assert found.is_bounded
    assert_holds(found, computed(graph, output))


@pytest.mark.parametrize(("op_type", "ends"), [("Sigmoid", (0, 1)), ("Tanh", (-1, 1))])
def test_a_bounded_function_of_anything_has_its_bounds(op_type, ends):
    graph = Graph()
    assert range_of(graph, graph.add(op_type, ["x"], "y")) == Range(*ends)


def test_nothing_is_known_of_an_input():
    graph = Graph()
    assert range_of(graph, graph.add("Identity", ["x"], "y")) == Range()


def test_a_quantizer_bounds_what_it_cannot_hold():
    graph = Graph()
    assert range_of(graph, graph.both("x", 0.5, U8(128))) == Range(-64, 63.5)


def test_a_square_is_not_negative():
    graph = Graph()
    assert range_of(graph, graph.add("Mul", ["x", "x"], "y")).low == 0


def test_a_quotient_by_what_may_be_zero_is_unknown():
    graph = Graph(a=(3, 4), b=(3, 4))
    operands = [clipped(graph, "a", 0, 1), clipped(graph, "b", -1, 1)]
    assert range_of(graph, graph.add("Div", operands, "y")) == Range()


def test_padding_adds_its_value_to_the_range():
    graph = Graph()
    pads = [graph.constant("pads", np.ones(4, np.int64)), graph.constant("v", np.float32(-7))]
    padded = graph.add("Pad", [clipped(graph, "x", 1, 2), *pads], "y")
    assert range_of(graph, padded) == Range(-7, 2)


def test_a_cubic_resize_may_leave_the_range():
    graph = Graph(x=(1, 1, 6, 6))
    scales = graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
    given = [clipped(graph, "x", 0, 1), "", scales]
    assert range_of(graph, graph.add("Resize", given, "y", mode="cubic")) == Range()


def test_codes_of_an_integer_operator_have_the_range_of_their_values():
    graph = Graph()
    operands = [graph.quantize("x", 0.5, I8(0)), *graph.scale("a", 0.5, I8(0))]
    operands += graph.scale("b", 1 / 255, U8(0))
    output = graph.add("QLinearSigmoid", operands, "y", domain="com.microsoft")
    found = range_of(graph, output)
    assert found.low == pytest.approx(0) and found.high == pytest.approx(1)


def test_a_large_constant_is_not_read():
    graph = Graph(x=(300, 300))
    large = graph.constant("large", np.zeros((300, 300), np.float32))
    assert range_of(graph, graph.add("Mul", ["x", large], "y")) == Range()


def test_an_operator_with_too_few_operands_tells_nothing():
    graph = Graph()
    assert range_of(graph, graph.add("Sub", ["x"], "y")) == Range()
