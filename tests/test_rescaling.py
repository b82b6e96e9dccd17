"""What was done to a float weight before it was quantized is found, named, and undone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from folding_cases import (
    EPSILON,
    FACTORS,
    NORMED,
    PLAIN,
    float_conv,
    fold_normed,
    gemm,
    norm_arrays,
    norm_node,
    normed,
    transposed_conv,
)
from models_for_tests import (
    dequantize_node,
    floats,
    make_model,
    onnxruntime_quantizes,
    quantized_statically,
)
from onnx import helper

from playground.utils.parameter_inspector import (
    LayerPair,
    UnavailableError,
    compare_variants,
    find_layer,
    list_layers,
    load_model,
    pair_layers,
)
from playground.utils.parameter_inspector.facts import Evidence, Folding, Refusal, RefusalKind
from playground.utils.parameter_inspector.measuring.weight_sums import sum_weight
from playground.utils.parameter_inspector.pairing import rescaling
from playground.utils.parameter_inspector.streaming import compared_weights as passes
from playground.utils.parameter_inspector.streaming.channel_frame import (
    fold_original,
)


def factor_of(arrays: dict[str, np.ndarray], name: str, epsilon: float = EPSILON) -> np.ndarray:
    """By the definition of BatchNormalization."""
    gamma = arrays[f"{name}.gamma"].astype(np.float64)
    return gamma / np.sqrt(arrays[f"{name}.variance"].astype(np.float64) + epsilon)


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> onnx.ModelProto:
    return fold_normed(tmp_path_factory.mktemp("folding"))


@pytest.fixture(scope="module")
def quantized(folded, tmp_path_factory) -> onnx.ModelProto:
    return quantized_statically(folded, tmp_path_factory.mktemp("static"), per_channel=True)


def pair_of(original: onnx.ModelProto, variant: onnx.ModelProto, layer: str) -> LayerPair:
    pair = pair_layers(load_model(original), load_model(variant)).of_original(layer)
    assert pair is not None
    return pair


# --------------------------------------------------------------- batch-norm


def test_onnxruntime_folds_the_batch_norms_of_this_net(folded):
    assert "BatchNormalization" not in [node.op_type for node in folded.graph.node]


@pytest.mark.parametrize(("layer", "norm"), [("conv1", "bn1"), ("conv2", "bn2")])
def test_a_folded_batch_norm_is_named_with_its_factor(folded, quantized, layer, norm):
    for variant in (folded, quantized):
        pair = pair_of(normed(), variant, layer)
        assert pair.folding == Folding(batch_norm=True)
        assert pair.evidence is Evidence.NAME_AND_VALUES
        np.testing.assert_allclose(pair.original_factor, factor_of(NORMED, norm), rtol=1e-6)


def test_a_batch_norm_that_was_folded_is_listed_as_such_and_not_as_lost(folded, quantized):
    for variant in (folded, quantized):
        made = pair_layers(load_model(normed()), load_model(variant))
        assert made.folded == ("bn1", "bn2")
        assert made.unpaired_original == made.unpaired_variant == ()


def test_the_error_against_the_folded_weight_is_that_of_rounding(quantized):
    rows = compare_variants({"FP32": load_model(normed()), "INT8": load_model(quantized)}).weights
    for layer in ("conv1", "conv2"):
        metrics = rows[layer]["INT8"].metrics
        assert metrics["max_error_steps"] < 0.5001
        assert metrics["worst_channel_sqnr_db"] > 38


def test_epsilon_is_1e_5_where_the_file_leaves_it_out():
    arrays = {"W1": floats(5, 3, 2, 4), **norm_arrays(5, "bn")}
    arrays["bn.variance"][:] = np.float32([1e-5, 2e-5, 3e-5, 1e-4, 1e-6])
    nodes = [
        helper.make_node("Conv", ["x", "W1"], ["c"], "conv"),
        norm_node("c", "y", "bn"),
    ]
    factor = factor_of(arrays, "bn", 1e-5)
    held = (arrays["W1"] * factor[:, None, None, None]).astype(np.float32)
    variant = make_model([helper.make_node("Conv", ["x", "W"], ["y"], "conv")], {"W": held})
    pair = pair_of(make_model(nodes, arrays), variant, "conv")
    assert pair.folding == Folding(batch_norm=True)  # no rescaling that would mend a wrong factor
    np.testing.assert_allclose(pair.original_factor, factor, rtol=1e-6)


def test_a_batch_norm_that_both_have_was_not_folded():
    made = pair_layers(load_model(normed()), load_model(normed()))
    assert {pair.folding for pair in made.pairs} == {None}
    assert {pair.original for pair in made.pairs} >= {"bn1", "bn2"}
    assert made.folded == ()


def test_a_batch_norm_behind_q_and_dq_was_not_folded(tmp_path):
    """Quantized without preparation, Conv and BatchNormalization have Q and DQ between them."""
    variant = quantized_statically(normed(), tmp_path, per_channel=True)
    assert "BatchNormalization" in [node.op_type for node in variant.graph.node]
    made = pair_layers(load_model(normed()), load_model(variant))
    assert made.folded == ()
    assert {pair.folding for pair in made.pairs} == {None}


def test_the_error_of_a_layer_before_a_kept_batch_norm_is_that_of_rounding(tmp_path):
    variant = quantized_statically(normed(), tmp_path, per_channel=True)
    rows = compare_variants({"FP32": load_model(normed()), "INT8": load_model(variant)}).weights
    assert rows["conv1"]["INT8"].metrics["max_error_steps"] < 0.5001


def alike(*kept: bool, named: bool) -> onnx.ModelProto:
    """Return three Conv of one shape, each with its batch-norm kept or folded into it."""
    nodes, arrays, last = [], {}, "x"
    for i, keep in enumerate(kept):
        norm = norm_arrays(4, f"bn{i}", seed=i)
        weight = floats(4, 4, 2, 3, seed=i)
        conv, after = (f"conv{i}", f"bn{i}") if named else (f"a{i}", f"b{i}")
        if keep:
            nodes.append(helper.make_node("Conv", [last, f"W{i}"], [f"c{i}"], conv))
            nodes.append(norm_node(f"c{i}", f"n{i}", f"bn{i}", epsilon=EPSILON))
            nodes[-1].name, last = after, f"n{i}"
            arrays |= norm
        else:
            factor = factor_of(norm, f"bn{i}")[:, None, None, None]
            weight = (weight * factor).astype(np.float32)
            nodes.append(helper.make_node("Conv", [last, f"W{i}"], [f"c{i}"], conv))
            last = f"c{i}"
        arrays[f"W{i}"] = weight
    return make_model(nodes, arrays, inputs={"x": (1, 4, 9, 8)}, outputs=[last])


@pytest.mark.parametrize("named", [True, False], ids=["names kept", "nodes renamed"])
def test_of_several_batch_norms_those_that_were_folded_are_named(named):
    original, variant = alike(True, True, True, named=True), alike(False, True, False, named=named)
    made = pair_layers(load_model(original), load_model(variant))
    assert made.folded == ("bn0", "bn2")
    found = {pair.original: pair.folding for pair in made.pairs}
    folded = Folding(batch_norm=True)
    assert found == {"conv0": folded, "conv1": None, "bn1": None, "conv2": folded}
    assert made.unpaired_original == made.unpaired_variant == ()


def test_a_batch_norm_that_is_not_the_only_reader_cannot_have_been_folded():
    arrays = {"W1": floats(5, 3, 2, 4), **norm_arrays(5, "bn")}
    nodes = [
        helper.make_node("Conv", ["x", "W1"], ["c"], "conv"),
        norm_node("c", "n", "bn", epsilon=EPSILON),
        helper.make_node("Add", ["n", "c"], ["y"], "add"),
    ]
    made = pair_layers(load_model(make_model(nodes, arrays)), load_model(float_conv(arrays["W1"])))
    pair = made.of_original("conv")
    assert (pair.folding, pair.original_factor) == (None, None)
    assert (made.folded, made.unpaired_original) == ((), ("bn",))


# --------------------------------------------------------------- channels rescaled


def quantized_conv(weight: np.ndarray) -> onnx.ModelProto:
    """Return a Conv of int8 codes, one scale for each output channel, by onnxruntime's rounding."""
    s = (np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127).astype(np.float32)
    z = np.zeros(len(weight), np.int8)
    q = onnxruntime_quantizes(weight.astype(np.float32), s, z, axis=0).astype(np.int8)
    nodes = [
        dequantize_node(axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    return make_model(nodes, {"q": q, "s": s, "z": z})


def rescaled(weight: np.ndarray = PLAIN, factors: np.ndarray = FACTORS) -> np.ndarray:
    return weight * factors[:, None, None, None]


def test_rescaled_channels_are_called_equalization_with_lowest_and_highest_factor():
    pair = pair_of(float_conv(PLAIN), quantized_conv(rescaled()), "conv")
    assert pair.folding == Folding(rescaled=pytest.approx((0.25, 3.5), rel=0.02))
    np.testing.assert_allclose(pair.original_factor, FACTORS, rtol=0.01)


def test_a_weight_cut_off_while_its_factors_are_measured_is_paired_without_them(
    monkeypatch,
):
    def cut_off(match):
        raise UnavailableError(Refusal(RefusalKind.DATA_SHRANK))

    monkeypatch.setattr(rescaling, "_measure_factors", cut_off)
    pair = pair_of(float_conv(PLAIN), quantized_conv(rescaled()), "conv")
    assert (pair.evidence, pair.folding) == (Evidence.NAME_AND_VALUES, None)


def test_factors_are_measured_alike_chunk_by_chunk(monkeypatch):
    models = float_conv(PLAIN), quantized_conv(rescaled())
    whole = pair_of(*models, "conv").original_factor
    monkeypatch.setattr(passes, "CHUNK_ELEMENTS", 7)
    np.testing.assert_allclose(pair_of(*models, "conv").original_factor, whole, rtol=1e-12)


def test_the_error_against_the_rescaled_weight_is_that_of_rounding():
    variants = {
        "FP32": load_model(float_conv(PLAIN)),
        "INT8": load_model(quantized_conv(rescaled())),
    }
    metrics = compare_variants(variants).weights["conv"]["INT8"].metrics
    assert metrics["worst_channel_sqnr_db"] > 35
    assert metrics["max_error_steps"] < 0.7


def test_without_the_factor_that_error_would_be_larger_than_the_weight():
    models = load_model(float_conv(PLAIN)), load_model(quantized_conv(rescaled()))
    (ours,), (theirs,) = (list_layers(model) for model in models)
    sums = sum_weight(theirs.weight, theirs, ours.weight, ours)
    assert sums.e_square.sum() > sums.x_square.sum()


def test_channels_whose_sign_was_turned_have_negative_factors():
    factors = np.float32([-1, 2, -0.5, 3.5, 1])
    pair = pair_of(float_conv(PLAIN), quantized_conv(rescaled(factors=factors)), "conv")
    np.testing.assert_allclose(pair.original_factor, factors, rtol=0.01)


def test_rounding_alone_is_no_rescaling():
    pair = pair_of(float_conv(PLAIN), quantized_conv(PLAIN), "conv")
    assert (pair.folding, pair.original_factor) == (None, None)


def test_one_channel_of_many_that_differs_is_no_rescaling():
    factors = np.float32([1, 1, 1, 3, 1])
    pair = pair_of(float_conv(PLAIN), quantized_conv(rescaled(factors=factors)), "conv")
    assert (pair.folding, pair.original_factor) == (None, None)


def test_a_channel_that_points_elsewhere_keeps_factor_1_among_the_rescaled():
    held = rescaled()
    held[2] = floats(3, 2, 4, seed=99)
    pair = pair_of(float_conv(PLAIN), quantized_conv(held), "conv")
    wanted = np.where(np.arange(5) == 2, 1, FACTORS)
    np.testing.assert_allclose(pair.original_factor, wanted, rtol=0.01)


def test_weights_trained_again_are_no_rescaling():
    pair = pair_of(float_conv(PLAIN), quantized_conv(floats(5, 3, 2, 4, seed=9)), "conv")
    assert (pair.evidence, pair.folding) == (Evidence.NAME_ONLY, None)


@pytest.mark.parametrize("order", ["norm first", "names lost"])
def test_a_batch_norm_folded_and_channels_rescaled_are_both_named(order):
    factor = factor_of(NORMED, "bn1")
    held = rescaled(NORMED["W1"] * factor[:, None, None, None].astype(np.float32))
    variant = quantized_conv(held)
    variant.graph.node[-1].name = "conv1" if order == "norm first" else "else"
    pair = pair_of(normed(), variant, "conv1")
    rescaled_by = pytest.approx((0.25, 3.5), rel=0.02)
    assert pair.folding == Folding(batch_norm=True, rescaled=rescaled_by)
    np.testing.assert_allclose(pair.original_factor, factor * FACTORS, rtol=0.01)


def test_more_channels_than_the_sample_holds_are_all_rescaled():
    weight = floats(150, 6)
    factors = np.exp(np.random.default_rng(3).normal(size=150)).astype(np.float32)
    original, variant = (
        make_model(
            [helper.make_node("Gemm", ["x", "W"], ["y"], "fc", transB=1)],
            {"W": w},
            inputs={"x": (2, 6)},
        )
        for w in (weight, weight * factors[:, None])
    )
    pair = pair_of(original, variant, "fc")
    np.testing.assert_allclose(pair.original_factor, factors, rtol=1e-5)


def test_more_channels_than_the_sample_holds_are_folded_with_their_own_factor():
    """The sample takes channels apart; the batch-norm's factor must be taken at the same ones."""
    arrays = {"W1": floats(150, 3, 2, 4), **norm_arrays(150, "bn")}
    nodes = [
        helper.make_node("Conv", ["x", "W1"], ["c"], "conv"),
        norm_node("c", "y", "bn", epsilon=EPSILON),
    ]
    factor = factor_of(arrays, "bn")
    held = (arrays["W1"] * factor[:, None, None, None]).astype(np.float32)
    pair = pair_of(make_model(nodes, arrays), float_conv(held), "conv")
    assert pair.folding == Folding(batch_norm=True)
    np.testing.assert_allclose(pair.original_factor, factor, rtol=1e-6)


# --------------------------------------------------------------- alpha


def test_a_folded_alpha_is_named_with_its_value():
    weight = floats(7, 5)
    pair = pair_of(gemm(weight, alpha=0.4), gemm(0.4 * weight), "fc")
    assert pair.folding == Folding(alpha=pytest.approx(0.4))
    np.testing.assert_allclose(pair.original_factor, np.full(5, 0.4), rtol=1e-6)


def test_an_alpha_that_both_have_was_not_folded():
    weight = floats(7, 5)
    pair = pair_of(gemm(weight, alpha=0.4), gemm(weight, alpha=0.4), "fc")
    assert (pair.folding, pair.original_factor) == (None, None)


def test_channels_rescaled_by_something_else_than_alpha_are_called_rescaled():
    weight = floats(7, 5)
    pair = pair_of(gemm(weight, alpha=0.4), gemm(weight * FACTORS), "fc")
    assert pair.folding.rescaled is not None
    np.testing.assert_allclose(pair.original_factor, FACTORS, rtol=1e-5)


# --------------------------------------------------------------- ConvTranspose


@pytest.mark.parametrize("group", [1, 3])
def test_rescaled_channels_of_convtranspose_are_found_in_groups_too(group):
    weight = floats(6, 5, 2, 4)
    factors = np.linspace(0.3, 3, 5 * group).astype(np.float32)
    held = np.concatenate(
        [
            part * factors[g * 5 : (g + 1) * 5][None, :, None, None]
            for g, part in enumerate(np.split(weight, group))
        ]
    )
    pair = pair_of(transposed_conv(weight, group), transposed_conv(held, group), "up")
    assert pair.folding.rescaled is not None
    np.testing.assert_allclose(pair.original_factor, factors, rtol=1e-5)


@pytest.mark.parametrize("group", [1, 3])
def test_a_batch_norm_folded_into_convtranspose_is_undone_in_groups_too(group):
    weight, arrays = floats(6, 5, 2, 4), norm_arrays(5 * group, "bn")
    original = transposed_conv(
        weight, group, (norm_node("c", "y", "bn", epsilon=EPSILON),), **arrays
    )
    factor = factor_of(arrays, "bn")
    held = np.concatenate(
        [
            part * factor[g * 5 : (g + 1) * 5][None, :, None, None]
            for g, part in enumerate(np.split(weight, group))
        ]
    ).astype(np.float32)
    variant = transposed_conv(held, group)
    models = load_model(original), load_model(variant)
    pair = pair_layers(*models).of_original("up")
    assert pair.folding == Folding(batch_norm=True)
    layer = find_layer(models[0], "up")
    folded = fold_original(layer.weight.values, layer.weight, pair)
    np.testing.assert_allclose(folded, held, rtol=1e-5)


def test_float16_batch_norms_are_folded_in_float64():
    arrays = {k: v.astype(np.float16) for k, v in norm_arrays(5, "bn").items()}
    arrays["W1"] = floats(5, 3, 2, 4).astype(np.float16)
    nodes = [
        helper.make_node("Conv", ["x", "W1"], ["c"], "conv"),
        norm_node("c", "y", "bn", epsilon=EPSILON),
    ]
    factor = factor_of(arrays, "bn")
    held = (arrays["W1"] * factor[:, None, None, None]).astype(np.float32)
    pair = pair_of(make_model(nodes, arrays), float_conv(held), "conv")
    assert pair.folding == Folding(batch_norm=True)
    np.testing.assert_allclose(pair.original_factor, factor, rtol=1e-9)
