"""What leaves the playground can be read back by those it is for, whatever the names are."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import xml.etree.ElementTree as ET

import ml_dtypes
import numpy as np
import onnx
import pandas as pd
import pytest
from models_for_tests import convnet, floats, make_model, mlp, quantized_statically
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType

from playground.utils import exports
from playground.utils.parameter_inspector import METRICS, compare_variants, load_model
from playground.utils.parameter_inspector.judging.rules import Finding

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</title></style><script>alert(1)</script>",
    r"$\frac{1}{2}$ _a_ `b`",
    "a|b, c; \"d\" 'e'",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\ttab",
    "\rreturn",
    "]]>",
    "line\nbreak",
    "']\nimport os  # ",
    "\u202eright to left\u2066",
    "\x1b[31mred\x07\x00\x9b",
    "\u2028\ufeff\ufffe",
    "x" * 10_000,
    "",
    "twice",
    "twice",
    "层/卷积",
)


def chain(names, *, quantized: bool, dtype=np.int8) -> onnx.ModelProto:
    """Return MatMuls in a row, one for each name; quantized ones are per tensor."""
    nodes, arrays = [], {}
    for i, name in enumerate(names):
        weight = floats(7, 7, seed=i)
        arrays[f"w{i}"] = weight
        if quantized:
            del arrays[f"w{i}"]
            info = ml_dtypes.iinfo(dtype)
            scale = np.float32(2 * np.abs(weight).max() / (info.max - info.min - 1))
            middle = 0 if info.min else (info.max + 1) // 2
            codes = (np.rint(weight / scale) + middle).astype(dtype)
            arrays |= {f"q{i}": codes, f"s{i}": scale, f"z{i}": np.array(middle, dtype)}
            inputs = [f"q{i}", f"s{i}", f"z{i}"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"w{i}"]))
        nodes.append(helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], name))
    return make_model(nodes, arrays, inputs={"t0": (2, 7)}, outputs=[f"t{len(names)}"])


@pytest.fixture(scope="module")
def hostile():
    """Float and quantized variant, their comparison, and a finding about every layer."""
    variants = {
        "FP32": load_model(chain(HOSTILE, quantized=False)),
        "INT8": load_model(chain(HOSTILE, quantized=True)),
    }
    comparison = compare_variants(variants)
    findings = [
        Finding("a-rule", "error", "INT8", row, f"{row} is bad", f"help {row}", {"x": math.inf})
        for row in comparison.weights
    ]
    return comparison, findings


def rows_of(hostile, names):
    comparison, _ = hostile
    return [row for row, m in comparison.weights.items() if m["FP32"].layer.node_name in names]


# CSV and JSON -------------------------------------------------------------------------------------


def test_pandas_reads_every_metric_back_from_the_csv(hostile):
    comparison, findings = hostile
    table = pd.read_csv(io.StringIO(exports.create_metrics_csv(comparison, findings)))
    measured = [one for row in comparison.weights.values() for one in row.values()]
    assert len(table) == len(measured)
    for metric in METRICS:
        expected = [one.metrics[metric.name] for one in measured]
        np.testing.assert_array_equal(table[metric.name].astype(float), expected)


def test_a_metric_that_a_layer_cannot_have_is_an_empty_cell(hostile):
    comparison, _ = hostile
    line = next(csv.DictReader(io.StringIO(exports.create_metrics_csv(comparison))))
    assert line["variant"] == "FP32"
    assert line["sqnr_db"] == ""


def test_no_text_cell_of_a_csv_begins_a_formula(hostile):
    comparison, findings = hostile
    metrics = list(csv.DictReader(io.StringIO(exports.create_metrics_csv(comparison, findings))))
    texts = [line[key] for line in metrics for key in ("layer", "layer_in_file", "findings")]
    texts += [
        cell
        for line in csv.reader(io.StringIO(exports.create_findings_csv(findings)))
        for cell in line
    ]
    assert len(texts) > len(HOSTILE)
    assert [text for text in texts if text[:1] in tuple("=+-@\t\r\n")] == []


def test_a_csv_keeps_every_name_to_the_last_character(hostile):
    comparison, findings = hostile
    lines = csv.reader(io.StringIO(exports.create_findings_csv(findings), newline=""))
    _, *names = [line[3] for line in lines]
    expected = [("'" if row[:1] in tuple("=+-@\t\r\n") else "") + row for row in comparison.weights]
    assert names == expected


def test_json_holds_every_number_and_nothing_that_json_does_not_know(hostile):
    comparison, findings = hostile

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = exports.create_json(comparison, findings)
    content = json.loads(text, parse_constant=refuse)
    assert [layer["layer"] for layer in content["layers"]] == list(comparison.weights)
    for layer in content["layers"]:
        for variant, one in layer["variants"].items():
            for name, expected in comparison.weights[layer["layer"]][variant].metrics.items():
                actual = one["metrics"][name]
                actual = math.nan if actual is None else float(actual)
                np.testing.assert_array_equal(actual, expected)
    assert [f["layer"] for f in content["findings"]] == list(comparison.weights)
    assert {f["numbers"]["x"] for f in content["findings"]} == {"Infinity"}


# JUnit --------------------------------------------------------------------------------------------


def plant(severity: str, layer: str = "conv1", variant: str = "INT8") -> Finding:
    return Finding("a-rule", severity, variant, layer, "It is so.", "Do this.", {})


@pytest.fixture(scope="module")
def convnets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    variants = {
        "FP32": load_model(convnet()),
        "INT8": load_model(quantized_statically(convnet(), folder)),
    }
    return compare_variants(variants)


def test_junit_has_a_suite_for_each_variant_and_a_case_for_each_layer(convnets):
    comparison = convnets
    root = ET.fromstring(exports.create_junit(comparison, []))
    suites = root.findall("testsuite")
    assert len(suites) == len(comparison.variants)
    for suite in suites:
        assert [case.get("name") for case in suite.findall("testcase")] == ["conv1", "conv10", "fc"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "0", "0")


@pytest.mark.parametrize(
    ("severity", "fail_on", "failures"),
    [
        ("error", "error", 1),
        ("warning", "error", 0),
        ("warning", "warning", 1),
        ("note", "warning", 0),
    ],
)
def test_junit_fails_a_case_for_a_finding_at_the_level_or_above(
    convnets, severity, fail_on, failures
):
    root = ET.fromstring(exports.create_junit(convnets, [plant(severity)], fail_on))
    assert len(root.findall(".//failure")) == failures
    assert root.get("failures") == str(failures)
    told = "".join(root.itertext())
    assert "It is so." in told
    assert "Do this." in told


def test_junit_has_a_case_for_a_finding_about_the_whole_file(convnets):
    root = ET.fromstring(exports.create_junit(convnets, [plant("error", layer="")]))
    (case,) = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert case.get("name") == "the whole file"


def test_junit_is_xml_whatever_the_names_are(hostile):
    root = ET.fromstring(exports.create_junit(*hostile).encode("utf-8"))
    assert root.get("failures") == str(len(HOSTILE))


# To paste into a quantizer ------------------------------------------------------------------------


def pasted(text: str) -> ast.expr:
    """Return what the text assigns; it may do nothing else than import and assign."""
    *imports, assignment = ast.parse(text).body
    assert all(isinstance(one, (ast.Import, ast.ImportFrom)) for one in imports)
    assert isinstance(assignment, ast.Assign)
    return assignment.value


def names_in(value: ast.expr) -> list[str]:
    """Return the list, or the ``names`` of a call."""
    if isinstance(value, ast.Call):
        (keyword,) = value.keywords
        assert keyword.arg == "names"
        value = keyword.value
    return ast.literal_eval(value)


@pytest.mark.parametrize("tool", exports.EXCLUSIONS)
def test_pasted_exclusion_names_the_float_models_own_nodes(hostile, tool):
    comparison, _ = hostile
    exclusion = exports.create_exclusion(
        comparison.variants, comparison.pairings, comparison.weights
    )
    names = names_in(pasted(exports.EXCLUSIONS[tool](exclusion)))
    assert names == list(dict.fromkeys(name for name in HOSTILE if name))


@pytest.mark.parametrize("tool", exports.EXCLUSIONS)
def test_pasted_exclusion_of_nothing_is_an_empty_list(convnets, tool):
    comparison = convnets
    exclusion = exports.create_exclusion(comparison.variants, comparison.pairings, [])
    assert names_in(pasted(exports.EXCLUSIONS[tool](exclusion))) == []


def test_exclusion_says_which_layer_has_no_node_name(hostile):
    comparison, _ = hostile
    (row,) = rows_of(hostile, [""])
    exclusion = exports.create_exclusion(comparison.variants, comparison.pairings, [row])
    assert exclusion.names == ()
    assert f"{row!r} has no node name in FP32" in exclusion.notes[0]
    assert exclusion.notes[0] in exports.exclude_in_onnxruntime(exclusion)


def test_exclusion_says_that_a_name_is_of_two_nodes(hostile):
    comparison, _ = hostile
    exclusion = exports.create_exclusion(
        comparison.variants, comparison.pairings, rows_of(hostile, ["twice"])[:1]
    )
    assert exclusion.names == ("twice",)
    assert "2 nodes are called 'twice'" in exclusion.notes[0]


def test_exclusion_says_that_a_layer_is_not_in_the_first_variant():
    variants = {
        "FP32": load_model(chain(["a"], quantized=False)),
        "INT8": load_model(chain(["a", "b"], quantized=True)),
    }
    comparison = compare_variants(variants)
    exclusion = exports.create_exclusion(variants, comparison.pairings, ["a", "b"])
    assert exclusion.names == ("a",)
    assert exclusion.notes == ("'b' is not in FP32, so it cannot be left out there.",)


def test_exclusion_says_that_there_is_no_float_original():
    variants = {"INT8": load_model(chain(["a"], quantized=True))}
    exclusion = exports.create_exclusion(variants, {}, ["a"])
    assert exclusion.names == ("a",)
    assert "There is no float original here" in exclusion.notes[0]


def test_onnxruntime_leaves_the_pasted_layer_float(convnets, tmp_path):
    comparison = convnets
    exclusion = exports.create_exclusion(comparison.variants, comparison.pairings, ["conv10"])
    nodes = ast.literal_eval(pasted(exports.exclude_in_onnxruntime(exclusion)))
    proto = quantized_statically(convnet(), tmp_path, nodes_to_exclude=nodes)
    held = {tensor.name for tensor in proto.graph.initializer}
    assert [w in held for w in ("W1", "W10", "W2")] == [False, True, False]


def test_onnxruntime_exclusion_warns_that_a_lone_layer_is_quantized_again(convnets):
    comparison = convnets
    text = exports.exclude_in_onnxruntime(
        exports.create_exclusion(comparison.variants, comparison.pairings, [])
    )
    assert 'disabled_optimizers=["WeightBiasQuantization"]' in text


def scale_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's weight scale, read from the graph by hand."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node}
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return {node.name: arrays[makers[node.input[1]].input[1]].shape for node in layers}


ALL_UINT8 = {"weight_type": QuantType.QUInt8, "activation_type": QuantType.QUInt8}


@pytest.mark.parametrize(
    ("make", "row", "weight", "channels"),
    [(convnet, "conv10", "W10", 8), (convnet, "fc", "W2", 9), (mlp, "fc1", "W1", 6),
     (mlp, "fc2", "W2", 4)],
)  # fmt: skip
def test_onnxruntime_quantizes_the_pasted_layer_per_channel_and_no_other(
    make, row, weight, channels, tmp_path
):
    variants = {
        "FP32": load_model(make()),
        "UINT8": load_model(quantized_statically(make(), tmp_path, **ALL_UINT8)),
    }
    pairings = compare_variants(variants).pairings
    text = exports.quantize_per_channel_in_onnxruntime(variants, pairings, [row], "UINT8")
    space: dict = {}
    exec(text, space)
    assert list(space["tensor_quant_overrides"]) == [weight]
    proto = quantized_statically(
        make(),
        tmp_path,
        **ALL_UINT8,
        extra_options={"TensorQuantOverrides": space["tensor_quant_overrides"]},
    )
    shapes = scale_shapes(proto)
    assert shapes.pop(row) == (channels,)
    assert set(shapes.values()) == {()}


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.int8, "QInt8"), (np.uint8, "QInt8"), (ml_dtypes.int4, "QInt4"), (np.int16, "QInt16")],
)
def test_per_channel_overrides_keep_the_bit_width_and_are_signed(dtype, kind):
    variants = {
        "FP32": load_model(chain(["a"], quantized=False)),
        "today": load_model(chain(["a"], quantized=True, dtype=dtype)),
    }
    pairings = compare_variants(variants).pairings
    text = exports.quantize_per_channel_in_onnxruntime(variants, pairings, ["a"], "today")
    space: dict = {}
    exec(text, space)
    (override,) = space["tensor_quant_overrides"]["w0"]
    assert override == {"quant_type": QuantType[kind], "symmetric": True, "axis": 1}


@pytest.mark.parametrize("row", ["relu1", "conv1"])
def test_per_channel_overrides_say_which_layer_cannot_have_them(convnets, row):
    comparison = convnets
    alone = {"INT8": comparison.variants["INT8"]}
    text = exports.quantize_per_channel_in_onnxruntime(
        comparison.variants if row == "relu1" else alone, comparison.pairings, [row], "INT8"
    )
    assert ast.literal_eval(pasted(text)) == {}
    assert f"# {row!r}: it" in text


# Into the graph viewers ---------------------------------------------------------------------------


@pytest.fixture
def attachment(hostile):
    return json.loads(exports.create_netron_attachment(*hostile))


def test_netron_finds_the_node_of_every_entry(hostile, attachment):
    """Netron matches kind and the node's name up to its first line break."""
    nodes = [node.name.split("\n")[0] for node in chain(HOSTILE, quantized=False).graph.node]
    alone = {name for name in nodes if name and nodes.count(name) == 1}
    assert attachment["signature"] == "netron:attachment"
    for container in ("metrics", "metadata"):
        assert {item["target"] for item in attachment[container]} == alone
        assert {item["kind"] for item in attachment[container]} == {"node"}


def test_netron_shows_the_numbers_of_the_scan(hostile, attachment):
    comparison, _ = hostile
    (row,) = rows_of(hostile, ["a|b, c; \"d\" 'e'"])
    (shown,) = [
        item["value"]
        for item in attachment["metrics"]
        if item["target"] == row and item["name"] == "INT8 SQNR [dB]"
    ]
    assert shown == pytest.approx(comparison.by_variant(row)["INT8"].metrics["sqnr_db"], rel=1e-5)


def test_netron_gets_no_two_entries_of_one_name(hostile, attachment):
    """It would keep the last one only."""
    _, findings = hostile
    twice = json.loads(exports.create_netron_attachment(hostile[0], [*findings, *findings]))
    for content in (attachment, twice):
        for container in ("metrics", "metadata"):
            keys = [(item["target"], item["name"]) for item in content[container]]
            assert len(keys) == len(set(keys)) > 0


def test_an_attachment_for_the_quantized_graph_uses_its_names():
    variants = {
        "FP32": load_model(chain(["a", "b"], quantized=False)),
        "INT8": load_model(chain(["a_q", "b_q"], quantized=True)),
    }
    comparison = compare_variants(variants)
    content = json.loads(exports.create_netron_attachment(comparison, graph="INT8"))
    assert {item["target"] for item in content["metrics"]} == {"a_q", "b_q"}
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8", graph="INT8"))
    assert set(data["results"]) == {"a_q", "b_q"}


def test_model_explorer_gets_the_metric_of_every_node_it_can_name(hostile):
    comparison, _ = hostile
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8"))
    (row,) = rows_of(hostile, ["]]>"])
    assert data["results"]["]]>"] == {
        "value": comparison.by_variant(row)["INT8"].metrics[METRICS[0].name]
    }
    assert "twice" not in data["results"]
    assert "" not in data["results"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_model_explorer_gets_finite_numbers_and_colours_for_every_metric(hostile, metric):
    comparison, _ = hostile
    data = json.loads(exports.create_model_explorer_data(comparison, "INT8", metric))
    assert all(math.isfinite(one["value"]) for one in data["results"].values())
    stops = [item.get("value", item.get("stop")) for item in next(iter(
        data[key] for key in ("thresholds", "gradient") if key in data))]  # fmt: skip
    assert stops == sorted(stops)
    if "gradient" in data:
        assert stops == [0, 1]


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_an_escaped_name_cannot_steer_a_terminal(name):
    assert exports.escape_unprintable(name).isprintable()
    assert len(exports.shorten_name(name)) <= 200


def test_a_harmless_name_is_left_alone():
    assert exports.escape_unprintable("层/卷积 été $x$") == "层/卷积 été $x$"
