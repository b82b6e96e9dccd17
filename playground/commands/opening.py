"""Paths -> models and their weights, for every command that reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from playground.utils import exports
from playground.utils.parameter_inspector import (
    Comparison,
    Model,
    VariantFolder,
    compare_variants,
    describe_refusal,
    load_model,
    look_for_networks,
    name_apart,
    name_variants,
    open_folder,
)

from .failing import CannotReadError
from .saying import progress_bar


def open_models(paths: Sequence[Path]) -> dict[str, Model]:
    """Return the models by variant name, float ones first."""
    repeated = [path for path, n in Counter(path.resolve() for path in paths).items() if n > 1]
    if repeated:
        raise CannotReadError(f"{repeated[0].name} is given twice")
    return name_variants(name_apart([load_model(path) for path in paths]))


def open_given(paths: Sequence[Path]) -> Mapping[str, Model]:
    """Return the models of some files, or all of one folder; raise where one cannot be read."""
    if len(paths) != 1 or not paths[0].is_dir():
        return open_models(paths)
    opened = open_network(paths[0])
    if opened.unreadable:
        raise CannotReadError("; ".join(map(describe_refusal, opened.unreadable.values())))
    return opened.variants


def open_network(folder: Path) -> VariantFolder:
    """Return the models of a folder; raise where it holds none that can be read."""
    if not folder.is_dir():
        raise CannotReadError(f"{folder} is not a folder")
    opened = open_folder(folder)
    if opened.variants:
        return opened
    if opened.unreadable:
        raise CannotReadError("; ".join(map(describe_refusal, opened.unreadable.values())))
    found = look_for_networks(folder)
    if not found.networks:
        raise CannotReadError(f"{folder}: {'; '.join(map(describe_refusal, found.refusals))}")
    inside = ", ".join(str(path) for path in list(found.networks.values())[:5])
    raise CannotReadError(
        f"{folder} holds no .onnx file: give one of its folders, such as {inside}"
    )


def compare_with_progress(variants: Mapping[str, Model]) -> Comparison:
    with progress_bar("Reading the weights") as progress:
        return compare_variants(variants, progress=progress)


def refuse_unread_weights(comparison: Comparison) -> None:
    """Raise where a weight could not be read: what was not looked at cannot be called healthy."""
    if not comparison.unavailable:
        return
    ((layer_name, variant), refusal), *others = comparison.unavailable.items()
    reason = describe_refusal(refusal)
    more = f" (and {len(others)} more)" if others else ""
    name = exports.shorten_name(layer_name)
    raise CannotReadError(f"{file_name(comparison.variants[variant])}: {name}: {reason}{more}")


def file_name(model: Model) -> str:
    return str(model.path) if model.path else model.name
