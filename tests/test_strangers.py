"""Models of strangers: names are text, files cost little, and one bad file spoils no other.

What a single file or tensor can hold is in test_model_file; the names of each export are in
test_exports. Here it goes all the way to the page, the report and the pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import fuzzing
import numpy as np
import onnx
import pytest
from fuzzing import HOSTILE_NAMES, go_all_the_way, is_one_sentence, see_everything
from models_for_tests import MICROSOFT, convnet, floats, int8_conv, make_model
from onnx import TensorProto, helper

import playground.quantization as notebook
from playground.utils import figures, report
from playground.utils.parameter_inspector import (
    Model,
    ModelFileError,
    compare_variants,
    compute_histograms,
    find_networks,
    list_layers,
    load_model,
    open_folder,
)
from playground.utils.parameter_inspector.facts import Refusal, RefusalKind
from playground.utils.parameter_inspector.judging.finding_wording import describe_finding
from playground.utils.parameter_inspector.judging.rules import find_problems
from playground.utils.parameter_inspector.reading.model_file import printable
from playground.utils.parameter_inspector.wording import describe_refusal

MAX_EXTRA_BYTES = 200_000_000
MOST_WORK = 110.0
"""Times adding up ten million numbers: ten seconds are promised where that takes 0.09."""
HANGS_SECONDS = 60.0  # a bound for a broken reader, not a promise about speed


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


# Names are text -----------------------------------------------------------------------------------


def named(name: str, *, quantized: bool) -> onnx.ModelProto:
    """Return two layers of one name, whose operator, tensors and values carry it too."""
    nodes, arrays = [], {}
    for i in range(2):
        weight, array = f"{name}w{i}", floats(7, 7, seed=i)
        if quantized:
            codes = np.rint(array / 0.03).clip(-128, 127).astype(np.int8)
            arrays |= {f"{name}q{i}": codes, f"{name}s{i}": np.float32(0.03)}
            inputs = [f"{name}q{i}", f"{name}s{i}"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [weight]))
        else:
            arrays[weight] = array
        nodes.append(helper.make_node("MatMul", [f"{name}{i}", weight], [f"{name}{i + 1}"], name))
    nodes.append(helper.make_node(name or "Odd", [f"{name}2", f"{name}w1"], ["y"], name,
                                  domain=name or "odd"))  # fmt: skip
    model = make_model(nodes, arrays, inputs={f"{name}0": (2, 7)})
    model.graph.name = model.producer_name = name
    return model


class Tags(HTMLParser):
    """Collects what a browser would take for markup."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_no_stranger(text: str, allowed: Sequence[str] = ()) -> None:
    """Assert that HTML has no tag, handler or link that a name could have brought."""
    tags = Tags()
    tags.feed(text)
    for tag, attributes in tags.found:
        assert tag not in ("script", "iframe", "object", "embed", "base") or tag in allowed, tag
        assert not any(key.startswith("on") for key in attributes), attributes
        assert attributes.get("src", "data:") is not None
        if tag == "img":
            assert (attributes.get("src") or "").startswith("data:"), attributes


@pytest.fixture(params=dict.fromkeys(HOSTILE_NAMES), ids=lambda name: ascii(name[:16]))
def hostile(request, tmp_path) -> tuple[str, dict[str, Model]]:
    name = request.param
    models = {
        "FP32": load_model(save(named(name, quantized=False), tmp_path / "a.onnx")),
        f"INT8 {name}": load_model(save(named(name, quantized=True), tmp_path / "b.onnx")),
    }
    return name, models


def test_a_name_goes_all_the_way_as_text(hostile, tmp_path):
    name, variants = hostile
    see_everything(variants, tmp_path, pictures=False)
    values = {f"INT8 {name}": np.ones(3, np.float32)}
    assert figures.weight_charts.render_histograms(compute_histograms(values), about=name).png


def test_every_name_is_text_in_one_heatmap_and_one_report(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], name)
        for i, name in enumerate(HOSTILE_NAMES)
    ]
    arrays = {f"w{i}": floats(7, 7, seed=i) for i in range(len(nodes))}
    variants = {"FP32": load_model(make_model(nodes, arrays, inputs={"x": (2, 7)}))}
    comparison = compare_variants(variants)
    assert len(comparison.ranges) == len(HOSTILE_NAMES)
    assert figures.heatmap.render_heatmap(comparison.ranges, list(variants)).png
    bad = {
        f"{i}.onnx": Refusal(RefusalKind.FILE_UNREADABLE, name=f"{i}.onnx", reason=name)
        for i, name in enumerate(HOSTILE_NAMES)
    }
    folder = fuzzing.VariantFolder(tmp_path, variants, bad)
    assert_no_stranger(report.create_report(folder, comparison, find_problems(comparison)))


def test_a_producer_whose_name_is_not_text_is_shown_as_far_as_it_is(tmp_path):
    model = convnet()
    model.producer_name = "producer"
    content = model.SerializeToString().replace(b"producer", b"\xefroducer")
    assert go_all_the_way(content, tmp_path) == "listed"
    (tmp_path / "m.onnx").write_bytes(content)
    assert load_model(tmp_path / "m.onnx").producer == "\ufffdroducer"


FILE_NAMES = (
    "line\nbreak", "<img src=x onerror=alert(1)>", r"$\frac{1}{2}$", "=cmd()", "]]>", "a|b",
    "\x1b[31mred", "\u202ertl", "$(touch hacked)", "-rf", "x" * 240, "\udcff not UTF-8",
)  # fmt: skip


@pytest.mark.parametrize("name", FILE_NAMES, ids=lambda name: ascii(name[:16]))
def test_a_file_name_is_text_whether_the_file_can_be_read_or_not(tmp_path, name):
    home = tmp_path / name
    home.mkdir()
    save(convnet(), home / f"{name}.onnx")
    save(int8_conv(), home / f"a{name}.onnx")
    save(int8_conv(), home / f"b{name}.onnx")
    (home / f"c{name}.onnx").write_bytes(b"")
    opened = open_folder(home)
    assert len(opened.variants) == 3
    assert all(map(is_one_sentence, map(describe_refusal, opened.unreadable.values()))), (
        opened.unreadable
    )
    assert len(opened.unreadable) == 1
    see_everything(opened.variants, home, pictures=False)
    report.create_report(opened, compare_variants(opened.variants), []).encode()
    assert find_networks(tmp_path) == {printable(name): home}


def test_the_page_shows_hostile_names_as_text(tmp_path):
    for i, name in enumerate(("<iframe srcdoc='<script>1</script>'>", r"$\foo_{", "a\n# b")):
        save(named(name, quantized=False), tmp_path / f"{i}.onnx")
        save(named(name, quantized=True), tmp_path / f"{i}q.onnx")
    outputs, definitions = notebook.app.run(defs={"models_folder": tmp_path})
    assert len(definitions["variants"]) == 6
    text = " ".join(getattr(output, "text", "") for output in outputs if output is not None)
    assert_no_stranger(text)


# Files that cost more than they weigh -------------------------------------------------------------

# Each file has a process of its own, forked where all is imported: importing takes longer. Not
# ru_maxrss, which a process inherits from the one that starts it.
MEASURE = """
import json, logging, os, re, sys, time
from pathlib import Path
logging.disable()
from playground.utils.parameter_inspector import list_layers, open_folder, compare_variants
from playground.utils.parameter_inspector.judging.rules import find_problems
from playground.utils.parameter_inspector.wording import describe_refusal
def add_up():
    start = time.process_time()
    sum(range(10_000_000))
    return time.process_time() - start
neighbour = min(add_up() for _ in range(3))
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def see(folder):
    before, start = peak(), time.process_time()
    opened = open_folder(folder)
    said = list(opened.unreadable.values())
    comparison = compare_variants(opened.variants)
    find_problems(comparison)
    said += comparison.unavailable.values()
    for model in opened.variants.values():
        said += [reason for layer in list_layers(model) for reason in layer.not_understood]
    said = list(map(describe_refusal, said))
    work = (time.process_time() - start) / neighbour
    return said, len(opened.variants), work, peak() - before
for folder in map(Path, sys.argv[1:]):
    child = os.fork()
    if not child:
        print(json.dumps([folder.name, *see(folder)]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def reads(last: str, before: Sequence[onnx.NodeProto], arrays: dict[str, np.ndarray]):
    """Return a model whose one MatMul reads what some operators make of constants."""
    nodes = [*before, helper.make_node("MatMul", ["x", last], ["y"], "matmul")]
    return make_model(nodes, arrays, inputs={"x": (2, 7)}, opset=17)


def doubling_sum() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(60)]
    return reads("a60", nodes, {"a0": np.ones((7, 3), np.float32)})


def doubling_factor() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMulInteger", ["x", "q"], ["i"], "integer"),
        helper.make_node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        *(helper.make_node("Mul", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(60)),
        helper.make_node("Mul", ["c", "a60"], ["y"]),
    ]
    return make_model(nodes, {"q": np.ones((7, 3), np.int8)}, inputs={"x": (2, 7), "a0": ()})


def many_grown() -> onnx.ModelProto:
    shape = {"shape": np.array([2000, 2000])}
    parts = [f"c{i}" for i in range(100)]
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [part]) for part in parts]
    return reads("w", [*nodes, helper.make_node("Concat", parts, ["w"], axis=0)], shape)


def broadcast_clip() -> onnx.ModelProto:
    arrays = {"a": np.ones((30_000, 1), np.float32), "b": np.ones((1, 30_000), np.float32)}
    return reads("w", [helper.make_node("Clip", ["a", "b"], ["w"])], arrays)


def sparse_giants() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], f"m{i}") for i in range(8)]
    model = make_model(nodes, outputs=["y0"])
    for i in range(8):
        values = helper.make_tensor(f"w{i}", TensorProto.DOUBLE, [1], [1.0])
        indices = helper.make_tensor("", TensorProto.INT64, [1], [5])
        sparse = helper.make_sparse_tensor(values, indices, [4096, 4096])
        model.graph.sparse_initializer.append(sparse)
    return model


def huge_matmulnbits() -> onnx.ModelProto:
    numbers = {"K": 2**40, "N": 2**20, "bits": 4, "block_size": 16}
    node = helper.make_node("MatMulNBits", ["x", "B", "S"], ["y"], "n", domain=MICROSOFT, **numbers)
    arrays = {"B": np.zeros((6, 2, 8), np.uint8), "S": np.ones(12, np.float32)}
    return make_model([node], arrays, domains=[MICROSOFT])


def endless_and_empty() -> onnx.ModelProto:
    codes = TensorProto(name="q", data_type=TensorProto.INT8, dims=[2**40, 0])
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"])]
    model = reads("w", nodes, {"s": np.float32(1)})
    model.graph.initializer.append(codes)
    return model


def cycle() -> onnx.ModelProto:
    nodes = [helper.make_node("Transpose", [a], [b]) for a, b in ("ab", "bc", "ca")]
    return reads("a", nodes, {})


def long_chain() -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", [f"a{i}"], [f"a{i + 1}"]) for i in range(3000)]
    return reads("a3000", nodes, {"a0": np.ones((7, 3), np.float32)})


GREEDY = (
    doubling_sum, doubling_factor, many_grown, broadcast_clip, sparse_giants, huge_matmulnbits,
    endless_and_empty, cycle, long_chain,
)  # fmt: skip


def length(number: int) -> bytes:
    """Return a number as protobuf writes a length."""
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])


def field(number: int, content: bytes) -> bytes:
    return length(number << 3 | 2) + length(len(content)) + content


def in_graph(*fields: bytes) -> bytes:
    return field(
        7, field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu")) + b"".join(fields)
    )


def million_nodes() -> bytes:
    node = (field(1, b"x") + field(2, b"%x" % i) + field(4, b"R") for i in range(1_000_000))
    return in_graph(*(field(1, one) for one in node))


def branch(graph: bytes) -> bytes:
    """Return an If of one branch."""
    then = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
    return field(1, field(1, b"c") + field(2, b"y") + field(4, b"If") + field(5, then))


def million_nodes_in_small_branches() -> bytes:
    return in_graph(branch(field(1, b"") * 400) * 2500)


def million_nodes_in_functions() -> bytes:
    function = field(1, b"f") + field(7, b"") * 100_000
    return in_graph() + field(25, function) * 10


def million_nodes_for_training() -> bytes:
    return in_graph() + field(20, field(1, field(1, b"") * 1_000_000))


def million_initializers() -> bytes:
    return in_graph(*(field(5, b"\x10\x01" + field(8, b"%x" % i)) for i in range(1_000_000)))


def million_attributes() -> bytes:
    return in_graph(field(1, field(4, b"R") + field(5, field(1, b"a") + b"\x18\x05") * 1_000_000))


def million_value_infos() -> bytes:
    return in_graph(*(field(13, field(1, b"%x" % i)) for i in range(1_000_000)))


def million_inputs_of_a_node() -> bytes:
    names = b"".join(field(1, b"%x" % i) for i in range(1_000_000))
    return in_graph(field(1, names + field(2, b"z") + field(4, b"R")))


def million_dimensions() -> bytes:
    shape = field(2, field(1, b"") * 1_000_000)
    return in_graph(field(13, field(1, b"y") + field(2, field(1, b"\x08\x01" + shape))))


def million_functions() -> bytes:
    return in_graph() + b"".join(field(25, field(1, b"%x" % i)) for i in range(1_000_000))


def tensor_of_numbers(number: int, data_type: int, content: bytes) -> bytes:
    dims = b"\x08" + length(30_000_000) + b"\x10" + length(data_type)
    return in_graph(field(5, dims + field(8, b"w") + field(number, content)))


def small_int32_data() -> bytes:
    return tensor_of_numbers(5, TensorProto.INT32, b"\1" * 30_000_000)


def small_int64_data() -> bytes:
    return tensor_of_numbers(7, TensorProto.INT64, b"\1" * 30_000_000)


def float_data() -> bytes:
    return tensor_of_numbers(4, TensorProto.FLOAT, bytes(120_000_000))


def nested_ifs(depth: int = 200) -> bytes:
    graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu"))
    for _ in range(depth):
        graph = branch(graph)
    return field(7, graph)


TOO_LARGE = (
    million_nodes, million_nodes_in_small_branches, million_nodes_in_functions,
    million_nodes_for_training, million_initializers, million_attributes, million_value_infos,
    million_inputs_of_a_node, million_dimensions, million_functions, small_int32_data,
    small_int64_data,
)  # fmt: skip


@pytest.mark.parametrize("make", TOO_LARGE, ids=lambda f: f.__name__)
def test_a_graph_that_would_take_too_much_is_refused_before_it_is_parsed(
    tmp_path: Path, make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.onnx").write_bytes(make())
    monkeypatch.setattr(onnx.ModelProto, "ParseFromString", None, raising=False)
    with pytest.raises(
        ModelFileError, match=r"^large\.onnx: .* more than 190 MB.* split"
    ) as refusal:
        load_model(tmp_path / "large.onnx")
    assert is_one_sentence(str(refusal.value))


def test_a_network_of_many_layers_opens(tmp_path):
    nodes = [
        helper.make_node("Relu", [f"layer.{i}.output"], [f"layer.{i + 1}.output"], f"layer.{i}")
        for i in range(5000)
    ]
    model = make_model(nodes, {}, inputs={"layer.0.output": (2, 7)})
    assert len(list_layers(load_model(save(model, tmp_path / "m.onnx")))) == 5000


COSTLY = (*GREEDY, million_nodes, nested_ifs, float_data)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, tuple[list[str], int, float, int, int]]:
    """Return for each file what is said, sound models, work, bytes in memory and of the file."""
    root = tmp_path_factory.mktemp("costly")
    sizes = {}
    for make in COSTLY:
        (root / make.__name__).mkdir()
        made = make()
        content = made if isinstance(made, bytes) else made.SerializeToString()
        (root / make.__name__ / "greedy.onnx").write_bytes(content)
        save(convnet(), root / make.__name__ / "sound.onnx")
        sizes[make.__name__] = len(content)
    command = [sys.executable, "-c", MEASURE, *(str(root / name) for name in sizes)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=len(sizes) * HANGS_SECONDS
    )
    assert not done.stderr, done.stderr[-500:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (*numbers, sizes[name]) for name, *numbers in lines}


@pytest.mark.parametrize("make", COSTLY, ids=lambda f: f.__name__)
def test_a_small_file_cannot_ask_for_much_memory_or_time(make, measured):
    said, count, work, grown, size = measured[make.__name__]
    print(f"{work:.1f} times adding up, {grown / 1e6:.0f} MB above a file of {size / 1e6:.1f} MB")
    assert count >= 1, "the sound model is not there"
    assert all(map(is_one_sentence, said)), said
    assert grown < size + MAX_EXTRA_BYTES
    assert work < MOST_WORK


# Nothing outside the folder -----------------------------------------------------------------------

SECRET = np.float32(1234.5)


def external(model_folder: Path, location: str, **more: int) -> Path:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[7, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    model = reads("w", [], {})
    model.graph.initializer.append(tensor)
    return save(model, model_folder / "model.onnx")


@pytest.fixture
def home(tmp_path) -> Path:
    """Return a models folder beside a secret, with links and devices in it."""
    home = tmp_path / "models"
    home.mkdir()
    (tmp_path / "secret").write_bytes(np.full((7, 3), SECRET).tobytes())
    save(convnet(), tmp_path / "outside.onnx")
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "zero").symlink_to("/dev/zero")
    (home / "up").symlink_to(tmp_path)
    (home / "short").write_bytes(bytes(83))
    (home / "long").write_bytes(bytes(1000))
    os.mkfifo(home / "pipe")
    return home


@pytest.mark.parametrize(
    ("location", "more"),
    [
        ("../secret", {}),
        ("{outside}/secret", {}),
        ("link", {}),
        ("up/secret", {}),
        ("zero", {}),
        ("/dev/zero", {}),
        ("pipe", {}),
        ("short", {}),
        ("long", {"offset": 950}),
        ("long", {"offset": 2**62}),
        ("long", {"offset": -84}),
        ("long", {"length": 2**40}),
        ("long", {"offset": "x"}),
        ("", {}),
        ("a\0b", {}),
        ("x" * 10_000, {}),
    ],
    ids=lambda one: str(one)[:24].replace("\0", "0"),
)
def test_external_data_that_must_not_be_read_is_one_sentence(home, location, more):
    path = external(home, location.replace("{outside}", str(home.parent)), **more)
    save(convnet(), home / "sound.onnx")
    opened = open_folder(home)
    comparison = compare_variants(opened.variants)
    refusals = [*opened.unreadable.values(), *comparison.unavailable.values()]
    said = list(map(describe_refusal, refusals))
    said += fuzzing.list_sentences(comparison, find_problems(comparison))
    assert any("'w'" in one or path.stem in one for one in said), said
    assert all(map(is_one_sentence, said)), said
    assert float(SECRET) not in [
        m.metrics["range_high"] for row in comparison.weights.values() for m in row.values()
    ]


def test_a_sparse_tensor_reads_no_external_file(home, monkeypatch):
    monkeypatch.chdir(home.parent)
    values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[21])
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="secret")
    indices = helper.make_tensor("", TensorProto.INT64, [21], range(21))
    model = reads("w", [], {})
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[7, 3])
    model.graph.sparse_initializer.append(sparse)
    try:
        layers = list_layers(load_model(save(model, home / "model.onnx")))
    except ModelFileError as refusal:
        assert is_one_sentence(str(refusal))
    else:
        assert not any(SECRET in layer.weight.values for layer in layers if layer.weight)


def test_a_model_that_is_a_link_out_of_the_folder_is_refused(home):
    (home / "model.onnx").symlink_to(home.parent / "outside.onnx")
    save(convnet(), home / "sound.onnx")
    opened = open_folder(home)
    assert [model.name for model in opened.variants.values()] == ["sound"]
    assert is_one_sentence(describe_refusal(opened.unreadable["model.onnx"]))


@pytest.mark.parametrize("target", ["nowhere", "/dev/zero", "pipe", "loop.onnx"])
def test_a_model_that_is_a_link_to_no_file_hides_no_other(home, target):
    (home / "loop.onnx").symlink_to(target)
    save(convnet(), home / "sound.onnx")
    opened = open_folder(home)
    assert [model.name for model in opened.variants.values()] == ["sound"]
    assert is_one_sentence(describe_refusal(opened.unreadable["loop.onnx"]))


def test_a_folder_that_is_a_link_is_not_followed(home):
    save(convnet(), home / "sound.onnx")
    assert list(find_networks(home).values()) == [home]


# Files that change while they are read ------------------------------------------------------------


def large() -> onnx.ModelProto:
    """Return a weight of several chunks."""
    return reads("w", [], {"w": floats(3000, 1700)})


def during_first_read(monkeypatch, act: Callable[[], None]) -> None:
    """Call ``act`` after the first piece of a weight was read."""
    read, done = os.preadv, []

    def preadv(*arguments):
        count = read(*arguments)
        if not done:
            done.append(True)
            act()
        return count

    monkeypatch.setattr(os, "preadv", preadv)


def test_a_file_cut_in_the_middle_of_a_pass_is_one_sentence(tmp_path, monkeypatch):
    path = save(large(), tmp_path / "large.onnx")
    variants = open_folder(tmp_path).variants
    during_first_read(monkeypatch, lambda: os.truncate(path, 10_000))
    comparison = compare_variants(variants)
    (refusal,) = comparison.unavailable.values()
    sentence = describe_refusal(refusal)
    assert is_one_sentence(sentence)
    assert "became shorter" in sentence or "which has" in sentence
    see_everything(variants, tmp_path)


def test_a_file_replaced_in_the_middle_of_a_pass_is_read_as_one_or_not_at_all(
    tmp_path, monkeypatch
):
    path = save(large(), tmp_path / "large.onnx")
    variants = open_folder(tmp_path).variants
    (tmp_path / "new").write_bytes(b"short")
    during_first_read(monkeypatch, lambda: (tmp_path / "new").replace(path))
    comparison = compare_variants(variants)
    if comparison.unavailable:
        assert all(map(is_one_sentence, map(describe_refusal, comparison.unavailable.values())))
    else:
        measured = comparison.weights["matmul"]["FP32"]
        assert measured.metrics["range_high"] == floats(3000, 1700).max()
    see_everything(variants, tmp_path)


# Attributes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 3, 1.5, "two", [2], 2**62], ids=str)
def test_groups_that_do_not_divide_the_channels_are_one_sentence(value, tmp_path):
    model = fuzzing.network()
    (node,) = (n for n in model.graph.node if n.op_type == "ConvTranspose")
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("group", value))
    assert go_all_the_way(model.SerializeToString(), tmp_path) == "listed"
    (layer,) = (x for x in list_layers(load_model(model)) if x.op_type == "ConvTranspose")
    assert len(layer.not_understood) == 1
    assert layer.not_understood[0].kind is RefusalKind.GROUPS


@pytest.mark.parametrize("name", ["alpha", "transB", "group", "axis", "epsilon"])
@pytest.mark.parametrize("value", ["a word", [2], 1.5, float("nan")], ids=str)
def test_an_attribute_of_another_kind_stops_nothing(name, value, tmp_path):
    for content in fuzzing.sound_files():
        model = onnx.ModelProto.FromString(content)
        for node in model.graph.node:
            kept = [one for one in node.attribute if one.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])
        assert go_all_the_way(model.SerializeToString(), tmp_path) == "listed"


BAD_NORMS = {
    "v": np.full((0, 3), 2, np.float32), "g": np.ones(3, np.float32),
    "negative v": np.full(8, -2, np.float32), "W2": floats(9, seed=3),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_NORMS)
def test_a_float_original_of_odd_shapes_is_still_compared(kind, tmp_path):
    model = fuzzing.network()
    name = kind.split()[-1]
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(BAD_NORMS[kind], name))
    assert go_all_the_way(model.SerializeToString(), tmp_path) == "listed"


def test_a_batch_norm_whose_bytes_are_missing_is_still_compared(tmp_path):
    model = fuzzing.network()
    (tensor,) = (one for one in model.graph.initializer if one.name == "v")
    tensor.dims[:] = [-8]
    assert go_all_the_way(model.SerializeToString(), tmp_path) == "listed"


@pytest.mark.parametrize("groups", [1, 4])
def test_a_transposed_convolution_in_other_groups_is_still_compared(groups, tmp_path):
    model = fuzzing.network()
    (node,) = (n for n in model.graph.node if n.op_type == "ConvTranspose")
    node.attribute[0].i = groups
    assert go_all_the_way(model.SerializeToString(), tmp_path) == "listed"


def test_a_constant_that_cannot_be_computed_before_an_unknown_operator_is_one_sentence():
    nodes = [
        helper.make_node("Reshape", ["w", "shape"], ["r"]),
        helper.make_node("Odd", ["x", "r"], ["y"], "odd", domain="odd"),
    ]
    arrays = {"w": floats(7, 3), "shape": np.array([4, 4])}
    model = make_model(nodes, arrays, inputs={"x": (2, 7)}, domains=["odd"])
    (layer,) = list_layers(load_model(model))
    assert layer.not_understood
    assert all(map(is_one_sentence, map(describe_refusal, layer.not_understood)))


def test_a_tensor_of_an_unknown_type_in_an_attribute_hides_no_layer():
    unknown = TensorProto(name="t", data_type=99, dims=[2])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=unknown),
        helper.make_node("Odd", ["x"], ["h"], "odd", domain="odd", value=unknown),
        helper.make_node("MatMul", ["x", "w"], ["y"], "matmul"),
    ]
    model = make_model(nodes, {"w": floats(7, 3)}, inputs={"x": (2, 7)}, domains=["odd"])
    assert [layer.name for layer in list_layers(load_model(model))] == ["odd", "matmul"]


# Numbers ------------------------------------------------------------------------------------------


def quantized(codes: np.ndarray, scale: np.ndarray) -> bytes:
    arrays = {"q": codes, "s": np.asarray(scale, np.float32)}
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0)]
    nodes.append(helper.make_node("Conv", ["x", "w"], ["y"], "conv1"))
    return make_model(nodes, arrays).SerializeToString()


CODES = np.random.default_rng(0).integers(-128, 128, (5, 3, 2, 4)).astype(np.int8)
SCALES = {
    "zero": 0.0, "negative": -0.1, "NaN": np.nan, "infinite": np.inf, "denormal": 1e-45,
    "greatest": 3e38, "one zero": [0.1, 0, 0.1, 0.1, 0.1], "one NaN": [0.1, np.nan, 0.1, 0.1, 0.1],
    "one negative": [0.1, -0.1, 0.1, 0.1, 0.1], "one infinite": [np.inf, 0.1, 0.1, 0.1, 0.1],
}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("codes", [CODES, CODES * 0, CODES * 0 + 1, CODES[:, :0]],
                         ids=["any", "all zero", "constant", "none"])  # fmt: skip
def test_a_scale_that_is_no_scale_reaches_every_picture(scale, codes, tmp_path):
    drawn = codes is CODES
    assert go_all_the_way(quantized(codes, SCALES[scale]), tmp_path, pictures=drawn) == "listed"


WEIGHTS = {
    "all zero": np.zeros((5, 3, 2, 4), np.float32),
    "constant": np.full((5, 3, 2, 4), 0.5, np.float32),
    "one element": np.full((1, 1, 1, 1), 0.5, np.float32),
    "no element": np.zeros((5, 0, 2, 4), np.float32),
    "all NaN": np.full((5, 3, 2, 4), np.nan, np.float32),
    "one NaN": np.where(CODES.max() == CODES, np.nan, CODES).astype(np.float32),
    "all infinite": np.full((5, 3, 2, 4), np.inf, np.float32),
    "both infinities": np.where(CODES > 0, np.inf, -np.inf).astype(np.float32),
    "widest float32": np.where(CODES > 0, 3.4e38, -3.4e38).astype(np.float32),
    "wide float64": np.where(CODES > 0, 1.7e308, -1e305),
    "narrowest float32": np.where(CODES > 0, 1e-45, 0).astype(np.float32),
    "narrowest float64": np.where(CODES > 0, 5e-324, 0),
    "float16": CODES.astype(np.float16),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_an_extreme_weight_reaches_every_picture(kind, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv1")]
    content = make_model(nodes, {"w": WEIGHTS[kind]}).SerializeToString()
    assert go_all_the_way(content, tmp_path, pictures=True) == "listed"


@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_numbers_of_an_extreme_weight_are_those_of_its_finite_elements(kind, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv1")]
    model = load_model(save(make_model(nodes, {"w": WEIGHTS[kind]}), tmp_path / "m.onnx"))
    (row,) = compare_variants({"FP32": model}).weights.values()
    finite = WEIGHTS[kind][np.isfinite(WEIGHTS[kind])].astype(np.float64)
    found = row["FP32"].metrics["range_low"], row["FP32"].metrics["range_high"]
    if finite.size == 0:
        assert np.isnan(found).all()
    elif np.abs(finite).max() < 3.5e38:
        assert found == (np.float32(finite.min()), np.float32(finite.max()))


def test_a_histogram_says_what_it_cannot_draw():
    histograms = compute_histograms({"INT8": np.array([1, np.nan, np.inf], np.float32)})
    assert histograms.outside == {"INT8": 2}
    assert figures.weight_charts.render_histograms(histograms).png


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31mred", "\u202ertl"])
def test_a_finding_that_names_layers_names_them_on_one_line(name):
    """Layers whose weights are others', and layers that lost their partner."""
    (float_model, other) = (named(name, quantized=quantized) for quantized in (False, True))
    for tensor in other.graph.initializer:
        if tensor.name.startswith(f"{name}q"):
            tensor.raw_data = bytes(reversed(tensor.raw_data))
    variants = {"FP32": load_model(float_model), "INT8": load_model(other)}
    findings = find_problems(compare_variants(variants))
    assert "other-network" in {finding.rule for finding in findings}
    for finding in findings:
        assert is_one_sentence(describe_finding(finding)), repr(finding)
