"""What a weight holds once its channels are scaled, in the frame of the float network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..measuring.comparison import Comparison
from ..running.neighbours import output_axis
from ..running.quantizers import WeightSite
from ..running.tunable_model import Alternative
from .counted_bias import CountedBias, read_counted_bias
from .layer_frames import scale_axis, scale_inputs
from .layer_options import read_current
from .moves import Move, MoveKind
from .originals import StaysError
from .plan_bench import PlanBench
from .requantizing import requantize
from .schemes import Scheme
from .weight_moves import read_exact


@dataclass(frozen=True, eq=False)
class HeldWeight:
    """What a weight is stored as, under the moves so far.

    Attributes:
        index: of its quantizer.
        number: of its site.
        exact: float32, as its operand counts it.
        bias: the number of its site, and its values; None where the layer has none.
        input_scale: what an int32 bias is counted in, with the weight's; None for a float bias.
    """

    index: int
    number: int
    site: WeightSite
    exact: np.ndarray
    scheme: Scheme
    scale_type: str
    bias: tuple[int, np.ndarray] | None
    input_scale: float | None

    @property
    def is_per_channel(self) -> bool:
        return self.scheme.granularity == "per-channel"


class HeldWeights:
    """Reads the weights of a bench, with the moves so far.

    Attributes:
        gates: which quantizers are on.
        bounds: what the codes of each activation quantizer hold; float32, (quantizers, 2).
    """

    def __init__(
        self, bench: PlanBench, comparison: Comparison, variant: str, moves: Sequence[Move]
    ) -> None:
        self.bench, self.comparison, self.variant = bench, comparison, variant
        self.schemes = {
            move.indices[0]: move.weight
            for move in moves
            if move.kind is MoveKind.REQUANTIZE and move.weight is not None
        }
        inputs = bench.create_inputs(moves)
        self.gates = inputs[bench.tunable.switched.gates]
        self.scales, _, self.bounds, *_ = (inputs[name] for name in bench.tunable.inputs)
        self.known: dict[int, HeldWeight | None] = {}

    def read(self, index: int, number: int) -> HeldWeight | None:
        """Return a weight by its quantizer and its site; None where it cannot be scaled."""
        if index not in self.known:
            self.known[index] = self._read(index, number)
        return self.known[index]

    def _read(self, index: int, number: int) -> HeldWeight | None:
        site = self.bench.placement.weights[number]
        layer = self.bench.quantizers[index].layers[0]
        measured = self.comparison.find_measured(layer, self.variant)
        exact = read_exact(self.bench.networks[0], self.bench.placement, site)
        if measured is None or exact is None or exact.dtype != np.float32:
            return None
        if exact.shape != site.shape or not np.isfinite(exact).all():
            return None
        try:
            scheme, _, scale_type = read_current(layer, measured.weight)
        except StaysError:
            return None
        scheme = self.schemes.get(index, scheme)
        counted = read_counted_bias(self.comparison, self.variant, layer)
        scale = None if counted is None else self._find_input_scale(site)
        bias = self._find_bias(index)
        return HeldWeight(index, number, site, exact, scheme, scale_type, bias, scale)

    def _find_bias(self, index: int) -> tuple[int, np.ndarray] | None:
        """Return the original's bias, where the variant quantizes it."""
        for number, site in enumerate(self.bench.placement.weights):
            if site.quantizer == index and site.position != 1:
                exact = read_exact(self.bench.networks[0], self.bench.placement, site)
                if exact is not None and exact.shape == site.shape:
                    return number, exact
        return None

    def _find_input_scale(self, site: WeightSite) -> float | None:
        """Return the scale of a layer's input, with the moves so far."""
        for one in self.bench.placement.activations:
            if any(node is site.node and at == 0 for node, at in one.readers):
                index = one.units[-1][0]
                return float(self.scales[index]) if self.gates[index] else None
        return None

    # ------------------------------------------------- with scaled channels

    def scale(self, held: HeldWeight, moves: Sequence[Move]) -> Alternative:
        """Return what a weight and its bias hold, multiplied back into the float network's frame.

        Args:
            moves: that equalize it, as the first of its pair, as the last, or both.
        """
        layer = self.bench.networks[0].layers[self.bench.quantizers[held.index].layers[0]]
        axis = output_axis(held.site)
        scaled, back = held.exact, np.ones_like(held.exact)
        outer: np.ndarray | None = None
        for move in moves:
            assert move.factors is not None
            if move.indices[0] == held.index:
                outer = move.factors
                scaled, back = (
                    scale_axis(scaled, 1.0 / outer, axis),
                    scale_axis(back, outer, axis),
                )
            else:
                scaled = scale_inputs(scaled, layer, axis, move.factors)
                back = scale_inputs(back, layer, axis, 1.0 / move.factors)
        counted = _count_bias(held, outer)
        done = requantize(scaled, held.scheme, axis, held.scale_type, counted)
        values = {held.number: done.values * back}
        if held.bias is not None:
            number, bias = held.bias
            if counted is not None:
                bias = _round_bias(bias, outer, counted, done.stored.quantization.scale)
            values[number] = bias.astype(np.float32)
        return values


def _count_bias(held: HeldWeight, outer: np.ndarray | None) -> CountedBias | None:
    if held.bias is None or held.input_scale is None:
        return None
    bias = held.bias[1].reshape(-1).astype(np.float64)
    return CountedBias(bias if outer is None else bias / outer, held.input_scale)


def _round_bias(
    bias: np.ndarray, outer: np.ndarray | None, counted: CountedBias, scale: np.ndarray
) -> np.ndarray:
    """Return what int32 codes of a bias stand for; where scales do not go with it, itself."""
    step = (np.float32(counted.input_scale) * scale.reshape(-1)).astype(np.float64)
    if bias.size % step.size:
        return bias
    step = np.resize(step, bias.size)
    rounded = np.rint(counted.values.astype(np.float32) / step) * step
    return (rounded if outer is None else rounded * outer).reshape(bias.shape)
