"""A variant written again with moves computes what the moves say, in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import floats
from moves_for_tests import Bench, X, number, run_file, turned
from networks_to_run import conv_network, model, node, quantize, quantize_while_running, sqnr_db
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from playground.utils.parameter_inspector import list_layers, load_model
from playground.utils.parameter_inspector.changing.move_refusals import (
    MoveRefusedError,
    describe_note,
    describe_writing_refusal,
)
from playground.utils.parameter_inspector.changing.moves import ActivationScheme, Move, MoveKind
from playground.utils.parameter_inspector.changing.requantizing import requantize
from playground.utils.parameter_inspector.changing.saved_checks import verify_saved
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.facts import (
    QuantizerKind,
    SampleKind,
    WritingNote,
    WritingNoteKind,
    WritingRefusal,
    WritingRefusalKind,
)
from playground.utils.parameter_inspector.running.samples import create_samples


def four_bits(folder):
    nodes = [node("MatMul", "x w1", "m"), node("Add", "m b1", "h"), node("Relu", "h", "r"),
             node("MatMul", "r w2", "y")]  # fmt: skip
    constants = {"w1": floats(32, 48), "b1": floats(48, seed=1), "w2": floats(48, 6, seed=2)}
    original = model(nodes, {"x": ["N", 32]}, ["y"], constants, opset=21)
    quantizer = MatMulNBitsQuantizer(
        onnx.load_model_from_string(original.SerializeToString()), block_size=16
    )
    quantizer.process()
    return Bench(folder, quantizer.model.model, original)


FORMS = {
    "QDQ uint8": lambda folder: quantize(conv_network(), folder),
    "QDQ int8": lambda folder: quantize(
        conv_network(), folder, activation_type=QuantType.QInt8, per_channel=False
    ),
    "QOperator": lambda folder: quantize(
        conv_network(), folder, quant_format=QuantFormat.QOperator
    ),
    "dynamic": lambda folder: quantize_while_running(conv_network(), folder),
}
STATIC = [name for name in FORMS if name != "dynamic"]


@pytest.fixture(params=FORMS)
def bench(request, tmp_path):
    return Bench(tmp_path, FORMS[request.param](tmp_path))


@pytest.fixture(params=STATIC)
def static(request, tmp_path):
    return Bench(tmp_path, FORMS[request.param](tmp_path))


@pytest.fixture
def qdq(tmp_path):
    return Bench(tmp_path, FORMS["QDQ uint8"](tmp_path))


def layer_of(path, name):
    return next(one for one in list_layers(load_model(path)) if one.name == name)


def producer(proto, tensor):
    return next(one for one in proto.graph.node if tensor in one.output)


def kinds(written):
    return {note.kind for note in written.saved.notes}


# ------------------------------------------------- nothing, and everything


def test_a_variant_without_moves_computes_what_it_did(bench):
    np.testing.assert_array_equal(bench.write([]).run(), bench.current())


@pytest.mark.parametrize("optimized", [False, True])
def test_with_everything_in_float_it_is_the_original(bench, optimized):
    written = bench.write([*bench.free_activations(), *bench.free_weights()])
    np.testing.assert_allclose(written.run(optimized), bench.exact(), rtol=1e-5, atol=1e-6)
    assert not [op for op in written.operators() if "Quantize" in op or "QLinear" in op]


def test_the_input_and_output_keep_names_and_types(bench):
    written = bench.write([*bench.free_activations(), *bench.free_weights()]).proto.graph
    before = onnx.load(bench.folder / "variant.onnx").graph
    assert [v.name for v in written.input] == [v.name for v in before.input]
    assert [v.name for v in written.output] == [v.name for v in before.output]
    assert list(written.input[0].type.tensor_type.shape.dim) == list(
        before.input[0].type.tensor_type.shape.dim
    )


# ------------------------------------------------- activations


def test_sixteen_bits_are_what_onnxruntimes_own_quantizer_makes_of_the_same_ranges(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(), theirs.mkdir()
    bench = Bench(ours, quantize(conv_network(), ours))
    wide = Bench(theirs, quantize(conv_network(), theirs, activation_type=QuantType.QUInt16))
    by_tensor = {q.tensor: q for qs in wide.groups(QuantizerKind.ACTIVATION) for q in qs}
    moves = []
    for one in (q for qs in bench.groups(QuantizerKind.ACTIVATION) for q in qs):
        found = by_tensor[one.tensor]
        scheme = ActivationScheme("uint16", number(found.scale), int(number(found.zero_point)))
        moves.append(Move(MoveKind.WIDEN, (one,), activation=scheme))
    written = bench.write(moves)
    assert sqnr_db(wide.current(), written.run()) > 60
    assert sqnr_db(wide.current(), bench.current()) < 55


def test_the_other_signedness_with_the_same_codes_changes_nothing(static):
    moves = [
        Move(MoveKind.SIGN, qs, activation=turned(qs[0]))
        for qs in static.groups(QuantizerKind.ACTIVATION)
    ]
    np.testing.assert_allclose(static.write(moves).run(), static.current(), rtol=1e-6, atol=1e-6)


def test_sixteen_bits_come_closer_to_the_original_and_run_optimized(static):
    written = static.write([*static.widen(), *static.free_weights()])
    gained = sqnr_db(static.exact(), written.run(True)) - sqnr_db(static.exact(), static.current())
    assert gained > 10
    domains = {n.domain for n in written.proto.graph.node if n.op_type == "QuantizeLinear"}
    assert domains == {"com.microsoft"}


def test_another_range_is_stored_at_the_quantizer_and_at_all_who_read_it(qdq):
    group = qdq.activation("x")
    scheme = ActivationScheme("uint8", number(group[0].scale) * 1.5, 100)
    written = qdq.write([Move(MoveKind.RANGE, group, activation=scheme)])
    tensors = {t.name: numpy_helper.to_array(t) for t in written.proto.graph.initializer}
    quantizer = next(n for n in written.proto.graph.node if n.input[0] == "x")
    readers = [n for n in written.proto.graph.node if quantizer.output[0] in n.input]
    assert readers
    for one in (quantizer, *readers):
        assert tensors[one.input[1]] == np.float32(scheme.scale)
        assert tensors[one.input[2]] == np.uint8(100)


def test_a_quantizer_in_float_takes_nothing_else_along(static):
    others = [qs for qs in static.groups(QuantizerKind.ACTIVATION) if qs != static.activation("x")]
    written = static.write([Move(MoveKind.FREE, static.activation("x"))])
    reference = static.write([Move(MoveKind.FREE, qs) for qs in others], "others.onnx")
    both = sqnr_db(static.exact(), written.run()), sqnr_db(static.exact(), reference.run())
    assert min(both) > sqnr_db(static.exact(), static.current()) - 1
    assert not np.array_equal(written.run(), static.current())


def test_a_relu_that_the_zero_point_replaced_comes_back(qdq):
    before = onnx.load(qdq.folder / "variant.onnx").graph.node
    assert "Relu" not in [n.op_type for n in before]
    written = qdq.write([Move(MoveKind.FREE, qdq.activation("r1"))])
    assert written.operators().count("Relu") == 1
    assert WritingNoteKind.ACTIVATION_BACK in kinds(written)
    assert sqnr_db(qdq.exact(), written.run()) > 20


def test_a_range_that_no_longer_cuts_at_zero_brings_the_relu_back(qdq):
    group = qdq.activation("r1")
    low = ActivationScheme("uint8", number(group[0].scale) * 2, 128)
    high = ActivationScheme("uint8", number(group[0].scale) * 2, 0)
    below, above = (
        qdq.write([Move(MoveKind.RANGE, group, activation=scheme)], f"{i}.onnx")
        for i, scheme in enumerate((low, high))
    )
    assert below.operators().count("Relu") == 1
    assert above.operators().count("Relu") == 0
    assert sqnr_db(qdq.exact(), below.run()) > 15


def test_a_group_keeps_the_factor_between_its_quantizers(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"),
             node("Mul", "xd half", "h"), node("QuantizeLinear", "h s2 z", "hq"),
             node("DequantizeLinear", "hq s2 z", "y")]  # fmt: skip
    constants = {"s": np.float32(0.1), "s2": np.float32(0.05), "z": np.uint8(128),
                 "half": np.float32(0.5)}  # fmt: skip
    plain = model([node("Mul", "x half", "y")], {"x": ["N", 4]}, ["y"],
                  {"half": np.float32(0.5)})  # fmt: skip
    bench = Bench(tmp_path, model(nodes, {"x": ["N", 4]}, ["y"], constants), plain)
    (group,) = bench.groups(QuantizerKind.ACTIVATION)
    assert len(group) == 2
    scheme = ActivationScheme("uint8", 0.2, 128)
    written = bench.write([Move(MoveKind.RANGE, group, activation=scheme)])
    quantizers = [n for n in written.proto.graph.node if n.op_type == "QuantizeLinear"]
    tensors = {t.name: numpy_helper.to_array(t) for t in written.proto.graph.initializer}
    held = sorted(float(tensors[n.input[1]]) for n in quantizers)
    np.testing.assert_allclose(held, [0.1, 0.2], rtol=1e-6)


def test_a_constant_that_others_read_gets_a_name_of_its_own(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"),
             node("Exp", "xd", "e"), node("QuantizeLinear", "e s z", "eq"),
             node("DequantizeLinear", "eq s z", "y")]  # fmt: skip
    constants = {"s": np.float32(0.1), "z": np.uint8(128)}
    plain = model([node("Exp", "x", "y")], {"x": ["N", 4]}, ["y"])
    bench = Bench(tmp_path, model(nodes, {"x": ["N", 4]}, ["y"], constants), plain)
    scheme = ActivationScheme("uint8", 0.2, 128)
    written = bench.write([Move(MoveKind.RANGE, bench.activation("x"), activation=scheme)])
    tensors = {t.name: numpy_helper.to_array(t) for t in written.proto.graph.initializer}
    by_input = {n.input[0]: float(tensors[n.input[1]]) for n in written.proto.graph.node
                if n.op_type == "QuantizeLinear"}  # fmt: skip
    assert by_input == pytest.approx({"x": 0.2, "e": 0.1})


def test_a_dynamic_quantizer_in_float_leaves_the_weight_quantized(tmp_path):
    bench = Bench(tmp_path, FORMS["dynamic"](tmp_path))
    written = bench.write(bench.free_activations())
    assert "DynamicQuantizeLinear" not in written.operators()
    assert written.operators().count("DequantizeLinear") == 3
    assert sqnr_db(bench.exact(), written.run(True)) > sqnr_db(bench.exact(), bench.current()) - 1


def test_a_dynamic_quantizer_takes_a_range_of_its_own(tmp_path):
    bench = Bench(tmp_path, FORMS["dynamic"](tmp_path))
    scheme = ActivationScheme("uint8", 0.04, 128)
    written = bench.write([Move(MoveKind.RANGE, bench.activation("x"), activation=scheme)])
    tensors = {t.name: numpy_helper.to_array(t) for t in written.proto.graph.initializer}
    quantizer = next(n for n in written.proto.graph.node if n.op_type == "QuantizeLinear")
    assert tensors[quantizer.input[1]] == np.float32(0.04)
    assert sqnr_db(bench.exact(), written.run(True)) > 20


# ------------------------------------------------- weights and biases


@pytest.mark.parametrize(
    "scheme",
    [Scheme("int8"), Scheme("int8", "per-channel"), Scheme("uint8", symmetric=False)],
    ids=str,
)
def test_a_weight_holds_what_its_scheme_makes_of_the_original(bench, scheme):
    written = bench.write(bench.requantize(scheme))
    exact = {t.name: numpy_helper.to_array(t) for t in bench.original.graph.initializer}
    found = [one for one in list_layers(load_model(written.path)) if one.weight is not None]
    stored = {w.quantization.data_type for w in (one.weight for one in found)}
    assert stored == {scheme.data_type}
    for name, layer in zip(("w1", "w2"), found, strict=False):
        held = requantize(exact[name], scheme, 0).values
        np.testing.assert_allclose(layer.weight.values, held, rtol=1e-6, atol=1e-7)
    assert sqnr_db(bench.exact(), written.run(True)) > 15


def test_a_float_weight_stays_float_when_onnxruntime_optimizes(qdq):
    written = qdq.write([*qdq.widen(), *qdq.free_weights()])
    assert WritingNoteKind.HELD_FINE in kinds(written)
    assert sqnr_db(written.run(False), written.run(True)) > 70


def test_operators_keep_their_form_where_it_takes_the_weight(tmp_path):
    for name in ("QOperator", "dynamic"):
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, FORMS[name](folder))
        written = bench.write(bench.requantize(Scheme("int8")))
        before = sorted(n.op_type for n in onnx.load(folder / "variant.onnx").graph.node)
        assert sorted(written.operators()) == before
        assert WritingNoteKind.TAKEN_APART not in kinds(written)


def test_operators_are_taken_apart_where_their_form_does_not_take_the_weight(tmp_path):
    bench = Bench(tmp_path, FORMS["QOperator"](tmp_path))
    written = bench.write(bench.requantize(Scheme("int4", "per-channel")))
    assert WritingNoteKind.TAKEN_APART in kinds(written)
    assert "QLinearConv" not in written.operators()
    assert written.saved.raised_opset == 21
    assert np.isfinite(written.run(True)).all()


def test_the_int32_bias_is_counted_again_when_its_input_has_another_scale(qdq):
    group = qdq.activation("x")
    scheme = ActivationScheme("uint8", number(group[0].scale) * 3, 128)
    written = qdq.write([Move(MoveKind.RANGE, group, activation=scheme)])
    layer = layer_of(written.path, "c1_node")
    product = np.float32(scheme.scale) * layer.weight.quantization.scale
    np.testing.assert_allclose(layer.bias.quantization.scale, product, rtol=1e-6)
    exact = numpy_helper.to_array(next(t for t in qdq.original.graph.initializer if t.name == "b1"))
    np.testing.assert_array_less(np.abs(layer.bias.values - exact), 0.501 * product)


@pytest.mark.parametrize("name", ["QDQ uint8", "QOperator"])
def test_a_bias_beyond_int32_raises_the_scales_of_its_weight(tmp_path, name):
    bench = Bench(tmp_path, FORMS[name](tmp_path))
    tiny = ActivationScheme("uint8", 1e-12, 128)
    written = bench.write([Move(MoveKind.RANGE, bench.activation("x"), activation=tiny)])
    layer = layer_of(written.path, layer_of(bench.folder / "variant.onnx", "c1_node").name
                     if name == "QDQ uint8" else "c1_node_quant")  # fmt: skip
    exact = numpy_helper.to_array(
        next(t for t in bench.original.graph.initializer if t.name == "b1")
    )
    np.testing.assert_allclose(layer.bias.values, exact, rtol=1e-3)
    (note,) = [n for n in written.saved.notes if n.kind is WritingNoteKind.SCALES_RAISED]
    assert note.channels == 5 and note.sqnr_db[1] < note.sqnr_db[0]


@pytest.mark.parametrize("name", ["QDQ uint8", "QDQ int8", "QOperator"])
def test_a_corrected_bias_is_stored_as_the_form_has_it(tmp_path, name):
    bench = Bench(tmp_path, FORMS[name](tmp_path))
    wanted = np.float32([0.3, -0.2, 0.1])
    written = bench.write([Move(MoveKind.CORRECT_BIAS, bench.weight("w3"), bias=wanted)])
    last = [one for one in list_layers(load_model(written.path)) if one.weight is not None][-1]
    assert last.bias.data_type == "int32"
    step = np.max(last.bias.quantization.scale)
    np.testing.assert_allclose(last.bias.values, wanted, atol=0.51 * step)


def test_a_layer_without_a_bias_gets_one(tmp_path):
    original = conv_network()
    last = original.graph.node[-1]
    del last.input[2]
    bench = Bench(tmp_path, quantize(original, tmp_path), original)
    wanted = np.float32([0.05, -0.1, 0.08])
    written = bench.write([Move(MoveKind.CORRECT_BIAS, bench.weight("w3"), bias=wanted)])
    assert WritingNoteKind.BIAS_ADDED in kinds(written)
    moved = (written.run() - bench.current()).mean(axis=0)
    np.testing.assert_allclose(moved, wanted, atol=0.02)


def test_the_bias_of_a_product_is_the_constant_of_the_sum_behind_it(tmp_path):
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    constants = {"w": floats(7, 5), "b": floats(5, seed=3)}
    original = model(nodes, {"x": ["N", 7]}, ["y"], constants)
    bench = Bench(tmp_path, quantize_while_running(original, tmp_path), original)
    wanted = constants["b"] + np.float32(1)
    written = bench.write([Move(MoveKind.CORRECT_BIAS, bench.weight("w"), bias=wanted)])
    feeds = {"x": floats(4, 7, seed=5)}
    before = run_file(bench.folder / "variant.onnx", feeds=feeds)
    np.testing.assert_allclose(written.run(feeds=feeds) - before, 1, rtol=1e-5)


def test_a_weight_in_packed_blocks_stays_packed_where_blocks_are_asked_for(tmp_path):
    bench = four_bits(tmp_path)
    scheme = Scheme("uint4", "per-block", symmetric=False, block_size=32)
    written = bench.write(bench.requantize(scheme))
    assert "MatMulNBits" in written.operators()
    exact = {t.name: numpy_helper.to_array(t) for t in bench.original.graph.initializer}
    x = floats(4, 32, seed=9)
    w1, w2 = (requantize(exact[n].T, scheme, 0).values.T for n in ("w1", "w2"))
    expected = np.maximum(x @ w1 + exact["b1"], 0) @ w2
    np.testing.assert_allclose(written.run(feeds={"x": x}), expected, rtol=1e-3, atol=1e-3)


def test_a_weight_in_packed_blocks_is_unpacked_for_other_schemes_and_for_float(tmp_path):
    bench = four_bits(tmp_path)
    x = floats(4, 32, seed=9)
    exact = run_file(tmp_path / "fp32.onnx", feeds={"x": x})
    eight = bench.write(bench.requantize(Scheme("int8", "per-channel")), "eight.onnx")
    free = bench.write(bench.free_weights(), "free.onnx")
    assert "MatMulNBits" not in eight.operators() + free.operators()
    assert sqnr_db(exact, eight.run(True, {"x": x})) > 30
    np.testing.assert_allclose(free.run(True, {"x": x}), exact, rtol=1e-4, atol=1e-4)


def test_equalized_channels_leave_the_network_as_it_is(tmp_path):
    nodes = [node("Conv", "x w1 b1", "c1"), node("Relu", "c1", "r1"), node("Conv", "r1 w2 b2", "y")]
    constants = {"w1": floats(5, 2, 3, 3), "b1": floats(5, seed=1),
                 "w2": floats(4, 5, 2, 2, seed=2),
                 "b2": floats(4, seed=3)}  # fmt: skip
    original = model(nodes, {"x": ["N", 2, 6, 8]}, ["y"], constants)
    bench = Bench(tmp_path, quantize(original, tmp_path), original)
    factors = np.float32([0.5, 1, 2, 4, 1])
    between = bench.activation("r1")
    scheme = ActivationScheme("uint8", number(between[0].scale) * 2, 0)
    quantizers = (*bench.weight("w1"), *between, *bench.weight("w2"))
    move = Move(MoveKind.EQUALIZE, quantizers, activation=scheme, factors=factors)
    written = bench.write([move])
    first, second = (layer_of(written.path, f"{n}_node") for n in ("c1", "y"))
    expected = constants["w1"] / factors.reshape(-1, 1, 1, 1)
    held = requantize(expected, Scheme("int8", "per-channel"), 0).values
    np.testing.assert_allclose(first.weight.values, held, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(first.bias.values, constants["b1"] / factors, rtol=1e-3, atol=1e-4)
    held = requantize(constants["w2"] * factors.reshape(1, -1, 1, 1),
                      Scheme("int8", "per-channel"), 0).values  # fmt: skip
    np.testing.assert_allclose(second.weight.values, held, rtol=1e-6, atol=1e-7)
    assert sqnr_db(bench.exact(), written.run(True)) > 25


# ------------------------------------------------- what is written, and what is not


def test_the_written_file_is_measured_against_the_original(static):
    written = static.write(static.widen())
    samples = create_samples(X, labels=None, kind=SampleKind.FILE)
    level = verify_saved(static.comparison, static.variant, written.saved, samples)
    assert level == pytest.approx(sqnr_db(static.exact(), written.run(True)), abs=0.1)


def refusal(bench, move):
    with pytest.raises(MoveRefusedError) as caught:
        bench.write([move], "refused.onnx")
    assert not (bench.folder / "refused.onnx").exists()
    return caught.value.refusal.kind


def test_a_move_for_another_file_is_refused(qdq):
    (wrong, *_), (right, *_) = qdq.groups(QuantizerKind.ACTIVATION)[:2]
    moved = Move(MoveKind.FREE, (type(wrong)(wrong.index, wrong.kind, right.tensor, (), "uint8"),))
    assert refusal(qdq, moved) is WritingRefusalKind.OTHER_PLACEMENT


def test_a_product_without_a_sum_has_no_bias_to_correct(tmp_path):
    original = model([node("MatMul", "x w", "y")], {"x": ["N", 7]}, ["y"], {"w": floats(7, 5)})
    bench = Bench(tmp_path, quantize_while_running(original, tmp_path), original)
    move = Move(MoveKind.CORRECT_BIAS, bench.weight("w"), bias=floats(5))
    assert refusal(bench, move) is WritingRefusalKind.NO_BIAS


def test_a_scheme_that_onnxruntime_does_not_run_is_refused(qdq):
    scheme = Scheme("float8e4m3fn")
    move = Move(MoveKind.REQUANTIZE, qdq.weight("w1"), weight=scheme)
    assert refusal(qdq, move) is WritingRefusalKind.SCHEME


@pytest.mark.parametrize("kind", WritingRefusalKind)
def test_every_refusal_has_a_sentence(kind):
    said = describe_writing_refusal(
        WritingRefusal(kind, layer="conv", op_type="Concat", detail="no", shape=(3,))
    )
    assert "'conv'" in said and not said.endswith(".") and "None" not in said


@pytest.mark.parametrize("kind", WritingNoteKind)
def test_every_note_has_a_sentence(kind):
    assert describe_note(WritingNote(kind, "conv", "Relu", 2, (40.0, 31.5))).startswith("conv: ")
