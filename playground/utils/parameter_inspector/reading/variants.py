"""A folder -> the model variants in it, named by what the files contain."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..facts import Refusal, RefusalKind
from ..records import Layer, WeightTensor
from ..sharing import SharedCache, identify_folder
from .layers import list_layers
from .model_file import Model, ModelFileError, load_model, printable

_SHORT_NAMES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "float64": "FP64"}


@dataclass(frozen=True, eq=False)
class VariantFolder:
    """The variants of one network: the float original first. ``unreadable``: file name -> why."""

    path: Path
    variants: Mapping[str, Model]
    unreadable: Mapping[str, Refusal]


@dataclass(frozen=True)
class VariantSummary:
    """What one file is.

    Attributes:
        data_types: of its weights, with the number of layers of each, most first.
        weight_count: elements in all weights.
    """

    name: str
    file_name: str
    file_bytes: int
    opset: int
    producer: str
    layer_count: int
    weight_layer_count: int
    quantized_count: int
    float_count: int
    not_understood_count: int
    data_types: Mapping[str, int]
    weight_count: int


def find_networks(root: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the folders under ``root`` that hold ``.onnx`` files, ``root`` itself among them.

    Their names are printable: one that is not UTF-8 could not be sent to a browser.
    """
    root = Path(root)
    folders = sorted({path.parent for path in root.rglob("*.onnx")})
    return {printable(str(f.relative_to(root)) if f != root else root.name): f for f in folders}


_folders: SharedCache[VariantFolder] = SharedCache(size=8)


def open_folder(folder: Path) -> VariantFolder:
    """Open every ``.onnx`` file of ``folder``; one that cannot be read does not hide the others.

    The result is shared by all who ask until a file of the folder changes.
    """
    return _folders.get((str(folder), identify_folder(folder)), lambda: _open_folder(folder))


def leads_out_of(path: Path, folder: Path) -> bool:
    """Return whether a path is a link to something that is not in the folder."""
    try:
        return not path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a dangling or circular link leads nowhere
        return False


def _open_folder(folder: Path) -> VariantFolder:
    models: list[Model] = []
    unreadable: dict[str, Refusal] = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            if leads_out_of(path, folder):
                raise ModelFileError(Refusal(RefusalKind.LINK_OUTSIDE, name=printable(path.name)))
            model = load_model(path)
            list_layers(model)
            models.append(model)
        except ModelFileError as error:
            unreadable[printable(path.name)] = error.refusal
    return VariantFolder(folder, name_variants(models), unreadable)


def name_variants(models: list[Model]) -> dict[str, Model]:
    """Return the models by name, float ones first: FP32, INT8 ...; a tie adds the file's name."""
    labels = [variant_label(model) for model in models]
    repeated = Counter(labels)
    names = [
        f"{label} ({model.name})" if repeated[label] > 1 else label
        for label, model in zip(labels, models, strict=True)
    ]
    for i, name in enumerate(names):
        if name in names[:i]:
            names[i] = f"{name} #{names[:i].count(name) + 1}"
    order = sorted(range(len(models)), key=lambda i: (not is_float(models[i]), names[i]))
    return {names[i]: models[i] for i in order}


def variant_label(model: Model) -> str:
    """Return FP32, INT8 ...: the data type of most of the model's matrices, quantized ones first.

    What stands in an Add or Mul is quantized as activations are, and counts where nothing else is.
    """
    weights = _weights(list_layers(model))
    weights = [w for w in weights if w.slot == "weight" and len(w.shape) > 1] or weights
    quantized = Counter(w.data_type for w in weights if w.is_quantized)
    counted = quantized or Counter(w.data_type for w in weights)
    if not counted:
        return model.name
    data_type = counted.most_common(1)[0][0]
    return _SHORT_NAMES.get(data_type, data_type.upper())


def summarize_variant(name: str, model: Model) -> VariantSummary:
    layers = list_layers(model)
    weights = _weights(layers)
    data_types = Counter(weight.data_type for weight in weights)
    return VariantSummary(
        name=name,
        file_name=printable(model.path.name) if model.path else model.name,
        file_bytes=model.file_bytes,
        opset=model.opset,
        producer=model.producer,
        layer_count=len(layers),
        weight_layer_count=len(weights),
        quantized_count=sum(weight.is_quantized for weight in weights),
        float_count=sum(not weight.is_quantized for weight in weights),
        not_understood_count=sum(bool(layer.not_understood) for layer in layers),
        data_types=dict(data_types.most_common()),
        weight_count=sum(math.prod(weight.shape) for weight in weights),
    )


def is_float(model: Model) -> bool:
    """Whether no weight of a model is quantized."""
    return not any(weight.is_quantized for weight in _weights(list_layers(model)))


def _weights(layers: tuple[Layer, ...]) -> list[WeightTensor]:
    return [layer.weight for layer in layers if layer.weight is not None]
