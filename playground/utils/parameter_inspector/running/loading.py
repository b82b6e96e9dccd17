"""Does onnxruntime open a model, and run it? Asked in a child process: a file may end it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx

from ..facts import Ending, Refusal, RefusalKind
from ..quantization import UnavailableError
from ..reading.model_file import Model, printable
from .endings import RunEndedError, describe_library_error
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


def read_whole(model: Model) -> bytes:
    """Return the file's bytes; those of one with external data are written anew, without it.

    Raises:
        UnavailableError: a file cannot be read, or all together are more than protobuf holds.
    """
    path = model.path
    if path is None:
        raise UnavailableError(Refusal(RefusalKind.NO_FILE, name=model.name))
    try:
        if not _has_external_data(path):
            return path.read_bytes()
        return bytes(onnx.load(path).SerializeToString())
    except Exception as error:  # onnx and protobuf raise whatever a damaged file leads to
        reason = describe_library_error(error, path.parent)
        raise UnavailableError(
            Refusal(RefusalKind.FILE_UNREADABLE, name=printable(path.name), reason=reason)
        ) from error


def _has_external_data(path: Path) -> bool:
    graph = onnx.load(path, load_external_data=False).graph
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)


def _run_first(child: Child, model: Model, samples: Samples) -> None:
    child.hold("samples", samples.inputs, stacked=samples.stacked)
    rows = samples.rows_per_run(list_inputs(model)) or 1
    child.run("switched", rows_per_run=rows, rows=range(rows))
