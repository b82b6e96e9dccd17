"""Parameters of one dimension that are quantized with a scale of their own.

Scale and shift of a normalization, slopes, factors, and biases that are not int32: one outlier
among them leaves the others a code or two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..measuring.sqnr import are_judged, total_sqnr_db
from ..quantization import UnavailableError, is_integer
from ..reading.dataflow import MOST_ELEMENTS
from ..records import Layer, WeightTensor

# As a channel of a weight: an error of a tenth.
WEAK_SHARE_OF_VALUE = 0.1
# Rounding is off by a step / sqrt(12); up to two steps, that is more than a tenth.
WEAK_STEPS = 2
# Gaussian parameters, the widest at 3.5 sigma of 127 steps, have 7 % within two steps.
# What is added is no channel's factor: more of it may be rough.
WEAK_SHARE, WEAK_SHARE_ADDED = 0.25, 0.5
# What rounding alone can make of an error, in steps.
ROUNDING = 0.51


@dataclass(frozen=True, eq=False)
class SmallParameter:
    """One parameter that its scale is too coarse for.

    Attributes:
        layer_name, op_type, slot, tensor: which parameter, as the file calls it.
        count: its elements; weak: those with an error above a tenth of their value.
        step: of its quantization, the widest.
        sqnr_db: of the whole; NaN without the float parameter.
        median: of abs(value), the float ones where they are known.
        largest: of abs(value).
        is_compared: whether the float parameter was there.
    """

    layer_name: str
    op_type: str
    slot: str
    tensor: str
    data_type: str
    count: int
    weak: int
    step: float
    sqnr_db: float
    median: float
    largest: float
    is_compared: bool

    @property
    def weak_share(self) -> float:
        return self.weak / self.count

    @property
    def is_added(self) -> bool:
        return self.slot == "bias" or self.op_type in ("Add", "Sub")

    @property
    def most_weak(self) -> float:
        """The share that makes it a fault: a factor counts for its whole channel, a bias less."""
        return WEAK_SHARE_ADDED if self.is_added else WEAK_SHARE


def find_small_parameters(
    layers: Sequence[Layer], originals: Mapping[str, Layer]
) -> Iterator[SmallParameter]:
    """Yield the parameters that are off by more than a tenth in too many of their elements.

    Args:
        layers: of the file.
        originals: the float layer of each, by the name in this file.
    """
    seen: set[str] = set()
    for layer in layers:
        for parameter in layer.parameters:
            if not _is_judged(parameter) or parameter.name in seen:
                continue
            seen.add(parameter.name)
            partner = originals.get(layer.name)
            exact = partner.parameter(parameter.slot) if partner is not None else None
            found = _judge(layer, parameter, exact)
            if found is not None and found.weak_share >= found.most_weak:
                yield found


def _is_judged(parameter: WeightTensor) -> bool:
    quantization, size = parameter.quantization, math.prod(parameter.shape)
    is_line = sum(d != 1 for d in parameter.shape) == 1
    if quantization is None or not is_line or size > MOST_ELEMENTS:
        return False
    return is_integer(quantization.data_type) and quantization.data_type != "int32"


def _judge(
    layer: Layer, parameter: WeightTensor, exact: WeightTensor | None
) -> SmallParameter | None:
    try:
        values = parameter.values.astype(np.float64).reshape(-1)
        step = _steps(parameter)
        wanted = _float_values(parameter, exact)
    except (UnavailableError, ValueError):
        return None
    if not np.isfinite(values).all() or not np.isfinite(step).all() or not (step > 0).all():
        return None
    if wanted is not None and not _is_rounded(values, wanted, step):
        wanted = None
    return _fact(layer, parameter, values, wanted, step)


def _steps(parameter: WeightTensor) -> np.ndarray:
    """Return the step of each element, (elements,), or of all, ()."""
    assert parameter.quantization is not None
    scale = np.abs(parameter.quantization.scale.astype(np.float64)).reshape(-1)
    if scale.size in (1, math.prod(parameter.shape)):
        return scale if scale.size > 1 else scale[0]
    return scale.max()


def _float_values(parameter: WeightTensor, exact: WeightTensor | None) -> np.ndarray | None:
    if exact is None or exact.is_quantized or math.prod(exact.shape) != math.prod(parameter.shape):
        return None
    return exact.values.astype(np.float64).reshape(-1)


def _is_rounded(values: np.ndarray, wanted: np.ndarray, step: np.ndarray) -> bool:
    """Return whether these are the float numbers, but for rounding and for what is clipped.

    A parameter into which another layer was folded is not the one in the float file.
    """
    errors = np.abs(values - wanted)
    clipped = np.abs(values) >= np.abs(values).max() - step
    return bool(((errors <= ROUNDING * step) | (clipped & (values * wanted > 0))).all())


def _fact(
    layer: Layer,
    parameter: WeightTensor,
    values: np.ndarray,
    wanted: np.ndarray | None,
    step: np.ndarray,
) -> SmallParameter | None:
    known = np.abs(values if wanted is None else wanted)
    if wanted is None:
        judged = known > step / 2
        weak = judged & (known < (WEAK_STEPS + 0.5) * step)
        sqnr_db = math.nan
    else:
        judged = are_judged(known)
        weak = judged & (np.abs(values - wanted) > WEAK_SHARE_OF_VALUE * known)
        sqnr_db = total_sqnr_db(wanted**2, (values - wanted) ** 2)
    if not judged.any():
        return None
    return SmallParameter(
        layer.name,
        layer.op_type,
        parameter.slot,
        parameter.name,
        parameter.data_type,
        int(judged.sum()),
        int(weak.sum()),
        float(np.max(step)),
        sqnr_db,
        float(np.median(known[judged])),
        float(known.max()),
        wanted is not None,
    )
