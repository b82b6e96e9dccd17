"""Records and numbers -> files for elsewhere: CSV, JSON, JUnit, text to paste, graph overlays.

Pure functions that return text. Names come from a model and may hold anything: each format has its
own way to disarm them, and it is here.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from .parameter_inspector import (
    METRICS,
    Comparison,
    Layer,
    MeasuredWeight,
    Metric,
    Model,
    Pairing,
    find_layer,
    layer_names,
    list_layers,
    summarize_variant,
)
from .parameter_inspector.judging.rules import SEVERITIES, Finding

# Excel, LibreOffice and Google Sheets read a cell that begins so as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


# Names --------------------------------------------------------------------------------------------


def escape_unprintable(text: str) -> str:
    """Return ``text`` on one line; what would steer a terminal or turn the text shows its code."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten_name(name: str, length: int = 200) -> str:
    """Return ``name`` on one line, cut in the middle where it is longer than ``length``."""
    name = escape_unprintable(name)
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


# Findings -----------------------------------------------------------------------------------------


def select_findings(findings: Iterable[Finding], level: str) -> list[Finding]:
    """Return the findings whose severity is ``level`` or worse."""
    limit = SEVERITIES.index(level)
    return [f for f in findings if SEVERITIES.index(f.severity) <= limit]


def group_findings(findings: Iterable[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Return the findings by (layer, variant)."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.layer, finding.variant].append(finding)
    return dict(groups)


# CSV and JSON -------------------------------------------------------------------------------------


def create_metrics_csv(comparison: Comparison, findings: Iterable[Finding] = ()) -> str:
    """Return one line for each layer of each variant: what it is, every metric, its findings.

    A metric that the layer cannot have is an empty cell.
    """
    groups = group_findings(findings)
    head = ["layer", "variant", "layer_in_file", "node_type", "data_type", "granularity", "shape"]
    lines: list[list[object]] = [[*head, *(metric.name for metric in METRICS), "findings"]]
    for layer_name, measured in comparison.weights.items():
        for variant, one in measured.items():
            rules = "; ".join(finding.rule for finding in groups.get((layer_name, variant), ()))
            numbers = [_csv_number(one.metrics[metric.name]) for metric in METRICS]
            lines.append([layer_name, variant, *_describe(one), *numbers, rules])
    return _to_csv(lines)


def create_findings_csv(findings: Iterable[Finding]) -> str:
    """Return one line for each finding."""
    head: list[object] = ["severity", "rule", "variant", "layer", "evidence", "remedy"]
    return _to_csv(
        [head, *([f.severity, f.rule, f.variant, f.layer, f.evidence, f.remedy] for f in findings)]
    )


def create_json(comparison: Comparison, findings: Iterable[Finding] = ()) -> str:
    """Return everything that was measured and found, as one JSON object.

    A metric that a layer cannot have is null; an infinite one is ``"Infinity"``, which is a string
    because JSON has no such number.
    """
    content = {
        "variants": [
            asdict(summarize_variant(name, model)) for name, model in comparison.variants.items()
        ],
        "metrics": [
            {"name": m.name, "label": m.label, "unit": m.unit, "definition": m.definition}
            for m in METRICS
        ],
        "layers": [
            {
                "layer": layer_name,
                "variants": {name: _to_record(one) for name, one in measured.items()},
            }
            for layer_name, measured in comparison.weights.items()
        ],
        "unavailable": [
            {"layer": layer_name, "variant": variant, "reason": reason}
            for (layer_name, variant), reason in comparison.unavailable.items()
        ],
        "findings": [_to_finding(finding) for finding in findings],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _describe(one: MeasuredWeight) -> list[object]:
    quantization = one.quantization
    shape = " x ".join(map(str, one.weight.shape))
    granularity = quantization.granularity if quantization else ""
    return [one.layer.name, one.layer.op_type, one.weight.data_type, granularity, shape]


def _to_record(one: MeasuredWeight) -> dict[str, object]:
    quantization, pair = one.quantization, one.pair
    return {
        "layer": one.layer.name,
        "node_name": one.layer.node_name,
        "node_type": one.layer.op_type,
        "weight": one.weight.name,
        "shape": list(one.weight.shape),
        "data_type": one.weight.data_type,
        "granularity": quantization.granularity if quantization else None,
        "axis": quantization.axis if quantization else None,
        "block_size": quantization.block_size if quantization else None,
        "paired_by": pair.evidence if pair else None,
        "metrics": _json_numbers(one.metrics),
    }


def _to_finding(finding: Finding) -> dict[str, object]:
    return {**vars(finding), "numbers": _json_numbers(finding.numbers)}


def _json_numbers(numbers: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _json_number(float(number)) for name, number in numbers.items()}


def _json_number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


def _csv_number(number: float) -> float | str:
    return "" if math.isnan(number) else float(number)


def _to_csv(lines: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([_disarm(cell) for cell in line] for line in lines)
    return buffer.getvalue()


def _disarm(cell: object) -> object:
    """Return a text cell so that no spreadsheet takes it for a formula; numbers stay as they are.

    Source: OWASP, CSV injection.
    """
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS):
        return "'" + cell
    return cell


# JUnit --------------------------------------------------------------------------------------------


def create_junit(
    comparison: Comparison,
    findings: Iterable[Finding],
    fail_on: str = "error",
) -> str:
    """Return the findings as JUnit XML: a suite for each variant, a case for each layer.

    A finding at or above ``fail_on`` is a failure, a milder one is said in the case's output; a
    weight that could not be read is an error.
    """
    groups = group_findings(findings)
    root = ET.Element("testsuites", name="quantization playground")
    for variant, model in comparison.variants.items():
        file_name = model.path.name if model.path else model.name
        suite = ET.SubElement(root, "testsuite", name=_xml(f"{variant} ({file_name})"))
        rows = [
            layer_name for layer_name, measured in comparison.weights.items() if variant in measured
        ]
        rows += [layer_name for layer_name, name in comparison.unavailable if name == variant]
        rows += [layer_name for layer_name, name in groups if name == variant]
        for layer_name in dict.fromkeys(rows):
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_xml(variant),
                name=_xml(layer_name or "the whole file"),
            )
            _fill_case(case, groups.get((layer_name, variant), []), fail_on)
            if (layer_name, variant) in comparison.unavailable:
                ET.SubElement(
                    case, "error", message=_xml(comparison.unavailable[layer_name, variant])
                )
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _fill_case(case: ET.Element, findings: Sequence[Finding], fail_on: str) -> None:
    failing = select_findings(findings, fail_on)
    for finding in failing:
        failure = ET.SubElement(
            case, "failure", type=_xml(finding.rule), message=_xml(finding.evidence)
        )
        failure.text = _xml(f"{finding.severity}: {finding.evidence} {finding.remedy}")
    milder = [finding for finding in findings if finding not in failing]
    if milder:
        ET.SubElement(case, "system-out").text = "\n".join(
            _xml(f"{f.severity}: {f.rule}: {f.evidence} {f.remedy}") for f in milder
        )


def _count(suite: ET.Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))


def _xml(text: str) -> str:
    """Return text that XML 1.0 can hold: it has no way to write most control characters."""
    return escape_unprintable(text)


# To paste into a quantizer ------------------------------------------------------------------------


@dataclass(frozen=True)
class Exclusion:
    """Layers to leave float, as the next quantization has to name them.

    Attributes:
        names: of the nodes, in the first variant: the model that is quantized again.
        notes: one sentence for each layer that cannot be named so, and other things to know.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...]


def create_exclusion(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing], rows: Iterable[str]
) -> Exclusion:
    """Return how the layers of ``rows`` are named in the first variant."""
    first = next(iter(variants))
    shared = _shared_names(variants[first])
    names, notes = [], []
    for layer_name in rows:
        layer = _layer_in(first, variants, pairings, layer_name)
        if layer is None:
            notes.append(f"{_quote(layer_name)} is not in {first}, so it cannot be left out there.")
        elif not layer.node_name:
            notes.append(
                f"{_quote(layer_name)} has no node name in {first}, so it cannot be left "
                "out by name: "
                "name the nodes first."
            )
        else:
            names.append(layer.node_name)
            if layer.node_name in shared:
                notes.append(
                    f"{shared[layer.node_name]} nodes are called {_quote(layer.node_name)}: "
                    "all of them are left out."
                )
    if any(layer.weight and layer.weight.is_quantized for layer in list_layers(variants[first])):
        notes.append(f"There is no float original here: the names are those of {first}.")
    return Exclusion(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(notes)))


def exclude_in_onnxruntime(exclusion: Exclusion) -> str:
    """Return ``nodes_to_exclude`` of onnxruntime's quantize_static and quantize_dynamic.

    Its warning was measured with onnxruntime 1.31: see models/README.md.
    """
    return _assign(
        "nodes_to_exclude",
        _list(exclusion.names),
        [
            "quantize_static(..., nodes_to_exclude=nodes_to_exclude)",
            "",
            "Since 1.21, onnxruntime quantizes a lone float Conv again as the session opens, where",
            "it stands between a DequantizeLinear and a QuantizeLinear. Leave a neighbour out too,",
            'or open InferenceSession(..., disabled_optimizers=["WeightBiasQuantization"]).',
            *exclusion.notes,
        ],
    )


def exclude_in_nncf(exclusion: Exclusion) -> str:
    """Return NNCF's ``IgnoredScope``: on ONNX its names are those of the nodes.

    Source: https://github.com/openvinotoolkit/nncf, class IgnoredScope.
    """
    return "import nncf\n\n" + _assign(
        "ignored_scope",
        f"nncf.IgnoredScope(names={_list(exclusion.names)})",
        ["nncf.quantize(..., ignored_scope=ignored_scope)", *exclusion.notes],
    )


def exclude_in_quark(exclusion: Exclusion) -> str:
    """Return ``exclude`` of AMD Quark's QConfig for ONNX.

    Source: https://github.com/amd/Quark,
    docs/source/onnx/appendix_full_quant_config_features.rst: names of nodes, or regular
    expressions, which "must start with ^ and contain the .* characters".
    """
    patterns = [name for name in exclusion.names if name.startswith("^") and ".*" in name]
    return _assign(
        "exclude",
        _list(exclusion.names),
        [
            "QConfig(..., exclude=exclude)",
            *exclusion.notes,
            *(f"Quark reads {_quote(name)} as a regular expression." for name in patterns),
        ],
    )


EXCLUSIONS: Mapping[str, Callable[[Exclusion], str]] = {
    "onnxruntime": exclude_in_onnxruntime,
    "NNCF": exclude_in_nncf,
    "Quark": exclude_in_quark,
}
"""The tools that can leave layers float, and who writes their text. A new one is an entry."""

# Signed: onnxruntime wants one zero-point for all channels of a convolution, so a symmetric type.
_SIGNED = {"int4": "QInt4", "uint4": "QInt4", "int16": "QInt16", "uint16": "QInt16"}


def quantize_per_channel_in_onnxruntime(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing],
    rows: Iterable[str],
    variant: str,
) -> str:
    """Return onnxruntime's ``TensorQuantOverrides`` that give each channel its own scale.

    Args:
        rows: the layers to quantize so; the others stay as they are.
        variant: whose bit width to keep.

    Source: onnxruntime/quantization/tensor_quant_overrides.py: weight initializer -> a list, whose
    one dictionary holds for all channels.
    """
    first = next(iter(variants))
    lines, notes = {}, []
    for layer_name in rows:
        layer = _layer_in(first, variants, pairings, layer_name)
        problem = _why_not_per_channel(layer, variants[first], first)
        if problem or layer is None or layer.weight is None:
            notes.append(f"{_quote(layer_name)}: {problem}")
            continue
        current = _layer_in(variant, variants, pairings, layer_name)
        data_type = current.weight.data_type if current and current.weight else ""
        kind = _SIGNED.get(data_type, "QInt8")
        lines[layer.weight.name] = (
            f'[{{"quant_type": QuantType.{kind}, "symmetric": True, '
            f'"axis": {layer.weight.channel_axis}}}]'
        )
    entries = "".join(f"    {_quote(name, None)}: {line},\n" for name, line in lines.items())
    return "from onnxruntime.quantization import QuantType\n\n" + _assign(
        "tensor_quant_overrides",
        f"{{\n{entries}}}" if entries else "{}",
        [
            'quantize_static(..., extra_options={"TensorQuantOverrides": tensor_quant_overrides})',
            "Only for QuantFormat.QDQ.",
            *notes,
        ],
    )


def _why_not_per_channel(layer: Layer | None, model: Model, variant: str) -> str:
    if layer is None:
        return f"it is not in {variant}."
    weight = layer.weight
    if weight is None or weight.channel_axis is None:
        return "it has no weight with output channels."
    if weight.is_quantized:
        return f"its weight is quantized already in {variant}; quantize the float original."
    if weight.layout or weight.name not in model.graph.initializers:
        return "its weight is not an initializer that the layer reads directly."
    return ""


def _layer_in(
    variant: str, variants: Mapping[str, Model], pairings: Mapping[str, Pairing], layer_name: str
) -> Layer | None:
    name = layer_names(variants, layer_name, pairings).get(variant)
    return None if name is None else find_layer(variants[variant], name)


def _shared_names(model: Model) -> dict[str, int]:
    """Return the node names that several layers have, and how many."""
    counts = Counter(layer.node_name for layer in list_layers(model))
    return {name: count for name, count in counts.items() if count > 1}


def _assign(target: str, value: str, comments: Iterable[str]) -> str:
    text = "".join(f"# {escape_unprintable(one)}".rstrip() + "\n" for one in comments)
    return f"{text}{target} = {value}\n"


def _list(names: Iterable[str]) -> str:
    lines = "".join(f"    {_quote(name, None)},\n" for name in names)
    return f"[\n{lines}]" if lines else "[]"


def _quote(name: str, length: int | None = 80) -> str:
    """Return a name as Python source on one line: nothing in it can end the string or the line."""
    return repr(name) if length is None else shorten_name(repr(name), length)


# Into the graph viewers ---------------------------------------------------------------------------


def create_netron_attachment(
    comparison: Comparison,
    findings: Iterable[Finding] = (),
    graph: str | None = None,
) -> str:
    """Return a JSON file that Netron lays over an open model when it is dropped onto it.

    Every metric stands under "Metrics" of its node, every finding under "Metadata".

    Args:
        graph: the variant whose file is open in Netron; the first one if not given.

    Source: https://github.com/lutzroeder/netron, source/metadata.js (9.2): entries of kind, target
    and name; a target is the node's name up to its first line break; of two entries of one name
    the last one counts.
    """
    targets = _targets(comparison, graph, findings := tuple(findings))
    metrics = [
        {"kind": "node", "target": target, "name": f"{variant} {_label(metric)}", "value": value}
        for layer_name, target in targets.items()
        for variant, one in comparison.by_variant(layer_name).items()
        for metric in METRICS
        if (value := _netron_number(one.metrics[metric.name])) is not None
    ]
    metadata = [
        {
            "kind": "node",
            "target": targets[layer_name],
            "name": f"{variant} {finding.severity}{f' {i}' if i else ''}",
            "value": f"{finding.rule}: {finding.evidence} {finding.remedy}",
        }
        for (layer_name, variant), group in group_findings(findings).items()
        if layer_name in targets
        for i, finding in enumerate(group)
    ]
    content = {"signature": "netron:attachment", "metrics": metrics, "metadata": metadata}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def create_model_explorer_data(
    comparison: Comparison,
    variant: str,
    metric: Metric = METRICS[0],
    graph: str | None = None,
) -> str:
    """Return Model Explorer's node data: one metric of one variant, as the colour of the nodes.

    Args:
        graph: the variant whose file is open there; the first one if not given.

    Source: https://github.com/google-ai-edge/model-explorer, node_data_builder.py: GraphNodeData.
    https://github.com/justinchuby/model-explorer-onnx: a node's id is its name.
    """
    targets = _targets(comparison, graph)
    values = {
        target: comparison.measured(layer_name, variant).metrics[metric.name]
        for layer_name, target in targets.items()
        if variant in comparison.by_variant(layer_name)
    }
    results = {name: {"value": value} for name, value in values.items() if math.isfinite(value)}
    content: dict[str, object] = {"results": results, **_colours(metric)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _targets(
    comparison: Comparison,
    graph: str | None,
    findings: Iterable[Finding] = (),
) -> dict[str, str]:
    """Return row -> name of its node in the graph, where one node alone has that name."""
    graph = graph or comparison.named_by
    rows = dict.fromkeys([*comparison.weights, *(f.layer for f in findings if f.layer)])
    found = {
        layer_name: _layer_in(graph, comparison.variants, comparison.pairings, layer_name)
        for layer_name in rows
    }
    names = {
        layer_name: layer.node_name.split("\n")[0] for layer_name, layer in found.items() if layer
    }
    counts = Counter(names.values())
    return {layer_name: name for layer_name, name in names.items() if name and counts[name] == 1}


def _netron_number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return float(f"{number:.6g}") if math.isfinite(number) else ("∞" if number > 0 else "−∞")


def _label(metric: Metric) -> str:
    return f"{metric.label} [{metric.unit}]" if metric.unit else metric.label


def _colours(metric: Metric) -> dict[str, object]:
    """Return colours: at fixed limits for an SQNR, between the ends of what occurs for others."""
    red, yellow, white = "#f28b82", "#fdd663", "#ffffff"
    if metric.unit == "dB" and metric.higher_is_worse is False:
        limits = [(20, red), (30, yellow)]
        return {"thresholds": [{"value": v, "bgColor": colour} for v, colour in limits]}
    ends = (red, white) if metric.higher_is_worse is False else (white, red)
    return {"gradient": [{"stop": i, "bgColor": colour} for i, colour in enumerate(ends)]}
