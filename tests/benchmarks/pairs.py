"""Writes the big models that the benchmarks read: seeded, so that every run reads the same bytes.

    python tests/benchmarks/pairs.py bert FOLDER

A pair is ``fp32.onnx`` and ``int8.onnx``: a chain of MatMuls, the weights of the second one int8
with a scale for each output channel behind a DequantizeLinear, activations quantized per tensor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, int]

BERT_BLOCK: tuple[Shape, ...] = (*[(768, 768)] * 4, (768, 3072), (3072, 768))
MEDIUM: Shape = (2048, 2048)
LARGE: Shape = (4096, 4096)
# What lies in the sparse file: 64 weights of 168 MB.
SPARSE_SHAPE, SPARSE_COUNT = (4096, 10240), 64


def write_pair(folder: Path, shapes: Sequence[Shape], seed: int = 0) -> None:
    """Write a float model with a MatMul for each shape, and its int8 build, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, quantized in (("fp32", False), ("int8", True)):
        model = create_model(shapes, quantized=quantized, seed=seed)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def create_model(shapes: Sequence[Shape], *, quantized: bool, seed: int) -> onnx.ModelProto:
    """Return a chain of MatMuls ``layer0``, ``layer1`` ...; one that does not fit starts anew."""
    model = helper.make_model(
        helper.make_graph([], "chain", [], []),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
        producer_name="benchmark",
    )
    graph, value, width = model.graph, "", -1
    generator = np.random.default_rng(seed)
    if quantized:
        scale, zero_point = np.float32(0.05), np.int8(3)
        graph.initializer.append(numpy_helper.from_array(np.asarray(scale), "x_scale"))
        graph.initializer.append(numpy_helper.from_array(np.asarray(zero_point), "x_zero_point"))
    for i, shape in enumerate(shapes):
        if shape[0] != width:
            if value:
                graph.output.append(_describe(value, width))
            value = f"x{i}"
            graph.input.append(_describe(value, shape[0]))
        weight = generator.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
        operand = f"layer{i}.weight"
        if quantized:
            value = _add_activation(graph, value)
            operand = _add_codes(graph, operand, weight)
        else:
            graph.initializer.append(numpy_helper.from_array(weight, operand))
        graph.node.append(helper.make_node("MatMul", [value, operand], [f"y{i}"], f"layer{i}"))
        value, width = f"y{i}", shape[1]
    graph.output.append(_describe(value, width))
    return model


def _describe(value: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, width])


def _add_activation(graph: onnx.GraphProto, value: str) -> str:
    scale = ["x_scale", "x_zero_point"]
    codes, values = f"{value}_q", f"{value}_dq"
    graph.node.append(helper.make_node("QuantizeLinear", [value, *scale], [codes], codes))
    graph.node.append(helper.make_node("DequantizeLinear", [codes, *scale], [values], values))
    return values


def _add_codes(graph: onnx.GraphProto, name: str, weight: np.ndarray) -> str:
    """Add a weight as int8 codes and return the name of its values.

    The names end as onnxruntime's quantizer ends them: its debugging script asks for that.
    """
    scale = np.abs(weight).max(axis=0) / np.float32(127)
    codes = np.rint(weight / scale).astype(np.int8)
    arrays = {
        f"{name}_quantized": codes,
        f"{name}_scale": scale,
        f"{name}_zero_point": np.zeros(scale.size, np.int8),
    }
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in arrays.items())
    values = f"{name}_DequantizeLinear_Output"
    graph.node.append(helper.make_node("DequantizeLinear", list(arrays), [values], values, axis=1))
    return values


def small_shapes(count: int) -> Iterator[Shape]:
    """Yield shapes that chain: many layers, few weights."""
    for i in range(count):
        yield (32, 48) if i % 2 == 0 else (48, 32)


def write_sparse(folder: Path, shape: Shape = SPARSE_SHAPE, count: int = SPARSE_COUNT) -> None:
    """Write a float model whose external data is a hole, but for the last weight of each layer.

    That one is the number of the layer, from 1: who finds it has read to the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    length = 4 * shape[0] * shape[1]
    tensors = []
    with (folder / "weights.data").open("wb") as file:
        file.truncate(count * length)
        for i in range(count):
            file.seek((i + 1) * length - 4)
            file.write(np.float32(i + 1).astype("<f4").tobytes())
            tensors.append(_describe_external(f"layer{i}.weight", shape, i * length, length))
    nodes = [
        helper.make_node("MatMul", [f"x{i}", tensor.name], [f"y{i}"], f"layer{i}")
        for i, tensor in enumerate(tensors)
    ]
    inputs = [_describe(f"x{i}", shape[0]) for i in range(count)]
    outputs = [_describe(f"y{i}", shape[1]) for i in range(count)]
    graph = helper.make_graph(nodes, "sparse", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (folder / "fp32.onnx").write_bytes(model.SerializeToString())


def _describe_external(name: str, shape: Shape, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    where = {"location": "weights.data", "offset": str(offset), "length": str(length)}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


MODELS: dict[str, Callable[[Path], None]] = {
    "bert": lambda folder: write_pair(folder, BERT_BLOCK * 12),
    "small": lambda folder: write_pair(folder, BERT_BLOCK + BERT_BLOCK[:2]),
    "part": lambda folder: write_pair(folder, BERT_BLOCK[:2]),
    "medium": lambda folder: write_pair(folder, [MEDIUM]),
    "large": lambda folder: write_pair(folder, [LARGE]),
    "large-among-500": lambda folder: write_pair(folder, [LARGE, *small_shapes(500)]),
    "20": lambda folder: write_pair(folder, [*small_shapes(20)]),
    "200": lambda folder: write_pair(folder, [*small_shapes(200)]),
    "500": lambda folder: write_pair(folder, [*small_shapes(500)]),
    "5000": lambda folder: write_pair(folder, [*small_shapes(5000)]),
    "sparse": write_sparse,
    "sparse-1": lambda folder: write_sparse(folder, count=3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write one of the benchmarks' models.")
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    MODELS[arguments.model](arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
