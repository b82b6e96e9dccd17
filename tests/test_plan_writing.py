"""A plan as a file: what its form does not take is left out and said, and the file is run."""

from dataclasses import replace

import onnx
import pytest
from networks_to_run import conv_network, quantize
from plans_for_tests import SAMPLES, compare_spoiled, quantized_name

from playground.utils.parameter_inspector import (
    PlanName,
    RewriteError,
    compare,
    plan_by_measurement,
    read_samples,
    save_plan,
)


@pytest.fixture(scope="module")
def codes_in(tmp_path_factory):
    """A build whose input comes in as codes: no move can change what its caller does."""
    folder = tmp_path_factory.mktemp("codes")
    proto = quantize(conv_network(), folder)
    first = next(n for n in proto.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "x")
    codes, name = first.output[0], "x"
    for node in proto.graph.node:
        node.input[:] = [name if value == codes else value for value in node.input]
    proto.graph.node.remove(first)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(proto, folder / "int8.onnx")
    onnx.save(conv_network(), folder / "fp32.onnx")
    return compare([folder / "fp32.onnx", folder / "int8.onnx"])


def test_what_the_form_does_not_take_is_left_out_and_said(codes_in, tmp_path):
    name = quantized_name(codes_in)
    samples = read_samples(codes_in, SAMPLES)
    plans = plan_by_measurement(codes_in, name, samples)
    wide = next(plan for plan in plans if plan.name is PlanName.SIXTEEN_BITS)
    assert "x" in {quantizer.tensor for move in wide.moves for quantizer in move.quantizers}
    done = save_plan(codes_in, name, wide, samples, tmp_path / "out.onnx")
    assert [[q.tensor for q in move.quantizers] for move, _ in done.refused] == [["x"]]
    assert (tmp_path / "out.onnx").exists()


def test_a_plan_without_a_move_that_can_be_written_is_refused(codes_in, tmp_path):
    name = quantized_name(codes_in)
    samples = read_samples(codes_in, SAMPLES)
    plan = next(
        plan
        for plan in plan_by_measurement(codes_in, name, samples)
        if plan.name is PlanName.SIXTEEN_BITS
    )
    only = next(move for move in plan.moves if move.quantizers[0].tensor == "x")
    step = replace(plan.steps[0], moves=(only,))
    with pytest.raises(RewriteError, match="who calls the model quantizes it"):
        save_plan(codes_in, name, replace(plan, steps=(step,)), samples, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_nothing_is_left_out_of_a_plain_file(tmp_path):
    comparison = compare_spoiled(tmp_path)
    samples = read_samples(comparison, SAMPLES)
    plan = plan_by_measurement(comparison, quantized_name(comparison), samples)[0]
    done = save_plan(comparison, quantized_name(comparison), plan, samples, tmp_path / "out.onnx")
    assert done.refused == () and done.is_as_planned
