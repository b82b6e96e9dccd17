"""Measure what a scan of a large file of each form takes: at most twice the file and 64 MB.

    python tests/evidence/scan_memory.py [--only REGEX] [--megabytes N]

Each form is written as one layer of about N megabytes, and opened and scanned in a process of its
own. What is counted is the peak above what the process held before it opened the file.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

RANDOM = np.random.default_rng(0)
SPARE_BYTES = 64 << 20
MICROSOFT = "com.microsoft"
node = helper.make_node

SCAN = """
import sys
from playground.utils.parameter_inspector import compare_variants, load_model


def read_megabytes(key):
    with open("/proc/self/status") as status:
        return int(status.read().split(key)[1].split()[0]) << 10


with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = read_megabytes("VmRSS:")
comparison = compare_variants({"file": load_model(sys.argv[1])})
weights = sum(len(of_layer) for of_layer in comparison.weights.values())
print(read_megabytes("VmHWM:") - before, weights, len(comparison.unavailable))
"""


def random_bytes(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def random_floats(*shape: int) -> np.ndarray:
    return RANDOM.random(shape, np.float32)


def number(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.full((), value, dtype)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    arrays: dict[str, np.ndarray],
    *,
    opset: int = 21,
    domains: tuple[str, ...] = (),
) -> None:
    inputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in ("x", "r")]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "form", inputs, outputs, held)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def nbits(path: Path, size: int, bits: int) -> None:
    columns = 8192
    rows = size * 8 // (columns * bits)
    arrays = {
        "w": random_bytes(rows, columns // 32, 4 * bits),
        "s": random_floats(rows, columns // 32),
    }
    made = node("MatMulNBits", ["x", *arrays], ["y"], domain=MICROSOFT,
                N=rows, K=columns, bits=bits, block_size=32)  # fmt: skip
    save(path, [made], arrays, domains=(MICROSOFT,))


def mlp(path: Path, size: int) -> None:
    rows = size // 8192
    arrays = {}
    for name in ("gate", "up"):
        arrays[name] = random_bytes(rows, 256, 16)
        arrays[f"{name}_s"] = random_floats(rows, 256)
    inputs = ["x", "", "", "gate", "gate_s", "", "up", "up_s", ""]
    made = node("MatMulNBitsMlp", inputs, ["y"], domain=MICROSOFT,
                N=rows, K=8192, bits=4, block_size=32, activation="silu")  # fmt: skip
    save(path, [made], arrays, domains=(MICROSOFT,))


def experts(path: Path, size: int, block: int) -> None:
    """fc1 of 4 bits, fc2 of 8."""
    rows = 2048
    count = max(1, size // (rows * rows * 3 // 2))
    blocks = (rows // block,) if block else ()
    arrays = {
        "w1": random_bytes(count, rows, rows // 2), "s1": random_floats(count, rows, *blocks),
        "w2": random_bytes(count, rows, rows), "s2": random_floats(count, rows, *blocks),
    }  # fmt: skip
    attributes = {"expert_weight_bits": 4, "fc2_expert_weight_bits": 8, "weights_prepacked": 0}
    if block:
        attributes["block_size"] = block
    inputs = ["x", "r", "w1", "s1", "", "w2", "s2"]
    made = node("QMoE", inputs, ["y"], domain=MICROSOFT, **attributes)
    save(path, [made], arrays, domains=(MICROSOFT,))


def float4(path: Path, size: int) -> None:
    rows = size // 4096
    arrays = {
        "w": random_bytes(rows, 4096),
        "s": random_bytes(rows, 512) % np.uint8(120),
        "g": number(0.5),
    }
    made = node("MatMulBlockQuantizedFp4Weight", ["x", *arrays], ["y"], domain=MICROSOFT)
    save(path, [made], arrays, domains=(MICROSOFT,))


def qonnx(path: Path, size: int) -> None:
    rows = size // (4 * 4096)
    arrays = {
        "W": random_floats(rows, 4096),
        "s": np.full((rows, 1), 0.1, np.float32),
        "z": number(0),
        "b": number(4),
    }
    domain = "qonnx.custom_op.general"
    nodes = [
        node("Quant", list(arrays), ["q"], domain=domain, signed=1, narrow=0),
        node("Transpose", ["q"], ["w"], perm=[1, 0]),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    save(path, nodes, arrays, opset=13, domains=(domain,))


def tensorrt(path: Path, size: int) -> None:
    arrays = {"W": random_floats(size // (4 * 4096), 4096), "s": number(0.1)}
    nodes = [
        node("TRT_FP8QuantizeLinear", ["W", "s"], ["q"], domain="trt"),
        node("TRT_FP8DequantizeLinear", ["q", "s"], ["d"], domain="trt"),
        node("Transpose", ["d"], ["w"], perm=[1, 0]),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    save(path, nodes, arrays, opset=17, domains=("trt",))


def requantized(path: Path, size: int) -> None:
    arrays = {
        "q": random_bytes(1, size // 4096, 4096).view(np.int8),
        "s": number(0.1), "t": number(0.11), "z": number(0, np.int8),
    }  # fmt: skip
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], ["f"]),
        node("Unsqueeze", ["f"], ["u"], axes=[2]),
        node("QuantizeLinear", ["u", "t", "z"], ["p"]),
        node("DequantizeLinear", ["p", "t", "z"], ["w"]),
        node("Add", ["x", "w"], ["y"]),
    ]
    save(path, nodes, arrays, opset=11)


FORMS: dict[str, Callable[[Path, int], None]] = {
    **{f"MatMulNBits {bits} bits": partial(nbits, bits=bits) for bits in range(2, 9)},
    "MatMulNBitsMlp": mlp,
    "QMoE by row": partial(experts, block=0),
    "QMoE by block": partial(experts, block=32),
    "float4 blocks": float4,
    "QONNX Quant, Transpose": qonnx,
    "TensorRT float8, Transpose": tensorrt,
    "DQ, Unsqueeze 11, Q, DQ": requantized,
}


def measure(path: Path) -> tuple[int, int, int]:
    """Return the peak in bytes, the weights that were scanned, and those that could not be."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    peak, weights, unavailable = map(int, done.stdout.split())
    return peak, weights, unavailable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--megabytes", type=int, default=128)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "form.onnx"
        for name, write in FORMS.items():
            if not re.search(arguments.only, name):
                continue
            write(path, arguments.megabytes << 20)
            size = path.stat().st_size
            peak, weights, unavailable = measure(path)
            is_good = weights > 0 and not unavailable and peak <= 2 * size + SPARE_BYTES
            failed |= not is_good
            print(
                f"{name:28} file {size >> 20:4} MB, peak {peak >> 20:4} MB = {peak / size:.2f} "
                f"of it, {weights} weight{'' if weights == 1 else 's'}"
                f"{'' if is_good else '  TOO MUCH'}"
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
