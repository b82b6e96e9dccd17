"""The commands in tests/evidence find nothing wrong in sound models, and find what is planted."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from models_for_tests import (
    CONV_SHAPE,
    codes,
    conv_model,
    convnet,
    dequantize_node,
    int8_conv,
    load_script,
    make_model,
    mlp,
    quantized_dynamically,
    quantized_statically,
    scales,
)
from onnx import helper
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from playground.utils.parameter_inspector.facts import Refusal, RefusalKind
from playground.utils.parameter_inspector.pairing import layer_pairs as pairing_module
from playground.utils.parameter_inspector.quantization import Quantization

EVIDENCE = Path(__file__).parent / "evidence"


def command(name: str) -> ModuleType:
    return load_script(EVIDENCE / f"{name}.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two float nets, each quantized in several ways, and the index of who was made from whom."""
    folder = tmp_path_factory.mktemp("evidence")
    work = tmp_path_factory.mktemp("work")
    quantizer = MatMulNBitsQuantizer(mlp(), block_size=16)
    quantizer.process()
    made = {
        "convnet": {
            "fp32": convnet(),
            "qdq": quantized_statically(convnet(), work),
            "qdq_per_channel": quantized_statically(convnet(), work, per_channel=True),
            "qoperator": quantized_statically(
                convnet(), work, quant_format=QuantFormat.QOperator
            ),
            "dynamic": quantized_dynamically(convnet(), work),
        },
        "mlp": {
            "fp32": mlp(),
            "qdq": quantized_statically(mlp(), work),
            "dynamic": quantized_dynamically(mlp(), work),
            "nbits": quantizer.model.model,
        },
    }  # fmt: skip
    index = []
    for net, variants in made.items():
        for name, model in variants.items():
            onnx.save(model, folder / f"{net}.{name}.onnx")
            index.append({"file": f"{net}.{name}.onnx", "fp32": f"{net}.fp32.onnx"})
    (folder / "INDEX.json").write_text(json.dumps(index))
    return folder


def run(module: ModuleType, monkeypatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    return module.main()


def numbers(printed: str) -> dict[str, int]:
    """Return the tally that weights.py prints."""
    return {m[1]: int(m[2]) for m in re.finditer(r"^ *([a-z][a-z ]*?) +(\d+)$", printed, re.M)}


# --------------------------------------------------------------- weights.py


def test_every_weight_is_what_onnxruntime_computes_with(folder, monkeypatch, capsys):
    assert run(command("weights"), monkeypatch, folder) == 0
    tally = numbers(capsys.readouterr().out)
    assert (tally["files"], tally["skipped"]) == (9, 0)
    assert (tally["wrong"], tally["silent"], tally["no oracle"]) == (0, 0, 0)
    assert tally["constants"] > 0
    assert tally["silent constants"] == 0
    # convnet holds three weights, mlp two, in every variant.
    assert tally["expected"] == 5 * 3 + 4 * 2
    assert tally["exact"] + tally["close"] >= 0.99 * tally["expected"]


def test_a_zero_point_off_by_one_is_reported_as_wrong(folder, monkeypatch, capsys):
    right = Quantization.dequantize
    monkeypatch.setattr(
        Quantization,
        "dequantize",
        lambda self, q: right(self, q) + self.spread(self.scale, q.shape),
    )
    assert run(command("weights"), monkeypatch, folder, "--only", "qdq") == 1
    printed = capsys.readouterr().out
    tally = numbers(printed)
    assert tally["wrong"] == tally["expected"] > 0
    assert "WRONG convnet.qdq.onnx: conv1 Conv" in printed


def test_a_weight_that_is_never_listed_is_reported_as_silent(folder, monkeypatch, capsys):
    module = command("weights")
    right = module.list_layers
    monkeypatch.setattr(
        module,
        "list_layers",
        lambda model: [layer for layer in right(model) if layer.name != "conv10"],
    )
    assert run(module, monkeypatch, folder, "--only", "convnet.qdq.onnx") == 1
    printed = capsys.readouterr().out
    assert "SILENT convnet.qdq.onnx: Conv 'conv10'" in printed
    assert numbers(printed)["silent"] == 1
    assert numbers(printed)["silent constants"] == 1


def test_a_weight_that_is_not_understood_is_counted_apart(tmp_path, monkeypatch, capsys):
    onnx.save(int8_conv(), tmp_path / "sound.onnx")
    module = command("weights")
    right = module.list_layers

    refusal = Refusal(RefusalKind.NEVER_SCALED)
    planted = {"parameters": (), "not_understood": (refusal,)}
    monkeypatch.setattr(
        module, "list_layers", lambda model: [replace(layer, **planted) for layer in right(model)]
    )
    assert run(module, monkeypatch, tmp_path) == 0
    tally = numbers(capsys.readouterr().out)
    assert (tally["expected"], tally["not understood"]) == (1, 1)


def test_a_file_that_onnxruntime_runs_and_the_reader_refuses_is_wrong(
    folder, monkeypatch, capsys
):  # fmt: skip
    module = command("weights")

    def refuse(path):
        raise module.ModelFileError(Refusal(RefusalKind.LIBRARY, reason="as planted"))

    monkeypatch.setattr(module, "load_model", refuse)
    assert run(module, monkeypatch, folder, "--only", "mlp.qdq") == 1
    assert "REFUSED mlp.qdq.onnx: as planted" in capsys.readouterr().out


def test_a_file_that_onnxruntime_does_not_load_is_skipped(tmp_path, monkeypatch, capsys):
    (tmp_path / "no.onnx").write_bytes(b"no model")
    assert run(command("weights"), monkeypatch, tmp_path) == 0
    assert numbers(capsys.readouterr().out)["skipped"] == 1


# --------------------------------------------------------------- pairing.py


@pytest.mark.parametrize("options", [(), ("--scramble",)], ids=["as made", "scrambled"])
def test_no_pair_is_wrong(folder, options, monkeypatch, capsys):
    assert run(command("pairing"), monkeypatch, folder, *options) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "7 files, 0 refused, 0 with bodies left out"
    assert printed.splitlines()[-1] == "0 wrong"
    evidence = re.search(r"pairs: (\{.*\}); (\d+) float layers unpaired", printed)
    assert evidence[2] == "0"
    assert ("'name and values'" in evidence[1]) == (options == ())
    assert ("'values'" in evidence[1]) == (options != ())


def test_a_partner_chosen_by_order_is_reported_as_wrong(tmp_path, monkeypatch, capsys):
    nodes = [
        helper.make_node("MatMul", [f"h{i}" if i else "x", f"V{i}"], [f"h{i + 1}"], f"fc{i}")
        for i in range(3)
    ]
    arrays = {
        f"V{i}": np.random.default_rng(i).normal(size=(6, 6)).astype(np.float32) for i in range(3)
    }
    onnx.save(make_model(nodes, arrays, inputs={"x": (2, 6)}, outputs=["h3"]), tmp_path / "a.onnx")
    turned = {f"V{i}": arrays[f"V{2 - i}"] for i in range(3)}
    onnx.save(make_model(nodes, turned, inputs={"x": (2, 6)}, outputs=["h3"]), tmp_path / "b.onnx")
    (tmp_path / "INDEX.json").write_text(json.dumps([{"file": "b.onnx", "fp32": "a.onnx"}]))
    module = command("pairing")
    assert run(module, monkeypatch, tmp_path) == 0
    capsys.readouterr()
    monkeypatch.setattr(pairing_module, "score_sketches", lambda *_: 1.0)
    assert run(module, monkeypatch, tmp_path) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "2 wrong"
    assert "WRONG b.onnx: fc0 ~ fc0" in printed


# --------------------------------------------------------------- hostile.py


def cycle() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
        helper.make_node("Identity", ["v"], ["w"]),
        helper.make_node("Identity", ["w"], ["v"]),
    ]
    return make_model(nodes)


def scale_of_wrong_length() -> onnx.ModelProto:
    arrays = {"q": codes("int8", *CONV_SHAPE), "s": scales(4)}
    return conv_model([dequantize_node(("q", "s"), axis=0)], arrays)


def outside_path() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=CONV_SHAPE)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/hostname")
    return conv_model([], [tensor])


def huge() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=(1 << 40, 3, 2, 4))
    tensor.raw_data = b"\0" * 16
    return conv_model([], [tensor])


def empty_weight() -> onnx.ModelProto:
    return conv_model([], {"w": np.zeros((0, 3, 2, 4), np.float32)})


HOSTILE = {
    "truncated": lambda: int8_conv().SerializeToString()[:150],
    "empty": lambda: b"",
    "lfs pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "html": lambda: b"<!DOCTYPE html><html><body>404</body></html>",
    "no model": lambda: b"\xff" * 300,
    "cycle": lambda: cycle().SerializeToString(),
    "scale of wrong length": lambda: scale_of_wrong_length().SerializeToString(),
    "path outside": lambda: outside_path().SerializeToString(),
    "huge": lambda: huge().SerializeToString(),
    "empty weight": lambda: empty_weight().SerializeToString(),
}
REFUSED = ("empty", "lfs pointer", "html", "no model", "truncated")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_or_listed_and_says_why(kind, tmp_path):
    path = tmp_path / "hostile.onnx"
    path.write_bytes(HOSTILE[kind]())
    found = command("hostile").open_and_read(path)
    assert found["outcome"] in ("listed", "partial", "refused")
    assert (found["outcome"] == "listed") == (kind == "empty weight")
    if kind in REFUSED:
        assert found["outcome"] == "refused"
    if kind != "empty weight":
        assert found["reasons"][0]
    json.dumps(found)


def test_a_folder_of_hostile_files_fails_none_each_in_a_process_of_its_own(
    tmp_path, monkeypatch, capsys
):
    kinds = ("truncated", "cycle", "huge")
    for kind in kinds:
        (tmp_path / f"{kind}.onnx").write_bytes(HOSTILE[kind]())
    assert run(command("hostile"), monkeypatch, tmp_path) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(kinds) + 1
    assert "FAILED" not in "".join(printed)
    assert sum(int(n) for n in re.findall(r"(\d+) [a-z]+", printed[-1])) == len(kinds)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"seconds": 11.0}, "FAILED (memory or time)"),
        ({"extra_bytes": 300_000_000}, "FAILED (memory or time)"),
        ({}, "refused 0 read"),
    ],
    ids=["slow", "large", "well"],
)
def test_a_file_that_takes_too_long_or_too_much_memory_fails(
    answer, said, tmp_path, monkeypatch, capsys
):
    module = command("hostile")
    (tmp_path / "a.onnx").write_bytes(b"")
    result = {"outcome": "refused", "read": 0, "reasons": [], "seconds": 0.1, "extra_bytes": 0}
    done = module.subprocess.CompletedProcess([], 0, json.dumps(result | answer), "")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
    assert run(module, monkeypatch, tmp_path) == int(said.startswith("FAILED"))
    assert said in capsys.readouterr().out


def test_a_reader_that_crashes_fails(tmp_path, monkeypatch, capsys):
    module = command("hostile")
    (tmp_path / "a.onnx").write_bytes(b"")
    done = module.subprocess.CompletedProcess([], 1, "", "Traceback\nRecursionError: as planted")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
    assert run(module, monkeypatch, tmp_path) == 1
    assert "FAILED exit 1: ['RecursionError: as planted']" in capsys.readouterr().out


# --------------------------------------------------------------- memory.py


def test_every_form_is_scanned_within_its_memory(capfd):
    assert command("memory").main(["--megabytes", "1"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("× a file of") == len(command("memory").forms(64))
