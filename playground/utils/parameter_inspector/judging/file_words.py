"""The sentences about what a file holds of the original's layers."""

from __future__ import annotations

from ..facts import Evidence
from ..reading.model_file import printable
from ..wording import describe_grid, describe_refusal
from .file_facts import (
    LeftInFloat,
    LostLayers,
    NothingQuantized,
    NotRead,
    OneFactor,
    OtherValues,
    SnappedWeights,
    StrayedChannels,
    TiedWeight,
)
from .phrases import QUANTIZERS, Sentences, counted, list_names, name_channels, spell_nodes
from .quantizing_methods import op_type_to_add


def say_tied_weight(facts: TiedWeight) -> Sentences:
    layers = len(facts.quantized_layers) + len(facts.float_layers)
    return Sentences(
        f"One weight serves {counted(layers, 'layer')}: quantized in "
        f"{list_names(facts.quantized_layers)}, float in {list_names(facts.float_layers)}.",
        f"Quantize both branches or neither: {spell_nodes(facts.nodes)}, or add the float branch's "
        "operator to `op_types_to_quantize`.",
    )


def say_left_in_float(facts: LeftInFloat) -> Sentences:
    are = "is" if len(facts.layers) == 1 else "are"
    return Sentences(
        f"{list_names(facts.layers)} ({counted(len(facts.layers), 'layer')}, {facts.share:.2%} of "
        f"the weights) {are} float; in all, {facts.share_of_all_float:.1%} of this file's weights "
        "are.",
        _left_in_float(facts),
    )


def say_snapped_weights(facts: SnappedWeights) -> Sentences:
    return Sentences(
        f"{counted(len(facts.layers), 'float weight')} with few levels, "
        f"{list_names(facts.layers)}: in {printable(facts.layers[0])} {facts.distinct} distinct "
        f"numbers of {facts.size:,}, "
        f"{describe_grid(facts.grid)}.",
        "Export the model with its quantizers (QuantizeLinear and DequantizeLinear): as it stands "
        "every runtime computes in float.",
    )


def say_nothing_quantized(facts: NothingQuantized) -> Sentences:
    name = facts.name_that_says_so
    called = f", though the file is called {name!r}" if name else ""
    layers = facts.layers_with_quantized_activations
    activations = (
        f"; activations are quantized in {counted(layers, 'layer')}"
        if layers
        else ", and no activation is quantized"
    )
    return Sentences(
        f"All {facts.weights} weights are float{called}{activations}.",
        "Run the quantizer again and save what it returns; a simplifier that ran afterwards may "
        "have folded the codes back into float.",
    )


def say_lost_layers(facts: LostLayers) -> Sentences:
    return Sentences(
        f"{counted(len(facts.layers), 'layer')} of {facts.layer_count} ({facts.weights:,} "
        f"weights) {'is' if len(facts.layers) == 1 else 'are'} missing from this file: "
        f"{list_names(facts.layers)}; {facts.unmatched} of its own match none of the original.",
        "Check that both files come from one export; if they do, name the nodes before quantizing: "
        "a quantizer that finds layers by name loses those without one.",
    )


def say_other_values(facts: OtherValues) -> Sentences:
    by = "order" if facts.pairing is Evidence.ORDER else "name"
    return Sentences(
        f"Paired with {printable(facts.paired_with)} by {by} only: the mean cosine of their "
        f"channels is {facts.cosine:.2f}, where the same weight has at least 0.84.",
        "Compare with the float model that this file was made from; errors against this one are "
        "not shown.",
    )


def say_one_factor(facts: OneFactor) -> Sentences:
    return Sentences(
        f"Every channel is {facts.factor:.4g} times that of the float weight, one factor for all, "
        "which no equalization makes.",
        "Check that the scale is the one the codes were made with.",
    )


def say_strayed_channels(facts: StrayedChannels) -> Sentences:
    return Sentences(
        f"In {len(facts.channels)} of {facts.judged} channels ({name_channels(facts.channels)}) "
        f"the error is more than {facts.steps} steps (rounding makes 0.29) and not by "
        f"clipping; RMSE over the tensor is {facts.rmse_steps:.2f} steps.",
        "Check that the scale is the one the codes were made with and that the float model is the "
        "one they were made from; after quantization-aware training this is expected.",
    )


def say_not_read(facts: NotRead) -> Sentences:
    return Sentences(
        f"Not read: {describe_refusal(facts.refusal)}.",
        "No other rule has judged this layer; open the file that this one was converted or packed "
        "from, or look at the tensor itself.",
    )


def _left_in_float(facts: LeftInFloat) -> str:
    """Return what brings float layers into the quantization, where the quantizer has it."""
    quantizer = QUANTIZERS[facts.method]
    can = [name for name in facts.op_types if name not in facts.op_types_without]
    text = ""
    if can:
        types = sorted({op_type_to_add(facts.method, name) for name in can})
        text = (
            "If that is not meant, take the node off `nodes_to_exclude` and add "
            f"{list_names(types)} to `op_types_to_quantize`."
        )
    if facts.op_types_without:
        without = f"{quantizer} has nothing for {list_names(facts.op_types_without)}: "
        other = "`quantize_static` in QDQ format quantizes it"
        text += f"{' ' if text else ''}{without[0].upper()}{without[1:]}{other}."
    return text
