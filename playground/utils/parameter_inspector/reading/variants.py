"""A folder -> the model variants in it, named by what the files contain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..facts import Refusal, RefusalKind
from ..records import Layer, WeightTensor
from ..sharing import MOST_MODELS, Place, SharedCache, identify_file, list_model_files
from .alike_names import number_alike
from .layers import list_layers
from .model_file import Model, printable
from .networks import refuse_folder
from .openings import Opening, open_files

_SHORT_NAMES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "float64": "FP64"}


@dataclass(frozen=True, eq=False)
class VariantFolder:
    """The variants of one network: the float original first. ``unreadable``: file name -> why.

    Attributes:
        path: the folder; of files that were named one by one, that of the first.
        opening: the files that nobody waited for any longer; they are unreadable for now.
    """

    path: Path
    variants: Mapping[str, Model]
    unreadable: Mapping[str, Refusal]
    opening: tuple[Opening, ...] = ()


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


_folders: SharedCache[VariantFolder] = SharedCache(size=8)


def open_folder(place: Place, patience: float | None = None) -> VariantFolder:
    """Open every ``.onnx`` file of a folder, or the files that are named.

    One that cannot be read does not hide the others. The result is shared by all who ask until a
    file changes; then only that one is opened again. Each file has ten seconds of processor time.

    Args:
        patience: how many seconds to wait for files that take long. Those that are not open by
            then are unreadable for now, and in ``opening``: ask again when they are done.
    """
    try:
        paths, more = list_model_files(place)
    except OSError as error:
        assert isinstance(place, Path)
        name = printable(place.absolute().name)
        return VariantFolder(place, {}, {name: refuse_folder(name, error)})
    files = [(path, identify_file(path)) for path in paths]
    # A file that is named may be a link: who named it knows where it leads.
    openings = open_files(files, place if isinstance(place, Path) else None, patience)
    done = frozenset(opening for opening in openings if opening.is_done)
    key = str(place), openings, done, more
    return _folders.get(key, lambda: _collect(place, openings, done, more))


def _collect(
    place: Place, openings: Sequence[Opening], done: frozenset[Opening], more: int
) -> VariantFolder:
    """Return the variants as far as their files are open."""
    folder = place if isinstance(place, Path) else place[0].parent
    models = [one.model for one in openings if one in done and one.model is not None]
    left = [one for one in openings if one not in done or one.model is None]
    unreadable = {
        name: (one.refusal if one in done else None)
        or Refusal(RefusalKind.STILL_OPENING, name=printable(one.path.name))
        for name, one in zip(_names_of(left, openings), left, strict=True)
    }
    if more:
        unreadable[f"{more:,} more files"] = Refusal(
            RefusalKind.TOO_MANY_FILES,
            name=printable(folder.absolute().name),
            count=more,
            limit=MOST_MODELS,
        )
    waiting = tuple(opening for opening in openings if opening not in done)
    return VariantFolder(folder, name_variants(name_apart(models)), unreadable, waiting)


def _names_of(some: Sequence[Opening], openings: Sequence[Opening]) -> list[str]:
    """Return what files are called: by their path where another has the same name."""
    counts = Counter(one.path.name for one in openings)
    return number_alike(
        printable(one.path.name if counts[one.path.name] == 1 else str(one.path)) for one in some
    )


def name_apart(models: Sequence[Model]) -> list[Model]:
    """Return the models so that files of one name, from several folders, are called differently."""
    names = Counter(model.name for model in models)
    return [
        replace(model, name=printable(str(model.path.with_suffix(""))))
        if names[model.name] > 1 and model.path
        else model
        for model in models
    ]


def name_variants(models: list[Model]) -> dict[str, Model]:
    """Return the models by name, float ones first: FP32, INT8 ...; a tie adds the file's name."""
    labels = [variant_label(model) for model in models]
    repeated = Counter(labels)
    names = number_alike(
        f"{label} ({model.name})" if repeated[label] > 1 else label
        for label, model in zip(labels, models, strict=True)
    )
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
