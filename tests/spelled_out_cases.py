"""Codes whose quantization is spelled out in operators, as models, each with its oracle.

Every oracle is onnxruntime with its optimizations off: asked for the tensor that enters the layer,
or, where the scale follows the layer, asked for the layer's answers to unit vectors, one by one:
each is one code times its scale, which is rounded once. A table is looked up row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from models_for_tests import (
    at_input,
    codes,
    dequantize_node,
    feeds_of,
    floats,
    make_model,
    run_onnxruntime,
    scales,
    with_output,
)
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node
FLOAT, FLOAT16, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32


def shape(*dims: int) -> np.ndarray:
    return np.array(dims, np.int64)


def cast(source: str, result: str, to: int = FLOAT) -> onnx.NodeProto:
    return node("Cast", [source], [result], to=to)


# --------------------------------------------------------------- before the layer


@dataclass(frozen=True)
class Before:
    """A chain that ends in ``w``, the weight [K, N] of a MatMul; how it is quantized."""

    nodes: Sequence[onnx.NodeProto]
    arrays: dict[str, np.ndarray]
    data_type: str
    granularity: str
    block_size: int | None = None
    by_reference: bool = False

    @property
    def model(self) -> onnx.ModelProto:
        matmul = node("MatMul", ["x", "w"], ["y"], "layer")
        return make_model([*self.nodes, matmul], self.arrays, inputs={"x": (2, 24)})

    @property
    def values(self) -> np.ndarray:
        """By onnx's reference for float16, which onnxruntime computes in float32 on a CPU."""
        if not self.by_reference:
            return at_input(self.model, "w")
        shown = with_output(self.model, "w")
        return ReferenceEvaluator(shown).run(["w"], feeds_of(self.model))[0]


def groups(order: str) -> Before:
    """Blocks of 8 along the 24 inputs of 5 outputs."""
    arrays = {"q": codes("uint8", 5, 3, 8), "z": floats(5, 3, 1), "s": scales(5, 3, 1)}
    flat, back = node("Reshape", ["m", "flat"], ["r"]), node("Transpose", ["r"], ["w"], perm=[1, 0])
    arrays["flat"] = shape(5, 24)
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), node("Mul", ["d", "s"], ["m"])]
    if order == "rows of groups":
        for name in "qzs":
            arrays[name] = arrays[name].reshape(15, -1)
    if order == "scale first":
        nodes[2] = node("Mul", ["s", "d"], ["m"])
    if order == "added":
        nodes[1] = node("Add", ["c", "z"], ["d"])
    if order == "flattened with -1":
        arrays["flat"] = shape(0, -1)
    return Before([*nodes, flat, back], arrays, "uint8", "per-block", 8)


def groups_of_columns() -> Before:
    """Groups along the first axis: [groups, 8, N] -> [K, N]."""
    arrays = {
        "q": codes("uint8", 3, 8, 5), "z": floats(3, 1, 5), "s": scales(3, 1, 5),
        "flat": shape(24, 5),
    }  # fmt: skip
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), node("Mul", ["d", "s"], ["m"]),
             node("Reshape", ["m", "flat"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "uint8", "per-block", 8)


def interleaved_groups() -> Before:
    """Every third row is of one group: [8, groups, N] -> [K, N]."""
    arrays = {"q": codes("uint8", 8, 3, 5), "s": scales(1, 3, 5), "flat": shape(24, 5)}
    nodes = [cast("q", "c"), node("Mul", ["c", "s"], ["m"]), node("Reshape", ["m", "flat"], ["w"])]
    return Before(nodes, arrays, "uint8", "per-block", 8)


def zero_in_groups_scale_by_row() -> Before:
    """The zero-point of a group is taken off before the Reshape, the scale of a row behind it."""
    arrays = {
        "q": codes("uint8", 5, 3, 8), "z": floats(5, 3, 1), "s": scales(5, 1), "flat": shape(5, 24),
    }  # fmt: skip
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), node("Reshape", ["d", "flat"], ["r"]),
             node("Mul", ["r", "s"], ["m"]), node("Transpose", ["m"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "uint8", "per-block", 8)


def behind_the_transpose(data_type: str = "int8") -> Before:
    arrays = {"q": codes(data_type, 5, 24), "z": np.float32(3), "s": scales(1, 5)}
    nodes = [cast("q", "c"), node("Transpose", ["c"], ["t"]), node("Sub", ["t", "z"], ["d"]),
             node("Mul", ["d", "s"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, data_type, "per-channel")


def transposed_in_between() -> Before:
    arrays = {"q": codes("int8", 5, 24), "z": floats(5, 1), "s": scales(5)}
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), node("Transpose", ["d"], ["t"]),
             node("Mul", ["t", "s"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "int8", "per-channel")


def moved_as_codes() -> Before:
    arrays = {"q": codes("int8", 5, 24), "s": scales(5)}
    nodes = [node("Transpose", ["q"], ["t"]), cast("t", "c"), node("Mul", ["c", "s"], ["w"])]
    return Before(nodes, arrays, "int8", "per-channel")


def float8(data_type: str) -> Before:
    arrays = {"q": codes(data_type, 24, 5), "s": scales(1, 5)}
    return Before(
        [cast("q", "c"), node("Mul", ["c", "s"], ["w"])], arrays, data_type, "per-channel"
    )


def float8_in_groups() -> Before:
    arrays = {"q": codes("float8e4m3fn", 5, 3, 8), "s": scales(5, 3, 1), "flat": shape(5, 24)}
    nodes = [cast("q", "c"), node("Mul", ["c", "s"], ["m"]), node("Reshape", ["m", "flat"], ["r"]),
             node("Transpose", ["r"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "float8e4m3fn", "per-block", 8)


def in_float16(zero: float | None = 8.0) -> Before:
    """Difference and product in float16, as torch exports a half-precision network."""
    arrays = {"q": codes("uint8", 5, 24), "s": scales(5, 1, dtype=np.float16)}
    nodes = [cast("q", "c", FLOAT16)]
    if zero is not None:
        arrays["z"] = np.float16(zero)
        nodes.append(node("Sub", ["c", "z"], ["d"]))
    nodes += [node("Mul", ["c" if zero is None else "d", "s"], ["m"]), cast("m", "f"),
              node("Transpose", ["f"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "uint8", "per-channel", by_reference=True)


def subtracted_in_int32() -> Before:
    arrays = {"q": codes("uint8", 24, 5), "z": codes("uint8", 5, seed=3).astype(np.int32),
              "s": scales(5)}  # fmt: skip
    nodes = [cast("q", "i", INT32), node("Sub", ["i", "z"], ["d"]), cast("d", "f"),
             node("Mul", ["f", "s"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "uint8", "per-channel")


def zero_point_of_columns_scale_of_all() -> Before:
    arrays = {"q": codes("uint8", 24, 5), "z": np.rint(floats(5) * 9), "s": np.float32(0.3)}
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), node("Mul", ["d", "s"], ["w"])]
    return Before(nodes, arrays, "uint8", "per-channel")


def squeezed() -> Before:
    arrays = {"q": codes("int8", 24, 1, 5), "s": scales(1, 1, 5), "one": shape(1)}
    nodes = [cast("q", "c"), node("Mul", ["c", "s"], ["m"]), node("Squeeze", ["m", "one"], ["w"])]
    return Before(nodes, arrays, "int8", "per-channel")


def gathered_codes_with_constant_indices() -> Before:
    """Rows in another order, as act-order quantizers store them."""
    order = np.random.default_rng(0).permutation(24)
    arrays = {"q": codes("int8", 24, 5), "i": order, "s": scales(5)}
    nodes = [node("Gather", ["q", "i"], ["g"]), cast("g", "c"), node("Mul", ["c", "s"], ["w"])]
    return Before(nodes, arrays, "int8", "per-channel")


def repeated(how: str) -> Before:
    """The scale of a group is repeated for each of its 8 rows before it is multiplied."""
    arrays = {"q": codes("uint8", 24, 5), "z": np.float32(8), "S": scales(3, 5)}
    spread = {
        "Expand": [node("Unsqueeze", ["S", "one"], ["u"]), node("Expand", ["u", "to"], ["e"]),
                   node("Reshape", ["e", "flat"], ["s"])],
        "Gather": [node("Gather", ["S", "g"], ["s"], axis=0)],
        "Transpose": [node("Transpose", ["T"], ["t"]), node("Gather", ["t", "g"], ["s"])],
    }[how]  # fmt: skip
    needed = {
        "Expand": {"one": shape(1), "to": shape(3, 8, 5), "flat": shape(24, 5)},
        "Gather": {"g": np.arange(24) // 8},
        "Transpose": {"g": np.arange(24) // 8, "T": scales(5, 3)},
    }[how]
    nodes = [cast("q", "c"), node("Sub", ["c", "z"], ["d"]), *spread,
             node("Mul", ["d", "s"], ["w"])]  # fmt: skip
    return Before(nodes, arrays | needed, "uint8", "per-block", 8)


def zeros_and_scales_repeated() -> Before:
    arrays = {"q": codes("uint8", 24, 5), "S": scales(3, 5), "Z": codes("uint8", 3, 5),
              "g": np.arange(24) // 8}  # fmt: skip
    nodes = [cast("q", "c"), cast("Z", "zc"), node("Gather", ["zc", "g"], ["z"]),
             node("Gather", ["S", "g"], ["s"]), node("Sub", ["c", "z"], ["d"]),
             node("Mul", ["s", "d"], ["w"])]  # fmt: skip
    return Before(nodes, arrays, "uint8", "per-block", 8)


BEFORE: dict[str, Callable[[], Before]] = {
    **{
        f"groups, {order}": partial(groups, order)
        for order in (
            "as stored", "rows of groups", "scale first", "added", "flattened with -1",
        )
    },
    "groups of columns": groups_of_columns,
    "interleaved groups": interleaved_groups,
    "zero-point in groups, scale by row": zero_in_groups_scale_by_row,
    "behind the Transpose": behind_the_transpose,
    "behind the Transpose, int4": partial(behind_the_transpose, "int4"),
    "Transpose in between": transposed_in_between,
    "moved as codes": moved_as_codes,
    **{f"{t}": partial(float8, t) for t in ("float8e4m3fn", "float8e5m2", "float8e4m3fnuz")},
    "float8 in groups": float8_in_groups,
    "float16": in_float16,
    "float16 without zero-point": partial(in_float16, None),
    "subtracted in int32": subtracted_in_int32,
    "zero-point of columns, scale of all": zero_point_of_columns_scale_of_all,
    "squeezed": squeezed,
    **{
        f"scales repeated by {how}": partial(repeated, how)
        for how in ("Expand", "Gather", "Transpose")
    },
    "zeros and scales repeated": zeros_and_scales_repeated,
    "gathered with constant indices": gathered_codes_with_constant_indices,
}  # fmt: skip


# --------------------------------------------------------------- what is no one quantization


def not_one_quantization() -> dict[str, Before]:
    q, mask = {"q": codes("int8", 24, 5)}, np.random.default_rng(0).random((24, 5)) < 0.5
    up = [cast("q", "c")]
    dequantized = {**q, "s": scales(5), "k": floats(24, 5)}
    spread = [dequantize_node(("q", "s"), "h", axis=1)]

    def form(
        nodes: Sequence[onnx.NodeProto], arrays: dict[str, np.ndarray], **options: bool
    ) -> Before:
        return Before(nodes, arrays, "int8", "", **options)

    return {
        "two products": form(
            [*up, node("Mul", ["c", "s"], ["m"]), node("Mul", ["m", "t"], ["w"])],
            q | {"s": scales(5), "t": scales(24, 1)},
        ),
        "product before difference": form(
            [*up, node("Mul", ["c", "s"], ["m"]), node("Add", ["m", "k"], ["w"])],
            q | {"s": scales(5), "k": floats(5)},
        ),
        "a scale of each number": form(
            [*up, node("Mul", ["c", "s"], ["w"])], q | {"s": scales(24, 5)}
        ),
        "groups out of order": form(
            [*up, node("Gather", ["S", "g"], ["s"]), node("Mul", ["c", "s"], ["w"])],
            q | {"S": scales(3, 5), "g": np.random.default_rng(0).permutation(24) // 8},
        ),
        "a fractional zero-point in float16": form(
            [cast("q", "c", FLOAT16), node("Sub", ["c", "z"], ["d"]),
             node("Mul", ["d", "s"], ["m"]), cast("m", "w")],
            q | {"z": np.float16(0.3), "s": scales(5, dtype=np.float16)}, by_reference=True,
        ),
        "dequantized, second operand of Mul": form(
            [*spread, node("Mul", ["k", "h"], ["w"])], dequantized
        ),
        "dequantized, second operand of Add": form(
            [*spread, node("Add", ["k", "h"], ["w"])], dequantized
        ),
        "dequantized, operand of Where": form(
            [*spread, node("Where", ["mask", "h", "0"], ["w"])],
            {**q, "s": scales(5), "mask": mask, "0": np.float32(0)},
        ),
        "dequantized, second operand of Where": form(
            [*spread, node("Where", ["mask", "k", "h"], ["w"])], dequantized | {"mask": mask}
        ),
        "dequantized, second of a Concat": form(
            [*spread, node("Concat", ["k", "h"], ["w"], axis=0)],
            {"q": codes("int8", 16, 5), "s": scales(5), "k": floats(8, 5)},
        ),
    }  # fmt: skip


# --------------------------------------------------------------- behind the product


@dataclass(frozen=True)
class Behind:
    """A layer whose result is scaled, and the input of unit vectors that shows its weight."""

    nodes: Sequence[onnx.NodeProto]
    arrays: dict[str, np.ndarray]
    units: np.ndarray
    turn: Callable[[np.ndarray], np.ndarray]
    data_type: str = "int8"

    @property
    def model(self) -> onnx.ModelProto:
        return make_model(self.nodes, self.arrays, inputs={"x": self.units.shape})

    @property
    def values(self) -> np.ndarray:
        """What the result is for unit vectors, less what it is for nothing."""
        return self.turn(run_onnxruntime(self.model, {"x": self.units}, ["y"])[0])


def units(count: int) -> np.ndarray:
    return np.eye(count, dtype=np.float32)


def as_it_is(result: np.ndarray) -> np.ndarray:
    return result


def product(
    between: Sequence[onnx.NodeProto] = (),
    behind: Sequence[onnx.NodeProto] = (node("Mul", ["p", "s"], ["y"]),),
    data_type: str = "int8",
    **arrays: np.ndarray,
) -> Behind:
    """x -> MatMul with codes [7, 5] -> ``behind``; ``between`` leads from ``c`` to ``w``."""
    held = {"q": codes(data_type, 7, 5), "s": scales(5)} | arrays
    weight = "w" if between else "c"
    nodes = [cast("q", "c"), *between, node("MatMul", ["x", weight], ["p"], "layer"), *behind]
    return Behind(nodes, held, units(7), as_it_is, data_type)


def gemm(transposed: bool) -> Behind:
    stored = (5, 7) if transposed else (7, 5)
    nodes = [cast("q", "c"), node("Gemm", ["x", "c"], ["p"], "layer", transB=int(transposed)),
             node("Mul", ["s", "p"], ["y"])]  # fmt: skip
    arrays = {"q": codes("int8", *stored), "s": scales(5)}
    return Behind(nodes, arrays, units(7), np.transpose if transposed else as_it_is)


def conv() -> Behind:
    arrays = {"q": codes("int8", 5, 3, 2, 4), "s": scales(5, 1, 1)}
    nodes = [cast("q", "c"), node("Conv", ["x", "c"], ["p"], "layer"),
             node("Mul", ["p", "s"], ["y"])]  # fmt: skip
    seen = units(24).reshape(24, 3, 2, 4)
    return Behind(nodes, arrays, seen, lambda result: result.reshape(24, 5).T.reshape(5, 3, 2, 4))


def left() -> Behind:
    arrays = {"q": codes("int8", 5, 7), "s": scales(5, 1)}
    nodes = [cast("q", "c"), node("MatMul", ["c", "x"], ["p"], "layer"),
             node("Mul", ["p", "s"], ["y"])]  # fmt: skip
    return Behind(nodes, arrays, units(7), as_it_is)


def batch() -> Behind:
    """Experts: a matrix and its scales for each."""
    arrays = {"q": codes("int8", 3, 7, 5), "s": scales(3, 1, 5)}
    nodes = [cast("q", "c"), node("MatMul", ["x", "c"], ["p"], "layer"),
             node("Mul", ["p", "s"], ["y"])]  # fmt: skip
    return Behind(nodes, arrays, units(7), as_it_is)


BEHIND: dict[str, Callable[[], Behind]] = {
    "MatMul": product,
    "MatMul, one scale": partial(product, s=np.float32(0.3)),
    "MatMul, scale of shape [1, 5]": partial(product, s=scales(1, 5)),
    "MatMul, factors swapped": partial(product, behind=[node("Mul", ["s", "p"], ["y"])]),
    "MatMul, int4": partial(product, data_type="int4"),
    "MatMul, uint8": partial(product, data_type="uint8"),
    "MatMul, float8": partial(product, data_type="float8e4m3fn"),
    "MatMul, Transpose before it": partial(
        product, [node("Transpose", ["c"], ["w"], perm=[1, 0])], q=codes("int8", 5, 7)
    ),
    "MatMul, zero-point taken off": partial(
        product, [node("Sub", ["c", "z"], ["w"])], data_type="uint8", z=np.float32(100)
    ),
    "MatMul, zero-point of each column": partial(
        product, [node("Sub", ["c", "z"], ["w"])], data_type="uint8", z=np.rint(floats(5) * 9)
    ),
    "MatMul, Identity and Cast behind it": partial(
        product,
        behind=[node("Identity", ["p"], ["i"]), cast("i", "j"), node("Mul", ["j", "s"], ["y"])],
    ),
    "MatMul, Reshape behind it": partial(
        product,
        behind=[node("Reshape", ["p", "to"], ["r"]), node("Mul", ["r", "s"], ["m"]),
                node("Reshape", ["m", "back"], ["y"])],
        to=shape(1, 7, 5), back=shape(7, 5),
    ),
    "MatMul, a factor computed while the model runs before it": partial(
        product,
        behind=[node("ReduceMax", ["x"], ["a"], keepdims=0), node("Mul", ["p", "a"], ["m"]),
                node("Mul", ["m", "s"], ["y"])],
    ),
    "Gemm": partial(gemm, False),
    "Gemm transB": partial(gemm, True),
    "Conv": conv,
    "MatMul, weight on the left": left,
    "MatMul of a batch": batch,
}  # fmt: skip


UNSCALED = {
    "no Mul": [node("Relu", ["p"], ["y"])],
    "a correction that is made from the input": [
        node("ReduceSum", ["x", "one"], ["t"], keepdims=1), node("Sub", ["p", "t"], ["d"]),
        node("Mul", ["d", "s"], ["y"]),
    ],
    "a correction that is added": [
        node("ReduceSum", ["x", "one"], ["t"], keepdims=1), node("Add", ["p", "t"], ["d"]),
        node("Mul", ["d", "s"], ["y"]),
    ],
    "a correction by a constant times the input": [
        node("ReduceSum", ["x", "one"], ["t"], keepdims=1), node("Mul", ["s", "t"], ["k"]),
        node("Add", ["p", "k"], ["d"]), node("Mul", ["d", "s"], ["y"]),
    ],
    "a nonlinear operator between": [node("Relu", ["p"], ["r"]), node("Mul", ["r", "s"], ["y"])],
    "a scale of each row of the result": [node("Mul", ["p", "rows"], ["y"])],
    "another reader": [node("Mul", ["p", "s"], ["m"]), node("Add", ["p", "m"], ["y"])],
}  # fmt: skip


# --------------------------------------------------------------- integer operators


def dynamic(behind: Sequence[onnx.NodeProto], **arrays: np.ndarray) -> onnx.ModelProto:
    """x quantized while the model runs -> MatMulInteger with codes [7, 5] -> ``behind``."""
    held = {"q": codes("uint8", 7, 5), "z": np.uint8(7), "s": scales(5), "b": floats(5)} | arrays
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulInteger", ["xq", "q", "xz", "z"], ["p"], "layer"),
        *behind,
    ]
    return make_model(nodes, held, inputs={"x": (2, 7)})


ROUNDED_BIAS = [
    node("Mul", ["xs", "s"], ["both"]), node("Div", ["b", "both"], ["n"]),
    node("Floor", ["n"], ["f"]), cast("f", "bias", INT32),
]  # fmt: skip
SCALES = node("Mul", ["xs", "s"], ["scale"])
INTEGERS: dict[str, list[onnx.NodeProto]] = {
    "Cast, Mul": [cast("p", "c"), SCALES, node("Mul", ["c", "scale"], ["y"])],
    "bias before the Cast": [
        *ROUNDED_BIAS, node("Add", ["p", "bias"], ["a"]), cast("a", "c"), SCALES,
        node("Mul", ["c", "scale"], ["y"]),
    ],
    "bias before the Cast, on the left": [
        *ROUNDED_BIAS, node("Add", ["bias", "p"], ["a"]), cast("a", "c"), SCALES,
        node("Mul", ["scale", "c"], ["y"]),
    ],
    "bias between Cast and Mul": [
        *ROUNDED_BIAS, cast("p", "c"), cast("bias", "g"), node("Add", ["c", "g"], ["a"]), SCALES,
        node("Mul", ["a", "scale"], ["y"]),
    ],
    "the activation's scale first": [
        cast("p", "c"), node("Mul", ["c", "xs"], ["m"]), node("Mul", ["m", "s"], ["y"]),
    ],
    "the weight's scale first": [
        cast("p", "c"), node("Mul", ["c", "s"], ["m"]), node("Mul", ["m", "xs"], ["y"]),
    ],
    "bias first, then one scale after the other": [
        *ROUNDED_BIAS, node("Add", ["p", "bias"], ["a"]), cast("a", "c"),
        node("Mul", ["c", "xs"], ["m"]), node("Mul", ["m", "s"], ["y"]),
    ],
}  # fmt: skip


# --------------------------------------------------------------- tables that are looked up as codes


@dataclass(frozen=True)
class Table:
    """A table of 11 rows of 6, looked up as codes; ``rank`` axes of indices."""

    nodes: Sequence[onnx.NodeProto]
    arrays: dict[str, np.ndarray]
    op_type: str = "Gather"
    rank: int = 1

    @property
    def indices(self) -> np.ndarray:
        rows = np.arange(11)
        if self.op_type == "GatherND":
            return rows.reshape(11, 1)
        if self.op_type == "GatherElements":
            return np.repeat(rows[:, None], 6, axis=1)
        return rows.reshape(*(1,) * (self.rank - 1), 11)

    @property
    def model(self) -> onnx.ModelProto:
        inputs, types = {"i": self.indices.shape}, {"i": TensorProto.INT64}
        return make_model(self.nodes, self.arrays, inputs=inputs, input_types=types)

    @property
    def values(self) -> np.ndarray:
        return run_onnxruntime(self.model, {"i": self.indices}, ["y"])[0].reshape(11, 6)


def looked_up(
    *behind: onnx.NodeProto, op_type: str = "Gather", data_type: str = "int8", rank: int = 1,
    **arrays: np.ndarray,
) -> Table:  # fmt: skip
    held = {"q": codes(data_type, 11, 6)} | arrays
    return Table([node(op_type, ["q", "i"], ["g"], "layer"), *behind], held, op_type, rank)


def same(name: str, result: str, op_type: str = "Gather") -> onnx.NodeProto:
    """Look up another table with the same indices."""
    return node(op_type, [name, "i"], [result])


def indices_made_twice() -> Table:
    """As torch exports ``weight[i].float() * scales[i]``."""
    nodes = [
        node("Identity", ["i"], ["j"]), node("Identity", ["i"], ["k"]),
        node("GatherND", ["q", "j"], ["g"], "layer"), node("Transpose", ["g"], ["t"], perm=[0, 1]),
        cast("t", "c"), node("GatherND", ["S", "k"], ["s"]), node("Mul", ["c", "s"], ["y"]),
    ]  # fmt: skip
    return Table(nodes, {"q": codes("int8", 11, 6), "S": scales(11, 1)}, "GatherND")


UP, SCALED = cast("g", "c"), node("Mul", ["c", "s"], ["y"])
BY_ROW = (same("S", "s"), SCALED)
TABLES: dict[str, Callable[[], Table]] = {
    "one scale": partial(looked_up, UP, SCALED, s=np.float32(0.1)),
    "one scale, matrix of indices": partial(looked_up, UP, SCALED, rank=2, s=np.float32(0.1)),
    "scale by column": partial(looked_up, UP, SCALED, rank=2, s=scales(6)),
    "scale by row": partial(looked_up, UP, *BY_ROW, S=scales(11, 1)),
    "scale by row, matrix of indices": partial(looked_up, UP, *BY_ROW, rank=2, S=scales(11, 1)),
    "scale by row, factors swapped": partial(
        looked_up, UP, same("S", "s"), node("Mul", ["s", "c"], ["y"]), S=scales(11, 1)
    ),
    "scale by row, Unsqueeze behind it": partial(
        looked_up, UP, same("S", "v"), node("Unsqueeze", ["v", "last"], ["s"]), SCALED,
        S=scales(11), last=shape(-1),
    ),
    "scale by row, Unsqueeze, matrix of indices": partial(
        looked_up, UP, same("S", "v"), node("Unsqueeze", ["v", "last"], ["s"]), SCALED,
        rank=2, S=scales(11), last=shape(2),
    ),
    "zero-point and scale by row": partial(
        looked_up, UP, same("Z", "z"), node("Sub", ["c", "z"], ["d"]), same("S", "s"),
        node("Mul", ["d", "s"], ["y"]), data_type="uint8", S=scales(11, 1), Z=floats(11, 1),
    ),
    "one zero-point, scale by row": partial(
        looked_up, UP, node("Sub", ["c", "z"], ["d"]), same("S", "s"),
        node("Mul", ["d", "s"], ["y"]), data_type="uint8", S=scales(11, 1), z=np.float32(100),
    ),
    "groups of a row": partial(
        looked_up, UP, node("Reshape", ["c", "to"], ["r"]), same("S", "s"),
        node("Mul", ["r", "s"], ["m"]), node("Reshape", ["m", "back"], ["y"]),
        S=scales(11, 3, 1), to=shape(-1, 3, 2), back=shape(-1, 6),
    ),
    "float16 scales": partial(
        looked_up, cast("g", "c", FLOAT16), *BY_ROW, S=scales(11, 1, dtype=np.float16)
    ),
    "GatherND": partial(
        looked_up, UP, same("S", "s", "GatherND"), SCALED, op_type="GatherND", S=scales(11, 1)
    ),
    "GatherND, the indices made twice": indices_made_twice,
    "GatherElements, one scale": partial(
        looked_up, UP, SCALED, op_type="GatherElements", s=np.float32(0.1)
    ),
    "GatherElements, scale by column": partial(
        looked_up, UP, SCALED, op_type="GatherElements", s=scales(6)
    ),
    "DequantizeLinear, scale by row": partial(
        looked_up, same("S", "s"), dequantize_node(("g", "s"), "y", axis=0), S=scales(11)
    ),
    "DequantizeLinear, scale and zero-point by row": partial(
        looked_up, same("S", "s"), same("Z", "z"), dequantize_node(("g", "s", "z"), "y", axis=0),
        S=scales(11), Z=codes("int8", 11, seed=3),
    ),
    "DequantizeLinear, blocks of a row": partial(
        looked_up, same("S", "s"), dequantize_node(("g", "s"), "y", axis=1, block_size=2),
        S=scales(11, 3),
    ),
    "DequantizeLinear, blocks, matrix of indices": partial(
        looked_up, same("S", "s"), dequantize_node(("g", "s"), "y", axis=2, block_size=2),
        rank=2, S=scales(11, 3),
    ),
}  # fmt: skip


# --------------------------------------------------------------- operands that are constants


def operand_of(op_type: str, inputs: Sequence[str], **attributes) -> onnx.ModelProto:
    arrays = {"q": codes("int8", 2, 12), "s": scales(12), "m": np.eye(2, 12, dtype=bool)}
    nodes = [dequantize_node(("q", "s"), "w", axis=1),
             node(op_type, list(inputs), ["y"], "layer", **attributes)]  # fmt: skip
    return make_model(nodes, arrays, inputs={"x": (2, 12)})
