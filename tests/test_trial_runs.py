"""What three models do on the same samples, as onnxruntime computes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models_for_tests import floats, same_bits
from rewriting_cases import exact, run, save_convnet, write_again

from playground.utils.parameter_inspector.changing.rewrite_errors import RewriteError
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trial_runs import measure_truth

MODELS = Path(__file__).resolve().parents[1] / "models"


DSCNN = MODELS / "dscnn"


@pytest.fixture
def current(tmp_path):
    return save_convnet(tmp_path)


def test_the_truth_is_what_onnxruntime_computes(current, tmp_path):
    x = floats(6, 3, 10, 11, seed=9)
    for path in (current, tmp_path / "fp32.onnx"):  # any batch size
        model = onnx.load(path)
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.save(model, path)
    exact_path, changed = tmp_path / "fp32.onnx", tmp_path / "out.onnx"
    write_again(current, {"fc": (Scheme("int4"), exact("fc"))}, changed)
    outputs = [run(path, {"x": x}) for path in (exact_path, current, changed)]
    labels = outputs[0].argmax(axis=1)
    labels[0] += 1
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    truth = measure_truth(exact_path, current, changed, tmp_path / "samples.npz")
    found = truth.original, truth.current, truth.changed
    for one, y in zip(found, outputs, strict=True):
        assert one.accuracy == pytest.approx(np.mean(y.argmax(axis=1) == labels))
    assert truth.original.output_sqnr_db is None and truth.original.accuracy == pytest.approx(5 / 6)
    for one, y in zip(found[1:], outputs[1:], strict=True):
        noise = np.linalg.norm(outputs[0] - y)
        expected = 20 * np.log10(np.linalg.norm(outputs[0]) / noise)
        assert one.output_sqnr_db == pytest.approx(expected, abs=1e-3)


def test_samples_without_labels_have_no_accuracy_and_a_model_is_as_good_as_itself(tmp_path):
    with np.load(DSCNN / "samples.npz") as file:
        np.savez(tmp_path / "s.npz", image=file["image"][:4])
    path = DSCNN / "fp32.onnx"
    truth = measure_truth(path, path, path, tmp_path / "s.npz")
    assert truth.changed.accuracy is None and truth.changed.output_sqnr_db == np.inf


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"picture": np.zeros(3)}, "the model asks for 'image' .* given is 'picture'"),
        ({"labels": np.zeros(3)}, "the model asks for 'image' .* given is 'labels'"),
        ({"image": np.zeros((2, 1, 3, 3))}, "given is 2 × 1 × 3 × 3"),
        (
            {"image": np.zeros((2, 1, 32, 32)), "labels": np.zeros(3)},
            "'labels': it has 3 samples where another input has 2",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_one_sentence(arrays, why, tmp_path):
    np.savez(tmp_path / "s.npz", **arrays)
    path = DSCNN / "fp32.onnx"
    with pytest.raises(RewriteError, match=why) as raised:
        measure_truth(path, path, path, tmp_path / "s.npz")
    assert "\n" not in str(raised.value)


def test_samples_that_are_no_samples_are_refused(tmp_path):
    path = DSCNN / "fp32.onnx"
    (tmp_path / "s.npz").write_bytes(b"not a zip")
    for name in ("s.npz", "none.npz"):
        with pytest.raises(RewriteError, match=f"samples '{name}': "):
            measure_truth(path, path, path, tmp_path / name)


@pytest.mark.parametrize("network", ["dscnn", "resnet8"])
def test_the_shipped_samples_are_the_first_held_out_digits_to_the_bit(network):
    from test_models import build

    digits, path = build.load_split(), MODELS / network / "samples.npz"
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"image", "labels"}
        images, labels = file["image"], file["labels"]
    assert len(images) == build.SAMPLES == 180
    same_bits(images.astype(np.float32), digits.held_out_images[:180])
    np.testing.assert_array_equal(labels, digits.held_out_labels[:180])
    assert path.stat().st_size < 150_000
