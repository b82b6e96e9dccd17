"""Write a model again with some weights requantized.

Only what must change changes: the weight, its scale and zero-point, the attributes of its
DequantizeLinear, and the int32 bias that is counted in the weight's scale. The form has to be
DequantizeLinear on a stored weight (QDQ); every other is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ..measuring.comparison import Comparison
from ..reading.layers import layers_by_name
from ..reading.model_file import Model
from ..records import Layer
from .bias_rescaling import change_bias
from .changed_graph import ChangedGraph
from .opset_raising import raise_opset
from .originals import read_original, read_original_bias
from .planning import Plan
from .requantizing import StoredWeight, requantize
from .rewrite_errors import RewriteError
from .runtime_support import why_not_run
from .schemes import Scheme

# Protobuf's limit, with room for what a change adds.
MAX_FILE_BYTES = 2_000_000_000


class Change(NamedTuple):
    """What a layer is to become.

    Attributes:
        weight: what is stored, under ``scheme``, in the layer's frame.
        bias: the float bias, where the current int32 bias is its rounding; None takes the current
            values.
    """

    scheme: Scheme
    weight: StoredWeight
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Saved:
    """What was written. ``file_bytes``, ``current_bytes``: of the new file and of the one it is of.

    ``raised_opset`` is the opset where it had to be raised, else None.
    """

    path: Path
    layers: tuple[str, ...]
    file_bytes: int
    current_bytes: int
    raised_opset: int | None


def create_changes(plan: Plan, comparison: Comparison, variant: str) -> dict[str, Change]:
    """Return the changes of a plan by the variant's layer names, ready to be written.

    Codes that the search has made are taken as they are.

    Raises:
        RewriteError: a weight cannot be quantized so.
    """
    return {
        change.options.name_in_variant: _create_change(
            comparison, variant, change.layer_name, change.proposed.scheme, change.proposed.stored
        )
        for change in plan.changes
    }


def create_change(
    comparison: Comparison, variant: str, layer_name: str, scheme: Scheme
) -> dict[str, Change]:
    """Return the change of one layer to a scheme, ready to be written.

    Raises:
        RewriteError: the weight cannot be quantized so.
    """
    name = comparison.measured(layer_name, variant).layer.name
    return {name: _create_change(comparison, variant, layer_name, scheme)}


def _create_change(
    comparison: Comparison,
    variant: str,
    layer_name: str,
    scheme: Scheme,
    stored: StoredWeight | None = None,
) -> Change:
    layer = comparison.measured(layer_name, variant).layer
    if stored is None:
        stored = quantize_layer(layer, read_original(comparison, variant, layer_name), scheme)
    return Change(scheme, stored, read_original_bias(comparison, variant, layer_name))


def quantize_layer(layer: Layer, original: np.ndarray, scheme: Scheme) -> StoredWeight:
    """Return what a layer's file would store of a float weight, in the layer's frame.

    Raises:
        RewriteError: the layer has no quantized weight, or this one cannot be quantized so.
    """
    weight = layer.weight
    with _naming(layer):
        if weight is None or weight.quantization is None:
            raise RewriteError("its weight is not quantized")
        scale_type = weight.quantization.scale_source.data_type
        return requantize(original, scheme, weight.channel_axis or 0, scale_type).stored


def save_changed_model(model: Model, changes: Mapping[str, Change], out: Path) -> Saved:
    """Write a model with some layers changed to ``out``.

    Args:
        changes: by the layer names of that model.

    Raises:
        RewriteError: a layer or scheme that cannot be written, more than one file can hold, or a
            result that ``onnx.checker`` refuses. Nothing is written then.
        OSError: ``out`` cannot be written.
    """
    path, out = model_path(model), Path(out)
    if out.exists() and out.samefile(path):
        raise RewriteError(f"{out} is the model itself: give the changed one another name")
    layers = layers_by_name(model)
    proto = _load_whole(path)
    changed = [(_find(layers, name), change) for name, change in changes.items()]
    raised = raise_opset(path, proto, [change.scheme for _, change in changed])
    graph = ChangedGraph(proto)
    for layer, change in changed:
        _change_layer(graph, layer, change)
    graph.drop_unused()
    graph.free_fusion_names()
    _check(path, proto)
    content = proto.SerializeToString()
    out.write_bytes(content)
    return Saved(out, tuple(changes), len(content), model.file_bytes, raised)


def write_changed_model(model: Model, changes: Mapping[str, Change]) -> tuple[bytes, Saved]:
    """Return the file that `save_changed_model` writes, and what it says; none is left behind."""
    with TemporaryDirectory() as folder:
        saved = save_changed_model(model, changes, Path(folder) / "changed.onnx")
        return saved.path.read_bytes(), saved


def model_path(model: Model) -> Path:
    """Return where a model is. Raises ``RewriteError`` for one that is in memory only."""
    if model.path is None:
        raise RewriteError(f"{model.name} is no file: save it first")
    return model.path


def _find(layers: Mapping[str, Layer], name: str) -> Layer:
    if name not in layers:
        raise RewriteError(f"the model has no layer {name!r}")
    return layers[name]


def _load_whole(path: Path) -> onnx.ModelProto:
    """Return a model with what it keeps in other files, which one file then holds."""
    proto = onnx.load(path, load_external_data=False)
    stored = [tensor for tensor in proto.graph.initializer if uses_external_data(tensor)]
    try:
        locations = {path.parent / ExternalDataInfo(tensor).location for tensor in stored}
        size = sum(one.stat().st_size for one in (path, *locations))
        if size <= MAX_FILE_BYTES:
            onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # onnx's checks of the path, and missing bytes
        reason = " ".join(str(error).split())[:200]
        raise RewriteError(f"{path.name}: its other files cannot be read: {reason}") from error
    if size > MAX_FILE_BYTES:
        raise RewriteError(
            f"{path.name} and its other files take {size / 1e9:.1f} GB: what would be written is "
            "one ONNX file, which holds 2 GB at most"
        )
    return proto


def _check(path: Path, proto: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker and shape inference raise what they like
        reason = " ".join(str(error).split())[:200]
        raise RewriteError(
            f"{path.name}: onnx.checker refuses the changed model: {reason}"
        ) from error


# ------------------------------------------------- one layer


def _change_layer(graph: ChangedGraph, layer: Layer, change: Change) -> None:
    """Store the weight of a layer, and count its int32 bias in the new scales."""
    weight = layer.weight
    with _naming(layer):
        if weight is None or weight.quantization is None:
            raise RewriteError("its weight is not quantized")
        if reason := why_not_run(layer, change.scheme):
            raise RewriteError(reason)
        node = graph.dequantizer(layer, weight)
        if node is None:
            raise RewriteError(
                f"its weight is stored as {weight.storage}: only DequantizeLinear on a stored "
                "tensor, right before a layer of the main graph, can be written again"
            )
        quantization, codes = change.weight.quantization, change.weight.codes
        if codes.shape != weight.shape:
            raise RewriteError(
                f"the new weight has shape {codes.shape}, the stored one {weight.shape}"
            )
        graph.store(node, quantization, codes)
        change_bias(graph, layer, quantization, change.bias)


@contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    """Begin the sentence of an error with the layer."""
    try:
        yield
    except ValueError as error:
        raise RewriteError(f"layer {layer.name!r}: {error}") from error
