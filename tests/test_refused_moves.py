"""Which moves cannot be written is known before anything is: the writer itself is the oracle."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import pytest
from models_for_tests import floats
from moves_for_tests import Bench
from networks_to_run import conv_network, model, node, quantize, quantize_while_running
from test_move_writing import FORMS, four_bits

from playground.utils.parameter_inspector import RewriteError, compare_variants, load_model
from playground.utils.parameter_inspector.changing import refused_moves
from playground.utils.parameter_inspector.changing.move_refusals import MoveRefusedError
from playground.utils.parameter_inspector.changing.moves import Move, MoveKind
from playground.utils.parameter_inspector.changing.refused_moves import list_refused, read_sketch
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.facts import QuantizerKind, WritingRefusalKind

SCHEMES = [
    Scheme("int8", "per-channel"), Scheme("uint8", symmetric=False), Scheme("int16"),
    Scheme("int4", "per-block", block_size=16, clipping="mse"), Scheme("float8e4m3fn"),
    Scheme("int2"), Scheme("float4e2m1"),
]  # fmt: skip
BENCHES = {
    **{name: lambda folder, form=form: Bench(folder, form(folder)) for name, form in FORMS.items()},
    "MatMulNBits": four_bits,
}


@pytest.fixture(params=BENCHES)
def bench(request, tmp_path):
    return BENCHES[request.param](tmp_path)


def list_moves(bench: Bench) -> Iterator[Move]:
    """Yield moves of every kind that changes one quantizer, some of which cannot be written."""
    yield from bench.free_activations()
    yield from bench.free_weights()
    for scheme in SCHEMES:
        yield from bench.requantize(scheme)
    for group in bench.groups(QuantizerKind.WEIGHT):
        weight = bench.comparison.measured(group[0].layers[0], bench.variant).weight
        bias = floats(weight.shape[weight.channel_axis])
        yield Move(MoveKind.CORRECT_BIAS, group, bias=bias)
    if all(not one.is_dynamic for one in bench.placement.quantizers):
        yield from bench.widen()


def refuse_by_writing(bench: Bench, move: Move) -> WritingRefusalKind | None:
    try:
        bench.write([move])
    except MoveRefusedError as error:
        return error.refusal.kind
    return None


@pytest.mark.parametrize("most_numbers", [8, 4096], ids=["sketched", "whole"])
def test_what_is_listed_is_what_the_writer_refuses(bench, most_numbers, monkeypatch):
    monkeypatch.setattr(refused_moves, "MOST_NUMBERS", most_numbers)
    moves = list(list_moves(bench))
    found = {
        id(move): why.kind for move, why in list_refused(bench.comparison, bench.variant, moves)
    }
    assert [found.get(id(move)) for move in moves] == [refuse_by_writing(bench, m) for m in moves]
    assert 0 < len(found) < len(moves)


def test_a_packed_weight_is_not_given_to_a_product_that_computes_wrongly_with_it(tmp_path):
    bench = four_bits(tmp_path)
    moves = bench.requantize(Scheme("int2"))
    refused = list_refused(bench.comparison, bench.variant, moves)
    assert [why.detail for _, why in refused] == [
        "onnxruntime computes a MatMul with int2 weights wrongly"
    ] * len(moves)


def test_without_a_float_original_every_move_is_refused(tmp_path):
    bench = Bench(tmp_path, quantize_while_running(conv_network(), tmp_path))
    alone = compare_variants({"a": load_model(tmp_path / "variant.onnx")})
    (refused, *others) = list_refused(alone, "a", bench.free_weights())
    assert refused[1].kind is WritingRefusalKind.NO_ORIGINAL
    assert len(others) + 1 == len(bench.free_weights())


def test_a_model_that_is_no_file_cannot_be_asked(tmp_path):
    Bench(tmp_path, quantize_while_running(conv_network(), tmp_path))
    models = {name: onnx.load(tmp_path / f"{name}.onnx") for name in ("fp32", "variant")}
    comparison = compare_variants({name: load_model(one) for name, one in models.items()})
    with pytest.raises(RewriteError, match="is no file"):
        list_refused(comparison, "variant", ())


def test_a_sketch_keeps_small_constants_and_the_shapes_of_large_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(refused_moves, "MOST_NUMBERS", 6)
    constants = {"w": floats(7, 5), "b": floats(5, seed=1)}
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    original = model(nodes, {"x": ["N", 7]}, ["y"], constants)
    path = tmp_path / "m.onnx"
    onnx.save(original, path, save_as_external_data=True, location="data", size_threshold=0)
    sketch = read_sketch(path)
    graph = refused_moves.SketchedGraph(sketch)
    assert graph.constant("w").shape == (7, 5) and not graph.constant("w").any()
    assert graph.constant("b").tolist() == constants["b"].tolist()
    assert sketch.ByteSize() < 400


def test_an_opset_that_asks_for_converted_operators_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(refused_moves, "MOST_NUMBERS", 8)
    nodes = [node("Conv", "x w", "c"), node("ReduceMean", "c", "y", axes=[2, 3], keepdims=0)]
    original = model(nodes, {"x": ["N", 2, 6, 8]}, ["y"], {"w": floats(5, 2, 2, 4)}, opset=13)
    bench = Bench(tmp_path, quantize(original, tmp_path), original)
    moves = bench.requantize(Scheme("int16"))
    assert moves and list_refused(bench.comparison, bench.variant, moves) == ()
    assert bench.write(moves).saved.raised_opset == 21
