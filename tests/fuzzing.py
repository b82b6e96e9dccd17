"""Random damage to small valid models, and the whole way that a model goes through the playground.

    python tests/fuzzing.py --examples 5000 --seed 1

Prints how many were refused in a sentence, how many were listed, and every place that crashed, with
the file that did it. Exits 1 if one did.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from models_for_tests import (
    MICROSOFT,
    convnet,
    floats,
    make_model,
    quantized_dynamically,
    quantized_statically,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.shape_inference import quant_pre_process

from playground.utils import exports, figures, markup, report, tables
from playground.utils.parameter_inspector import (
    Model,
    ModelFileError,
    VariantFolder,
    compare_variants,
    list_layers,
    load_model,
    summarize_variant,
)
from playground.utils.parameter_inspector.judging.finding_wording import (
    describe_finding,
    describe_remedy,
)
from playground.utils.parameter_inspector.judging.rules import find_problems
from playground.utils.parameter_inspector.reading.variants import name_variants
from playground.utils.parameter_inspector.wording import describe_refusal

# What a name may hold that means something to HTML, Markdown, LaTeX, a spreadsheet, XML, a shell,
# a terminal, a path or Python.
HOSTILE_NAMES = (
    "<img src=x onerror=alert(1)>",
    "</script></style></title><script>alert(1)</script>",
    '"><iframe srcdoc="<script>alert(1)</script>">',
    "javascript:alert(1)",
    r"$\frac{1}{2}$",
    r"$\foo_{",
    "a|b",
    "[link](http://example.org) **bold** `code` # head",
    "=cmd()",
    "+1+1",
    "-1",
    "@SUM(A1)",
    "]]>",
    "&amp;&#0;<!--",
    "line\nbreak\r\n",
    "tab\tstop",
    "\x00\x07\x08\x1b[31mred\x9b",
    "\u202eright to left\u2066\u200f\u061c",
    "\u2028\u2029\ufeff\ufffe\uffff",
    "$(touch hacked); `touch hacked` | rm -rf * && %PATH%",
    "']\nimport os  # ",
    '"""\nimport os\n"""',
    "../../etc/passwd",
    "{0.__class__} %s %(x)s",
    "x" * 10_000,
    "",
    " ",
    "twice",
    "twice",
    "层/卷积",
    "e\u0301" * 40,
    "\U0001f9ea",
)

# The invariant ----------------------------------------------------------------------------------


def is_one_sentence(text: str) -> bool:
    """Whether a reader gets one line: long enough to say something, no traceback, no controls."""
    return len(text) > 10 and text.isprintable() and "Traceback" not in text


def go_all_the_way(content: bytes, folder: Path, *, pictures: bool = False) -> str:
    """Open a file beside a sound model and do all that the page, the report and CI do.

    A file without codes stands beside a quantized model, as the original that it is compared with.

    Returns:
        "refused" or "listed".

    Raises:
        AssertionError: a sentence is none.
        Exception: whatever else the playground raises, which it must not.
    """
    path = folder / "changed.onnx"
    path.write_bytes(content)
    try:
        changed = load_model(path)
        layers = list_layers(changed)
    except ModelFileError as refusal:
        assert is_one_sentence(str(refusal)) and path.stem in str(refusal), repr(str(refusal))
        return "refused"
    is_quantized = any(layer.weight.is_quantized for layer in layers if layer.weight)
    beside = sound_model() if is_quantized else sound_quantized_model()
    see_everything(name_variants([beside, changed]), folder, pictures=pictures)
    return "listed"


def see_everything(variants: Mapping[str, Model], folder: Path, *, pictures: bool = True) -> None:
    """Make every number, table, export and picture of some variants, and look at each sentence."""
    comparison = compare_variants(variants)
    findings = find_problems(comparison)
    for sentence in list_sentences(comparison, findings):
        assert is_one_sentence(sentence), repr(sentence)
    ranked = tables.rank_layers(comparison, findings)
    tables.create_variant_table([summarize_variant(*one) for one in variants.items()])
    tables.create_severity_options(ranked)
    ranking = tables.create_ranking(ranked, comparison).table
    for column, write in tables.format_ranking(ranking).items():
        ranking[column].map(write)
    tables.summarize_findings(findings, ranked)
    markup.list_cells(tables.create_unpaired_table(comparison))
    markup.list_cells(tables.create_not_understood_table(comparison))
    options = tables.create_layer_options(comparison)
    for layer_name in options.values():
        markup.list_cells(tables.create_parameter_table(comparison, layer_name))
        markup.list_cells(tables.create_pairing_table(comparison, layer_name))
        tables.explain_layer(comparison, layer_name)
    write_exports(comparison, findings)
    if pictures:
        draw_everything(comparison, options.values())
        report.create_report(VariantFolder(folder, variants, {}), comparison, findings).encode()


def list_sentences(comparison: Any, findings: Any) -> list[str]:
    """Return all that is said about what could not be read or is wrong."""
    layers = [layer for model in comparison.variants.values() for layer in list_layers(model)]
    said = [describe_refusal(one) for layer in layers for one in layer.not_understood]
    said += map(describe_refusal, comparison.unavailable.values())
    return said + [
        text
        for finding in findings
        for text in (describe_finding(finding), describe_remedy(finding))
    ]


def write_exports(comparison: Any, findings: Any) -> None:
    names, rows = list(comparison.variants), list(comparison.weights)
    exclusion = exports.create_exclusion(comparison, rows)
    texts = [
        exports.create_metrics_csv(comparison, findings),
        exports.create_findings_csv(findings),
        exports.create_json(comparison, findings),
        exports.create_junit(comparison, findings),
        exports.create_netron_attachment(comparison, findings, names[-1]),
        exports.create_model_explorer_data(comparison, names[-1]),
        *(write(exclusion) for write in exports.EXCLUSIONS.values()),
        exports.quantize_per_channel_in_onnxruntime(comparison, rows, names[-1]),
    ]
    for text in texts:
        text.encode()


def draw_everything(comparison: Any, rows: Any) -> None:
    """Draw the heatmap, and every chart of each layer."""
    if comparison.ranges:
        for log in (False, True):
            figures.render_heatmap(comparison.ranges, list(comparison.variants), log=log)
    for row in rows:
        for chart in figures.LAYER_CHARTS.values():
            chart.render(comparison, row, True)


# Sound models -------------------------------------------------------------------------------------


@cache
def sound_model() -> Model:
    return load_model(network())


@cache
def sound_quantized_model() -> Model:
    return load_model(onnx.ModelProto.FromString(sound_files()[0]))


def network() -> onnx.ModelProto:
    """Return `convnet` with a batch-norm, which quantizers fold, and a ConvTranspose in groups."""
    model = convnet()
    kept = {node.name: node for node in model.graph.node}
    numbers = {"g": 1.5, "b": 0.5, "m": 0.1, "v": 2.0}
    arrays = {name: np.full(8, number, np.float32) for name, number in numbers.items()}
    arrays |= {"W3": floats(8, 3, 2, 3, seed=5), "W2": floats(6, 9, seed=3)}
    added = [
        helper.make_node("BatchNormalization", ["c10", *numbers], ["n"], "norm"),
        helper.make_node("ConvTranspose", ["n", "W3"], ["t"], "transposed", group=2),
    ]
    kept["pool"].input[0] = "t"
    order = [*list(kept.values())[:3], *added, *list(kept.values())[3:]]
    tensors = [t for t in model.graph.initializer if t.name not in arrays]
    tensors += [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(order, "network", model.graph.input, model.graph.output, tensors)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


@cache
def sound_files() -> tuple[bytes, ...]:
    """Return a network in each way that weights are stored: what is then damaged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(network(), folder / "network.onnx")
        quant_pre_process(folder / "network.onnx", folder / "folded.onnx", skip_symbolic_shape=True)
        folded = onnx.load(folder / "folded.onnx")
        models = [
            quantized_statically(folded, folder, per_channel=True),
            quantized_statically(folded, folder, quant_format=QuantFormat.QOperator),
            quantized_dynamically(folded, folder),
            _in_blocks(),
            _spelled_out(),
            network(),
        ]
    return tuple(model.SerializeToString() for model in models)


def _in_blocks() -> onnx.ModelProto:
    """Return four bits in MatMulNBits beside int4 in blocks under a DequantizeLinear."""
    generator = np.random.default_rng(0)
    numbers = {"K": 32, "N": 6, "bits": 4, "block_size": 16}
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", "B", "S"], ["h"], "nbits", domain=MICROSOFT, **numbers
        ),
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=3),
        helper.make_node("MatMul", ["h", "w"], ["y"], "blocks"),
    ]
    arrays = {
        "B": generator.integers(0, 255, (6, 2, 8), np.uint8),
        "S": np.abs(floats(12)) + 0.1,
        "s": np.abs(floats(2, 5)) + 0.1,
    }
    model = make_model(nodes, arrays, inputs={"x": (2, 32)}, domains=[MICROSOFT])
    codes = generator.integers(-8, 7, 30)
    model.graph.initializer.append(helper.make_tensor("q", TensorProto.INT4, (6, 5), codes))
    return model


def _spelled_out() -> onnx.ModelProto:
    """Return ``(Cast(codes) - zero_point) * scale`` as operators, a Reshape, and an If."""
    nodes = [
        helper.make_node("Cast", ["q"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["c", "z"], ["d"]),
        helper.make_node("Mul", ["d", "s"], ["v"]),
        helper.make_node("Transpose", ["v"], ["t"], perm=[1, 0]),
        helper.make_node("Reshape", ["t", "shape"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["m"], "matmul"),
        helper.make_node("MatMulInteger", ["xi", "qi"], ["i"], "integer"),
        helper.make_node("Cast", ["i"], ["ic"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ic", "s1"], ["yi"]),
    ]
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["b"], "inside")],
        "branch",
        [],
        [onnx.ValueInfoProto(name="b")],
    )
    nodes.append(
        helper.make_node("If", ["flag"], ["y"], "if", then_branch=branch, else_branch=branch)
    )
    codes = np.random.default_rng(1).integers(0, 255, (4, 7), np.uint8)
    arrays = {
        "q": codes,
        "z": np.float32(128),
        "s": np.float32(0.02),
        "shape": np.array([7, 4]),
        "qi": codes.astype(np.int8),
        "s1": np.abs(floats(7)) + 0.1,
        "flag": np.array(True),
    }
    return make_model(nodes, arrays, inputs={"x": (2, 7), "xi": (2, 4)}, outputs=["y", "yi"])


# Damage -------------------------------------------------------------------------------------------

INTEGERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, -(2**31), -(2**63)]),
)
TEXTS = st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(max_size=12))
NUMBERS = st.sampled_from(
    [0.0, -0.0, 1.0, -0.5, 1e-45, 1e-38, 3e38, -3e38, np.nan, np.inf, -np.inf]
)


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """A sound file with bytes flipped, inserted, deleted, repeated or cut off."""
    content = bytearray(draw(st.sampled_from(sound_files())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "set", "insert", "delete", "repeat", "cut"]))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and at < len(content):
            content[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del content[at : at + draw(st.integers(1, 8))]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 200))]
        elif kind == "cut" and draw(st.booleans()):
            del content[at:]
    return bytes(content)


@st.composite
def changed_models(draw: st.DrawFn) -> bytes:
    """A sound model that says something else: dims, types, attributes, inputs, numbers, nodes."""
    model = onnx.ModelProto.FromString(draw(st.sampled_from(sound_files())))
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(CHANGES))(draw, model)
    return model.SerializeToString()


@st.composite
def renamed_models(draw: st.DrawFn) -> bytes:
    """A sound model whose nodes, operators, values, tensors, graph and producer are renamed."""
    model = onnx.ModelProto.FromString(draw(st.sampled_from(sound_files())))
    graph = model.graph
    for node in graph.node:
        if draw(st.booleans()):
            node.name = draw(TEXTS)
    renamed = {t.name: draw(TEXTS) for t in graph.initializer if draw(st.booleans())}
    renamed |= {o: draw(TEXTS) for n in graph.node for o in n.output if draw(st.booleans())}
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    node = draw(st.sampled_from(graph.node))
    if draw(st.booleans()):
        node.op_type, node.domain = draw(TEXTS), draw(TEXTS)
    graph.name, model.producer_name = draw(TEXTS), draw(TEXTS)
    return model.SerializeToString()


@st.composite
def odd_weights(draw: st.DrawFn) -> bytes:
    """A QDQ Conv and a QDQ Gemm whose codes, scales and zero-points are extreme."""
    nodes, arrays = [], {}
    for i, (op_type, shape) in enumerate((("Conv", (8, 5, 3, 2)), ("Gemm", (8, 9)))):
        axis = 0 if op_type == "Conv" else 1
        count = draw(st.sampled_from([1, shape[axis]]))
        scale = np.full(count, draw(NUMBERS), np.float32)
        scale[draw(st.integers(0, count - 1))] = draw(NUMBERS)
        data_type = draw(st.sampled_from([np.int8, np.uint8, np.int16]))
        info = np.iinfo(data_type)
        codes = np.full(shape, draw(st.integers(info.min, info.max)), data_type)
        if draw(st.booleans()):
            codes = np.random.default_rng(i).integers(info.min, info.max, shape, data_type)
        zero = np.full(count, draw(st.integers(info.min, info.max)), data_type)
        arrays |= {f"q{i}": codes, f"s{i}": scale, f"z{i}": zero}
        inputs = [f"q{i}", f"s{i}", f"z{i}"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"w{i}"], axis=axis))
        nodes.append(helper.make_node(op_type, [f"x{i}", f"w{i}"], [f"y{i}"], ["conv10", "fc"][i]))
    model = make_model(nodes, arrays, inputs={"x0": (1, 5, 9, 9), "x1": (1, 8)}, outputs=["y0"])
    return model.SerializeToString()


Draw = st.DrawFn


def _change_dims(draw: Draw, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(model.graph.initializer))
    tensor.dims[:] = draw(st.lists(INTEGERS, max_size=5))


def _change_data_type(draw: Draw, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(model.graph.initializer))
    tensor.data_type = draw(st.one_of(st.integers(0, 30), st.just(2**31 - 1)))


def _change_bytes(draw: Draw, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(model.graph.initializer))
    if draw(st.booleans()):
        tensor.raw_data = draw(st.binary(max_size=40))
    else:
        tensor.ClearField("raw_data")
        tensor.float_data[:] = draw(st.lists(NUMBERS, max_size=6))


def _point_outside(draw: Draw, model: onnx.ModelProto) -> None:
    tensor = draw(st.sampled_from(model.graph.initializer))
    tensor.data_location = TensorProto.EXTERNAL
    for key in draw(st.lists(st.sampled_from(["location", "offset", "length", "odd"]))):
        value = draw(st.one_of(TEXTS, INTEGERS.map(str), st.just("\0")))
        tensor.external_data.add(key=key, value=value)


def _change_attribute(draw: Draw, model: onnx.ModelProto) -> None:
    attributes = [a for node in model.graph.node for a in node.attribute]
    if not attributes:
        return
    attribute = draw(st.sampled_from(attributes))
    what = draw(st.sampled_from(["i", "ints", "type", "name", "f", "s"]))
    if what == "ints":
        attribute.ints[:] = draw(st.lists(INTEGERS, max_size=5))
    elif what == "type":
        attribute.type = draw(st.integers(0, 14))
    elif what == "name":
        attribute.name = draw(TEXTS)
    elif what == "s":
        attribute.s = draw(st.binary(max_size=5))
    else:
        setattr(attribute, what, draw(INTEGERS if what == "i" else NUMBERS))


def _add_attribute(draw: Draw, model: onnx.ModelProto) -> None:
    node = draw(st.sampled_from(model.graph.node))
    name = draw(st.sampled_from(ATTRIBUTES))
    value = draw(st.one_of(INTEGERS, st.lists(INTEGERS, min_size=1, max_size=4), st.just(1.5)))
    node.attribute.append(helper.make_attribute(name, value))


def _change_inputs(draw: Draw, model: onnx.ModelProto) -> None:
    """Swap, drop, repeat or redirect inputs, to a value of any node: also of a later one."""
    node = draw(st.sampled_from(model.graph.node))
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    names += ["", "nowhere"]
    node.input[:] = draw(st.lists(st.sampled_from([*node.input, *names]), max_size=6))


def _change_outputs(draw: Draw, model: onnx.ModelProto) -> None:
    node = draw(st.sampled_from(model.graph.node))
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    node.output[:] = draw(st.lists(st.sampled_from([*names, "", "new"]), max_size=3))


def _change_operator(draw: Draw, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    node = draw(st.sampled_from(nodes))
    node.op_type = draw(st.sampled_from([*OPERATORS, *(other.op_type for other in nodes)]))
    node.domain = draw(st.sampled_from(["", "", "", MICROSOFT, "odd"]))


def _change_nodes(draw: Draw, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    at = draw(st.integers(0, len(nodes) - 1))
    if draw(st.booleans()):
        nodes.append(nodes[at])
    elif len(nodes) > 1:
        del nodes[at]


def _change_header(draw: Draw, model: onnx.ModelProto) -> None:
    if draw(st.booleans()):
        del model.opset_import[:]
    for _ in range(draw(st.integers(0, 2))):
        model.opset_import.add(domain=draw(st.sampled_from(["", "ai.onnx", "x"])),
                               version=draw(INTEGERS))  # fmt: skip


def _add_initializer(draw: Draw, model: onnx.ModelProto) -> None:
    tensors = model.graph.initializer
    copied = draw(st.sampled_from(tensors))
    array = np.full(draw(st.sampled_from([(), (1,), (0, 3), (5,)])), draw(NUMBERS), np.float32)
    tensors.append(numpy_helper.from_array(array, copied.name))


ATTRIBUTES = (
    "axis block_size to group N K bits perm axes output_dtype alpha beta transA transB value "
    "quantize_axis gather_axis num_outputs keepdims saturate"
).split()
OPERATORS = (
    "Add Mul Sub Div Cast Clip Concat ConstantOfShape DequantizeLinear QuantizeLinear Expand "
    "Flatten Gather Gemm If Loop MatMul MatMulInteger MatMulNBits Pow QLinearConv QLinearMatMul "
    "Range Reshape Slice Split Squeeze Tile Transpose Unsqueeze Where LSTM Attention Constant "
    "BatchNormalization LayerNormalization GatherBlockQuantized QAttention QGemm"
).split()
CHANGES: tuple[Callable[[Draw, onnx.ModelProto], None], ...] = (
    _change_dims,
    _change_data_type,
    _change_bytes,
    _point_outside,
    _change_attribute,
    _add_attribute,
    _change_inputs,
    _change_outputs,
    _change_operator,
    _change_nodes,
    _change_header,
    _add_initializer,
)

STRATEGIES: Mapping[str, st.SearchStrategy[bytes]] = {
    "bytes": damaged_bytes(),
    "structure": changed_models(),
    "names": renamed_models(),
    "numbers": odd_weights(),
}


# The longer run -----------------------------------------------------------------------------------

# One example in so many is drawn as well, which takes fifty times as long as the rest.
PICTURES = 50


def run(examples: int, start: int, folder: Path) -> tuple[Counter[str], dict[str, Path]]:
    """Return how often each outcome occurred, and for each place that crashed a file that does."""
    outcomes: Counter[str] = Counter()
    crashes: dict[str, Path] = {}
    share = max(1, examples // len(STRATEGIES))

    def try_one(content: bytes) -> None:
        try:
            outcomes[
                go_all_the_way(content, folder, pictures=sum(outcomes.values()) % PICTURES == 0)
            ] += 1
        except Exception as error:
            outcomes["crashed"] += 1
            place, what = describe_crash(error)
            if place not in crashes:
                crashes[place] = folder / f"crash-{len(crashes)}.onnx"
                crashes[place].write_bytes(content)
                print(f"{crashes[place]}: {place}: {what}", flush=True)

    quiet = settings(
        max_examples=share, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    for strategy in STRATEGIES.values():
        quiet(seed(start)(given(strategy)(try_one)))()
    return outcomes, crashes


def describe_crash(error: BaseException) -> tuple[str, str]:
    """Return the last place in the playground that an error came through, and what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "playground" in Path(frame.filename).parts]
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in (ours or frames)[-3:]]
    return f"{' > '.join(places)}: {type(error).__name__}", ascii(str(error)[:160])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable()
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    outcomes, crashes = run(arguments.examples, arguments.seed, folder)
    counts = ", ".join(f"{outcomes[name]:,} {name}" for name in ("refused", "listed", "crashed"))
    print(f"{sum(outcomes.values()):,} examples: {counts} in {len(crashes)} places")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
