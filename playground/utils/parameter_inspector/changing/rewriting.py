"""Write a model again with some weights requantized, and run it to see what that is worth.

Only what must change changes: the weight, its scale and zero-point, the attributes of its
DequantizeLinear, and the int32 bias that is counted in the weight's scale. The form has to be
DequantizeLinear on a stored weight (QDQ); every other is refused with a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ..measuring.comparison import Comparison
from ..quantization import Quantization, numpy_dtype
from ..reading.layers import list_layers
from ..reading.model_file import load_model
from ..records import Layer, WeightTensor
from .planning import Plan, read_exact, read_exact_bias, why_not_run
from .schemes import Scheme, requantize

DEQUANTIZE = "DequantizeLinear"
MICROSOFT = "com.microsoft"
# What onnxruntime's own DequantizeLinear takes, whatever the opset.
MICROSOFT_TYPES = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
INT32 = np.iinfo(np.int32)

# The first opset whose DequantizeLinear takes the codes. Source: onnx/docs/Changelog.md.
FIRST_OPSETS = {
    "int8": 10, "uint8": 10, "float8e4m3fn": 19, "float8e5m2": 19, "int16": 21, "uint16": 21,
    "int4": 21, "uint4": 21, "float4e2m1": 23, "int2": 25, "uint2": 25,
}  # fmt: skip
PER_CHANNEL_OPSET, BLOCKS_OPSET = 13, 21
# What onnxruntime's MatMulAddFusion calls its constants. A float weight lets it fuse again, and it
# fails where a file that it has optimized before holds those names.
FUSION_NAMES = ("gemm_input_shape", "gemm_output_shape")
# Protobuf's limit, with room for what a change adds.
MAX_FILE_BYTES = 2_000_000_000


class RewriteError(ValueError):
    """Why a model cannot be written with that change, in one sentence."""


class Change(NamedTuple):
    """What a layer is to become.

    ``values`` is the float weight in the layer's frame, folded as the variant folded it; ``bias``
    the float bias, where today's int32 bias is its rounding; None takes today's values.
    """

    scheme: Scheme
    values: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Saved:
    """What was written. ``file_bytes``, ``today_bytes``: of the new file and of the one it is of.

    ``raised_opset`` is the opset where it had to be raised, else None.
    """

    path: Path
    layers: tuple[str, ...]
    file_bytes: int
    current_bytes: int
    raised_opset: int | None


def create_changes(plan: Plan, comparison: Comparison, variant: str) -> dict[str, Change]:
    """Return the changes of a plan by the variant's layer names, ready to be saved."""
    return {
        change.options.layer: Change(
            change.after.scheme,
            read_exact(comparison, variant, change.layer_name),
            read_exact_bias(comparison, variant, change.layer_name),
        )
        for change in plan.changes
    }


def create_change(
    comparison: Comparison, variant: str, layer_name: str, scheme: Scheme
) -> dict[str, Change]:
    """Return the change of one layer to a scheme, ready to be saved."""
    values = read_exact(comparison, variant, layer_name)
    bias = read_exact_bias(comparison, variant, layer_name)
    return {comparison.measured(layer_name, variant).layer.name: Change(scheme, values, bias)}


def save_changed_model(
    path: Path, changes: Mapping[str, Change | tuple[Scheme, np.ndarray]], out: Path
) -> Saved:
    """Write the model at ``path`` with some layers requantized to ``out``.

    Args:
        changes: by the layer names of that model.

    Raises:
        RewriteError: a layer or scheme that cannot be written, more than one file can hold, or a
            result that ``onnx.checker`` refuses. Nothing is written then.
        ModelFileError: the file is not a model.
        OSError: ``out`` cannot be written.
    """
    path, out = Path(path), Path(out)
    if out.exists() and out.samefile(path):
        raise RewriteError(f"{out} is the model itself: give the changed one another name")
    layers = {layer.name: layer for layer in list_layers(load_model(path))}
    proto = _load_whole(path)
    wanted = [(_find(layers, name), Change(*change)) for name, change in changes.items()]
    raised = _raise_opset(path, proto, [change.scheme for _, change in wanted])
    graph = _Graph(proto)
    for layer, change in wanted:
        _change_layer(graph, layer, change)
    graph.drop_unused()
    graph.free_fusion_names()
    _check(path, proto)
    content = proto.SerializeToString()
    out.write_bytes(content)
    return Saved(out, tuple(changes), len(content), path.stat().st_size, raised)


def write_changed_model(
    path: Path, changes: Mapping[str, Change | tuple[Scheme, np.ndarray]]
) -> tuple[bytes, Saved]:
    """Return the file that `save_changed_model` writes, and what it says; none is left behind."""
    with TemporaryDirectory() as folder:
        saved = save_changed_model(path, changes, Path(folder) / "changed.onnx")
        return saved.path.read_bytes(), saved


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


def _change_layer(graph: _Graph, layer: Layer, change: Change) -> None:
    """Requantize the weight of a layer, and its int32 bias with it."""
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
        if change.values.shape != weight.shape:
            raise RewriteError(
                f"the new weight has shape {change.values.shape}, the stored one {weight.shape}"
            )
        scale_type = weight.quantization.scale_source.data_type
        done = requantize(change.values, change.scheme, weight.channel_axis or 0, scale_type)
        graph.store(node, done.quantization, done.codes)
        _change_bias(graph, layer, done.quantization, change.bias)


@contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    """Begin the sentence of an error with the layer."""
    try:
        yield
    except ValueError as error:
        raise RewriteError(f"layer {layer.name!r}: {error}") from error


def _change_bias(
    graph: _Graph, layer: Layer, quantization: Quantization, exact: np.ndarray | None
) -> None:
    """Count an int32 bias in input scale times weight scale, as integer kernels want it.

    Blocks have no such scale: no integer kernel adds their bias, which stays as it is.
    """
    bias = layer.bias
    if bias is None or bias.quantization is None or bias.data_type != "int32":
        return
    input_scale = _input_scale(layer)
    if input_scale is None or quantization.block_size is not None:
        return
    node = graph.dequantizer(layer, bias)
    if node is None:  # an Add of its own, which no integer kernel takes in
        return
    values = bias.values if exact is None else exact
    scale = _bias_scale(input_scale, quantization, values.size)
    codes = np.rint(values.astype(np.float64).reshape(-1) / scale.astype(np.float64))
    if np.any((codes < INT32.min) | (codes > INT32.max)):
        raise RewriteError(
            f"its bias does not fit into int32 under {_spell(quantization)}: input scale times "
            f"weight scale is down to {scale.min():.3g}"
        )
    graph.store_bias(node, codes.reshape(values.shape).astype(np.int32), scale)


def _input_scale(layer: Layer) -> np.ndarray | None:
    activation = layer.inputs[0].quantization if layer.inputs else None
    return activation.scale.reshape(-1)[:1] if activation is not None else None


def _bias_scale(input_scale: np.ndarray, quantization: Quantization, size: int) -> np.ndarray:
    """Return the scale of the bias, of shape () or (size,), never zero."""
    product = (input_scale * quantization.scale.reshape(-1)).astype(quantization.scale.dtype)
    if not np.all(product > 0):
        raise RewriteError("input scale times weight scale is not above zero: no bias can be in it")
    if product.size == 1:
        return product.reshape(())
    if size % product.size:
        raise RewriteError(f"its bias has {size} numbers, the weight {product.size} scales")
    return np.tile(product, size // product.size)  # ConvTranspose: each group has the same ones


def _spell(quantization: Quantization) -> str:
    return f"{quantization.data_type} {quantization.granularity}"


# ------------------------------------------------- the graph


class _Graph:
    """The main graph of a model that is being changed: who makes and who reads each tensor."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.graph = proto, proto.graph
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.readers: dict[str, int] = {}
        for name in _names_read(self.graph):
            self.readers[name] = self.readers.get(name, 0) + 1
        self.replaced: set[str] = set()

    def dequantizer(self, layer: Layer, parameter: WeightTensor) -> onnx.NodeProto | None:
        """Return the DequantizeLinear between a stored parameter and its layer.

        None where the parameter does not reach the layer in this form.

        Raises:
            RewriteError: other layers read the parameter too, or it can be given from outside.
        """
        owner = self.producers.get(layer.output_names[0] if layer.output_names else "")
        if owner is None or owner.op_type != layer.op_type:
            return None  # in a function or a branch, or one of the operators it was split into
        for name in owner.input:
            node = self.producers.get(name)
            if node is None or node.op_type != DEQUANTIZE or node.input[0] != parameter.name:
                continue
            self._check(node, parameter)
            return node
        return None

    def _check(self, node: onnx.NodeProto, parameter: WeightTensor) -> None:
        given = {value.name for value in self.graph.input}
        for name in filter(None, node.input):
            if name not in self.tensors or name in given:
                raise RewriteError(f"{name!r} of its {parameter.slot} is no plain initializer")
        if self.readers.get(node.output[0], 0) != 1:
            raise RewriteError(f"its {parameter.slot} is shared with another layer")

    def store(self, node: onnx.NodeProto, quantization: Quantization, codes: np.ndarray) -> None:
        """Put codes, scale and zero-point behind a DequantizeLinear, and say so in its attributes.

        Raises:
            RewriteError: onnxruntime's own DequantizeLinear does not take the codes.
        """
        data_type = quantization.data_type
        if node.domain == MICROSOFT and data_type not in MICROSOFT_TYPES:
            raise RewriteError(f"com.microsoft's DequantizeLinear does not take {data_type}")
        if node.domain == MICROSOFT and quantization.block_size is not None:
            raise RewriteError("com.microsoft's DequantizeLinear does not take blocks")
        arrays = [codes, quantization.scale, quantization.zero_point]
        self._replace(node, arrays)
        _set_attribute(node, "axis", quantization.axis)
        _set_attribute(node, "block_size", quantization.block_size)

    def store_bias(self, node: onnx.NodeProto, codes: np.ndarray, scale: np.ndarray) -> None:
        self._replace(node, [codes, scale, np.zeros(scale.shape, np.int32)])
        _set_attribute(node, "axis", codes.shape.index(scale.size) if scale.ndim else None)

    def _replace(self, node: onnx.NodeProto, arrays: Sequence[np.ndarray]) -> None:
        """Give a node new constants; a constant that others read too stays, under its own name."""
        stem = node.input[0]
        names = list(node.input)
        names += [""] * (len(arrays) - len(names))
        for i, (array, ending) in enumerate(
            zip(arrays, ("", "_scale", "_zero_point"), strict=True)
        ):
            shared = not names[i] or self.readers[names[i]] != 1
            name = self._new_name(f"{stem}{ending}") if shared else names[i]
            self._put(name, array)
            names[i] = name
        del node.input[:]
        node.input.extend(names)

    def _new_name(self, stem: str) -> str:
        taken = {*self.tensors, *self.producers, *(value.name for value in self.graph.input)}
        name, number = f"{stem}_requantized", 2
        while name in taken:
            name, number = f"{stem}_requantized_{number}", number + 1
        return name

    def _put(self, name: str, array: np.ndarray) -> None:
        tensor = numpy_helper.from_array(array, name)
        self.replaced.add(name)
        if name in self.tensors:
            self.tensors[name].CopyFrom(tensor)
            return
        self.readers[name] = 1
        self.graph.initializer.append(tensor)
        self.tensors[name] = self.graph.initializer[-1]

    def drop_unused(self) -> None:
        """Drop constants that lost their last reader, and what was said of the type of others."""
        used = set(_names_read(self.graph))
        for tensor in list(self.graph.initializer):
            if tensor.name not in used and self.readers.get(tensor.name):
                self.graph.initializer.remove(tensor)
        for value in list(self.graph.value_info):
            if value.name in self.replaced:
                self.graph.value_info.remove(value)

    def free_fusion_names(self) -> None:
        """Give the constants of an earlier fusion other names."""
        ends = {value.name for value in (*self.graph.input, *self.graph.output)}
        taken = [n for n in self.tensors if n.startswith(FUSION_NAMES) and n not in ends]
        names = {name: self._new_name(f"earlier_{name}") for name in taken}
        for tensor in self.graph.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        _rename_reads(self.graph, names)


def _rename_reads(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_reads(inner, names)


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield every name that a node or an output reads, in this graph and in those inside it."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names_read(inner)


def _set_attribute(node: onnx.NodeProto, name: str, value: int | None) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))


# ------------------------------------------------- the opset


def needed_opset(scheme: Scheme) -> int:
    """Return the first opset whose DequantizeLinear takes a scheme."""
    least = FIRST_OPSETS[scheme.data_type]
    by_granularity = {"per-channel": PER_CHANNEL_OPSET, "per-block": BLOCKS_OPSET}
    return max(least, by_granularity.get(scheme.granularity, 0))


def _raise_opset(path: Path, proto: onnx.ModelProto, schemes: Sequence[Scheme]) -> int | None:
    """Raise the opset as far as the schemes ask for, and return it; None leaves it."""
    entry = next((one for one in proto.opset_import if one.domain in ("", "ai.onnx")), None)
    needed = max(map(needed_opset, schemes), default=0)
    if entry is None or entry.version >= needed:
        return None
    strangers = _changed_operators(proto.graph, entry.version, needed)
    if strangers or proto.functions:
        converted = _convert(path, proto, needed)
        proto.CopyFrom(converted)
    else:
        entry.version = needed
    least = onnx.helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    proto.ir_version = max(proto.ir_version, least)
    return needed


def _changed_operators(graph: onnx.GraphProto, old: int, new: int) -> set[str]:
    """Return the operators whose inputs or attributes mean something else in the newer opset."""
    found = set()
    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not _is_unchanged(node.op_type, old, new):
            found.add(node.op_type)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _changed_operators(inner, old, new)
    return found


def _is_unchanged(op_type: str, old: int, new: int) -> bool:
    """Whether an operator only learnt new types, inputs at the end or attributes with a default."""
    try:
        before, after = onnx.defs.get_schema(op_type, old), onnx.defs.get_schema(op_type, new)
    except onnx.defs.SchemaError:
        return False
    if after.deprecated:
        return False
    if before.since_version == after.since_version:
        return True
    if op_type in ("Split", "Resize", "GroupNormalization"):  # the same words, another meaning
        return False
    names = [one.name for one in before.inputs]
    kept = [one.name for one in after.inputs][: len(names)] == names
    kept = kept and after.min_input <= before.min_input
    for name, attribute in before.attributes.items():
        now = after.attributes.get(name)
        same = now is not None and now.default_value == attribute.default_value
        kept = kept and same
    new_ones = set(after.attributes) - set(before.attributes)
    return kept and not any(after.attributes[name].required for name in new_ones)


def _convert(path: Path, proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(proto, version)
    except Exception as error:  # a C++ library: RuntimeError, ConvertError and others
        reason = " ".join(str(error).split())[:200]
        raise RewriteError(
            f"{path.name} cannot be raised to opset {version}, which the scheme asks for: {reason}"
        ) from error


# ------------------------------------------------- the truth


@dataclass(frozen=True)
class VariantTruth:
    """What one model did on the samples.

    Attributes:
        accuracy: share of samples whose highest score stands at the label; None without labels.
        output_sqnr_db: of the outputs against the float model's; None for that model itself.
    """

    accuracy: float | None
    output_sqnr_db: float | None


@dataclass(frozen=True)
class Truth:
    """The float model, today's and the changed one, run by onnxruntime on the same samples."""

    sample_count: int
    exact: VariantTruth
    current: VariantTruth
    changed: VariantTruth


def can_measure() -> bool:
    """Whether onnxruntime is installed; it is not imported for that."""
    return find_spec("onnxruntime") is not None


def measure_changes(
    exact: Path,
    current: Path,
    changes: Mapping[str, Change | tuple[Scheme, np.ndarray]],
    samples: Path,
) -> Truth:
    """Run the float model, today's, and today's with changes, which is written for that only.

    Raises:
        RewriteError: as `save_changed_model` and `measure_truth`.
    """
    with TemporaryDirectory() as folder:
        saved = save_changed_model(current, changes, Path(folder) / "changed.onnx")
        return measure_truth(exact, current, saved.path, samples)


def measure_truth(exact: Path, current: Path, changed: Path, samples: Path) -> Truth:
    """Run three models on ``samples.npz``: the inputs by name, and ``labels`` where there are any.

    Inputs are cast to what the model wants. The SQNR is of all outputs together, the accuracy of
    the first one.

    Raises:
        RewriteError: onnxruntime is not installed, the samples do not fit the model, or a model
            does not run. The message is one sentence.
    """
    arrays = _read_samples(samples)
    labels = arrays.pop("labels", None)
    outputs = [_run(path, arrays) for path in (exact, current, changed)]
    truths = [
        VariantTruth(_accuracy(found[0], labels), _output_sqnr_db(outputs[0], found) if i else None)
        for i, found in enumerate(outputs)
    ]
    return Truth(len(next(iter(arrays.values()))), *truths)


def _read_samples(samples: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(samples, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise RewriteError(f"{Path(samples).name} cannot be read as samples: {error}") from error
    if not set(arrays) - {"labels"}:
        raise RewriteError(f"{Path(samples).name} holds no input")
    return arrays


def _run(path: Path, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise RewriteError("onnxruntime is not installed: install it to measure") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        feeds = _feeds(session.get_inputs(), arrays)
        return [np.asarray(one) for one in session.run(None, feeds)]
    except RewriteError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise RewriteError(f"{Path(path).name} does not run on the samples: {reason}") from error


def _feeds(inputs: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [one.name for one in inputs if one.name not in arrays]
    if missing:
        raise RewriteError(
            f"the samples hold {', '.join(arrays)} but the model asks for {', '.join(missing)}"
        )
    return {one.name: arrays[one.name].astype(_input_dtype(one.type)) for one in inputs}


def _input_dtype(spelled: str) -> np.dtype:
    """Return the dtype of ``tensor(float)``, as onnxruntime spells it."""
    name = spelled.removeprefix("tensor(").removesuffix(")")
    return numpy_dtype({"float": "float32", "double": "float64"}.get(name, name))


def _accuracy(scores: np.ndarray, labels: np.ndarray | None) -> float | None:
    if labels is None or not labels.size:
        return None
    if scores.shape[:1] != labels.shape:
        raise RewriteError(f"{labels.size} labels do not fit scores of shape {scores.shape}")
    return float((scores.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def _output_sqnr_db(exact: Sequence[np.ndarray], held: Sequence[np.ndarray]) -> float:
    """20*log10(norm(y) / norm(y - held)) over all outputs, in dB."""
    signal = error = 0.0
    for y, v in zip(exact, held, strict=True):
        wide = y.astype(np.float64)
        signal += float(np.square(wide).sum())
        error += float(np.square(wide - v.astype(np.float64)).sum())
    if signal == 0:
        return math.nan
    return 10 * math.log10(signal / error) if error else math.inf
