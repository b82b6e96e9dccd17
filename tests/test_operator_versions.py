"""Constant operators are evaluated as the opset that the model imports spells and means them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from models_for_tests import at_input, dequantize_node, floats, make_model, same_bits
from onnx import TensorProto, helper

from playground.utils.parameter_inspector import (
    UnavailableError,
    describe_refusal,
    find_layer,
    load_model,
)
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading.constants import ConstantTable
from playground.utils.parameter_inspector.reading.model_file import all_nodes

ints = np.int64
W = floats(4, 3, 5)


@dataclass(frozen=True, eq=False)
class Spelling:
    """An operator as one opset spells it, on ``W`` or other constants."""

    op_type: str
    opset: int
    inputs: tuple[np.ndarray, ...]
    attributes: dict[str, object]
    output: int = 0
    outputs: int = 1

    @property
    def model(self) -> onnx.ModelProto:
        names = [f"i{k}" for k in range(len(self.inputs))]
        outputs = [f"o{k}" for k in range(self.outputs)]
        made = helper.make_node(self.op_type, names, outputs, **self.attributes)
        return make_model(
            [made],
            dict(zip(names, self.inputs, strict=True)),
            inputs={},
            outputs=[outputs[self.output]],
            opset=self.opset,
            ir_version=6 if self.opset < 15 else 8,
        )

    def folded(self) -> np.ndarray:
        opened = load_model(self.model)
        value = next(n for n in all_nodes(opened)).outputs[self.output]
        found = ConstantTable(opened).get(value)
        assert found is not None
        return found.read()


def spell(op_type: str, opset: int, *inputs: np.ndarray, **attributes: object) -> Spelling:
    return Spelling(op_type, opset, inputs or (W,), attributes)


def part(output: int, opset: int, outputs: int = 3, **attributes: object) -> Spelling:
    return Spelling("Split", opset, (W,), attributes, output, outputs)


REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare".split()
)
SPELLINGS = {
    "Unsqueeze 9": spell("Unsqueeze", 9, axes=[0, 4]),
    "Unsqueeze 11": spell("Unsqueeze", 11, axes=[2]),
    "Unsqueeze 11, axes out of order": spell("Unsqueeze", 11, axes=[4, 0]),
    "Unsqueeze 11, axes from the end": spell("Unsqueeze", 12, axes=[-1, 0]),
    "Squeeze 9": spell("Squeeze", 9, W[:, :1], axes=[1]),
    "Squeeze 11, all": spell("Squeeze", 11, W[:1, :, :1].copy()),
    "Squeeze 11, from the end": spell("Squeeze", 11, W[..., :1].copy(), axes=[-1]),
    "Slice 9": spell("Slice", 9, starts=[1, -3], ends=[1000, -1], axes=[0, 2]),
    "Slice 9 without axes": spell("Slice", 9, starts=[1, 0], ends=[3, 2]),
    "Slice 10": spell("Slice", 10, W, ints([3]), ints([0]), ints([2]), ints([-1])),
    "Split 11": part(1, 11, 2, axis=2, split=[2, 3]),
    "Split 11 in equal parts": part(2, 11, axis=1),
    "Split 13 in equal parts": part(0, 13, axis=-2),
    "Clip 7": spell("Clip", 7, min=-0.5, max=0.25),
    "Clip 10, one end": spell("Clip", 10, max=0.25),
    "Clip 11": spell("Clip", 11, W, np.float32(-0.5), np.float32(0.25)),
    "Pad 10": spell("Pad", 10, pads=[0, 1, 0, 2, 0, 1], value=0.5),
    "Pad 10, reflected": spell("Pad", 10, pads=[0, 1, 0, 0, 1, 2], mode="reflect"),
    "Pad 10, the edge": spell("Pad", 10, pads=[1, 0, 0, 0, 1, 2], mode="edge"),
    "Pad 11": spell("Pad", 11, W, ints([0, 1, 0, 2, 0, 1]), np.float32(0.5)),
    "Pad 11 that crops": spell("Pad", 11, W, ints([-1, 0, 2, 1, -2, -1]), np.float32(0.5)),
    "Pad 18, some axes": spell("Pad", 18, W, ints([1, 2]), np.float32(0.5), ints([2])),
    "Flatten 9": spell("Flatten", 9, axis=2),
    "Flatten 11, from the end": spell("Flatten", 11, axis=-1),
    "Cast 9": spell("Cast", 9, to=TensorProto.INT32),
    "Concat 11": spell("Concat", 11, W, W[:, :2].copy(), axis=1),
    "Gather 10": spell("Gather", 10, W, ints([2, 0]), axis=1),
    "ArgMax 11": spell("ArgMax", 11, axis=2, keepdims=0),
    "ArgMin 12, the last": spell("ArgMin", 12, np.round(W), axis=0, select_last_index=1),
    "Reshape 13": spell("Reshape", 13, W, ints([0, -1])),
    "Reshape 14, no elements": spell("Reshape", 14, W[:0].copy(), ints([0, 3]), allowzero=1),
    "Transpose 9": spell("Transpose", 9, perm=[2, 0, 1]),
    "Tile 9": spell("Tile", 9, W, ints([1, 2, 1])),
    "Shape 15, from one axis on": spell("Shape", 15, start=1),
    **{f"{op} 11": spell(op, 11, axes=[0, 2], keepdims=0) for op in REDUCTIONS},
    **{f"{op} 12 of all": spell(op, 12) for op in REDUCTIONS},
    **{
        f"{op} 13": spell(op, 13, axes=[-1])
        for op in REDUCTIONS
        if op != "ReduceSum"  # it takes them as an input since
    },
    "ReduceSum 13": spell("ReduceSum", 13, W, ints([-1])),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_an_older_spelling_means_what_onnxruntime_computes(kind):
    spelling = SPELLINGS[kind]
    expected = at_input(spelling.model, f"o{spelling.output}")
    array = spelling.folded()
    assert array.dtype == expected.dtype and array.shape == expected.shape
    if kind.startswith("Reduce") and "Max" not in kind and "Min" not in kind:
        np.testing.assert_allclose(array, expected, rtol=1e-6)  # they add up in another order
    else:
        same_bits(array, expected)


SECOND = floats(3, seed=2)
# What onnxruntime no longer runs: by the text of those opsets.
OLDEST = {
    "Add 6 from an axis on": (
        spell("Add", 6, W, SECOND, broadcast=1, axis=1), W + SECOND.reshape(1, 3, 1)),
    "Mul 1 at the end": (spell("Mul", 1, W, W[0, 0], broadcast=1), W * W[0, 0]),
    "Sub 6 from the first axis on": (
        spell("Sub", 6, W, W[:, :, 0].copy(), broadcast=1, axis=0), W - W[:, :, :1]),
    "Cast 1 to a type by its name": (spell("Cast", 1, to="INT32"), W.astype(np.int32)),
    "Concat 1 along the second axis": (spell("Concat", 1, W, W), np.concatenate([W, W], axis=1)),
    "Reshape 1": (spell("Reshape", 1, shape=[0, -1]), W.reshape(4, 15)),
    "Pad 1": (spell("Pad", 1, paddings=[0, 0, 1, 0, 0, 0]), np.pad(W, [(0, 0), (0, 0), (1, 0)])),
    "Relu 1 that names consumed inputs": (spell("Relu", 1, consumed_inputs=[0]), np.maximum(W, 0)),
    "Tile 1": (
        spell("Tile", 1, W, np.float32(2), np.float32(1)), np.concatenate([W, W], axis=1)),
    "Split 1": (part(1, 1, 2, axis=2, split=[2, 3]), W[..., 2:]),
}  # fmt: skip


@pytest.mark.parametrize("kind", OLDEST)
def test_a_spelling_that_no_runtime_has_today_means_what_its_opset_says(kind):
    spelling, expected = OLDEST[kind]
    same_bits(spelling.folded(), expected)


REFUSED = {
    "axes of Unsqueeze 13 as an attribute": (
        spell("Unsqueeze", 13, axes=[2]), "Unsqueeze of opset 13", "attribute 'axes'"),
    "min of Clip 11 as an attribute": (
        spell("Clip", 11, min=0.0), "Clip of opset 11", "attribute 'min'"),
    "allowzero before its time": (
        spell("Reshape", 13, W, ints([0, -1]), allowzero=0), "Reshape of opset 13", "'allowzero'"),
    "an operator before its time": (spell("Trilu", 13), "opset 13", "has no Trilu"),
    "an attribute of nobody": (spell("Abs", 17, turned=1), "Abs of opset 17", "'turned'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_imported_opset_does_not_have_is_refused_by_name(kind):
    spelling, *said = REFUSED[kind]
    with pytest.raises(Exception, match=r"\[ONNXRuntimeError\]"):
        at_input(spelling.model, "o0")
    with pytest.raises(UnavailableError) as caught:
        spelling.folded()
    assert caught.value.refusal.kind in (
        RefusalKind.ATTRIBUTE_OF_OPSET,
        RefusalKind.OPERATOR_OF_OPSET,
    )
    assert all(part in describe_refusal(caught.value.refusal) for part in said)


def test_padding_that_makes_too_much_of_little_is_refused():
    spelling = spell("Pad", 13, W, ints([0, 0, 0, 10**9, 0, 0]))
    with pytest.raises(UnavailableError) as caught:
        spelling.folded()
    assert caught.value.refusal.kind is RefusalKind.OPERATOR_GROWS


@pytest.mark.parametrize("axis", [None, 0, 1], ids=["one scale", "rows", "columns"])
def test_a_large_weight_that_is_quantized_anew_equals_onnxruntime(tmp_path, axis):
    """More elements than are computed at a time; the file holds them."""
    shape = (1100, 1001)
    count = 1 if axis is None else shape[axis]
    generator = np.random.default_rng(0)
    arrays = {
        "q": generator.integers(-128, 128, shape).astype(np.int8),
        "s": generator.uniform(0.01, 0.1, count)
        .astype(np.float32)
        .reshape(-1 if count > 1 else ()),
        "s2": np.float32(0.07),
    }
    along = {} if axis is None else {"axis": axis}
    nodes = [
        dequantize_node(("q", "s"), "w", **along),
        helper.make_node("Unsqueeze", ["w"], ["u"], axes=[1]),
        helper.make_node("Clip", ["u"], ["c"], min=-2.0),
        helper.make_node("QuantizeLinear", ["c", "s2"], ["r"]),
        dequantize_node(("r", "s2"), "v"),
        helper.make_node("Add", ["x", "v"], ["y"], "add"),
    ]
    # Clip spelled as an input of opset 11 would be another node.
    nodes[2] = helper.make_node("Clip", ["u", "low"], ["c"])
    arrays["low"] = np.float32(-2)
    model = make_model(nodes, arrays, inputs={"x": (1,)}, opset=12 if axis is None else 13)
    if axis is not None:
        nodes[1] = helper.make_node("Unsqueeze", ["w", "at"], ["u"])
        model = make_model(nodes, arrays | {"at": ints([1])}, inputs={"x": (1,)}, opset=13)
    model.ir_version = 7
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    weight = find_layer(load_model(path), "add").weight
    assert weight.shape == (1100, 1, 1001)
    same_bits(weight.values, at_input(model, "v"))
