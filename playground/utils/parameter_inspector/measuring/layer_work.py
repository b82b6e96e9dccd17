"""The pass over each weight of a comparison: which there are, and running them side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from ..budgets import charge_to, current_budget
from ..facts import Refusal, RefusalKind
from ..quantization import RefusedError
from ..reading.layers import layers_by_name
from ..reading.model_file import Model
from ..records import Layer, LayerPair, Pairing
from ..streaming.compared_weights import is_as_read
from ..streaming.same_weights import identify_array, identify_weight
from ..streaming.threads import thread_count
from ..streaming.weight_samples import sample_values
from .metrics import GRID_CHANNELS, MAX_GRID_LEVELS, MeasuredWeight, find_grid
from .weight_sums import WeightSums, sum_weight

# What is looked at to see whether a float weight lies on a grid.
GRID_COLUMNS = 4096

# Layer name and variant.
Place = tuple[str, str]
# By variant.
Found = Mapping[str, MeasuredWeight]


@dataclass(frozen=True, eq=False)
class LayerWork:
    """The pass over one weight: a small record that can be sent to another process.

    Attributes:
        layer_name: what the layer is called in the variant that names the layers.
        original, pair: the float original that the weight is compared with, where there is one.
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
            RefusedError: shapes differ.
            UnavailableError: bytes are missing.
        """
        weight = self.layer.weight
        assert weight is not None
        original = self.original.weight if self.original is not None else None
        factor = self.pair.original_factor if self.pair is not None else None
        sums = sum_weight(weight, self.layer, original, self.original, factor)
        measured = {self.variant: _measured(self.layer, sums, self.pair)}
        if self.original_variant is not None and self.original is not None:
            measured[self.original_variant] = _measured(self.original, sums.of_original())
        return measured

    def of_original(self) -> LayerWork:
        """Return the work of the original alone, for when it cannot be measured on the way."""
        assert self.original_variant is not None and self.original is not None
        return LayerWork(self.layer_name, self.original_variant, self.original)

    @property
    def identity(self) -> Hashable:
        """What two passes share that find the same."""
        weight, original = self.layer.weight, self.original.weight if self.original else None
        assert weight is not None
        return (
            identify_weight(weight, self.layer),
            None
            if original is None or self.original is None
            else identify_weight(original, self.original),
            identify_array(None if self.pair is None else self.pair.original_factor),
            self.original_variant is not None,
        )

    def adopt(self, found: Mapping[str, MeasuredWeight], other: LayerWork) -> Found:
        """Return what another pass found as what this one would have."""
        measured = {self.variant: self._adopt(found[other.variant], self.layer, self.pair)}
        if self.original_variant is not None and self.original is not None:
            assert other.original_variant is not None
            theirs = found[other.original_variant]
            measured[self.original_variant] = self._adopt(theirs, self.original, None)
        return measured

    def _adopt(self, found: MeasuredWeight, layer: Layer, pair: LayerPair | None) -> MeasuredWeight:
        assert layer.weight is not None
        return MeasuredWeight(layer, layer.weight, found.sums, pair, found.grid)

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
        grid = find_grid(sample_values(weight, layer, GRID_CHANNELS, GRID_COLUMNS))
    return MeasuredWeight(layer, weight, sums, pair, grid)


def name_unpaired(variant: str, layer: str, naming_model: Model) -> str:
    """Return the layer name of what only ``variant`` has; the original's names are its own."""
    taken = layer in layers_by_name(naming_model)
    return f"{layer} (only in {variant})" if taken else layer


def list_work(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing], named_by: str
) -> list[LayerWork]:
    """Return the pass of every weight of every variant, layer by layer.

    A quantized weight is compared with its partner in the variant that names the layers, where
    that is float.
    """
    named = layers_by_name(variants[named_by])
    work = [item for name in pairings for item in _work_of(variants, pairings, named_by, name)]
    work = _on_the_way(work, named_by)
    measured = {item.layer_name for item in work if item.original_variant is not None}
    work = [
        LayerWork(layer.name, named_by, layer)
        for layer in named.values()
        if layer.weight is not None and layer.name not in measured
    ] + work
    position = {name: i for i, name in enumerate(named)}
    return sorted(work, key=lambda item: position.get(item.layer_name, len(position)))


def _work_of(
    variants: Mapping[str, Model], pairings: Mapping[str, Pairing], named_by: str, variant: str
) -> Iterator[LayerWork]:
    """Yield the pass of every weight of a variant."""
    named, layers = layers_by_name(variants[named_by]), layers_by_name(variants[variant])
    for pair in pairings[variant].pairs:
        layer, partner = layers[pair.variant], named[pair.original]
        if layer.weight is not None:
            original = partner if _is_float(partner) and pair.is_sure else None
            yield LayerWork(pair.original, variant, layer, original, pair)
    for name in pairings[variant].unpaired_variant:
        if layers[name].weight is not None:
            layer_name = name_unpaired(variant, name, variants[named_by])
            yield LayerWork(layer_name, variant, layers[name])


def _is_float(layer: Layer) -> bool:
    return layer.weight is not None and not layer.weight.is_quantized


def _on_the_way(work: Sequence[LayerWork], named_by: str) -> list[LayerWork]:
    """Return the work, each original measured by the first pass that reads its own values."""
    measured: set[str] = set()
    result = []
    for item in work:
        factor = item.pair.original_factor if item.pair is not None else None
        original = item.original.weight if item.original is not None else None
        if is_as_read(original, factor) and item.layer_name not in measured:
            measured.add(item.layer_name)
            item = replace(item, original_variant=named_by)
        result.append(item)
    return result


@dataclass(frozen=True, eq=False)
class Measurements:
    """What the passes found, by layer name and variant."""

    weights: dict[Place, MeasuredWeight] = field(default_factory=dict)
    unavailable: dict[Place, Refusal] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.weights) + len(self.unavailable)


def run_work(
    work: Sequence[LayerWork],
    progress: Callable[[int, int, str], None] | None = None,
    executor: Executor | None = None,
) -> Measurements:
    """Return what every pass found. Arguments are those of `compare_variants`."""
    total = sum(item.count for item in work)
    measurements = Measurements()

    def tell(layer_name: str) -> None:
        if progress is not None:
            progress(len(measurements), total, layer_name)

    with nullcontext(executor) if executor else _threads() as pool:
        for item, result in _run_all(pool, work):
            if isinstance(result, Refusal):
                measurements.unavailable[item.layer_name, item.variant] = result
                tell(item.layer_name)
                continue
            for variant, measured in result.items():
                measurements.weights[item.layer_name, variant] = measured
                tell(item.layer_name)
    return measurements


def _threads() -> ThreadPoolExecutor:
    """Return threads whose steps are charged to the budget of this one."""
    budget = current_budget()
    return ThreadPoolExecutor(thread_count(), initializer=charge_to, initargs=(budget,))


def _run_all(
    pool: Executor, items: Sequence[LayerWork]
) -> Iterator[tuple[LayerWork, Found | Refusal]]:
    """Yield what was measured, or why nothing could be, as soon as it is known.

    An original that was to be measured on the way of a pass that failed is measured alone.
    """
    while items:
        failed = []
        for item, result in _run_together(pool, items):
            if isinstance(result, Refusal) and item.original_variant is not None:
                failed.append(item.of_original())
            yield item, result
        items = failed


def _run_together(
    pool: Executor, items: Sequence[LayerWork]
) -> Iterator[tuple[LayerWork, Found | Refusal]]:
    """Yield what was found of each weight; those that are the same are read once."""
    alike: dict[Hashable, list[LayerWork]] = defaultdict(list)
    for item in items:
        alike[item.identity].append(item)
    futures = {pool.submit(LayerWork.run, same[0]): same for same in alike.values()}
    try:
        for future in as_completed(futures):
            first, *others = futures[future]
            result = _result_of(future)
            yield first, result
            for item in others:
                found = result if isinstance(result, Refusal) else item.adopt(result, first)
                yield item, found
    finally:
        for future in futures:
            future.cancel()


def _result_of(future: Future[dict[str, MeasuredWeight]]) -> Found | Refusal:
    try:
        return future.result()
    except RefusedError as error:
        return error.refusal
    except ValueError as error:  # what numpy says of shapes that do not go together
        return Refusal(RefusalKind.LIBRARY, reason=str(error))
