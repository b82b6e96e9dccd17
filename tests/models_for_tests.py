"""Makers of small ONNX models, the oracles that say what a model computes, scripts as modules.

Every dimension of a shape differs from every other, so that a wrong axis cannot go unseen.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader

from playground.utils.parameter_inspector.quantization import ArraySource, numpy_dtype

MICROSOFT = "com.microsoft"
FLOAT_NAMES = {"float": "float32", "double": "float64"}

CONV_SHAPE = (5, 3, 2, 4)
"""Output channels, input channels, height, width."""
CONV_INPUT = (1, 3, 6, 7)


def load_script(path: Path) -> ModuleType:
    """Return a script, which no package holds, as a module under a name that no other has."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def spelled(dtype: np.dtype) -> str:
    """Return the data type as ONNX spells it, by onnx's own table."""
    name = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))).lower()
    return FLOAT_NAMES.get(name, name)


def element_type(data_type: str) -> int:
    names = {long: short for short, long in FLOAT_NAMES.items()}
    return TensorProto.DataType.Value(names.get(data_type, data_type).upper())


def source(array: Any, name: str = "constant") -> ArraySource:
    array = np.asarray(array)
    return ArraySource(name, array, spelled(array.dtype))


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def scales(*shape: int, seed: int = 1, dtype: Any = np.float32) -> np.ndarray:
    """Positive, none alike, none a power of two."""
    return np.random.default_rng(seed).uniform(0.01, 0.3, shape).astype(dtype)


def codes(data_type: str, *shape: int, seed: int = 2) -> np.ndarray:
    """Codes over the whole range of the type, its limits among them."""
    dtype, generator = numpy_dtype(data_type), np.random.default_rng(seed)
    if not data_type.startswith(("int", "uint")):
        return generator.normal(scale=3, size=shape).astype(np.float32).astype(dtype)
    info = ml_dtypes.iinfo(dtype)
    array = generator.integers(int(info.min), int(info.max), shape, endpoint=True)
    if array.size > 1:
        array.reshape(-1)[:2] = int(info.min), int(info.max)
    return array.astype(dtype)


def constant(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, Any] | Sequence[TensorProto] = (),
    *,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    input_types: Mapping[str, int] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 21,
    domains: Sequence[str] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    ir_version: int = 10,
) -> onnx.ModelProto:
    """Return a model with one float input ``x`` unless told otherwise."""
    if isinstance(initializers, Mapping):
        initializers = [constant(name, array) for name, array in initializers.items()]
    types = input_types or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)
            for name, shape in ({"x": CONV_INPUT} if inputs is None else inputs).items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        list(initializers),
    )
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(
        graph,
        opset_imports=versions,
        functions=list(functions),
        ir_version=ir_version,
        producer_name="tests",
    )


def conv_model(
    nodes: Sequence[onnx.NodeProto], initializers: Any, weight: str = "w", **options: Any
) -> onnx.ModelProto:
    """Return ``nodes`` followed by a Conv named ``conv`` that reads ``weight``."""
    conv = helper.make_node("Conv", ["x", weight], ["y"], "conv")
    return make_model([*nodes, conv], initializers, **options)


def matmul_model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Any,
    weight: str = "w",
    inner: int = 7,
    **options: Any,
) -> onnx.ModelProto:
    """Return ``nodes`` followed by a MatMul named ``matmul`` of x [2, inner] and ``weight``."""
    matmul = helper.make_node("MatMul", ["x", weight], ["y"], "matmul")
    return make_model([*nodes, matmul], initializers, inputs={"x": (2, inner)}, **options)


def dequantize_node(
    inputs: Sequence[str] = ("q", "s", "z"), output: str = "w", domain: str = "", **attributes: Any
) -> onnx.NodeProto:
    return helper.make_node("DequantizeLinear", list(inputs), [output], domain=domain, **attributes)


def int8_conv(
    axis: int = 0, data_type: str = "int8", scale_type: Any = np.float32
) -> onnx.ModelProto:
    """Return the plainest quantized model: q -> DequantizeLinear (per channel) -> Conv."""
    channels = CONV_SHAPE[axis]
    arrays = {
        "q": codes(data_type, *CONV_SHAPE),
        "s": scales(channels, dtype=scale_type),
        "z": codes(data_type, channels, seed=3),
    }
    return conv_model([dequantize_node(axis=axis)], arrays)


def mlp(names: Sequence[str] = ("fc1", "fc2"), seed: int = 0) -> onnx.ModelProto:
    """Return a float network: Gemm, Relu, MatMul + Add; input [3, 7], output [3, 4]."""
    nodes = [
        helper.make_node("Gemm", ["x", "W1", "b1"], ["h"], names[0], transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "W2"], ["m"], names[1]),
        helper.make_node("Add", ["m", "b2"], ["y"], "add"),
    ]
    arrays = {
        "W1": floats(6, 7, seed=seed),
        "b1": floats(6, seed=seed + 1),
        "W2": floats(6, 4, seed=seed + 2),
        "b2": floats(4, seed=seed + 3),
    }
    model = make_model(nodes, arrays, inputs={"x": (3, 7)}, opset=17, ir_version=8)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 4)))
    return model


def convnet() -> onnx.ModelProto:
    """Return a float network: Conv, Relu, Conv, Flatten, Gemm; no dimension twice."""
    nodes = [
        helper.make_node("Conv", ["x", "W1", "b1"], ["c1"], "conv1"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "W10"], ["c10"], "conv10"),
        helper.make_node("GlobalAveragePool", ["c10"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "W2", "b2"], ["y"], "fc"),
    ]
    arrays = {
        "W1": floats(5, 3, 2, 4),
        "b1": floats(5, seed=1),
        "W10": floats(8, 5, 3, 2, seed=2),
        "W2": floats(8, 9, seed=3),
        "b2": floats(9, seed=4),
    }
    model = make_model(nodes, arrays, inputs={"x": (1, 3, 10, 11)}, opset=17, ir_version=8)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 9)))
    return model


# --------------------------------------------------------------- oracles


def run_onnxruntime(
    model: onnx.ModelProto | str, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> list[np.ndarray]:
    """Run a model as it stands: every optimization is off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    content = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), dict(feeds))


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return an array for every input that has no initializer."""
    held = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in held:
            shape = [d.dim_value or 2 for d in value.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = np.ones(shape, dtype)
    return feeds


def with_output(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if tensor not in [value.name for value in shown.graph.output]:
        shown.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return shown


def at_input(model: onnx.ModelProto, tensor: str) -> np.ndarray:
    """Return what onnxruntime feeds to a layer: ``tensor`` as one more output of the graph."""
    return run_onnxruntime(with_output(model, tensor), feeds_of(model), [tensor])[0]


def onnxruntime_dequantizes(
    q: np.ndarray, s: Any, z: Any = None, *, opset: int = 21, **attributes: Any
) -> np.ndarray:
    arrays = {"q": q, "s": s} | ({} if z is None else {"z": z})
    model = make_model([dequantize_node(list(arrays), "y", **attributes)], arrays, inputs={},
                       opset=opset)  # fmt: skip
    return run_onnxruntime(model, {}, ["y"])[0]


def onnxruntime_quantizes(
    x: np.ndarray, s: Any, z: Any, *, seen_as: int = TensorProto.INT32, **attributes: Any
) -> np.ndarray:
    """Return the codes, cast to a type that numpy has."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("Cast", ["q"], ["y"], to=seen_as),
    ]
    model = make_model(nodes, {"s": s, "z": z}, inputs={"x": x.shape})
    return run_onnxruntime(model, {"x": x}, ["y"])[0]


def reference_dequantizes(q: np.ndarray, s: Any, z: Any = None, **attributes: Any) -> np.ndarray:
    """The same by onnx's own evaluator."""
    arrays = {"q": q, "s": np.asarray(s)} | ({} if z is None else {"z": np.asarray(z)})
    node = helper.make_node("DequantizeLinear", list(arrays), ["y"], **attributes)
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
    model = make_model([node], inputs={n: a.shape for n, a in arrays.items()}, input_types=types,
                       opset=25, ir_version=13)  # fmt: skip
    return ReferenceEvaluator(model).run(None, arrays)[0]


def same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Assert equal shapes and bits; both NaN counts as equal, -0 and 0 do not."""
    assert actual.shape == expected.shape
    wide = [np.asarray(a).astype(np.float64) for a in (actual, expected)]
    np.testing.assert_array_equal(*wide)
    np.testing.assert_array_equal(*(np.signbit(a[~np.isnan(a)]) for a in wide))


# --------------------------------------------------------------- models by onnxruntime's quantizers


class OneFeed(CalibrationDataReader):
    """The one example that the static quantizer calibrates with."""

    def __init__(self, feeds: dict[str, np.ndarray]) -> None:
        self._feeds: list[dict[str, np.ndarray]] = [feeds]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._feeds.pop() if self._feeds else None


def quantized_statically(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    """Return what onnxruntime's ``quantize_static`` makes: QDQ unless told otherwise."""
    (name, feed), *_ = feeds_of(model).items()
    feeds = {name: floats(*feed.shape, seed=5)}
    path = folder / "static.onnx"
    quantization.quantize_static(model, path, OneFeed(feeds), **options)
    return onnx.load(path)


def quantized_dynamically(model: onnx.ModelProto, folder: Path, **options: Any) -> onnx.ModelProto:
    quantization.quantize_dynamic(model, folder / "dynamic.onnx", **options)
    return onnx.load(folder / "dynamic.onnx")
