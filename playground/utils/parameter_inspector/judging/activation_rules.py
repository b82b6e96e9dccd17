"""Rules about activations and structure: what the file proves without data.

Each groups what its detector found: one cause is one finding, however many layers it meets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol, TypeVar

from ..facts import Evidence
from ..measuring.comparison import Comparison
from ..reading.dataflow import Dataflow, read_dataflow
from ..reading.layers import layers_by_name, list_layers
from .activation_facts import (
    ChangedNetwork,
    CoarseParameters,
    DifferingQuantizers,
    ImpossibleScales,
    LostConstants,
    RunsInFloat,
    SwallowedRanges,
)
from .changed_network import ACTIVATIONS, ChangeKind, find_changed_operators
from .channel_states import only_layer
from .findings import Finding
from .float_neighbours import list_nodes_to_exclude
from .float_work import FloatWork, FloatWorkKind, find_float_work
from .impossible_scales import LARGEST_SCALE, ImpossibleScale, find_impossible_scales
from .known_ranges import ADDING
from .lost_constants import LossKind, LostConstant, find_lost_constants
from .mismatched_quantizers import find_mismatched_quantizers
from .small_parameters import SmallParameter, find_small_parameters
from .swallowed_ranges import SwallowedRange, find_swallowed_ranges, list_readers


class _AtLayer(Protocol):
    @property
    def layer_name(self) -> str: ...


_Found = TypeVar("_Found", bound=_AtLayer)


def find_swallowed_range(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A narrow range (scores in [0, 1]) that a quantization leaves hardly a code.

    An error under 2 steps, a warning under 16. Where the scale is beyond use, that is the cause.
    """
    named = partial(_original_name, _original_names(comparison, variant))
    swallowed = [r for r in _swallowed(comparison, variant) if r.step <= LARGEST_SCALE]
    for ranges in _grouped(swallowed, lambda r: (r.is_lost, r.op_type)):
        worst_first = tuple(sorted(ranges, key=lambda r: r.steps))
        layers = _unique(named(r.layer_name) for r in worst_first)
        excluded = _unique(named(name) for r in worst_first for name in r.excluded)
        facts = SwallowedRanges(
            worst_first,
            layers,
            _unique(named(r.source_name) for r in worst_first),
            list_nodes_to_exclude(excluded, comparison),
        )
        severity = "error" if worst_first[0].is_lost else "warning"
        yield Finding("swallowed-range", severity, variant, only_layer(layers), facts)


def find_impossible_scale(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A scale that no number needs, one finding for the file: a mask was calibrated as data."""
    scales = tuple(find_impossible_scales(_flow(comparison, variant)))
    if not scales:
        return
    named = partial(_original_name, _original_names(comparison, variant))
    layers = _unique(named(s.layer_name) for s in scales)
    swallowed = [r for r in _swallowed(comparison, variant) if r.step > LARGEST_SCALE]
    excluded = (*layers, *(named(name) for r in swallowed for name in r.excluded))
    facts = ImpossibleScales(
        tuple(sorted(scales, key=lambda s: -s.scale)),
        layers,
        _unique(named(r.source_name) for r in swallowed),
        sum(s.overflows for s in scales),
        list_nodes_to_exclude(_unique(excluded), comparison),
    )
    severity = "error" if any(map(_does_harm, scales)) else "warning"
    yield Finding("impossible-scale", severity, variant, only_layer(layers), facts)


def _does_harm(scale: ImpossibleScale) -> bool:
    """Return whether more than a constant that is as large takes part."""
    return scale.overflows or scale.overflowing is None


def find_quantizer_mismatch(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """Codes that are read by another scale or zero-point than they were written by."""
    places = tuple(find_mismatched_quantizers(_flow(comparison, variant)))
    if not places:
        return
    named = partial(_original_name, _original_names(comparison, variant))
    worst_first = tuple(sorted(places, key=lambda p: -abs(p.ratio - 1)))
    layers = _unique(named(p.layer_name) for p in worst_first)
    facts = DifferingQuantizers(worst_first, layers)
    yield Finding("quantizer-mismatch", "error", variant, only_layer(layers), facts)


def find_lost_constant(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A constant that quantization turns to zero.

    An error where it is a factor or all of what is stored; a warning where it is added: the file
    does not say whether what it is added to comes near zero.
    """
    names, original = _original_names(comparison, variant), _original_flow(comparison, variant)
    found = find_lost_constants(_flow(comparison, variant), original, names)
    named = partial(_original_name, names)
    for constants in _grouped(found, lambda c: (c.kind, c.op_type, c.failing_type)):
        most_lost_first = tuple(sorted(constants, key=lambda c: c.value / c.step))
        layers = _unique(named(c.layer_name) for c in most_lost_first)
        facts = LostConstants(
            most_lost_first,
            layers,
            _unique(named(c.failing_name) for c in most_lost_first),
            list_nodes_to_exclude(_unique(map(named, _on_the_way(constants))), comparison),
        )
        first = most_lost_first[0]
        is_factor = first.kind is LossKind.ZEROED and first.op_type not in ADDING
        severity = "error" if is_factor else "warning"
        yield Finding("lost-constant", severity, variant, only_layer(layers), facts)


def _on_the_way(constants: Iterable[LostConstant]) -> Iterator[str]:
    """Yield the layers from each constant to the operator that fails without it."""
    for one in constants:
        yield from (one.layer_name, one.quantized_name, one.failing_name)


def find_changed_network(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """An operator of the original that the file has not, or one that it has besides.

    Left out: an error, unless the quantization in its place cuts off the same. Put in: a warning,
    a note for a factor (equalization puts those in).
    """
    original = _original_flow(comparison, variant)
    if original is None:
        return
    paired = _paired_names(comparison, variant)
    found = find_changed_operators(original, _flow(comparison, variant), paired)
    for operators in _grouped(found, lambda o: (o.kind, o.op_type)):
        first = operators[0]
        layers = _unique(o.layer_name for o in operators)
        facts = ChangedNetwork(operators, layers, _unique(o.behind for o in operators))
        severity = "warning" if first.op_type in ACTIVATIONS else "note"
        severity = "error" if first.kind is ChangeKind.LEFT_OUT else severity
        yield Finding("changed-network", severity, variant, only_layer(layers), facts)


def find_coarse_parameter(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """A scale, a shift or a bias of one dimension whose own scale is too coarse for most of it."""
    names, originals = _original_names(comparison, variant), {}
    if _original_flow(comparison, variant) is not None:
        ours = layers_by_name(comparison.naming_model)
        paired = _paired_names(comparison, variant)
        originals = {own: ours[name] for own, name in paired.items() if name in ours}
    flow, layers = _flow(comparison, variant), list_layers(comparison.variants[variant])
    found = find_small_parameters(layers, originals)
    for parameters in _grouped(found, lambda p: p.op_type):
        worst_first = tuple(sorted(parameters, key=lambda p: -p.weak_share))
        layer_names = _unique(_original_name(names, p.layer_name) for p in worst_first)
        excluded = (_original_name(names, n) for n in _with_readers(flow, worst_first))
        nodes = list_nodes_to_exclude(_unique(excluded), comparison)
        facts = CoarseParameters(worst_first, layer_names, nodes)
        severity = _severity_of_parameter(worst_first[0])
        yield Finding("coarse-parameter", severity, variant, only_layer(layer_names), facts)


def _with_readers(flow: Dataflow, parameters: Iterable[SmallParameter]) -> Iterator[str]:
    """Yield the layers of parameters, and what quantizes the result of a wide factor.

    One channel that is as much wider leaves the others no more codes than the factor had.
    """
    by_name = {flow.layer_name(operation): operation for operation in flow.operations}
    for parameter in parameters:
        yield parameter.layer_name
        operation = by_name.get(parameter.layer_name)
        if operation is not None and not parameter.is_added:
            yield from list_readers(flow, operation)


def _severity_of_parameter(worst: SmallParameter) -> str:
    """Return ``error`` where twice as much is weak as makes a fault (a bias: nine tenths)."""
    return "error" if worst.weak_share >= min(2 * worst.most_weak, 0.9) else "warning"


def find_runs_in_float(comparison: Comparison, variant: str) -> Iterator[Finding]:
    """What is computed in float though the file is quantized, one note for each kind."""
    named = partial(_original_name, _original_names(comparison, variant))
    found = find_float_work(_flow(comparison, variant), list_layers(comparison.variants[variant]))
    by_kind: dict[FloatWorkKind, list[FloatWork]] = defaultdict(list)
    for work in found:
        by_kind[work.kind].append(work)
    for same in by_kind.values():
        layers = _unique(named(name) for work in same for name in work.layer_names)
        facts = RunsInFloat(tuple(same), layers)
        yield Finding("runs-in-float", "note", variant, only_layer(layers), facts)


# ------------------------------------------------- what the detectors are given


def _flow(comparison: Comparison, variant: str) -> Dataflow:
    return read_dataflow(comparison.variants[variant])


def _swallowed(comparison: Comparison, variant: str) -> tuple[SwallowedRange, ...]:
    return find_swallowed_ranges(_flow(comparison, variant))


def _original_flow(comparison: Comparison, variant: str) -> Dataflow | None:
    """Return the float network that a variant is compared with; None where there is none."""
    original = comparison.original
    return None if original in (None, variant) else _flow(comparison, str(original))


def _original_names(comparison: Comparison, variant: str) -> dict[str, str]:
    """Return what each layer of a variant is called in the comparison."""
    return {
        by_variant[variant]: name
        for name, by_variant in comparison.layer_names.items()
        if variant in by_variant
    }


def _paired_names(comparison: Comparison, variant: str) -> dict[str, str]:
    """Return the original's name of each layer of a variant that surely is the same layer."""
    pairing = comparison.pairings.get(variant)
    return {
        pair.variant: pair.original
        for pair in (pairing.pairs if pairing is not None else ())
        if pair.evidence.is_sure or pair.evidence is Evidence.NAME
    }


def _original_name(names: Mapping[str, str], name: str) -> str:
    return names.get(name, name)


def _grouped(
    found: Iterable[_Found], key: Callable[[_Found], Hashable]
) -> Iterator[tuple[_Found, ...]]:
    groups: dict[Hashable, list[_Found]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    return (tuple(group) for group in groups.values())


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
