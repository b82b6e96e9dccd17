"""The original, the current and the changed model run on samples: what a change is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..measuring.comparison import Comparison
from ..measuring.outputs import decibels
from ..quantization import UnavailableError
from ..reading.model_file import Model, load_model
from ..running.endings import RunEndedError
from ..running.limits import Limits
from ..running.process import Child
from ..running.replies import Differences
from ..running.sample_problems import SamplesError
from ..running.samples import Samples, list_inputs, load_samples
from ..running.turn import Turn
from ..running.whole_model import ModelTooLargeError, model_bytes
from .move_writing import save_moves
from .moves import Move
from .rewrite_errors import RewriteError
from .rewriting import model_path

ORIGINAL, CURRENT, CHANGED = "original", "current", "changed"
# A share of right answers does not need more; the bytes of samples are bounded besides.
MOST_TRIED = 100_000


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


def measure_moves(
    comparison: Comparison,
    variant: str,
    moves: Sequence[Move],
    samples: Path,
    inside: Path | None = None,
) -> Truth:
    """Run the original, a variant, and that with moves, which is written for that only.

    Args:
        inside: a folder that the samples may be no link out of.

    Raises:
        RewriteError: as `save_moves` and `measure_truth`.
    """
    current = comparison.variants[variant]
    with TemporaryDirectory() as folder:
        saved = save_moves(comparison, variant, moves, Path(folder) / "changed.onnx")
        changed = load_model(saved.path)
        original = load_model(model_path(comparison.naming_model))
        return _measure(original, current, changed, samples, inside)


def measure_truth(original: Path, current: Path, changed: Path, samples: Path) -> Truth:
    """Run three models on samples in one child process, with onnxruntime's optimizations.

    The SQNR is of all outputs together, the accuracy of the first one.

    Raises:
        RewriteError: the samples do not fit the model, or a model does not run. The message is one
            sentence.
    """
    return _measure(load_model(original), load_model(current), load_model(changed), samples)


def _measure(
    original: Model, current: Model, changed: Model, path: Path, inside: Path | None = None
) -> Truth:
    wanted = list_inputs(original)
    try:
        samples = load_samples(path, wanted, most_samples=MOST_TRIED, inside=inside)
        models = {ORIGINAL: original, CURRENT: current, CHANGED: changed}
        with Turn(), Child(Limits.for_this_machine()) as child:
            child.hold("samples", samples.inputs, stacked=samples.stacked)
            truths = [_run(child, name, model, samples) for name, model in models.items()]
    except (SamplesError, RunEndedError, UnavailableError, ModelTooLargeError) as error:
        raise RewriteError(str(error).removesuffix(".")) from error
    return Truth(samples.count, *truths)


def _run(child: Child, name: str, model: Model, samples: Samples) -> VariantTruth:
    """Run one model beside the original, which comes first and is kept."""
    child.load(model_bytes(model), session=name, optimized=True)
    rows = samples.rows_per_run(list_inputs(model))
    if name == ORIGINAL:
        child.keep(ORIGINAL, ORIGINAL, rows_per_run=rows)
    found = child.compare(ORIGINAL, name, rows_per_run=rows, argmax=True, labels=samples.labels)
    accuracy = _accuracy(next(iter(found.values()), None), samples)
    return VariantTruth(accuracy, _output_sqnr_db(found) if name != ORIGINAL else None)


def _accuracy(first: Differences | None, samples: Samples) -> float | None:
    """Return the share of right answers of the first output.

    Raises:
        RewriteError: the labels do not fit it.
    """
    if samples.labels is None or first is None:
        return None
    if first.correct is None or not first.positions:
        raise RewriteError(f"{samples.labels.size} labels do not fit the scores of the model")
    return float(first.correct.sum() / (first.positions * len(first.correct)))


def _output_sqnr_db(found: Mapping[str, Differences]) -> float:
    """20*log10(norm(y) / norm(y - output)) over all outputs, in dB."""
    signal = sum(float(one.signal.sum()) for one in found.values())
    return decibels(signal, sum(float(one.noise.sum()) for one in found.values()))
