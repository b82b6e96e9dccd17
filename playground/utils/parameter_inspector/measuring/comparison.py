"""Every layer of every variant in one pass over each weight, in parallel, with progress."""

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
from ..reading.variants import VariantFolder
from ..records import Layer, LayerPair, LayerRanges, Pairing, WeightTensor
from ..sharing import SharedCache, WorkCancelledError
from ..streaming.chunks import sample_values
from ..streaming.compared_weights import THREADS, is_as_read
from .layer_counts import LayerCounts, count_layer
from .metrics import GRID_CHANNELS, MAX_GRID_LEVELS, Measured, describe_grid
from .weight_sums import WeightSums, sum_weight

# Some kilobytes each.
COUNTED_LAYERS = 256
# What is looked at to see whether a float weight lies on a grid.
GRID_COLUMNS = 4096


@dataclass(frozen=True, eq=False)
class Scan:
    """What was measured: for each row (a layer as the reference names it), each variant.

    Attributes:
        rows: row name -> variant name -> the measured layer. Rows are in graph order of the first
            variant; what only another variant has follows.
        pairings: for each variant after the first.
        unavailable: (row, variant) -> why its weight could not be measured.
    """

    rows: Mapping[str, Mapping[str, Measured]]
    pairings: Mapping[str, Pairing]
    unavailable: Mapping[tuple[str, str], str]
    _counts: SharedCache[LayerCounts] = field(
        init=False, repr=False, default_factory=lambda: SharedCache(size=COUNTED_LAYERS)
    )

    def count_layer(self, row: str) -> LayerCounts:
        """Return what the charts of a row count, counted once for all who ask."""
        return self._counts.get(row, lambda: count_layer(self.rows[row]))

    @cached_property
    def ranges(self) -> list[LayerRanges]:
        """The range of the dequantized weight of every row, of each variant that has it."""
        return [_ranges(name, measured) for name, measured in self.rows.items()]


@dataclass(frozen=True, eq=False)
class LayerWork:
    """The pass over one weight: a small record that can be sent to another process.

    Attributes:
        row: what the layer is called in the first variant.
        reference, pair: the float original that the weight is compared with, where there is one.
        original: the variant of that original, where it is measured on the way: it is read anyway.
    """

    row: str
    variant: str
    layer: Layer
    reference: Layer | None = None
    pair: LayerPair | None = None
    original: str | None = None

    def run(self) -> dict[str, Measured]:
        """Return what was measured, by variant.

        Raises:
            ValueError: shapes differ.
            UnavailableError: bytes are missing.
        """
        weight = self.layer.weight
        assert weight is not None
        reference = self.reference.weight if self.reference is not None else None
        factor = self.pair.reference_factor if self.pair is not None else None
        sums = sum_weight(weight, self.layer, reference, self.reference, factor)
        found = {self.variant: _measured(self.layer, sums, self.pair)}
        if self.original is not None and self.reference is not None:
            found[self.original] = _measured(self.reference, sums.of_reference())
        return found

    def of_original(self) -> LayerWork:
        """Return the work of the original alone, for when it cannot be measured on the way."""
        assert self.original is not None and self.reference is not None
        return LayerWork(self.row, self.original, self.reference)

    @property
    def count(self) -> int:
        """How many weights are measured."""
        return 1 if self.original is None else 2


def _measured(layer: Layer, sums: WeightSums, pair: LayerPair | None = None) -> Measured:
    """Add what is seen in a sample: whether a float weight lies on a grid."""
    weight, grid = layer.weight, None
    assert weight is not None
    matrix = weight.slot == "weight" and len(weight.shape) > 1
    if weight.quantization is None and matrix and sums.level_count <= MAX_GRID_LEVELS:
        grid = describe_grid(sample_values(weight, layer, GRID_CHANNELS, GRID_COLUMNS))
    return Measured(layer, weight, sums, pair, grid)


def pair_variants(variants: Mapping[str, Model]) -> dict[str, Pairing]:
    """Return, for each variant after the first, how its layers pair with those of the first."""
    (_, reference), *others = variants.items()
    return {name: pair_layers(reference, model) for name, model in others}


def list_work(variants: Mapping[str, Model], pairings: Mapping[str, Pairing]) -> list[LayerWork]:
    """Return the pass of every weight of every variant, row by row.

    A quantized weight is compared with its partner in the first variant where that is float.
    """
    first, reference = next(iter(variants.items()))
    ours = layers_by_name(reference)
    work: list[LayerWork] = []
    on_the_way: set[str] = set()
    for name, pairing in pairings.items():
        theirs = layers_by_name(variants[name])
        for pair in pairing.pairs:
            layer, partner = theirs[pair.variant], ours[pair.reference]
            if layer.weight is None:
                continue
            exact = partner if _is_float(partner) and pair.is_sure else None
            original = None
            read = exact is not None and is_as_read(exact.weight, pair.reference_factor)
            if read and pair.reference not in on_the_way:
                original = first
                on_the_way.add(pair.reference)
            work.append(LayerWork(pair.reference, name, layer, exact, pair, original))
        work += [
            LayerWork(row_name(name, layer, reference), name, theirs[layer])
            for layer in pairing.unpaired_variant
            if theirs[layer].weight is not None
        ]
    work = [
        LayerWork(layer.name, first, layer)
        for layer in ours.values()
        if layer.weight is not None and layer.name not in on_the_way
    ] + work
    position = {name: i for i, name in enumerate(ours)}
    return sorted(work, key=lambda item: position.get(item.row, len(position)))


def _is_float(layer: Layer) -> bool:
    return layer.weight is not None and not layer.weight.is_quantized


def row_name(variant: str, layer: str, reference: Model) -> str:
    """Return the row of a layer that only ``variant`` has; the reference's names are its own."""
    taken = layer in layers_by_name(reference)
    return f"{layer} (only in {variant})" if taken else layer


_scans: SharedCache[Scan] = SharedCache(size=8)


def scan_folder(
    folder: VariantFolder,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Scan:
    """Measure every weight of a folder's variants, once for all who ask.

    Raises:
        WorkCancelledError: ``cancelled`` said so, between two weights.
    """

    def tell(done: int, total: int, row: str) -> None:
        if cancelled is not None and cancelled():
            raise WorkCancelledError(f"stopped after {done} of {total} weights")
        if progress is not None:
            progress(done, total, row)

    return _scans.get(folder, lambda: scan_variants(folder.variants, progress=tell))


def scan_variants(
    variants: Mapping[str, Model],
    pairings: Mapping[str, Pairing] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    executor: Executor | None = None,
) -> Scan:
    """Measure every weight of every variant.

    Args:
        variants: the float original first, where there is one.
        progress: called with how many weights are done, of how many, and the row just measured.
        executor: where the work is done; two threads of this process if not given.
    """
    pairings = pair_variants(variants) if pairings is None else pairings
    work = list_work(variants, pairings)
    total = sum(item.count for item in work)
    measured: dict[tuple[str, str], Measured] = {}
    unavailable: dict[tuple[str, str], str] = {}

    def tell(row: str) -> None:
        if progress is not None:
            progress(len(measured) + len(unavailable), total, row)

    with nullcontext(executor) if executor else ThreadPoolExecutor(THREADS) as pool:
        items, failed = work, list[LayerWork]()
        while items:
            for item, found in _run_all(pool, items):
                if isinstance(found, str):
                    unavailable[item.row, item.variant] = found
                    failed += [item] if item.original is not None else []
                    tell(item.row)
                    continue
                for variant, one in found.items():
                    measured[item.row, variant] = one
                    tell(item.row)
            items, failed = [item.of_original() for item in failed], []
    names = dict.fromkeys(item.row for item in work)
    rows = {
        name: {v: measured[name, v] for v in variants if (name, v) in measured} for name in names
    }
    return Scan(rows, pairings, unavailable)


def _run_all(
    pool: Executor, items: Sequence[LayerWork]
) -> Iterator[tuple[LayerWork, Mapping[str, Measured] | str]]:
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
    return scan_variants(variants, pairings, progress).ranges


def _ranges(name: str, measured: Mapping[str, Measured]) -> LayerRanges:
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


def layer_names(
    variants: Mapping[str, Model], layer_name: str, pairings: Mapping[str, Pairing]
) -> dict[str, str]:
    """Return what a layer is called in each variant that has it."""
    (first, reference), *others = variants.items()
    if layer_name in layers_by_name(reference):
        pairs = {name: pairings[name].of_reference(layer_name) for name, _ in others}
        return {first: layer_name, **{n: pair.variant for n, pair in pairs.items() if pair}}
    found = {
        name: layer
        for name, pairing in pairings.items()
        for layer in pairing.unpaired_variant
        if row_name(name, layer, reference) == layer_name
    }
    found = found or {
        name: layer_name for name, model in variants.items() if layer_name in layers_by_name(model)
    }
    if not found:
        find_layer(reference, layer_name)  # raises, naming the nearest
    return found
