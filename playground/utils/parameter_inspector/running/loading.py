"""Does onnxruntime open a model, and run it? Asked in a child process: a file may end it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..facts import Ending
from ..reading.model_bytes import read_whole
from ..reading.model_file import Model
from .endings import RunEndedError
from .limits import Limits
from .process import Child
from .samples import Samples, list_inputs


def find_refused(
    models: Mapping[str, Model], samples: Samples | None = None
) -> Iterator[tuple[str, Ending]]:
    """Yield the models that onnxruntime refuses as it is used by default, and why.

    Args:
        samples: also run each model on the first of them: some are refused only there.

    Raises:
        UnavailableError: a file's bytes cannot be read.
    """
    for name, model in models.items():
        content = read_whole(model)
        with Child(Limits.for_this_machine()) as child:
            try:
                child.load(content, optimized=True)
                if samples is not None:
                    _run_first(child, model, samples)
            except RunEndedError as error:
                yield name, error.ending


def _run_first(child: Child, model: Model, samples: Samples) -> None:
    child.hold("samples", samples.inputs, stacked=samples.stacked)
    rows = samples.rows_per_run(list_inputs(model)) or 1
    child.run("switched", rows_per_run=rows, rows=range(rows))
