"""Whether a file that was written does what it should: run beside its original, fully optimized."""

from __future__ import annotations

from ..measuring.comparison import Comparison
from ..measuring.outputs import decibels
from ..quantization import UnavailableError
from ..reading.edges import Network
from ..reading.model_file import load_model
from ..running.comparisons import choose_judged, relative_noise
from ..running.endings import RunEndedError
from ..running.facing import create_faced_model
from ..running.limits import Limits
from ..running.process import Child
from ..running.samples import Samples, list_inputs
from ..running.turn import Turn
from ..running.whole_model import ModelTooLargeError, model_bytes
from .rewrite_errors import RewriteError
from .rewriting import Saved

_ORIGINAL, _SAVED = "original", "saved"
_DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def verify_saved(comparison: Comparison, variant: str, saved: Saved, samples: Samples) -> float:
    """Return the output SQNR of a written file against the original, in dB.

    Noise over signal is the mean over the outputs, as `measure_outputs` has it; onnxruntime runs
    with all of its optimizations.

    Raises:
        RewriteError: the file, or the original, does not run on the samples. One sentence.
    """
    original = Network(comparison.naming_model)
    try:
        file = Network(load_model(saved.path))
        with Turn(), Child(Limits.for_this_machine()) as child:
            child.hold("samples", samples.inputs, stacked=samples.stacked)
            loaded = child.load(model_bytes(original.model), session=_ORIGINAL, optimized=True)
            outputs = choose_judged(loaded, [v.name or "" for v in original.model.graph.outputs])
            rows = 1 if _is_dynamic(file) else samples.rows_per_run(list_inputs(original.model))
            child.keep(_ORIGINAL, _ORIGINAL, outputs=outputs, rows_per_run=rows)
            child.load(create_faced_model(original, file), session=_SAVED, optimized=True)
            found = child.compare(_ORIGINAL, _SAVED, outputs=outputs, rows_per_run=rows)
    except (RunEndedError, UnavailableError, ModelTooLargeError) as error:
        message = str(error).removesuffix(".")
        raise RewriteError(f"{variant}: the written file does not run: {message}") from error
    return decibels(1.0, relative_noise(found))


def _is_dynamic(file: Network) -> bool:
    """Whether what is in a batch changes the scales."""
    return any(node.op_type in _DYNAMIC for node in file.model.graph.all_nodes())
