"""The original, the current and the changed model run on samples: what a change is worth.

onnxruntime is imported only when a model is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..measuring.sqnr import sqnr_db
from ..quantization import numpy_dtype
from ..reading.model_file import Model
from .rewrite_errors import RewriteError
from .rewriting import Change, model_path, save_changed_model


@dataclass(frozen=True)
class VariantTruth:
    """What one model did on the samples.

    Attributes:
        accuracy: share of samples whose highest score stands at the label; None without labels.
        output_sqnr_db: of the outputs against the float model's; None for that model itself.
    """

    accuracy: float | None
    output_sqnr_db: float | None


@dataclass(frozen=True)
class Truth:
    """The original, the current and the changed model, run by onnxruntime on the same samples."""

    sample_count: int
    original: VariantTruth
    current: VariantTruth
    changed: VariantTruth


def can_measure() -> bool:
    """Whether onnxruntime is installed; it is not imported for that."""
    return find_spec("onnxruntime") is not None


def measure_changes(
    original: Path,
    current: Model,
    changes: Mapping[str, Change],
    samples: Path,
) -> Truth:
    """Run the original, the current model, and that with changes, which is written for that only.

    Raises:
        RewriteError: as `save_changed_model` and `measure_truth`.
    """
    with TemporaryDirectory() as folder:
        saved = save_changed_model(current, changes, Path(folder) / "changed.onnx")
        return measure_truth(original, model_path(current), saved.path, samples)


def measure_truth(original: Path, current: Path, changed: Path, samples: Path) -> Truth:
    """Run three models on ``samples.npz``: the inputs by name, and ``labels`` where there are any.

    Inputs are cast to what the model wants. The SQNR is of all outputs together, the accuracy of
    the first one.

    Raises:
        RewriteError: onnxruntime is not installed, the samples do not fit the model, or a model
            does not run. The message is one sentence.
    """
    arrays = _read_samples(samples)
    labels = arrays.pop("labels", None)
    outputs = [_run(path, arrays) for path in (original, current, changed)]
    truths = [
        VariantTruth(
            _accuracy(scores[0], labels), _output_sqnr_db(outputs[0], scores) if i else None
        )
        for i, scores in enumerate(outputs)
    ]
    first_input, *_ = arrays.values()
    return Truth(len(first_input), *truths)


def _read_samples(samples: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(samples, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise RewriteError(f"{Path(samples).name} cannot be read as samples: {error}") from error
    if not set(arrays) - {"labels"}:
        raise RewriteError(f"{Path(samples).name} holds no input")
    return arrays


def _run(path: Path, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise RewriteError("onnxruntime is not installed: install it to measure") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        feeds = _feeds(session.get_inputs(), arrays)
        return [np.asarray(one) for one in session.run(None, feeds)]
    except RewriteError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise RewriteError(f"{Path(path).name} does not run on the samples: {reason}") from error


def _feeds(inputs: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [one.name for one in inputs if one.name not in arrays]
    if missing:
        raise RewriteError(
            f"the samples hold {', '.join(arrays)} but the model asks for {', '.join(missing)}"
        )
    return {one.name: arrays[one.name].astype(_input_dtype(one.type)) for one in inputs}


def _input_dtype(spelled: str) -> np.dtype:
    """Return the dtype of ``tensor(float)``, as onnxruntime spells it."""
    name = spelled.removeprefix("tensor(").removesuffix(")")
    return numpy_dtype({"float": "float32", "double": "float64"}.get(name, name))


def _accuracy(scores: np.ndarray, labels: np.ndarray | None) -> float | None:
    if labels is None or not labels.size:
        return None
    if scores.shape[:1] != labels.shape:
        raise RewriteError(f"{labels.size} labels do not fit scores of shape {scores.shape}")
    return float((scores.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def _output_sqnr_db(original: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> float:
    """20*log10(norm(y) / norm(y - output)) over all outputs, in dB."""
    signal = error = np.zeros(())
    for y, output in zip(original, outputs, strict=True):
        wide = y.astype(np.float64)
        signal = signal + np.square(wide).sum()
        error = error + np.square(wide - output.astype(np.float64)).sum()
    return float(sqnr_db(signal, error))
