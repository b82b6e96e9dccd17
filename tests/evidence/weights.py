"""Compare every weight we read with the tensor that onnxruntime computes for the layer.

    python tests/evidence/weights.py FOLDER ... [--only REGEX] [--verbose]

The oracle shares no code with the playground: it walks the protobuf, cuts out the constant part of
the graph that ends in a layer's weight, and lets onnxruntime run that with all optimizations off.
Operators that keep codes themselves (QLinearConv, MatMulNBits ...) get an equivalent: a
DequantizeLinear of their inputs, or the operator itself on an identity matrix. Codes whose scale
follows the layer are scaled by what onnxruntime computes of it; a table is looked up row by row.

Besides, every constant that could hold codes is searched for (tests/constant_search.py): one that
is neither read, nor not understood, nor known to be no weight, is silent.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
import onnxruntime
from onnx import helper, numpy_helper

from playground.utils.parameter_inspector import (
    ModelFileError,
    UnavailableError,
    list_constants,
    list_layers,
    load_model,
)
from playground.utils.parameter_inspector.wording import describe_refusal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Imported once the path is known.
from constant_search import find_constants, find_silent

onnxruntime.set_default_logger_severity(4)

# The inputs that are weights, per operator; codes, scale, zero-point and axis where inside.
FLOAT_SLOTS = {
    "Conv": (1,), "ConvTranspose": (1,), "FusedConv": (1,), "Gemm": (1, 0), "FusedGemm": (1,),
    "MatMul": (1, 0), "FusedMatMul": (1, 0), "Gather": (0,), "LSTM": (1, 2), "GRU": (1, 2),
    "Attention": (1,),
}  # fmt: skip
INTEGER_SLOTS = {
    "QLinearConv": ((3, 4, 5, 0),),
    "QLinearMatMul": ((3, 4, 5, -1), (0, 1, 2, -2)),
    "QGemm": ((3, 4, 5, None),),
    "DynamicQuantizeMatMul": ((1, 2, 3, -1),),
    "MatMulIntegerToFloat": ((1, 3, 5, -1),),
    "QAttention": ((1, 4, 7, -1),),
    "DynamicQuantizeLSTM": ((1, 8, 9, None), (2, 10, 11, None)),
    "QLinearAdd": ((3, 4, 5, -1), (0, 1, 2, -1)),
    "QLinearMul": ((3, 4, 5, -1), (0, 1, 2, -1)),
    "MatMulInteger": ((1, None, 3, -1),),
    "ConvInteger": ((1, None, 3, 0),),
}
BYTES = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
NARROW = {
    onnx.TensorProto.DataType.Value(name)
    for name in (
        "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ",
        "FLOAT8E5M2", "FLOAT8E5M2FNUZ",
    )
}  # fmt: skip
KEPT_WHOLE = ("Mul", "Cast", "Identity", "Add", "Reshape")
RUN_SLOTS = {"MatMulNBits": 1, "MatMulBnb4": 1, "GatherBlockQuantized": 0, "QMoE": 2}


@dataclass
class Scope:
    """The names that a node can see: initializers and producers, innermost first."""

    initializers: dict[str, onnx.TensorProto]
    producers: dict[str, onnx.NodeProto]
    outer: Scope | None
    readers: dict[str, list[onnx.NodeProto]]

    def find(self, name: str) -> onnx.TensorProto | onnx.NodeProto | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.initializers:
                return scope.initializers[name]
            if name in scope.producers:
                return scope.producers[name]
            scope = scope.outer
        return None


def walk(
    graph: onnx.GraphProto, outer: Scope | None = None
) -> Iterator[tuple[onnx.NodeProto, Scope]]:
    initializers: dict[str, onnx.TensorProto] = {}
    for tensor in graph.initializer:
        initializers.setdefault(tensor.name, tensor)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {o: n for n in graph.node for o in n.output if o}
    scope = Scope(initializers, makers, outer, readers)
    for node in graph.node:
        yield node, scope
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from walk(body, scope)


def constant_part(
    name: str, scope: Scope, fed: str = ""
) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]] | None:
    """Return the nodes and initializers that ``name`` is made from, None if it needs an input.

    Args:
        fed: a tensor that is given besides.
    """
    nodes: list[onnx.NodeProto] = []
    tensors: dict[str, onnx.TensorProto] = {}
    done: set[str] = set()
    open_names: set[str] = set()

    def visit(name: str) -> bool:
        if name in done or name in ("", fed):
            return True
        found = scope.find(name)
        if found is None or name in open_names:
            return False
        if isinstance(found, onnx.TensorProto):
            tensors[name] = found
        else:
            open_names.add(name)
            if any(a.HasField("g") for a in found.attribute) or not all(
                visit(i) for i in found.input
            ):
                return False
            if not found.input and found.op_type != "Constant":
                return False
            nodes.append(found)
        done.add(name)
        return True

    return (nodes, tensors) if visit(name) else None


def run_part(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    tensors: dict[str, onnx.TensorProto],
    output: str,
    feeds: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    feeds = feeds or {}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in feeds.items()
    ]
    unique = list({id(n): n for n in nodes}.values())
    if not unique and output in tensors:
        unique = [helper.make_node("Identity", [output], ["oracle_out"])]
        output = "oracle_out"
    graph = helper.make_graph(
        unique, "part", inputs, [onnx.ValueInfoProto(name=output)], list(tensors.values())
    )
    opsets = {o.domain: o for o in model.opset_import}
    for domain in ("com.microsoft",):
        opsets.setdefault(domain, helper.make_opsetid(domain, 1))
    part = helper.make_model(
        graph, opset_imports=list(opsets.values()), ir_version=max(model.ir_version, 4)
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run([output], feeds)[0]


def array_of(name: str, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    part = constant_part(name, scope) if name else None
    if part is None:
        return None
    nodes, tensors = part
    if not nodes:
        return numpy_helper.to_array(tensors[name])
    return run_part(model, nodes, tensors, name)


def dequantize_by_onnxruntime(
    codes: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int, model: onnx.ModelProto
) -> np.ndarray:
    tensors = {
        n: numpy_helper.from_array(a, n)
        for n, a in (("w", codes), ("s", scale), ("z", zero))
        if a is not None
    }
    attributes = {"axis": axis} if scale.size > 1 else {}
    if scale.size == 1:
        tensors["s"] = numpy_helper.from_array(scale.reshape(()), "s")
        if zero is not None:
            tensors["z"] = numpy_helper.from_array(zero.reshape(()), "z")
    node = helper.make_node(
        "DequantizeLinear",
        ["w", "s", *(["z"] if zero is not None else [])],
        ["oracle_dq"],
        **attributes,
    )
    fresh = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)])
    return run_part(fresh, [node], tensors, "oracle_dq")


def attribute(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def oracle_values(
    node: onnx.NodeProto, slot: object, scope: Scope, model: onnx.ModelProto
) -> np.ndarray | None:
    """Return the weight as the layer sees it, None where the input is no constant."""
    if node.op_type in FLOAT_SLOTS:
        name = node.input[slot]
        part = constant_part(name, scope)
        if part is None:
            return None
        if node.op_type == "Gather" and name in part[1] and part[1][name].data_type in BYTES:
            table = table_by_rows(node, scope, model)
            return table_by_name(name, scope, model) if table is None else table
        values = run_part(model, *part, name)
        if not is_bare(part):
            return values
        scale = scale_behind(node, scope, model)
        return values if scale is None else values * placed(scale, node, slot, values.ndim)
    if node.op_type in RUN_SLOTS:
        return run_operator(node, scope, model)
    codes, scale, zero, axis = slot
    arrays = [
        array_of(node.input[i], scope, model) if i is not None and i < len(node.input) else None
        for i in (codes, scale, zero)
    ]
    if arrays[0] is None:
        return None
    if node.op_type in ("MatMulInteger", "ConvInteger"):
        arrays[1] = scale_by_name(node, scope, model)
    if node.op_type == "QGemm":
        axis = 0 if attribute(node, "transB") else 1
    if node.op_type == "DynamicQuantizeLSTM":
        return lstm_by_onnxruntime(arrays, model)
    if arrays[1] is None:
        raise LookupError("the oracle finds no scale")
    return dequantize_by_onnxruntime(arrays[0], arrays[1], arrays[2], axis, model)


def lstm_by_onnxruntime(arrays: list[np.ndarray | None], model: onnx.ModelProto) -> np.ndarray:
    codes, scale, zero = arrays
    assert codes is not None and scale is not None
    directions = [
        dequantize_by_onnxruntime(
            codes[d],
            np.atleast_1d(scale[d]),
            None if zero is None else np.atleast_1d(zero[d]),
            1,
            model,
        )
        for d in range(codes.shape[0])
    ]
    return np.stack(directions).transpose(0, 2, 1)


def table_by_name(name: str, scope: Scope, model: onnx.ModelProto) -> np.ndarray:
    """A table whose rows are looked up as codes and dequantized later: scale found by its name."""
    base = name.removesuffix("_quantized")
    codes, scale, zero = (
        array_of(n, scope, model) for n in (name, f"{base}_scale", f"{base}_zero_point")
    )
    if codes is None or scale is None:
        raise LookupError("the oracle finds no scale")
    return dequantize_by_onnxruntime(codes, scale, zero, 0, model)


def table_by_rows(node: onnx.NodeProto, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    """Look every row up, in the order of the table, and follow it to where it is real."""
    name, rows = node.output[0], scope.initializers[node.input[0]].dims
    for _ in range(10):
        readers = scope.readers.get(name, [])
        if len(readers) != 1:
            return None
        name = readers[0].output[0]
        if readers[0].op_type in ("Mul", "DequantizeLinear"):
            part = constant_part(name, scope, fed=node.input[1])
            if part is None:
                return None
            feeds = {node.input[1]: np.arange(rows[0])}
            return run_part(model, *part, name, feeds).reshape(rows)
    return None


def is_bare(part: tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]]) -> bool:
    """Whether a constant is made of integers or narrow floats, and nothing scales it."""
    nodes, tensors = part
    scaled = {"Mul", "DequantizeLinear", "Div"} & {node.op_type for node in nodes}
    narrow = [t for t in tensors.values() if t.data_type in NARROW and np.prod(t.dims) > 16]
    return bool(nodes and narrow and not scaled)


def scale_behind(node: onnx.NodeProto, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    """Return the constant that a layer's result is multiplied by, behind what keeps it whole."""
    name = node.output[0]
    for _ in range(10):
        readers = scope.readers.get(name, [])
        if len(readers) != 1 or readers[0].op_type not in KEPT_WHOLE:
            return None
        reader = readers[0]
        if reader.op_type == "Mul":
            other = next(i for i in reader.input if i != name)
            scale = constant_factor(other, scope, model)
            if scale is not None:
                return scale
        name = reader.output[0]
    return None


def constant_factor(name: str, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    """Return a constant, or the constant factor of a product with what is computed."""
    found = scope.find(name)
    if constant_part(name, scope) is not None:
        return array_of(name, scope, model)
    if isinstance(found, onnx.NodeProto) and found.op_type == "Mul":
        factors = [array_of(one, scope, model) for one in found.input]
        return next((one for one in factors if one is not None), None)
    return None


def placed(scale: np.ndarray, node: onnx.NodeProto, slot: object, rank: int) -> np.ndarray:
    """Return a scale of a result so that it broadcasts against the layer's weight."""
    if scale.size == 1 or node.op_type == "MatMul":
        return scale.reshape(()) if scale.size == 1 else scale
    if node.op_type == "Gemm":
        channels = 0 if attribute(node, "transB") else 1
    else:
        channels = 1 if node.op_type == "ConvTranspose" else 0
    return scale.reshape([-1 if i == channels else 1 for i in range(rank)])


def scale_by_name(node: onnx.NodeProto, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    """onnxruntime's quantizer names the scale after the weight; others let it follow."""
    base = node.input[1].removesuffix("_quantized")
    named = array_of(f"{base}_scale", scope, model)
    return scale_behind(node, scope, model) if named is None else named


def run_operator(node: onnx.NodeProto, scope: Scope, model: onnx.ModelProto) -> np.ndarray | None:
    """Run the operator on an identity matrix, or on all indices, so that its weight comes out."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.output[0] = "oracle_out"
    del copy.output[1:]
    tensors: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    activation = 1 if node.op_type == "GatherBlockQuantized" else 0
    for i, name in enumerate(node.input):
        if i == activation or not name:
            continue
        part = constant_part(name, scope)
        if part is None:
            return None
        nodes += part[0]
        tensors |= part[1]
    if node.op_type == "QMoE":
        raise LookupError("no identity experiment for QMoE")
    copy.input[activation] = "oracle_in"
    if node.op_type == "GatherBlockQuantized":
        axis = attribute(node, "gather_axis")
        rows = tensors[node.input[0]].dims[axis]
        return run_part(
            model, [*nodes, copy], tensors, "oracle_out", {"oracle_in": np.arange(rows)}
        )
    if len(copy.input) > 5:
        copy.input[5] = ""
    k = attribute(node, "K")
    scale = tensors[node.input[2]]
    dtype = np.float16 if scale.data_type == onnx.TensorProto.FLOAT16 else np.float32
    product = run_part(
        model, [*nodes, copy], tensors, "oracle_out", {"oracle_in": np.eye(k, dtype=dtype)}
    )
    return product.T


@dataclass
class Tally:
    files: int = 0
    skipped: int = 0
    expected: int = 0
    exact: int = 0
    close: int = 0
    wrong: int = 0
    silent: int = 0
    not_understood: int = 0
    no_oracle: int = 0
    constants: int = 0
    silent_constants: int = 0


def expected_weights(
    model: onnx.ModelProto,
) -> Iterator[tuple[onnx.NodeProto, object, Scope]]:
    for node, scope in walk(model.graph):
        if node.op_type in FLOAT_SLOTS:
            for slot in FLOAT_SLOTS[node.op_type]:
                if slot < len(node.input) and is_float_weight(node, slot, scope):
                    yield node, slot, scope
        elif node.op_type in INTEGER_SLOTS:
            for slot in INTEGER_SLOTS[node.op_type]:
                if (
                    slot[0] < len(node.input)
                    and constant_part(node.input[slot[0]], scope) is not None
                ):
                    yield node, slot, scope
        elif node.op_type in RUN_SLOTS:
            yield node, RUN_SLOTS[node.op_type], scope


def is_float_weight(node: onnx.NodeProto, slot: int, scope: Scope) -> bool:
    part = constant_part(node.input[slot], scope)
    if part is None:
        return False
    if node.op_type == "Gather":  # tables of shapes and integers are no weights
        found = scope.find(node.input[slot])
        return not (
            isinstance(found, onnx.TensorProto) and found.data_type == onnx.TensorProto.INT64
        )
    return True


def check_file(path: Path, tally: Tally, reasons: Counter[str], verbose: bool) -> None:
    proto = onnx.load(path)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    opened = load_model(path)
    layers = list_layers(opened)
    tally.constants += len(find_constants(proto))
    for said in find_silent(proto, layers, list_constants(opened)):
        tally.silent_constants += 1
        print(f"  SILENT {path.name}: {said}")
    scales = {
        p.quantization.scale_source.name for one in layers for p in one.parameters if p.is_quantized
    }
    by_output = {}
    for layer in layers:
        by_output.setdefault((layer.op_type, layer.input_names), []).append(layer)
    by_type: dict[str, list] = {}
    for layer in layers:
        by_type.setdefault(layer.op_type, []).append(layer)
    position: Counter[str] = Counter()
    index_of: dict[int, int] = {}
    for node, _ in walk(proto.graph):
        index_of[id(node)] = position[node.op_type]
        position[node.op_type] += 1
    for node, slot, scope in expected_weights(proto):
        same = by_output.get((node.op_type, tuple(node.input)), [])
        named = [layer for layer in same if layer.node_name == node.name]
        same = named if len(named) == 1 else same
        if not same and node.input[slot if isinstance(slot, int) else slot[0]] in scales:
            continue  # looked up for a table's codes: the scale of another layer
        if len(same) == 1:
            layer = same[0]
        else:
            candidates = by_type.get(node.op_type, [])
            if len(candidates) != position[node.op_type]:
                # constant-folded nodes are plumbing, not layers
                tally.silent += 1
                tally.expected += 1
                print(f"  SILENT {path.name}: {node.op_type} {node.name!r} has no layer")
                continue
            layer = candidates[index_of[id(node)]]
        check_weight(path, proto, node, slot, scope, layer, tally, reasons, verbose)


def check_weight(path, proto, node, slot, scope, layer, tally, reasons, verbose) -> None:  # type: ignore[no-untyped-def]
    try:
        oracle = oracle_values(node, slot, scope, proto)
    except LookupError as error:
        oracle = error
    except Exception as error:  # whatever onnxruntime refuses
        oracle = error
    if oracle is None:
        return
    tally.expected += 1
    codes_index = slot if isinstance(slot, int) else slot[0]
    weights = [p for p in layer.parameters if p.slot != "bias"]
    weight = pick(weights, node, codes_index)
    if weight is None:
        if layer.not_understood:
            tally.not_understood += 1
            for refusal in layer.not_understood:
                reasons[re.sub(r"'[^']*'|\d+", "…", describe_refusal(refusal))] += 1
            if verbose:
                said = "; ".join(map(describe_refusal, layer.not_understood))
                print(f"  not understood {path.name}: {layer.name}: {said}")
        else:
            tally.silent += 1
            print(f"  SILENT {path.name}: {node.op_type} {node.name!r} slot {slot}")
        return
    if isinstance(oracle, Exception):
        tally.no_oracle += 1
        if verbose:
            print(f"  no oracle {path.name}: {node.op_type} {node.name!r}: {str(oracle)[:150]}")
        return
    try:
        values = weight.values
    except UnavailableError as error:
        tally.not_understood += 1
        reasons[str(error)[:80]] += 1
        return
    exact = oracle.astype(values.dtype)
    if values.shape == exact.shape and np.array_equal(values, exact, equal_nan=True):
        tally.exact += 1
    elif (
        node.op_type in RUN_SLOTS
        and values.shape == exact.shape
        and np.abs(values - exact).max() <= tolerance(oracle) * np.abs(exact).max()
    ):
        tally.close += 1
    else:
        tally.wrong += 1
        difference = np.abs(values - exact).max() if values.shape == exact.shape else "shape"
        where = f"{path.name}: {layer.name} {node.op_type}"
        print(f"  WRONG {where} {values.shape} {exact.shape} {difference}")


def tolerance(oracle: np.ndarray) -> float:
    return 1e-6 if oracle.dtype == np.float32 else 1e-3


def pick(weights, node, index):  # type: ignore[no-untyped-def]
    """Return our parameter for the input: an LSTM's third is the recurrence, else the weight."""
    if node.op_type in ("LSTM", "GRU", "DynamicQuantizeLSTM") and index == 2:
        return next((w for w in weights if w.slot == "recurrence"), None)
    return weights[0] if weights else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    sys.setrecursionlimit(20_000)  # a constant can have thousands of operators behind it
    tally, reasons = Tally(), Counter()
    paths = [path for folder in arguments.folders for path in sorted(folder.rglob("*.onnx"))]
    for path in paths:
        if not re.search(arguments.only, str(path)):
            continue
        try:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            tally.skipped += 1
            if arguments.verbose:
                print(f"  onnxruntime does not load {path.name}: {str(error)[:120]}")
            continue
        tally.files += 1
        try:
            check_file(path, tally, reasons, arguments.verbose)
        except ModelFileError as error:
            tally.wrong += 1
            print(f"  REFUSED {path.name}: {error}")
    for name, value in vars(tally).items():
        print(f"{name.replace('_', ' '):>16} {value:6}")
    for reason, count in reasons.most_common():
        print(f"{count:6} × {reason}")
    return 1 if tally.wrong or tally.silent or tally.silent_constants else 0


if __name__ == "__main__":
    sys.exit(main())
