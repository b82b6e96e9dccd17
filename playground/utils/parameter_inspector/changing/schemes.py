"""How a weight is quantized, apart from its numbers: `Scheme`, and what a file has of it.

Ranges are onnxruntime's rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ..quantization import Quantization, code_limits, is_integer, numpy_dtype
from ..records import WeightTensor

DATA_TYPES = (
    "int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16",
    "float8e4m3fn", "float8e5m2", "float4e2m1",
)  # fmt: skip
GRANULARITIES = ("per-tensor", "per-channel", "per-block")
CLIPPINGS = ("min-max", "percentile", "mse", "std")
BLOCK_SIZES = (16, 32, 64, 128, 256)

# Left out of onnxruntime's table of symmetric ranges: these use every code.
FULL_SYMMETRIC = ("int4", "uint4", "int2", "uint2", "uint8", "uint16")


@dataclass(frozen=True)
class Scheme:
    """How a weight is quantized, apart from its numbers.

    Attributes:
        data_type: of the codes, one of `DATA_TYPES`.
        bits: 2 to 8, where fewer than the data type has are used; None uses them all.
        granularity: ``per-tensor``, ``per-channel`` or ``per-block``.
        axis: of the weight, which has a scale for each index, or is cut into blocks; None is the
            layer's own: its output channels, or for blocks the first axis that is not theirs.
        block_size: weights along ``axis`` that share a scale.
        symmetric: the zero-point stands in the middle of the codes.
        reduce_range: half the codes, as for processors whose 16-bit sums saturate.
        clipping: ``min-max``; ``percentile``; ``mse``: the range with the least squared error;
            ``std``: onnxruntime's rule for float8e4m3fn, by the standard deviation.
        percentile: share of the weights kept, in percent, for ``percentile``.

    Raises:
        ValueError: the parts do not fit each other.
    """

    data_type: str = "int8"
    granularity: str = "per-tensor"
    symmetric: bool = True
    bits: int | None = None
    axis: int | None = None
    block_size: int | None = None
    reduce_range: bool = False
    clipping: str = "min-max"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.data_type, DATA_TYPES, "data type"),
            (self.granularity, GRANULARITIES, "granularity"),
            (self.clipping, CLIPPINGS, "clipping"),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r} is none of {', '.join(known)}")
        self._check_blocks()
        self._check_bits()
        if self.clipping == "std" and self.data_type != "float8e4m3fn":
            raise ValueError(f"clipping by std is for float8e4m3fn, not for {self.data_type}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile:g} is not above 50 and at most 100")

    def _check_blocks(self) -> None:
        blocked = self.granularity == "per-block"
        if blocked and (self.block_size is None or self.block_size < 1):
            raise ValueError(f"blocks need a size of at least 1, not {self.block_size}")
        if not blocked and self.block_size is not None:
            raise ValueError(f"a {self.granularity} scheme has no blocks of {self.block_size}")

    def _check_bits(self) -> None:
        if not is_integer(self.data_type):
            if self.bits is not None or self.reduce_range or not self.symmetric:
                raise ValueError(f"{self.data_type} is symmetric and uses its whole range")
            return
        width = data_type_bits(self.data_type)
        if self.bits is not None and not 2 <= self.bits <= min(8, width):
            raise ValueError(f"bits are 2 to {min(8, width)} in {self.data_type}, not {self.bits}")
        if self.reduce_range and (self.bits or width) < 3:
            raise ValueError("two bits have no reduced range")

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Return the scheme as people say it: ``int8 per-channel symmetric``."""
        kind = self.data_type if self.bits is None else f"{self.data_type} in {self.bits} bits"
        where = f" on axis {self.axis}" if self.axis is not None else ""
        blocks = f"in blocks of {self.block_size}"
        words = [kind, blocks if self.granularity == "per-block" else self.granularity]
        if is_integer(self.data_type):
            words.append("symmetric" if self.symmetric else "asymmetric")
        extra = {
            "percentile": f", clipped at {self.percentile:g} %",
            "mse": ", clipped for the least error",
            "std": ", clipped by std",
        }.get(self.clipping, "")
        reduced = ", reduced range" if self.reduce_range else ""
        return f"{' '.join(words)}{where}{reduced}{extra}"

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest code that the scale is made for.

        Source: ``get_qmin_qmax_for_qType`` of onnxruntime's quantizer; a smaller number of bits
        follows the rule of its data type.
        """
        low, high = code_limits(self.data_type)
        if not is_integer(self.data_type):
            return low, high
        if self.bits is not None:
            high = 2 ** (self.bits - (low < 0)) - 1
            low = -high - 1 if low < 0 else 0
        mirrored = self.data_type not in FULL_SYMMETRIC
        if self.reduce_range:
            half = (high + 1) // 2
            return (-half, half if mirrored else half - 1) if low < 0 else (low, half - 1)
        return (-high if self.symmetric and mirrored else low), high

    @property
    def saturation_limits(self) -> tuple[float, float] | None:
        """Where codes are cut off; None leaves it to the data type, as onnxruntime does.

        Only fewer bits, or a reduced range that is clipped too, need narrower limits.
        """
        narrow = self.bits is not None or (self.reduce_range and self.clipping != "min-max")
        return self.limits if narrow else None


def float_info(dtype: np.dtype) -> Any:
    """Return ml_dtypes' facts about a float, which it does not annotate."""
    find: Any = ml_dtypes.finfo
    return find(dtype)


def data_type_bits(data_type: str) -> int:
    info = ml_dtypes.iinfo if is_integer(data_type) else ml_dtypes.finfo
    return int(info(numpy_dtype(data_type)).bits)


def scheme_of(weight: WeightTensor) -> Scheme | None:
    """Return the scheme that the file has; None for a float weight, or a codebook.

    How the range was found cannot be read off a file: clipping is always ``min-max``. An axis that
    is the layer's own is None.
    """
    quantization = weight.quantization
    if (
        quantization is None
        or quantization.levels is not None
        or quantization.data_type not in DATA_TYPES
    ):
        return None
    own = own_axis(quantization.granularity, weight.channel_axis or 0, len(weight.shape))
    moved = any(step.op_type not in ("Cast", "Identity") for step in weight.layout)
    return Scheme(
        quantization.data_type,
        quantization.granularity,
        symmetric=_is_symmetric(quantization),
        bits=_bits_in_use(quantization),
        axis=None if moved or quantization.axis == own else quantization.axis,
        block_size=quantization.block_size,
    )


def _is_symmetric(quantization: Quantization) -> bool:
    low, high = quantization.code_limits
    middle = np.rint((low + high) / 2) + 0.0 if is_integer(quantization.data_type) else 0.0
    zero_point = quantization.zero_point.astype(np.float64).reshape(-1)
    # A channel that is all zero has scale 1 and zero-point 0 under every scheme.
    counted = zero_point[quantization.scale.reshape(-1) != 1] if zero_point.size > 1 else zero_point
    return bool(np.all(counted == (0.0 if low < 0 else middle)))


def _bits_in_use(quantization: Quantization) -> int | None:
    if quantization.limits is None or not is_integer(quantization.data_type):
        return None
    low, high = quantization.limits
    bits = math.ceil(math.log2(max(2.0, high - low + 1)))
    return bits if 2 <= bits < min(9, data_type_bits(quantization.data_type)) else None


def own_axis(granularity: str, channel_axis: int, rank: int) -> int | None:
    """Return the axis that a scheme means by None."""
    if granularity == "per-tensor":
        return None
    if granularity == "per-channel" or rank < 2:
        return channel_axis
    return 1 if channel_axis == 0 else 0
