"""The variants of one network, layer by layer: what is compared, and what was measured.

`compare_variants` makes one pass over each weight, in parallel, with progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from ..pairing.layer_pairs import pair_layers
from ..quantization import UnavailableError
from ..reading.layers import find_layer, layers_by_name
from ..reading.model_file import Model
from ..reading.variants import VariantFolder, is_float
from ..records import Layer, LayerPair, LayerRanges, Pairing, WeightTensor
from ..sharing import SharedCache, WorkCancelledError
from ..streaming.chunks import sample_values
from ..streaming.compared_weights import THREADS, is_as_read
from .layer_counts import LayerCounts, count_layer
from .metrics import GRID_CHANNELS, MAX_GRID_LEVELS, MeasuredWeight, describe_grid
from .weight_sums import WeightSums, sum_weight

# Some kilobytes each.
COUNTED_LAYERS = 256
# What is looked at to see whether a float weight lies on a grid.
GRID_COLUMNS = 4096


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
    """

    variants: Mapping[str, Model]
    pairings: Mapping[str, Pairing]
    weights: Mapping[str, Mapping[str, MeasuredWeight]]
    unavailable: Mapping[tuple[str, str], str]
    _counts: SharedCache[LayerCounts] = field(
        init=False, repr=False, default_factory=lambda: SharedCache(size=COUNTED_LAYERS)
    )

    @property
    def named_by(self) -> str:
        """The variant whose names the layers have: the original, or the first one without it."""
        return next(iter(self.variants))

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


@dataclass(frozen=True, eq=False)
class LayerWork:
    """The pass over one weight: a small record that can be sent to another process.

    Attributes:
        row: what the layer is called in the first variant.
        reference, pair: the float original that the weight is compared with, where there is one.
        original_variant: the variant of that original, where it is measured on the way: it is
            read anyway.
    """

    layer_name: str
    variant: str
    layer: Layer
    original: Layer | None = None
    pair: LayerPair | None = None
    original_variant: str | None = None

    def run(self) -> dict[str, MeasuredWeight]:
        """Return what was measured, by variant.

        Raises:
            ValueError: shapes differ.
            UnavailableError: bytes are missing.
        """
        weight = self.layer.weight
        assert weight is not None
        original = self.original.weight if self.original is not None else None
        factor = self.pair.original_factor if self.pair is not None else None
        sums = sum_weight(weight, self.layer, original, self.original, factor)
        found = {self.variant: _measured(self.layer, sums, self.pair)}
        if self.original_variant is not None and self.original is not None:
            found[self.original_variant] = _measured(self.original, sums.of_original())
        return found

    def of_original(self) -> LayerWork:
        """Return the work of the original alone, for when it cannot be measured on the way."""
        assert self.original_variant is not None and self.original is not None
        return LayerWork(self.layer_name, self.original_variant, self.original)

    @property
    def count(self) -> int:
        """How many weights are measured."""
        return 1 if self.original_variant is None else 2


def _measured(layer: Layer, sums: WeightSums, pair: LayerPair | None = None) -> MeasuredWeight:
    """Add what is seen in a sample: whether a float weight lies on a grid."""
    weight, grid = layer.weight, None
    assert weight is not None
    matrix = weight.slot == "weight" and len(weight.shape) > 1
    if weight.quantization is None and matrix and sums.level_count <= MAX_GRID_LEVELS:
        grid = describe_grid(sample_values(weight, layer, GRID_CHANNELS, GRID_COLUMNS))
    return MeasuredWeight(layer, weight, sums, pair, grid)


def pair_variants(variants: Mapping[str, Model]) -> dict[str, Pairing]:
    """Return, for each variant after the first, how its layers pair with those of the first."""
    (_, original), *others = variants.items()
    return {name: pair_layers(original, model) for name, model in others}


def list_work(variants: Mapping[str, Model], pairings: Mapping[str, Pairing]) -> list[LayerWork]:
    """Return the pass of every weight of every variant, row by row.

    A quantized weight is compared with its partner in the first variant where that is float.
    """
    first, original = next(iter(variants.items()))
    ours = layers_by_name(original)
    work: list[LayerWork] = []
    on_the_way: set[str] = set()
    for name, pairing in pairings.items():
        theirs = layers_by_name(variants[name])
        for pair in pairing.pairs:
            layer, partner = theirs[pair.variant], ours[pair.original]
            if layer.weight is None:
                continue
            exact = partner if _is_float(partner) and pair.is_sure else None
            original_variant = None
            read = exact is not None and is_as_read(exact.weight, pair.original_factor)
            if read and pair.original not in on_the_way:
                original_variant = first
                on_the_way.add(pair.original)
            work.append(LayerWork(pair.original, name, layer, exact, pair, original_variant))
        work += [
            LayerWork(name_unpaired(name, layer, original), name, theirs[layer])
            for layer in pairing.unpaired_variant
            if theirs[layer].weight is not None
        ]
    work = [
        LayerWork(layer.name, first, layer)
        for layer in ours.values()
        if layer.weight is not None and layer.name not in on_the_way
    ] + work
    position = {name: i for i, name in enumerate(ours)}
    return sorted(work, key=lambda item: position.get(item.layer_name, len(position)))


def _is_float(layer: Layer) -> bool:
    return layer.weight is not None and not layer.weight.is_quantized


def name_unpaired(variant: str, layer: str, original: Model) -> str:
    """Return the row of a layer that only ``variant`` has; the reference's names are its own."""
    taken = layer in layers_by_name(original)
    return f"{layer} (only in {variant})" if taken else layer


_comparisons: SharedCache[Comparison] = SharedCache(size=8)


def compare_folder(
    folder: VariantFolder,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Measure every weight of a folder's variants, once for all who ask.

    Raises:
        WorkCancelledError: ``cancelled`` said so, between two weights.
    """

    def tell(done: int, total: int, layer_name: str) -> None:
        if cancelled is not None and cancelled():
            raise WorkCancelledError(f"stopped after {done} of {total} weights")
        if progress is not None:
            progress(done, total, layer_name)

    return _comparisons.get(folder, lambda: compare_variants(folder.variants, progress=tell))


def compare_variants(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    executor: Executor | None = None,
) -> Comparison:
    """Measure every weight of every variant.

    Args:
        variants: the float original first, where there is one.
        progress: called with how many weights are done, of how many, and the row just measured.
        executor: where the work is done; two threads of this process if not given.
    """
    pairings = pair_variants(variants) if pairings is None else pairings
    work = list_work(variants, pairings)
    total = sum(item.count for item in work)
    measured: dict[tuple[str, str], MeasuredWeight] = {}
    unavailable: dict[tuple[str, str], str] = {}

    def tell(layer_name: str) -> None:
        if progress is not None:
            progress(len(measured) + len(unavailable), total, layer_name)

    with nullcontext(executor) if executor else ThreadPoolExecutor(THREADS) as pool:
        items, failed = work, list[LayerWork]()
        while items:
            for item, found in _run_all(pool, items):
                if isinstance(found, str):
                    unavailable[item.layer_name, item.variant] = found
                    failed += [item] if item.original_variant is not None else []
                    tell(item.layer_name)
                    continue
                for variant, one in found.items():
                    measured[item.layer_name, variant] = one
                    tell(item.layer_name)
            items, failed = [item.of_original() for item in failed], []
    names = dict.fromkeys(item.layer_name for item in work)
    weights = {
        name: {v: measured[name, v] for v in variants if (name, v) in measured} for name in names
    }
    return Comparison(variants, pairings, weights, unavailable)


def _run_all(
    pool: Executor, items: Sequence[LayerWork]
) -> Iterator[tuple[LayerWork, Mapping[str, MeasuredWeight] | str]]:
    """Yield what was measured, or why nothing could be, as soon as it is known."""
    futures = {pool.submit(LayerWork.run, item): item for item in items}
    try:
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except (UnavailableError, ValueError) as error:
                yield futures[future], str(error)
    finally:
        for future in futures:
            future.cancel()


def compute_all_layer_ranges(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[LayerRanges]:
    """Return the range of the dequantized weight of every layer that has one.

    Layers come in the graph order of the first variant; what only another variant has follows.
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
        variants: the float original first; its layer names are those asked for. A name that only
            another variant has is looked up there.
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
    (first, naming_model), *others = variants.items()
    names = {name: {first: name} for name in layers_by_name(naming_model)}
    for variant, _ in others:
        for pair in pairings[variant].pairs:
            names[pair.original][variant] = pair.variant
        for layer in pairings[variant].unpaired_variant:
            names.setdefault(name_unpaired(variant, layer, naming_model), {})[variant] = layer
    return names


def layer_names(
    variants: Mapping[str, Model], layer_name: str, pairings: Mapping[str, Pairing]
) -> dict[str, str]:
    """Return what a layer is called in each variant that has it.

    Raises:
        KeyError: no variant has such a layer; the message names the nearest.
    """
    naming_model = next(iter(variants.values()))
    found = _name_layers(variants, pairings).get(layer_name) or {
        name: layer_name for name, model in variants.items() if layer_name in layers_by_name(model)
    }
    if not found:
        find_layer(naming_model, layer_name)  # raises, naming the nearest
    return found
