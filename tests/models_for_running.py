"""Models that do what a stranger's model can do, and a child that says what it likes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from playground.utils.parameter_inspector.facts import Ending
from playground.utils.parameter_inspector.running.endings import RunEndedError, describe_ending
from playground.utils.parameter_inspector.running.process import Child

OPSETS = [helper.make_opsetid("", 17)]


def make_model(nodes, inputs, outputs, initializers=()) -> bytes:
    graph = helper.make_graph(nodes, "made", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8).SerializeToString()


def value(name: str, kind: int = TensorProto.FLOAT, shape=("n", 3)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def doubling() -> bytes:
    return make_model([helper.make_node("Add", ["x", "x"], ["y"])], [value("x")], [value("y")])


def identity(kind: int = TensorProto.FLOAT, shape=("n", 3)) -> bytes:
    node = helper.make_node("Identity", ["x"], ["y"])
    return make_model([node], [value("x", kind, shape)], [value("y", kind, shape)])


def scaling() -> bytes:
    """y = x * factor, where the factor is an input of its own."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    inputs = [value("x", shape=("n", 3, "k")), value("factor", shape=(1,))]
    return make_model([node], inputs, [value("y", shape=("n", 3, "k"))])


def looping_while_true() -> bytes:
    """A Loop that goes on as long as its input is true: for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("v")],
        [value("goes", TensorProto.BOOL, ()), value("w")],
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["truths"], to=TensorProto.BOOL),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["go"], to=TensorProto.BOOL),
        helper.make_node("Loop", ["", "go", "x"], ["y"], body=body),
    ]
    return make_model(nodes, [value("x")], [value("y")])


def filling() -> bytes:
    """Fills an array of as many elements as its input says, and gives its sum out."""
    nodes = [
        helper.make_node("ConstantOfShape", ["x"], ["filled"]),
        helper.make_node("Neg", ["filled"], ["negated"]),
        helper.make_node("ReduceMax", ["negated"], ["y"], keepdims=0),
    ]
    return make_model(nodes, [value("x", TensorProto.INT64, (1,))], [value("y", shape=())])


def spelling() -> bytes:
    """One output of numbers, one of text."""
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
    ]
    return make_model(nodes, [value("x")], [value("y"), value("text", TensorProto.STRING)])


FAKE = """
import json, math, os, sys
import numpy as np

def send(line, data=b""):
    sys.stdout.buffer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\\n")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

def done(number, **more):
    return {"number": number, "end": "done", "why": "", "arrays": [], **more}

for line in sys.stdin.buffer:
    words = json.loads(line)
    number = words["number"]
    for _, dtype, shape in words["arrays"]:
        size = 1 if dtype == "bytes" else np.dtype(dtype).itemsize
        sys.stdin.buffer.read(math.prod(shape) * size)
    if words["do"] == "start":
        send(done(number))
        continue
"""


def write_fake_child(folder: Path, answer: str) -> Path:
    """Return a program that answers every request but the first as the lines say."""
    path = folder / "fake.py"
    path.write_text(FAKE + "".join(f"    {line}\n" for line in answer.strip().splitlines()))
    return path


def ending_of(child: Child, call) -> Ending:
    """Return how a call on a child ended, which the error tells in one sentence."""
    with pytest.raises(RunEndedError) as raised:
        call(child)
    assert str(raised.value) == describe_ending(raised.value.ending)
    return raised.value.ending
