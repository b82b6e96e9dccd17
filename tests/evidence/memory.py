"""Scan one large weight in every form that a scale can be spelled out in, and measure the memory.

    python tests/evidence/memory.py [--megabytes 64]

Each file is scanned in a process of its own, forked where all is imported: opened, its layers
listed, every rule run. Prints the peak above what was there before, as a multiple of the file, and
exits 1 where that is more than twice the file and 64 MB.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from playground.utils.parameter_inspector import compare_variants, list_layers, open_folder
from playground.utils.parameter_inspector.judging.rules import find_problems

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Imported once the path is known.
from models_for_tests import make_model, numpy_dtype

MOST_TIMES, MORE_BYTES = 2, 64 << 20
GROUP = 64
node = helper.make_node
UP = node("Cast", ["q"], ["c"], to=TensorProto.FLOAT)


def codes(*shape: int, dtype: type = np.int8) -> np.ndarray:
    return np.resize(np.random.default_rng(0).integers(0, 16, 1 << 16).astype(dtype), shape)


def product(*nodes: onnx.NodeProto, **arrays: np.ndarray) -> onnx.ModelProto:
    size = round(arrays["q"].size ** 0.5)
    return make_model([UP, *nodes], arrays, inputs={"x": (1, size)})


def table(*nodes: onnx.NodeProto, **arrays: np.ndarray) -> onnx.ModelProto:
    lookup = node("Gather", ["q", "x"], ["g"], "layer")
    types = {"x": TensorProto.INT64}
    return make_model([lookup, *nodes], arrays, inputs={"x": (3,)}, input_types=types)


def scale(*shape: int) -> np.ndarray:
    return np.linspace(0.01, 0.1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def forms(n: int) -> dict[str, Callable[[], onnx.ModelProto]]:
    """Return forms of a weight of n × n codes."""
    matmul = node("MatMul", ["x", "w"], ["y"], "layer")
    raw = node("MatMul", ["x", "t"], ["p"], "layer")
    scaled = node("Mul", ["p", "s"], ["y"])
    blocks, flat = (n, n // GROUP, GROUP), np.array([n, n])
    grouped = {"q": codes(*blocks, dtype=np.uint8), "s": scale(n, n // GROUP, 1), "flat": flat}
    ends = (node("Reshape", ["m", "flat"], ["r"]), node("Transpose", ["r"], ["w"]), matmul)
    float8 = codes(n, n).astype(np.float32).astype(numpy_dtype("float8e4m3fn"))
    return {
        "Gemm, scale behind it": lambda: product(
            node("Gemm", ["x", "c"], ["p"], "layer", transB=1), scaled, q=codes(n, n), s=scale(n)
        ),
        "Transpose, MatMul, scale behind it": lambda: product(
            node("Transpose", ["c"], ["t"]), raw, scaled, q=codes(n, n), s=scale(n)
        ),
        "Sub, MatMul, scale behind it": lambda: product(
            node("Sub", ["c", "z"], ["t"]), raw, scaled, q=codes(n, n, dtype=np.uint8), s=scale(n),
            z=np.float32(8),
        ),
        "Transpose, Mul": lambda: product(
            node("Transpose", ["c"], ["t"]), node("Mul", ["t", "s"], ["w"]), matmul,
            q=codes(n, n), s=scale(n),
        ),
        "float8": lambda: product(node("Mul", ["c", "s"], ["w"]), matmul, q=float8, s=scale(n)),
        "groups": lambda: product(
            node("Sub", ["c", "z"], ["d"]), node("Mul", ["d", "s"], ["m"]), *ends,
            z=scale(n, n // GROUP, 1), **grouped,
        ),
        "codes that no scale follows": lambda: product(
            node("Identity", ["c"], ["w"]), matmul, q=codes(n, n)
        ),
        "table, scales by row": lambda: table(
            node("Cast", ["g"], ["c"], to=TensorProto.FLOAT), node("Gather", ["S", "x"], ["s"]),
            node("Mul", ["c", "s"], ["y"]), q=codes(n, n), S=scale(n, 1),
        ),
        "table, DequantizeLinear behind it": lambda: table(
            node("Gather", ["S", "x"], ["s"]), node("DequantizeLinear", ["g", "s"], ["y"], axis=0),
            q=codes(n, n), S=scale(n),
        ),
        "DequantizeLinear, for comparison": lambda: make_model(
            [node("DequantizeLinear", ["q", "s"], ["w"], axis=1), matmul],
            {"q": codes(n, n), "s": scale(n)}, inputs={"x": (1, n)},
        ),
    }  # fmt: skip


def peak_bytes() -> int:
    """Return the highest memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return 1024 * int(found[1])


def scan(folder: Path) -> bool:
    """Scan the model of a folder. Returns whether its weight is read as quantized, or said."""
    opened = open_folder(folder)
    find_problems(compare_variants(opened.variants))
    layers = [layer for model in opened.variants.values() for layer in list_layers(model)]
    return any(layer.is_quantized or layer.not_understood for layer in layers)


def measure(folder: Path) -> tuple[int, bool]:
    """Return the bytes that a scan takes, and whether it sees the weight."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before = peak_bytes()
        seen = scan(folder)
        os.write(writing, f"{peak_bytes() - before} {int(seen)}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        taken, seen_too = answer.read().split()
    return int(taken), bool(int(seen_too))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=64)
    megabytes = parser.parse_args(arguments).megabytes
    size = round((megabytes << 20) ** 0.5) // GROUP * GROUP
    failed = 0
    for kind, make in forms(size).items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "form.onnx"
            onnx.save(make(), path)
            taken, seen = measure(Path(folder))
            held = path.stat().st_size
        too_much = taken > MOST_TIMES * held + MORE_BYTES
        failed += too_much or not seen
        said = ("  TOO MUCH" if too_much else "") + ("" if seen else "  NOT SEEN")
        print(f"{taken / held:6.2f} × a file of {held / 1e6:4.0f} MB  {kind}{said}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
