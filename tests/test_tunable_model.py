"""The tunable model against onnxruntime on files that have its settings, and closed forms."""

import numpy as np
import onnx
import onnxruntime
import pytest
from networks_to_run import conv_network, images, place, quantize, run, sqnr_db
from onnxruntime.quantization import QuantType

from playground.utils.parameter_inspector.facts import QuantizerKind
from playground.utils.parameter_inspector.running.tunable_model import (
    Setting,
    create_tunable_model,
    find_setting,
    is_tunable,
)

FORMS = {
    "uint8": {},
    "int8": {"activation_type": QuantType.QInt8},
    "uint8 weights": {"weight_type": QuantType.QUInt8, "per_channel": False},
}


@pytest.fixture(scope="module", params=FORMS)
def form(request, tmp_path_factory):
    variant = quantize(conv_network(), tmp_path_factory.mktemp("form"), **FORMS[request.param])
    networks, placement = place(conv_network(), variant)
    return variant, create_tunable_model(*networks, placement, {})


def answer(tunable, inputs, on=None, settings=None, choices=None, shifts=None):
    count = len(tunable.settings)
    gates = np.ones(count, bool) if on is None else np.isin(np.arange(count), on)
    extra = tunable.create_inputs(gates, settings or {}, choices or {}, shifts)
    return run(tunable.proto, {**inputs, **extra}, ["y"])[0]


def test_with_the_files_settings_it_is_the_file_bit_for_bit(form):
    variant, tunable = form
    inputs = images(4)
    np.testing.assert_array_equal(answer(tunable, inputs), run(variant, inputs)[0])


def test_with_every_gate_closed_it_is_the_original(form):
    inputs = images(4)
    found = answer(form[1], inputs, on=[])
    assert sqnr_db(run(conv_network(), inputs)[0], found) >= 120


def test_sixteen_bits_are_those_of_a_file_of_16_bits(tmp_path):
    options = {"UseQDQContribOps": True}
    wide = quantize(
        conv_network(), tmp_path, activation_type=QuantType.QUInt16, extra_options=options
    )
    _, wanted = place(conv_network(), wide)
    narrow = quantize(conv_network(), tmp_path)
    networks, placement = place(conv_network(), narrow)
    tunable = create_tunable_model(*networks, placement, {})
    scales = {q.tensor: find_setting(q) for q in wanted.quantizers if is_tunable(q)}
    settings = {q.index: scales[q.tensor] for q in placement.quantizers if is_tunable(q)}
    inputs = images(4)
    assert sqnr_db(run(wide, inputs)[0], answer(tunable, inputs, settings=settings)) > 80


def test_a_setting_rounds_and_clips_as_numpy_does(form):
    _, tunable = form
    index = next(q.index for q in tunable.switched.placement.quantizers if q.tensor == "x")
    setting = Setting.of(0.25, 3, (0, 15))
    inputs = images(2)
    codes = np.clip(np.rint(inputs["x"] / np.float32(0.25)) + 3, 0, 15)
    exact = run(conv_network(), {"x": (codes - 3).astype(np.float32) * np.float32(0.25)})[0]
    found = answer(tunable, inputs, on=[index], settings={index: setting})
    assert sqnr_db(exact, found) > 110


def test_a_weight_takes_the_alternative_that_is_chosen(tmp_path):
    variant = quantize(conv_network(), tmp_path)
    networks, placement = place(conv_network(), variant)
    number, site = next((n, s) for n, s in enumerate(placement.weights) if len(s.shape) == 4)
    others = [np.full(site.shape, value, np.float32) for value in (0.5, -0.25)]
    alternatives = {site.quantizer: [{number: other} for other in others]}
    tunable = create_tunable_model(*networks, placement, alternatives)
    inputs = images(2)
    for choice, other in enumerate(others, 1):
        changed = conv_network()
        name = placement.quantizers[site.quantizer].tensor
        held = next(t for t in changed.graph.initializer if t.name == name)
        held.CopyFrom(onnx.numpy_helper.from_array(other, name))
        found = answer(tunable, inputs, on=[site.quantizer], choices={site.quantizer: choice})
        bias_db = sqnr_db(run(changed, inputs)[0], found)
        assert bias_db > 30  # the bias of the file is a rounding of the original's
    kept = answer(tunable, inputs)
    np.testing.assert_array_equal(kept, run(variant, inputs)[0])


def test_a_shift_of_the_last_bias_moves_the_output_by_as_much(form):
    _, tunable = form
    quantizer, bias = next((i, b) for i, b in tunable.biases.items() if b.size == 3)
    shift = np.array([0.5, -1.0, 2.0], np.float32)
    inputs = images(3)
    moved = answer(tunable, inputs, on=[], shifts={quantizer: shift})
    np.testing.assert_allclose(moved - answer(tunable, inputs, on=[]), [shift] * 3, rtol=1e-5)
    np.testing.assert_array_equal(
        bias.values, onnx.numpy_helper.to_array(conv_network().graph.initializer[5])
    )


def test_what_an_output_is_made_from_can_be_put_out(form):
    (behind,) = form[1].behind.values()
    through = [one.through for one in behind]
    assert through[:4] == ["Gemm", "Flatten", "GlobalAveragePool", "MaxPool"]
    names = {value.name for value in form[1].proto.graph.output}
    assert {one.tensor for one in behind} <= names


def test_weights_are_not_tunable(form):
    weights = [q for q in form[1].switched.placement.quantizers if q.kind is QuantizerKind.WEIGHT]
    assert weights and not any(map(is_tunable, weights))


def test_onnxruntime_loads_it_with_all_optimizations(form):
    assert onnxruntime.InferenceSession(form[1].proto.SerializeToString()).get_inputs()
