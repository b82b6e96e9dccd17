"""Small float networks, and what onnxruntime makes of them, for tests that run models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from playground.utils.parameter_inspector import load_model, pair_layers
from playground.utils.parameter_inspector.facts import SampleKind
from playground.utils.parameter_inspector.measuring.outputs import Outputs
from playground.utils.parameter_inspector.pairing.structure import pair_by_structure
from playground.utils.parameter_inspector.reading.edges import Network
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.measurement import measure_variant
from playground.utils.parameter_inspector.running.placing import place_quantizers
from playground.utils.parameter_inspector.running.quantizers import Placement
from playground.utils.parameter_inspector.running.samples import create_samples
from playground.utils.parameter_inspector.running.switched_model import (
    SwitchedModel,
    create_switched_model,
)

MEASURE_LIMITS = Limits(memory_bytes=2 << 30, run_seconds=60, total_seconds=300)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] = {},
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(op_type: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """A node named after its output."""
    return helper.make_node(op_type, inputs.split(), [output], name=f"{output}_node", **attributes)


def conv_network(batch: int | str = "N", opset: int = 17) -> onnx.ModelProto:
    """Two convolutions with a residual sum, a pooling, and a classifier with 3 outputs."""
    random = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)

    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "sum"),
        node("Relu", "sum", "r2"),
        node("MaxPool", "r2", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", "pool", "mean"),
        node("Flatten", "mean", "flat"),
        node("Gemm", "flat w3 b3", "y", transB=1),
    ]
    constants = {
        "w1": weight(5, 2, 3, 3), "b1": weight(5, 1)[:, 0], "w2": weight(5, 5, 3, 3),
        "b2": weight(5, 1)[:, 0], "w3": weight(3, 5), "b3": weight(3, 1)[:, 0],
    }  # fmt: skip
    return model(nodes, {"x": [batch, 2, 6, 8]}, ["y"], constants, opset)


def images(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"x": random.normal(size=(count, 2, 6, 8)).astype(np.float32)}


class Calibration(CalibrationDataReader):
    def __init__(self, inputs: Mapping[str, np.ndarray]) -> None:
        count = len(next(iter(inputs.values())))
        self._rows = iter([{n: a[i : i + 1] for n, a in inputs.items()} for i in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def quantize(
    proto: onnx.ModelProto,
    folder: Path,
    *,
    quant_format: QuantFormat = QuantFormat.QDQ,
    weight_type: QuantType = QuantType.QInt8,
    activation_type: QuantType = QuantType.QUInt8,
    per_channel: bool = True,
    extra_options: Mapping[str, object] = {},
) -> onnx.ModelProto:
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(proto, source)
    quantize_static(
        source, target, Calibration(images(8, seed=5)), quant_format=quant_format,
        weight_type=weight_type, activation_type=activation_type, per_channel=per_channel,
        extra_options=dict(extra_options),
    )  # fmt: skip
    return onnx.load(target)


def quantize_while_running(proto: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    source, target = folder / "float.onnx", folder / "dynamic.onnx"
    onnx.save(proto, source)
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    return onnx.load(target)


def run(
    proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(outputs, dict(inputs))


def sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    noise = np.square(exact.astype(np.float64) - held).sum()
    signal = np.square(exact.astype(np.float64)).sum()
    return float(10 * np.log10(signal / noise)) if noise else np.inf


def place(
    original: onnx.ModelProto, variant: onnx.ModelProto
) -> tuple[tuple[Network, Network], Placement]:
    """Both networks, and where the quantizers of the variant stand in the original."""
    models = load_model(original), load_model(variant)
    networks = Network(models[0]), Network(models[1])
    pairing = pair_by_structure(*networks, pair_layers(*models))
    return networks, place_quantizers(*networks, pairing)


def switch(original: onnx.ModelProto, variant: onnx.ModelProto) -> SwitchedModel:
    networks, placement = place(original, variant)
    return create_switched_model(*networks, placement)


def run_switched(
    switched: SwitchedModel, inputs: Mapping[str, np.ndarray], on: Sequence[int]
) -> list[np.ndarray]:
    gates = np.isin(np.arange(len(switched.placement.quantizers)), list(on))
    return run(switched.proto, {**inputs, switched.gates: gates}, list(switched.outputs))


def all_on(switched: SwitchedModel) -> range:
    return range(len(switched.placement.quantizers))


def measure(
    original: onnx.ModelProto,
    variant: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
    **options: Any,
) -> Outputs:
    ours, theirs = load_model(original), load_model(variant)
    samples = create_samples(inputs, labels=labels, kind=SampleKind.FILE)
    return measure_variant(
        ours, theirs, pair_layers(ours, theirs), samples, limits=MEASURE_LIMITS, **options
    )


def pair(source: str) -> list[onnx.NodeProto]:
    """Quantize a tensor by the constants s and z."""
    return [
        node("QuantizeLinear", f"{source} s z", f"{source}_codes"),
        node("DequantizeLinear", f"{source}_codes s z", f"{source}_dq"),
    ]
