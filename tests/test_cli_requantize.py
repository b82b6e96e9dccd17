"""``python -m playground requantize``: what is written, what is printed, and how it refuses."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from models_for_tests import convnet, quantized_statically
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType
from test_cli import MODELS, refused, run, run_command

from playground.utils.parameter_inspector import (
    compare_variants,
    list_layers,
    load_model,
    measure_truth,
    open_folder,
    save_moves,
)
from playground.utils.parameter_inspector.changing.planning import plan_model

FLOAT, UINT8 = MODELS / "dscnn/fp32.onnx", MODELS / "dscnn/uint8.onnx"
SAMPLES = MODELS / "dscnn/samples.npz"
ALONE = "planned by the weights alone: what the output gains was not measured"


@pytest.fixture
def pair(tmp_path):
    """A small float network and its uint8 per-tensor build, as files."""
    onnx.save(convnet(), tmp_path / "float.onnx")
    model = quantized_statically(
        convnet(), tmp_path, weight_type=QuantType.QUInt8, activation_type=QuantType.QUInt8
    )
    onnx.save(model, tmp_path / "uint8.onnx")
    return tmp_path / "float.onnx", tmp_path / "uint8.onnx"


def test_the_true_command_heals_dscnn_and_shows_it(tmp_path):
    out = tmp_path / "out.onnx"
    done = run_command(
        "requantize", FLOAT, UINT8, "--target-sqnr", 30, "-o", out, "--samples", SAMPLES
    )
    assert (done.returncode, done.stderr) == (0, "")
    said, *changes, whole, original, current, proposed = done.stdout.splitlines()
    assert said == ALONE
    assert changes[0].startswith(
        "/block1/conv_dw/Conv: uint8 per-tensor asymmetric -> uint8 per-channel asymmetric: +47."
    )
    assert all(re.search(r": [+-][\d.]+ dB, [+-][\d,]+ bytes$", line) for line in changes)
    assert f"file {UINT8.stat().st_size:,} -> {out.stat().st_size:,} bytes" in whole
    accuracy = [
        float(re.search(r"accuracy ([\d.]+)%", x)[1]) for x in (original, current, proposed)
    ]
    assert accuracy[0] > 98 and accuracy[1] < 50 and accuracy[2] > 98
    assert "output SQNR" in proposed and "output SQNR" not in original


def test_the_file_is_the_one_that_the_page_offers(tmp_path):
    assert run("requantize", FLOAT, UINT8, "--target-sqnr", 30, "-o", tmp_path / "a").exit_code == 0
    variants = open_folder(MODELS / "dscnn").variants
    comparison = compare_variants(variants)
    plan = plan_model(comparison, "UINT8", target_sqnr_db=30)
    save_moves(comparison, "UINT8", plan.moves, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_target_size_is_kept(pair, tmp_path):
    done = run("requantize", *pair, "--target-bytes", 350, "-o", tmp_path / "out.onnx")
    assert (done.exit_code, done.stderr) == (0, "")
    whole = done.stdout.splitlines()[-2]
    assert int(re.search(r"weights [\d,]+ -> ([\d,]+) bytes", whole)[1].replace(",", "")) <= 350
    assert whole.endswith("now opset 21")
    types = {one.weight.data_type for one in list_layers(load_model(tmp_path / "out.onnx"))
             if one.weight}  # fmt: skip
    assert types & {"int4", "uint4"}


def test_nothing_to_change_is_said_and_the_same_model_written(pair, tmp_path):
    done = run("requantize", *pair, "--target-sqnr", 1, "-o", tmp_path / "out.onnx")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{ALONE}\nnothing to change")
    assert onnx.load(tmp_path / "out.onnx") == onnx.load(pair[1])


def test_a_layer_left_in_float_is_named_and_stays(tmp_path):
    onnx.save(convnet(), tmp_path / "float.onnx")
    model = quantized_statically(convnet(), tmp_path, nodes_to_exclude=["conv10"])
    onnx.save(model, tmp_path / "int8.onnx")
    out = tmp_path / "out.onnx"
    done = run("requantize", tmp_path / "float.onnx", tmp_path / "int8.onnx", "--target-sqnr", 60,
               "-o", out)  # fmt: skip
    assert done.exit_code == 0
    assert "conv10: left as it is: this layer was left in float" in done.stdout


ASKED = {
    "nothing": ([], "give --samples, or plan the weights alone with"),
    "two of weights": (["--target-sqnr", "30", "--target-bytes", "9"], "give one target"),
    "an output unmeasured": (["--target-output-sqnr", "30"], "needs --samples"),
}


@pytest.mark.parametrize("options, said", ASKED.values(), ids=ASKED)
def test_what_is_asked_has_to_be_one_thing_that_can_be_done(pair, tmp_path, options, said):
    line = refused(run("requantize", *pair, *options, "-o", tmp_path / "out.onnx"))
    assert said in line
    assert not (tmp_path / "out.onnx").exists()


def test_with_samples_the_output_decides_and_the_file_does_what_is_said(tmp_path):
    out, recipe = tmp_path / "out.onnx", tmp_path / "recipe.py"
    done = run_command(
        "requantize", FLOAT, UINT8, "--samples", SAMPLES, "--target-output-sqnr", 30, "-o", out,
        "--recipe", recipe,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "target reached: 30 dB at the output" in done.stdout
    said = float(re.search(r"fully optimized: ([\d.]+) dB", done.stdout)[1])
    assert said >= 29
    truth = measure_truth(FLOAT, UINT8, out, SAMPLES)
    assert truth.changed.accuracy > 0.98 and truth.current.accuracy < 0.5
    assert "quantize_static" in recipe.read_text()


def test_a_plan_is_chosen_by_its_name(tmp_path):
    out = tmp_path / "out.onnx"
    done = run("requantize", FLOAT, UINT8, "--samples", SAMPLES, "--plan", "16-bit", "-o", out)
    assert done.exit_code == 0
    graph = onnx.load(out).graph
    types = {
        numpy_helper.to_array(tensor).dtype.name
        for node in graph.node
        for tensor in graph.initializer
        if node.op_type == "QuantizeLinear" and tensor.name == node.input[2]
    }
    assert types == {"uint16"}
    assert "beside it, by measurement" in done.stdout


def test_an_accuracy_needs_labels(pair, tmp_path):
    samples = tmp_path / "samples.npz"
    with np.load(SAMPLES) as held:
        np.savez(samples, **{name: held[name] for name in held.files if name != "labels"})
    line = refused(
        run("requantize", FLOAT, UINT8, "--samples", samples, "--target-accuracy", 0.9,
            "-o", tmp_path / "out.onnx")
    )  # fmt: skip
    assert "needs labels" in line


def test_samples_are_checked_before_anything_is_written(pair, tmp_path):
    samples = tmp_path / "samples.npz"
    np.savez(samples, other=np.zeros((2, 3), np.float32))
    line = refused(run("requantize", *pair, "--samples", samples, "-o", tmp_path / "out.onnx"))
    assert line.startswith("cannot measure: ")
    assert not (tmp_path / "out.onnx").exists()


def test_a_target_that_cannot_be_reached_is_named_and_what_comes_near_is_written(pair, tmp_path):
    out = tmp_path / "out.onnx"
    done = run("requantize", *pair, "--target-sqnr", 200, "-o", out)
    assert done.exit_code == 0
    missed = r"^conv1: target missed: its worst channel reaches at most \d+.\d dB, with int16 "
    assert re.search(missed, done.stdout, re.MULTILINE)
    assert {one.weight.data_type for one in list_layers(load_model(out)) if one.weight} == {"int16"}


def test_a_size_that_cannot_be_reached_is_said_and_the_smallest_healthy_file_is_written(
    pair, tmp_path
):
    out = tmp_path / "out.onnx"
    done = run("requantize", *pair, "--target-bytes", 2, "-o", out)
    assert done.exit_code == 0
    assert re.search(
        r"target missed: the weights take at least \d+ bytes, more than 2", done.stdout
    )
    onnx.checker.check_model(onnx.load(out))


def test_the_models_in_the_wrong_order_are_refused(pair, tmp_path):
    line = refused(run("requantize", *pair[::-1], "--target-sqnr", 30, "-o", tmp_path / "o"))
    assert line == "cannot requantize: uint8.onnx is not float: give the float original first"


def test_two_float_models_are_refused(pair, tmp_path):
    other = convnet()
    onnx.save(other, tmp_path / "other.onnx")
    line = refused(
        run(
            "requantize",
            pair[0],
            tmp_path / "other.onnx",
            "--target-sqnr",
            30,
            "-o",
            tmp_path / "o",
        )
    )
    assert "cannot requantize: conv1: this layer was left in float (and 2 more)" in line


def test_integer_operators_are_planned_and_what_becomes_of_them_is_said(tmp_path):
    onnx.save(convnet(), tmp_path / "float.onnx")
    model = quantized_statically(convnet(), tmp_path, quant_format=QuantFormat.QOperator)
    onnx.save(model, tmp_path / "q.onnx")
    done = run("requantize", tmp_path / "float.onnx", tmp_path / "q.onnx", "--target-sqnr", 60,
               "-o", tmp_path / "out.onnx")  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.search(r"^conv1: .* -> int16 ", done.stdout, re.MULTILINE)
    assert re.search(r"^conv1\S*: QLinearConv became float operators", done.stdout, re.MULTILINE)


def test_a_file_that_cannot_be_read_or_written_says_so_in_one_line(pair, tmp_path):
    out = tmp_path / "out.onnx"
    line = refused(run("requantize", tmp_path / "no.onnx", pair[1], "--target-sqnr", 30, "-o", out))
    assert line == "cannot read: no.onnx: there is no such file"
    missing = tmp_path / "no folder" / "out.onnx"
    line = refused(run("requantize", *pair, "--target-sqnr", 30, "-o", missing))
    assert line.startswith(f"cannot write: {missing}: ")


@pytest.mark.parametrize("which", [0, 1])
def test_neither_model_is_overwritten(pair, which):
    before = pair[which].read_bytes()
    line = refused(run("requantize", *pair, "--target-sqnr", 30, "-o", pair[which]))
    assert "is one of the files that are read" in line
    assert pair[which].read_bytes() == before


def test_samples_that_do_not_fit_are_refused_after_the_file_is_written(pair, tmp_path):
    np.savez(tmp_path / "s.npz", other=np.zeros(3))
    done = run("requantize", *pair, "--target-sqnr", 30, "-o", tmp_path / "out.onnx",
               "--samples", tmp_path / "s.npz")  # fmt: skip
    assert done.exit_code == 2
    assert "the model asks for 'x'" in done.stderr
