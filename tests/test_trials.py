"""A weight on trial: the numbers of the current scheme and of the proposed one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from trial_cases import SHAPE, open_matmul

from playground.utils.parameter_inspector import compare_variants, open_folder
from playground.utils.parameter_inspector.changing.schemes import Scheme
from playground.utils.parameter_inspector.changing.trials import WeightOnTrial, open_weight

DSCNN = Path(__file__).resolve().parents[1] / "models" / "dscnn"


TROUBLE = "/block1/conv_dw/Conv"


def sqnr_db(exact: np.ndarray, held: np.ndarray) -> float:
    exact, held = exact.astype(np.float64), held.astype(np.float64)
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - held)))


@pytest.fixture(scope="module")
def dscnn():
    folder = open_folder(DSCNN)
    return compare_variants(folder.variants)


@pytest.fixture(scope="module")
def trouble(dscnn) -> WeightOnTrial:
    return open_weight(dscnn, "UINT8", TROUBLE)


@pytest.fixture
def matmul() -> WeightOnTrial:
    return open_matmul()


def test_today_is_what_the_file_holds(trouble):
    arrays = {t.name: t for t in onnx.load(DSCNN / "uint8.onnx").graph.initializer}
    q = next(n for n in arrays if "block1.conv_dw.weight" in n and n.endswith("_quantized"))
    stem = q.removesuffix("_quantized")
    scale, zero = (numpy_helper.to_array(arrays[f"{stem}_{k}"]) for k in ("scale", "zero_point"))
    held = (numpy_helper.to_array(arrays[q]).astype(np.float32) - zero.astype(np.float32)) * scale
    exact = numpy_helper.to_array(
        next(t for t in onnx.load(DSCNN / "fp32.onnx").graph.initializer if t.name == stem)
    )
    current = trouble.attempt(trouble.scheme).current
    assert current.scheme == Scheme("uint8", symmetric=False)
    assert current.sqnr_db == pytest.approx(sqnr_db(exact, held), abs=1e-4)
    worst = min(sqnr_db(x, v) for x, v in zip(exact, held, strict=True))
    assert current.worst_channel_sqnr_db == pytest.approx(worst, abs=1e-3)
    assert current.byte_count == held.size + 4 + 1


def test_a_tried_scheme_is_what_plain_arithmetic_makes_of_the_weight(matmul):
    exact = matmul.original
    scale = (np.abs(exact).max(axis=0) / 127).astype(np.float32)
    held = np.clip(np.rint(exact / scale), -128, 127) * scale
    tried = matmul.attempt(Scheme("int8", "per-channel")).proposed
    assert tried.sqnr_db == pytest.approx(sqnr_db(exact, held), abs=1e-3)
    expected = [sqnr_db(exact[:, i], held[:, i]) for i in range(SHAPE[1])]
    np.testing.assert_allclose(tried.channel_sqnr_db, expected, atol=1e-3)
    assert tried.byte_count == exact.size + SHAPE[1] * (4 + 1)


@pytest.mark.parametrize("scheme", [Scheme("int2"), Scheme("int8", "per-channel")])
def test_the_three_histograms_share_bins_that_hold_every_weight(matmul, scheme):
    trial = matmul.attempt(scheme)
    counts = (trial.original_counts, trial.current.counts, trial.proposed.counts)
    assert [int(one.sum()) for one in counts] == [matmul.original.size] * 3
    for array, found in ((matmul.original, counts[0]), (matmul.current_values, counts[1])):
        np.testing.assert_array_equal(found, np.histogram(array, trial.edges)[0])


def test_weights_that_are_not_finite_are_left_out_of_the_bins_of_today(matmul):
    held = matmul.current_values.copy()
    held[0, 0] = np.inf
    trial = replace(matmul, current_values=held).attempt(Scheme())
    assert np.isfinite(trial.edges).all()
    assert int(trial.current.counts.sum()) == held.size - 1


def test_what_onnxruntime_cannot_run_says_why(trouble):
    assert trouble.attempt(Scheme("int8")).why_not_run is None
    assert "float8e5m2" in (trouble.attempt(Scheme("float8e5m2")).why_not_run or "")


def test_the_candidates_leave_today_out_and_the_best_worst_channel_is_first(trouble):
    found = trouble.list_candidates()
    assert trouble.scheme not in [one.scheme for one in found]
    worst = [one.worst_channel_sqnr_db for one in found]
    assert worst == sorted(worst, reverse=True)


def test_a_layer_without_a_float_original_is_refused_in_a_sentence(dscnn):
    comparison = dscnn
    alone = {"UINT8": comparison.variants["UINT8"]}
    with pytest.raises(ValueError, match="no float original"):
        open_weight(compare_variants(alone), "UINT8", TROUBLE)
    with pytest.raises(ValueError, match="left in float"):
        open_weight(comparison, "FP32", TROUBLE)
