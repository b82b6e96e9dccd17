"""The numbers of rules about resolution, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from judged_models import finding_of
from planted_faults import FAULTS, read


def test_collapse_counts_channels_as_numpy_does():
    fault = next(fault for fault in FAULTS if fault.make.__name__ == "narrow_channels")
    variants = fault.make()
    exact, model = read(variants["FP32"], "W1"), variants["variant"]
    codes = read(model, "W1_quantized").astype(np.float64)
    held = (codes - read(model, "W1_zero_point")) * read(model, "W1_scale")
    error = ((exact - held) ** 2).sum(axis=(1, 2, 3))
    sqnr = 10 * np.log10((exact.astype(np.float64) ** 2).sum(axis=(1, 2, 3)) / error)
    numbers = finding_of("narrow_channels").numbers
    assert numbers["channels"] == np.count_nonzero(sqnr < 20)
    assert numbers["worst_db"] == pytest.approx(sqnr.min(), abs=1e-3)
