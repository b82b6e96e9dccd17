"""Small networks, onnxruntime's own quantizers, and what each remedy of theirs wins, in dB.

A network has one layer whose output channels differ 100 times in width: one scale hurts it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

logging.getLogger().setLevel(logging.ERROR)  # the quantizers advise preprocessing each time


class Method(Enum):
    """What made the file, as its operators tell."""

    STATIC_QDQ = "static QDQ"
    STATIC_QOPERATOR = "static QOperator"
    DYNAMIC = "dynamic"


@dataclass(frozen=True, eq=False)
class Network:
    """A float model and samples for it: some to calibrate with, some to measure with."""

    path: Path
    calibration: Sequence[Mapping[str, np.ndarray]]
    samples: Sequence[Mapping[str, np.ndarray]]
    original_outputs: list[np.ndarray] = field(default_factory=list)


def quantize(network: Network, method: Method, output: Path, **options: Any) -> Path:
    """Write the quantized model as onnxruntime does, weights int8 and activations uint8."""
    if method is Method.DYNAMIC:
        quantize_dynamic(network.path, output, **{"weight_type": QuantType.QInt8, **options})
        return output
    in_qdq = method is Method.STATIC_QDQ
    quantize_static(
        network.path,
        output,
        Samples(network.calibration),
        quant_format=QuantFormat.QDQ if in_qdq else QuantFormat.QOperator,
        **{"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, **options},
    )
    return output


class Samples(CalibrationDataReader):
    def __init__(self, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
        self._samples = list(samples)
        self._left: Iterator[Mapping[str, np.ndarray]] = iter(self._samples)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._left, None)


def run(path: Path, samples: Sequence[Mapping[str, np.ndarray]], **more: Any) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], **more
    )
    return np.stack([session.run(None, dict(sample))[0] for sample in samples])


def output_db(network: Network, quantized: Path, **more: Any) -> float:
    """Return the SQNR at the output over the samples that were not calibrated with, in dB."""
    exact = run(network.path, network.samples).astype(np.float64)
    error = exact - run(quantized, network.samples, **more)
    with np.errstate(divide="ignore"):  # nothing is lost where all is left in float
        return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(error)))


# ------------------------------------------------- networks


def create_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, np.ndarray],
    input_shape: Sequence[int],
    opset: int = 17,
    draw: Callable[[np.random.Generator], np.ndarray] | None = None,
    input_type: int = TensorProto.FLOAT,
) -> Network:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", input_type, list(input_shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    rng = np.random.default_rng(1)

    def sample() -> dict[str, np.ndarray]:
        if draw is not None:
            return {"x": draw(rng)}
        return {"x": rng.normal(0, 1, input_shape).astype(np.float32)}

    return Network(path, [sample() for _ in range(12)], [sample() for _ in range(8)])


def create_normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)


def wide_and_narrow(*shape: int, axis: int) -> np.ndarray:
    """Return a weight whose first two channels have one wide number each, the others many small.

    All channels are of similar say in what leaves the layer, so that the weight's one scale is
    the limit, and no activation's.
    """
    weight = 0.15 * create_normal(*shape)
    for channel in range(2):
        at: list[Any] = [slice(None)] * len(shape)
        at[axis] = channel
        weight[tuple(at)] = 0
        one = [1 if size > 1 else 0 for size in shape]
        one[axis] = channel
        weight[tuple(one)] = 4
    return weight


def layer_between(path: Path, op_type: str, opset: int = 17) -> Network:
    """Return three layers; the one in the middle, ``layer``, has the weight above."""
    make = helper.make_node
    if op_type in ("Conv", "ConvTranspose"):
        is_conv = op_type == "Conv"
        shape, axis = ((16, 8, 3, 3), 0) if is_conv else ((8, 16, 3, 3), 1)
        constants = {
            "a": create_normal(8, 4, 3, 3),
            "w": wide_and_narrow(*shape, axis=axis),
            "v": create_normal(8, 16, 3, 3),
        }
        around, input_shape = "Conv", (1, 4, 14, 14)
    else:
        constants = {
            "a": create_normal(32, 64),
            "w": wide_and_narrow(64, 16, axis=1),
            "v": create_normal(16, 8),
            "b": create_normal(16),
        }
        around, input_shape = "MatMul", (6, 32)
    inputs = ["p", "w", *(["b"] if op_type == "Gemm" else [])]
    constants = {k: v for k, v in constants.items() if k != "b" or op_type == "Gemm"}
    nodes = [
        make(around, ["x", "a"], ["p"], name="first"),
        make(op_type, inputs, ["q"], name="layer"),
        make(around, ["q", "v"], ["y"], name="last"),
    ]
    return create_model(path, nodes, constants, input_shape, opset)


def one_layer(path: Path, op_type: str) -> Network:
    """Return one layer of an operator that stands in no chain."""
    make = helper.make_node
    if op_type == "Gather":
        node = make("Gather", ["w", "x"], ["y"], name="layer")
        table = wide_and_narrow(16, 32, axis=0)
        return create_model(
            path, [node], {"w": table}, (6,), draw=_draw_rows, input_type=TensorProto.INT64
        )
    gates = {"LSTM": 4, "GRU": 3}[op_type]
    constants = {
        "w": wide_and_narrow(1, gates * 16, 8, axis=1),
        "r": 0.1 * create_normal(1, gates * 16, 16),
    }
    node = make(op_type, ["x", "w", "r"], ["y"], name="layer", hidden_size=16)
    return create_model(path, [node], constants, (5, 1, 8))


def _draw_rows(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 16, 6)


def create_network(path: Path, op_type: str) -> Network:
    chained = op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")
    return layer_between(path, op_type) if chained else one_layer(path, op_type)
