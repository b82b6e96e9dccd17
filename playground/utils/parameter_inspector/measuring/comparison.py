"""The variants of one network, layer by layer: what is compared, and what was measured.

`compare_variants` makes one pass over each weight, in parallel, with progress.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NoReturn

from ..budgets import Budget, limited
from ..facts import Refusal
from ..pairing.layer_pairs import pair_layers
from ..reading.file_bytes import count_file_bytes
from ..reading.layers import find_layer, layers_by_name
from ..reading.model_file import Model, load_model
from ..reading.variants import VariantFolder, is_float, name_variants
from ..records import Layer, LayerRanges, Pairing, WeightTensor
from ..sharing import SharedCache, WorkCancelledError
from .layer_counts import LayerCounts, count_layer
from .layer_work import list_work, name_unpaired, run_work
from .metrics import MeasuredWeight
from .outputs import Outputs

# Some kilobytes each.
COUNTED_LAYERS = 256


@dataclass(frozen=True, eq=False)
class ComparedLayer:
    """One layer across the variants that have it.

    Attributes:
        name: as the original names it.
        by_variant: the layer as each variant has it, by the variant's name.
    """

    name: str
    by_variant: Mapping[str, Layer]

    @property
    def op_type(self) -> str:
        return next(iter(self.by_variant.values())).op_type


@dataclass(frozen=True, eq=False)
class Comparison:
    """The variants of one network, layer by layer: what page, report and command line are about.

    Attributes:
        variants: by name, the float original before the others.
        pairings: for each variant but the one that names the layers.
        weights: layer name -> variant name -> the measured weight. Layers are in graph order;
            what only one other variant has follows.
        unavailable: (layer name, variant) -> why its weight could not be measured.
        outputs: what running a variant on samples found, of the variants that were run.
    """

    variants: Mapping[str, Model]
    pairings: Mapping[str, Pairing]
    weights: Mapping[str, Mapping[str, MeasuredWeight]]
    unavailable: Mapping[tuple[str, str], Refusal]
    outputs: Mapping[str, Outputs] = field(default_factory=dict)
    _counts: SharedCache[LayerCounts] = field(
        init=False, repr=False, default_factory=lambda: SharedCache(size=COUNTED_LAYERS)
    )

    @property
    def named_by(self) -> str:
        """The variant whose names the layers have: the original, or the first one without it."""
        return find_naming_variant(self.variants)

    def with_outputs(self, outputs: Mapping[str, Outputs]) -> Comparison:
        """Return the comparison with what running found; its weights are not measured again."""
        known = replace(self, outputs={**self.outputs, **outputs})
        object.__setattr__(known, "_counts", self._counts)
        return known

    @property
    def naming_model(self) -> Model:
        return self.variants[self.named_by]

    @cached_property
    def original(self) -> str | None:
        """The float variant that the others are compared with; None where all are quantized."""
        return self.named_by if self.variants and is_float(self.naming_model) else None

    @cached_property
    def layer_names(self) -> Mapping[str, Mapping[str, str]]:
        """What each layer is called in the variants that have it: layer name -> variant -> name."""
        return _name_layers(self.variants, self.pairings)

    def layers(self) -> tuple[ComparedLayer, ...]:
        """Return every layer, with a weight or without, in graph order."""
        return tuple(
            ComparedLayer(
                name, {v: layers_by_name(self.variants[v])[own] for v, own in names.items()}
            )
            for name, names in self.layer_names.items()
        )

    def by_variant(self, layer_name: str) -> Mapping[str, MeasuredWeight]:
        """Return the measured weights of a layer, by variant; none where it has no weight."""
        return self.weights.get(layer_name, {})

    def find_measured(self, layer_name: str, variant: str) -> MeasuredWeight | None:
        """Return the measured weight of a layer, None where the variant has none."""
        return self.by_variant(layer_name).get(variant)

    def measured(self, layer_name: str, variant: str) -> MeasuredWeight:
        """Return the measured weight of a layer. Raises ``KeyError`` where there is none."""
        return self.weights[layer_name][variant]

    def count_layer(self, layer_name: str) -> LayerCounts:
        """Return what the charts of a layer count, counted once for all who ask."""
        return self._counts.get(layer_name, lambda: count_layer(self.weights[layer_name]))

    @cached_property
    def ranges(self) -> list[LayerRanges]:
        """The range of the dequantized weight of every layer, of each variant that has it."""
        return [_ranges(name, measured) for name, measured in self.weights.items()]


# What a comparison may take, and one more step for so many bytes: a hundred numbers for each byte.
# A byte holds four at most, and each is read a few times.
MOST_STEPS = 5_000_000
BYTES_A_STEP = 10


def find_naming_variant(variants: Mapping[str, Model]) -> str:
    """Return the variant whose names the layers have: the first one, the original if there is one.

    The one place that knows that it stands first.
    """
    return next(iter(variants))


def pair_variants(variants: Mapping[str, Model]) -> dict[str, Pairing]:
    """Return how the layers of each variant pair with those of the one that names the layers."""
    named_by = find_naming_variant(variants)
    naming_model = variants[named_by]
    return {
        name: pair_layers(naming_model, model)
        for name, model in variants.items()
        if name != named_by
    }


_comparisons: SharedCache[Comparison] = SharedCache(size=8)


def compare_folder(
    folder: VariantFolder,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Measure every weight of a folder's variants, once for all who ask.

    Raises:
        WorkCancelledError: ``cancelled`` said so; it is asked within a large weight too, and
            while another viewer's comparison is waited for.
    """

    reached = (0, 0)

    def check() -> None:
        if cancelled is not None and cancelled():
            raise WorkCancelledError("stopped after {} of {} weights".format(*reached))

    def tell(done: int, total: int, layer_name: str) -> None:
        nonlocal reached
        reached = done, total
        check()
        if progress is not None:
            progress(done, total, layer_name)

    def make() -> Comparison:
        return compare_variants(folder.variants, progress=tell, check=check)

    return _comparisons.get(folder, make, waiting=check)


def compare(paths: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Measure every weight of every file against the float one among them.

    Raises:
        ModelFileError: one of the files is not a model that can be read.
        ValueError: no path.
    """
    if not paths:
        raise ValueError("no file to compare: give the paths of a float model and its variants")
    return compare_variants(name_variants([load_model(path) for path in paths]))


def compare_variants(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    executor: Executor | None = None,
    check: Callable[[], None] | None = None,
) -> Comparison:
    """Measure every weight of every variant.

    What that takes is bounded by what the files weigh: weights beyond it are unavailable.

    Args:
        variants: the float original first, where there is one.
        progress: called with how many weights are done, of how many, and the layer just measured.
        executor: where the work is done; as many threads as the process may use, if not given.
        check: called again and again; what it raises ends the work.
    """
    weighed = sum(count_file_bytes(model) for model in variants.values())
    most_steps = MOST_STEPS + weighed // BYTES_A_STEP
    with limited(Budget(most_steps=most_steps, check=check)):
        pairings = pair_variants(variants) if pairings is None else pairings
        work = list_work(variants, pairings, find_naming_variant(variants))
        measurements = run_work(work, progress, executor)
    measured = measurements.weights
    weights = {
        name: {v: measured[name, v] for v in variants if (name, v) in measured}
        for name in dict.fromkeys(item.layer_name for item in work)
    }
    return Comparison(variants, pairings, weights, measurements.unavailable)


def compute_all_layer_ranges(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[LayerRanges]:
    """Return the range of the dequantized weight of every layer that has one.

    Layers come in the graph order of the original; what only another variant has follows.
    A weight whose bytes are missing has no range in that variant.
    """
    return compare_variants(variants, pairings, progress).ranges


def _ranges(name: str, measured: Mapping[str, MeasuredWeight]) -> LayerRanges:
    limits = {
        variant: (m.metrics["range_low"], m.metrics["range_high"])
        for variant, m in measured.items()
    }
    node_type = next((m.layer.op_type for m in measured.values()), "")
    known = {variant: ends for variant, ends in limits.items() if ends[0] == ends[0]}
    return LayerRanges(name, node_type, known)


def extract_weight_tensors(
    variants: Mapping[str, Model],
    layer_name: str,
    pairings: Mapping[str, Pairing] | None = None,
) -> dict[str, WeightTensor]:
    """Return the weight of one layer in each variant that has it, by variant name.

    Args:
        variants: the float original first. A name is looked for in it, then as that of a layer in
            any other variant; what is found is the layer of all that have it.
        pairings: of `pair_variants`, where they are known already.

    Raises:
        KeyError: no variant has such a layer.
    """
    pairings = pair_variants(variants) if pairings is None else pairings
    names = layer_names(variants, layer_name, pairings)
    weights = {name: find_layer(variants[name], layer).weight for name, layer in names.items()}
    return {name: weight for name, weight in weights.items() if weight is not None}


def _name_layers(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing]
) -> dict[str, dict[str, str]]:
    """Return layer name -> variant -> the layer's name there, in graph order."""
    if not variants:
        return {}
    named_by = find_naming_variant(variants)
    naming_model = variants[named_by]
    names = {name: {named_by: name} for name in layers_by_name(naming_model)}
    for variant in variants:
        if variant == named_by:
            continue
        for pair in pairings[variant].pairs:
            names[pair.original][variant] = pair.variant
        for layer in pairings[variant].unpaired_variant:
            names.setdefault(name_unpaired(variant, layer, naming_model), {})[variant] = layer
    return names


def layer_names(
    variants: Mapping[str, Model], layer_name: str, pairings: Mapping[str, Pairing]
) -> dict[str, str]:
    """Return what a layer is called in each variant that has it, by its name in any of them.

    Raises:
        KeyError: no variant has such a layer; the message names the nearest.
    """
    rows = _name_layers(variants, pairings)
    # What is called so in the original comes before what is called so elsewhere.
    row = rows.get(layer_name) or next((r for r in rows.values() if layer_name in r.values()), {})
    if not row:
        _refuse_name(variants, layer_name)
    return {name: row[name] for name in variants if name in row}


def _refuse_name(variants: Mapping[str, Model], layer_name: str) -> NoReturn:
    names = dict.fromkeys(name for model in variants.values() for name in layers_by_name(model))
    nearest = difflib.get_close_matches(layer_name, names, n=3, cutoff=0.3)
    raise KeyError(f"no variant has a layer {layer_name!r}; nearest: {nearest}")
