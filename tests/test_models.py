"""The shipped models are what models/README.md says: hashes, sizes, accuracies, and the trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from models_for_tests import load_script
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

MODELS = Path(__file__).resolve().parents[1] / "models"
NETWORKS = ("dscnn", "resnet8")
# Processors round differently; an image on the border between two digits may change sides.
TOLERANCE = 2


build = load_script(MODELS / "build.py")
ROWS = build.read_table((MODELS / "README.md").read_text(encoding="utf-8"))


class Stored(NamedTuple):
    """A quantized weight as the file holds it."""

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def values(self) -> np.ndarray:
        """The weight in float32, computed by onnx's own reference."""
        node = onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"], axis=self.axis)
        feeds = {"q": self.codes, "s": self.scale, "z": self.zero_point}
        (values,) = ReferenceEvaluator(node).run(None, feeds)
        return np.asarray(values)


def read_initializers(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def read_stored_weights(path: Path) -> dict[str, Stored]:
    """Return the quantized weight of each Conv and Gemm, by the layer's name."""
    graph = onnx.load(path).graph
    tensors = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    weights = {}
    for layer in graph.node:
        if layer.op_type in ("Conv", "Gemm"):
            node = producers[layer.input[1]]
            assert node.op_type == "DequantizeLinear"
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            codes, scale, zero_point = (tensors[name] for name in node.input)
            weights[layer.name] = Stored(codes, scale, zero_point, axis)
    return weights


@pytest.fixture(scope="module")
def digits() -> Any:
    return build.load_split()


def count_correct(model: onnx.ModelProto | Path, digits: Any, **session_options: Any) -> int:
    """Return how many held-out digits ONNX Runtime reads rightly."""
    source = model if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(
        source, providers=["CPUExecutionProvider"], **session_options
    )
    (logits,) = session.run(None, {"image": digits.held_out_images})
    return int((logits.argmax(axis=1) == digits.held_out_labels).sum())


# ---- the table


def test_every_model_file_stands_in_the_table_and_every_row_has_a_file() -> None:
    files = {path.relative_to(MODELS).as_posix() for path in MODELS.rglob("*.onnx")}
    assert [row.file for row in ROWS] == sorted(files)
    assert files == {f"{net}/{kind}.onnx" for net in NETWORKS for kind in ("fp32", "int8", "uint8")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_hash_size_and_weight_count_of_each_file_are_those_of_the_table(
    row: Any, digits: Any
) -> None:
    measured = build.measure(MODELS / row.file, digits)
    assert measured._replace(correct=row.correct) == row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_accuracy_of_each_file_is_that_of_the_table(row: Any, digits: Any) -> None:
    assert abs(count_correct(MODELS / row.file, digits) - row.correct) <= TOLERANCE


def test_a_row_reads_back_as_it_was_written() -> None:
    lines = [build.TABLE_BEGIN, build.COLUMNS, *map(build.format_row, ROWS), build.TABLE_END]
    assert build.read_table("\n".join(lines)) == ROWS


# ---- the images


def test_held_out_digits_are_450_of_every_kind_and_none_is_trained_on(digits: Any) -> None:
    assert digits.held_out_images.shape == (450, 1, 32, 32)
    assert digits.train_images.shape == (1347, 1, 32, 32)
    assert np.bincount(digits.held_out_labels).min() >= 43
    trained = {image.tobytes() for image in digits.train_images}
    assert trained.isdisjoint(image.tobytes() for image in digits.held_out_images)


def test_upscaling_keeps_a_constant_image_and_the_order_of_its_corners() -> None:
    image = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    (large,) = build.upscale(image, 6)
    assert [large[0, 0], large[0, -1], large[-1, 0], large[-1, -1]] == [0, 1, 2, 3]
    np.testing.assert_allclose(build.upscale(np.full((1, 3, 3), 0.7), 7), 0.7)


# ---- the files


@pytest.mark.parametrize("network", NETWORKS)
def test_no_batch_norm_remains_and_every_node_has_a_name(network: str) -> None:
    for path in sorted((MODELS / network).glob("*.onnx")):
        nodes = onnx.load(path).graph.node
        assert "BatchNormalization" not in {node.op_type for node in nodes}
        assert all(node.name for node in nodes)


@pytest.mark.parametrize("network", NETWORKS)
def test_int8_holds_every_weight_as_symmetric_int8_per_channel(network: str) -> None:
    for layer, stored in read_stored_weights(MODELS / network / "int8.onnx").items():
        assert stored.codes.dtype == np.int8, layer
        assert stored.axis == 0 and stored.scale.shape == stored.codes.shape[:1], layer
        assert not stored.zero_point.any(), layer


@pytest.mark.parametrize("network", NETWORKS)
def test_uint8_holds_every_weight_as_uint8_per_tensor(network: str) -> None:
    for layer, stored in read_stored_weights(MODELS / network / "uint8.onnx").items():
        assert stored.codes.dtype == np.uint8, layer
        assert stored.scale.shape == stored.zero_point.shape == (), layer


@pytest.mark.parametrize("network", NETWORKS)
def test_no_channel_of_an_int8_weight_has_one_code_alone(network: str) -> None:
    for layer, stored in read_stored_weights(MODELS / network / "int8.onnx").items():
        rows = stored.codes.reshape(len(stored.codes), -1)
        assert (np.ptp(rows.astype(int), axis=1) > 0).all(), layer


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*.onnx")), ids=lambda path: path.parent.name)
def test_a_file_holds_no_notes_of_the_machine_that_built_it(path: Path) -> None:
    model = onnx.load(path)
    assert not model.metadata_props and not model.doc_string
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert path.stat().st_size < 700_000


# ---- the trouble in dscnn/uint8.onnx, as the README tells it

TROUBLE = "/block1/conv_dw/Conv"


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    return read_initializers(MODELS / "dscnn/fp32.onnx")["block1.conv_dw.weight"]


@pytest.fixture(scope="module")
def stored() -> Stored:
    return read_stored_weights(MODELS / "dscnn/uint8.onnx")[TROUBLE]


def compute_sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - held)))


def test_the_filter_behind_the_widest_channel_gives_zero_for_every_image(
    exact: np.ndarray, digits: Any
) -> None:
    model = onnx.load(MODELS / "dscnn/fp32.onnx")
    (layer,) = (node for node in model.graph.node if node.name == TROUBLE)
    model.graph.output.append(onnx.ValueInfoProto(name=layer.input[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (inputs,) = session.run([layer.input[0]], {"image": digits.train_images})
    ranges = np.abs(exact).max(axis=(1, 2, 3))
    assert ranges.max() > 400 * np.median(ranges)
    assert inputs[:, ranges.argmax()].max() == 0


def test_fifteen_of_the_32_channels_are_left_with_one_code(stored: Stored) -> None:
    rows = stored.codes.reshape(32, -1).astype(int)
    assert (np.ptp(rows, axis=1) == 0).sum() == 15


def test_the_sqnr_of_the_whole_tensor_hides_what_its_channels_lost(
    exact: np.ndarray, stored: Stored
) -> None:
    assert 38 < compute_sqnr_db(exact, stored.values) < 40
    channels = [compute_sqnr_db(*pair) for pair in zip(exact, stored.values, strict=True)]
    assert abs(np.median(channels)) < 1


def test_this_one_quantized_weight_breaks_the_float_network(stored: Stored, digits: Any) -> None:
    model = onnx.load(MODELS / "dscnn/fp32.onnx")
    (weight,) = (one for one in model.graph.initializer if one.name == "block1.conv_dw.weight")
    weight.CopyFrom(numpy_helper.from_array(stored.values, weight.name))
    assert count_correct(model, digits) < 225


def quantize_without(layers: tuple[str, ...], target: Path, digits: Any) -> Path:
    """Write dscnn as uint8 per-tensor again, some layers left float."""
    build.quantize(
        MODELS / "dscnn/fp32.onnx",
        target,
        digits.train_images,
        codes=build.QuantType.QUInt8,
        per_channel=False,
        float_layers=layers,
    )
    return target


def test_leaving_the_layer_float_heals_the_file_unless_the_session_quantizes_it_again(
    tmp_path: Path, digits: Any
) -> None:
    path = quantize_without((TROUBLE,), tmp_path / "one.onnx", digits)
    assert count_correct(path, digits) < 225
    assert count_correct(path, digits, disabled_optimizers=["WeightBiasQuantization"]) > 440


def test_leaving_a_neighbour_float_too_heals_it_in_every_session(
    tmp_path: Path, digits: Any
) -> None:
    path = quantize_without((TROUBLE, "/block1/conv_pw/Conv"), tmp_path / "two.onnx", digits)
    assert count_correct(path, digits) > 440
