"""A recipe pasted as it is runs, and gives what the plan gives."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile_names import HOSTILE
from models_for_tests import convnet, floats, make_model, quantized_statically
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType
from rewriting_cases import run

from playground.utils import exports
from playground.utils.parameter_inspector import (
    ActivationScheme,
    Move,
    MoveKind,
    QuantizerKind,
    RecipeNoteKind,
    Scheme,
    compare_variants,
    load_model,
    plan_static_recipe,
)
from playground.utils.parameter_inspector.changing.move_places import PlacedPair
from playground.utils.parameter_inspector.changing.move_writing import save_moves

MODELS = Path(__file__).resolve().parents[1] / "models"
INPUT = (1, 3, 10, 11)


class Case:
    """A float model, a build of it by ``quantize_static``, and samples, in a folder."""

    def __init__(self, folder: Path, model: onnx.ModelProto, **options: Any) -> None:
        self.folder = folder
        onnx.save(model, folder / "fp32.onnx")
        onnx.save(quantized_statically(model, folder, **options), folder / "int8.onnx")
        self.samples = floats(4, *INPUT[1:], seed=5)
        np.savez(folder / "samples.npz", x=self.samples)
        paths = folder / "fp32.onnx", folder / "int8.onnx"
        self.comparison = compare_variants({path.stem: load_model(path) for path in paths})
        self.pair = PlacedPair.of(self.comparison, "int8")

    def quantizers(self, kind: QuantizerKind) -> list[Any]:
        return [one for one in self.pair.placement.quantizers if one.kind is kind]

    def follow(self, moves: Sequence[Move], monkeypatch: pytest.MonkeyPatch) -> str:
        """Run the recipe where its files are; return its text."""
        text = exports.write_recipe(self.comparison, "int8", moves)
        (self.folder / "recipe.py").write_text(text, encoding="utf-8")
        monkeypatch.chdir(self.folder)
        runpy.run_path("recipe.py")
        return text

    def output_db(self, name: str) -> float:
        """SQNR of the outputs of a file against the float model's."""
        exact, found = (
            np.stack([run(self.folder / one, {"x": x[None]}) for x in self.samples])
            for one in ("fp32.onnx", name)
        )
        return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - found)))


def constants(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


STATIC = {
    "int8 per channel": {"per_channel": True},
    "uint8": {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8},
    "symmetric": {"extra_options": {"ActivationSymmetric": True}},
    "reduced range": {"reduce_range": True, "per_channel": True},
    "16-bit activations": {"activation_type": QuantType.QUInt16},
    "one left out": {"nodes_to_exclude": ["conv10"]},
    "convolutions only": {"op_types_to_quantize": ["Conv"]},
}


@pytest.mark.parametrize("options", STATIC.values(), ids=STATIC)
def test_a_build_by_quantize_static_is_made_again_to_the_bit(options, tmp_path, monkeypatch):
    case = Case(tmp_path, convnet(), **options)
    case.follow([], monkeypatch)
    expected, found = constants(tmp_path / "int8.onnx"), constants(tmp_path / "quantized.onnx")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("network", ["resnet8", "dscnn"])
def test_the_shipped_builds_are_made_again(network, tmp_path, monkeypatch):
    for name in ("fp32.onnx", "samples.npz"):
        (tmp_path / name).symlink_to(MODELS / network / name)
    variants = {n: load_model(MODELS / network / f"{n}.onnx") for n in ("fp32", "uint8")}
    text = exports.write_recipe(compare_variants(variants), "uint8")
    assert "nodes_to_exclude = []" in text
    assert ("'Add'" in text) == (network == "resnet8")  # it stays before a Relu that goes
    (tmp_path / "recipe.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("recipe.py")
    feed = np.load(tmp_path / "samples.npz")
    (name,) = (v.name for v in onnx.load(tmp_path / "fp32.onnx").graph.input)
    expected, found = (
        run(path, {name: feed[name][:1].astype(np.float32)})
        for path in (MODELS / network / "uint8.onnx", tmp_path / "quantized.onnx")
    )
    np.testing.assert_array_equal(found, expected)


# The moves --------------------------------------------------------------------------------------


def widened(one: Any) -> ActivationScheme:
    low = -float(one.zero_point) * float(one.scale)
    scale = 255 * float(one.scale) / 65535
    return ActivationScheme("uint16", scale, round(-low / scale))


def widen_all(case: Case) -> list[Move]:
    found = case.quantizers(QuantizerKind.ACTIVATION)
    return [Move(MoveKind.WIDEN, (one,), activation=widened(one)) for one in found]


def halve_ranges(case: Case) -> list[Move]:
    found = case.quantizers(QuantizerKind.ACTIVATION)[::2]
    return [
        Move(
            MoveKind.RANGE,
            (one,),
            activation=ActivationScheme("uint8", float(one.scale) / 2, int(one.zero_point)),
        )
        for one in found
    ]


def requantize_weights(case: Case) -> list[Move]:
    schemes = (
        Scheme("int8", "per-channel"),
        Scheme("int8", "per-channel", clipping="mse"),
        Scheme("int16"),
    )
    found = case.quantizers(QuantizerKind.WEIGHT)
    return [
        Move(MoveKind.REQUANTIZE, (one,), weight=scheme)
        for one, scheme in zip(found, schemes, strict=True)
    ]


def free_one_activation(case: Case) -> list[Move]:
    found = case.quantizers(QuantizerKind.ACTIVATION)
    return [Move(MoveKind.FREE, (one,)) for one in found if one.tensor == "c10"]


def correct_a_bias(case: Case) -> list[Move]:
    found = case.quantizers(QuantizerKind.WEIGHT)
    bias = floats(5, seed=1) + np.float32(0.1)
    return [Move(MoveKind.CORRECT_BIAS, (found[0],), bias=bias)]


MOVES = (widen_all, halve_ranges, requantize_weights, free_one_activation, correct_a_bias)
UINT8 = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}


@pytest.mark.parametrize("make", MOVES)
def test_a_recipe_gives_the_output_of_the_plan(
    make: Callable[[Case], list[Move]], tmp_path, monkeypatch
):
    case = Case(tmp_path, convnet(), **UINT8)
    moves = make(case)
    case.follow(moves, monkeypatch)
    save_moves(case.comparison, "int8", moves, tmp_path / "plan.onnx")
    assert case.output_db("quantized.onnx") == pytest.approx(case.output_db("plan.onnx"), abs=1)
    assert case.output_db("quantized.onnx") != pytest.approx(case.output_db("int8.onnx"), abs=0.01)


def test_calibration_changes_nothing(tmp_path, monkeypatch):
    case = Case(tmp_path, convnet(), **UINT8)
    case.follow(widen_all(case), monkeypatch)
    expected = constants(tmp_path / "quantized.onnx")
    np.savez(tmp_path / "samples.npz", x=100 * case.samples)
    runpy.run_path(str(tmp_path / "recipe.py"))
    found = constants(tmp_path / "quantized.onnx")
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_a_relu_that_goes_stays_in_the_range_that_stands_for_it(tmp_path, monkeypatch):
    case = Case(tmp_path, convnet(), **UINT8)
    (one,) = (q for q in case.quantizers(QuantizerKind.ACTIVATION) if q.tensor == "r1")
    wide = ActivationScheme("uint8", 2 * float(one.scale), 128)
    recipe = plan_static_recipe(
        case.comparison, "int8", [Move(MoveKind.SIGN, (one,), activation=wide)]
    )
    (made,) = (override for override in recipe.overrides if override.tensor == "r1")
    assert made.zero_point == 0
    assert made.scale * 255 == pytest.approx(127 * wide.scale)
    assert RecipeNoteKind.CLIPPED_BY_RANGE in {note.kind for note in recipe.notes}


# What there are no words for --------------------------------------------------------------------


def free_a_weight(case: Case) -> list[Move]:
    return [Move(MoveKind.FREE, (case.quantizers(QuantizerKind.WEIGHT)[0],))]


def put_in_blocks(case: Case) -> list[Move]:
    scheme = Scheme("int8", "per-block", block_size=16)
    return [Move(MoveKind.REQUANTIZE, (case.quantizers(QuantizerKind.WEIGHT)[0],), weight=scheme)]


def equalize(case: Case) -> list[Move]:
    first, second, *_ = case.quantizers(QuantizerKind.WEIGHT)
    return [Move(MoveKind.EQUALIZE, (first, second), factors=np.ones(5, np.float32))]


def free_beside_a_layer(case: Case) -> list[Move]:
    found = case.quantizers(QuantizerKind.ACTIVATION)
    return [Move(MoveKind.FREE, (one,)) for one in found if one.tensor == "c10"]


WORDLESS = {
    free_a_weight: "16 bits per channel for: 'W1'",
    put_in_blocks: "a scale for each channel instead for: 'W1'",
    equalize: "Equalization is not done here for: 'conv1', 'conv10'",
    free_beside_a_layer: "16 bits, over the range on the samples, for: 'c10'",
}


@pytest.mark.parametrize("make", WORDLESS)
def test_what_has_no_words_is_said_in_a_comment_of_a_recipe_that_runs(make, tmp_path, monkeypatch):
    case = Case(tmp_path, convnet(), **UINT8)
    text = case.follow(make(case), monkeypatch)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any(WORDLESS[make] in line for line in comments)
    assert case.output_db("quantized.onnx") > case.output_db("int8.onnx") - 1


# Names ------------------------------------------------------------------------------------------


def with_odd_names() -> onnx.ModelProto:
    """The small network with its tensors and nodes called what nobody should call them."""
    model = convnet()
    names = dict(
        zip(["c1", "W1", "b1", "c10", "W10", "conv10"], filter(None, HOSTILE), strict=False)
    )
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = names.get(node.name, node.name)
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    return model


def test_names_with_odd_characters_are_valid_python_that_runs(tmp_path, monkeypatch):
    case = Case(tmp_path, with_odd_names(), **UINT8)
    text = case.follow([], monkeypatch)
    ast.parse(text)
    expected, found = constants(tmp_path / "int8.onnx"), constants(tmp_path / "quantized.onnx")
    assert expected.keys() == found.keys()


def test_nodes_without_a_name_are_left_out_by_what_they_make(tmp_path, monkeypatch):
    model = convnet()
    case = Case(tmp_path, model, nodes_to_exclude=["conv10"])
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "fp32.onnx")
    case.comparison = compare_variants(
        {name: load_model(tmp_path / f"{name}.onnx") for name in ("fp32", "int8")}
    )
    case.follow([], monkeypatch)
    assert "W10" in constants(tmp_path / "quantized.onnx")
    assert "W1" not in constants(tmp_path / "quantized.onnx")


def test_nncf_and_quark_leave_out_the_layers_of_what_is_float(tmp_path):
    case = Case(tmp_path, convnet(), **UINT8)
    moves = [*free_a_weight(case), *free_one_activation(case), *halve_ranges(case)[:1]]
    exclusion = exports.exclude_freed_layers(case.comparison, moves)
    assert exclusion.names == ("conv1", "pool")
    assert any("1 × another range" in note for note in exclusion.notes)


def test_a_constant_whose_range_holds_nothing_else_is_left_out_with_its_node(tmp_path, monkeypatch):
    """A mask's constant: 16 bits beside it would hold no other number."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Sub", ["c", "c"], ["none"], "sub"),
        helper.make_node("Mul", ["none", "wide"], ["m"], "mask"),
        helper.make_node("Add", ["c", "m"], ["y"], "add"),
    ]
    arrays = {"w": floats(4, 3, 2, 2), "wide": np.float32(-3e38)}
    model = make_model(nodes, arrays, inputs={"x": INPUT}, opset=17, ir_version=8)
    case = Case(tmp_path, model, **UINT8)
    freed = [q for q in case.pair.placement.quantizers if q.tensor in ("none", "m", "wide")]
    case.follow([Move(MoveKind.FREE, (one,)) for one in freed], monkeypatch)
    found = constants(tmp_path / "quantized.onnx")
    assert "wide" in found and "wide_quantized" not in found
    assert "wide_quantized" in constants(tmp_path / "int8.onnx")
