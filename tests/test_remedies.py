"""Every remedy is carried out with onnxruntime's quantizer, and what it promises is measured."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import version_converter
from onnxruntime.quantization import CalibrationMethod, QuantType
from remedies import (
    Method,
    Network,
    create_network,
    layer_between,
    output_db,
    quantize,
)

from playground.utils.parameter_inspector import compare_variants, find_layer, load_model
from playground.utils.parameter_inspector.judging.float_neighbours import keep_in_float
from playground.utils.parameter_inspector.judging.loading_rules import find_loading_problems
from playground.utils.parameter_inspector.judging.quantizing_methods import (
    Method as Named,
)
from playground.utils.parameter_inspector.judging.quantizing_methods import (
    can_quantize,
    find_method,
    op_type_to_add,
    reaches_per_channel,
)
from playground.utils.parameter_inspector.judging.rules import find_problems

NAMED = {
    Method.STATIC_QDQ: Named.STATIC_QDQ,
    Method.STATIC_QOPERATOR: Named.STATIC_QOPERATOR,
    Method.DYNAMIC: Named.DYNAMIC,
}
OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "LSTM", "GRU")
every_way = pytest.mark.parametrize("method", list(Method))
# Less is the luck of a few samples.
CLEARLY_DB = 2.0


def compared(network, quantized):
    return compare_variants({"FP32": load_model(network.path), "INT8": load_model(quantized)})


def quantization_of_layer(network, quantized):
    """Return what the file stores for ``layer``; None where it stayed in float."""
    by_variant = compared(network, quantized).weights["layer"]
    return by_variant["INT8"].quantization if "INT8" in by_variant else None


def rules_about_layer(network, quantized):
    findings = find_problems(compared(network, quantized))
    return {finding.rule for finding in findings if finding.layer_name in ("layer", "")}


@every_way
@pytest.mark.parametrize("op_type", OPERATORS)
def test_per_channel_reaches_the_operators_that_remedies_say_it_does(tmp_path, method, op_type):
    network = create_network(tmp_path / "float.onnx", op_type)
    types = [op_type_to_add(NAMED[method], op_type)]
    file = quantize(
        network, method, tmp_path / "q.onnx", per_channel=True, op_types_to_quantize=types
    )
    quantization = quantization_of_layer(network, file)
    reached = quantization is not None and quantization.scale.size > 1
    assert reached == reaches_per_channel(NAMED[method], op_type)


@every_way
@pytest.mark.parametrize("op_type", OPERATORS)
def test_op_types_to_quantize_brings_in_the_operators_that_remedies_say_it_does(
    tmp_path, method, op_type
):
    network = create_network(tmp_path / "float.onnx", op_type)
    types = [op_type_to_add(NAMED[method], op_type)]
    file = quantize(network, method, tmp_path / "q.onnx", op_types_to_quantize=types)
    quantized = quantization_of_layer(network, file) is not None
    assert quantized == can_quantize(NAMED[method], op_type)


@every_way
@pytest.mark.parametrize("op_type", ["Conv", "MatMul", "Gemm"])
def test_the_file_tells_what_made_it(tmp_path, method, op_type):
    network = create_network(tmp_path / "float.onnx", op_type)
    file = quantize(network, method, tmp_path / "q.onnx")
    assert find_method(load_model(file)) is NAMED[method]


@every_way
@pytest.mark.parametrize("op_type", ["Conv", "MatMul", "Gemm"])
def test_a_scale_per_channel_ends_the_collapse_where_it_reaches(tmp_path, method, op_type):
    network = create_network(tmp_path / "float.onnx", op_type)
    one_scale = quantize(network, method, tmp_path / "one.onnx")
    assert "channel-collapse" in rules_about_layer(network, one_scale)
    if reaches_per_channel(NAMED[method], op_type):
        file = quantize(network, method, tmp_path / "many.onnx", per_channel=True)
        assert "channel-collapse" not in rules_about_layer(network, file)
        assert output_db(network, file) > output_db(network, one_scale) + CLEARLY_DB


@every_way
@pytest.mark.parametrize("op_type", ["Conv", "MatMul", "Gemm"])
def test_leaving_out_the_nodes_that_a_remedy_names_improves_the_output(tmp_path, method, op_type):
    network = create_network(tmp_path / "float.onnx", op_type)
    one_scale = quantize(network, method, tmp_path / "one.onnx")
    kept = keep_in_float("layer", compared(network, one_scale), NAMED[method])
    names = list(kept.nodes.nodes)
    file = quantize(network, method, tmp_path / "kept.onnx", nodes_to_exclude=names)
    assert "channel-collapse" not in rules_about_layer(network, file)
    assert output_db(network, file) > output_db(network, one_scale) + CLEARLY_DB


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm"])
def test_a_layer_left_out_alone_is_quantized_again(tmp_path, op_type):
    network = create_network(tmp_path / "float.onnx", op_type)
    kept = keep_in_float("layer", compared(network, network.path), Named.STATIC_QDQ)
    alone, together = (
        quantize(
            network, Method.STATIC_QDQ, tmp_path / f"{len(names)}.onnx", nodes_to_exclude=names
        )
        for names in (["layer"], list(kept.nodes.nodes))
    )
    assert output_db(network, together) > output_db(network, alone) + CLEARLY_DB


def test_sixteen_bits_improve_a_static_build(tmp_path):
    network = layer_between(tmp_path / "float.onnx", "Conv")
    eight, sixteen = (
        quantize(network, Method.STATIC_QDQ, tmp_path / f"{t}.onnx", weight_type=t)
        for t in (QuantType.QInt8, QuantType.QInt16)
    )
    assert output_db(network, sixteen) > output_db(network, eight) + CLEARLY_DB


def test_calibration_by_percentile_does_not_reach_weights(tmp_path):
    network = layer_between(tmp_path / "float.onnx", "MatMul")
    scales = [
        quantization_of_layer(
            network,
            quantize(network, Method.STATIC_QDQ, tmp_path / f"{m}.onnx", calibrate_method=m),
        ).scale
        for m in (CalibrationMethod.MinMax, CalibrationMethod.Percentile)
    ]
    assert np.array_equal(*scales)


@pytest.mark.parametrize("cure", [{"reduce_range": True}, {"weight_type": QuantType.QUInt8}])
def test_the_remedies_of_saturating_products_end_the_finding(tmp_path, cure):
    network = layer_between(tmp_path / "float.onnx", "Conv")
    ill = quantize(network, Method.STATIC_QDQ, tmp_path / "ill.onnx", per_channel=True)
    file = quantize(network, Method.STATIC_QDQ, tmp_path / "q.onnx", per_channel=True, **cure)
    assert "u8s8-saturation" in rules_about_layer(network, ill)
    assert "u8s8-saturation" not in rules_about_layer(network, file)


@pytest.mark.parametrize("opset", [11, 12])
def test_a_model_converted_before_it_is_quantized_loads(tmp_path, opset):
    network = layer_between(tmp_path / "float.onnx", "Conv", opset)
    ill = quantize(network, Method.STATIC_QDQ, tmp_path / "ill.onnx", per_channel=True)
    problems = list(find_loading_problems(compared(network, ill), "INT8"))
    assert {problem.mismatch.allowed_from for problem in problems} == {13}
    converted = Network(tmp_path / "13.onnx", network.calibration, network.samples)
    onnx.save(version_converter.convert_version(onnx.load(network.path), 13), converted.path)
    file = quantize(converted, Method.STATIC_QDQ, tmp_path / "q.onnx", per_channel=True)
    assert not list(find_loading_problems(compared(converted, file), "INT8"))
    assert output_db(converted, file) > 20


def test_weights_stored_as_codes_take_the_bytes_that_the_finding_promises(tmp_path):
    network = layer_between(tmp_path / "float.onnx", "Conv")
    options = ({"AddQDQPairToWeight": True}, {"AddQDQPairToWeight": False})
    behind, stored = (
        quantize(
            network, Method.STATIC_QDQ, tmp_path / f"{i}.onnx", per_channel=True, extra_options=o
        )
        for i, o in enumerate(options)
    )
    assert "wasted-bytes" in rules_about_layer(network, behind)
    assert "wasted-bytes" not in rules_about_layer(network, stored)
    assert find_layer(load_model(stored), "layer").weight.data_type == "int8"
