"""Arrays in files, and what a model asks for, for tests that read samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from playground.utils.parameter_inspector.running.sample_problems import ModelInput, SamplesError
from playground.utils.parameter_inspector.running.samples import load_samples

IMAGE = ModelInput("x", "float32", ("n", 3, None))
IDS = ModelInput("ids", "int64", ("n", "length"))
BOTH = (IMAGE, IDS)
X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
I64 = np.arange(20).reshape(4, 5)


def write(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def refused(path: Path, wanted=BOTH, **more):
    """Return why samples are refused, as a problem and as its one sentence."""
    with pytest.raises(SamplesError) as raised:
        load_samples(path, wanted, **more)
    sentence = str(raised.value)
    assert sentence.startswith("samples") and sentence.endswith(".") and "\n" not in sentence
    return raised.value.problem, sentence


def write_pb(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(numpy_helper.from_array(array).SerializeToString())
