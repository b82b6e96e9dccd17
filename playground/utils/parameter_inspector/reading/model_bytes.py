"""A model file as one piece, with the external data it names inside."""

from __future__ import annotations

from pathlib import Path

import google.protobuf.message
import onnx

from ..facts import Refusal, RefusalKind
from ..quantization import UnavailableError
from .model_file import Model, printable


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
    except (OSError, ValueError, google.protobuf.message.Error, onnx.checker.ValidationError) as e:
        reason = printable(" ".join(str(e).split()))[:200]
        raise UnavailableError(
            Refusal(RefusalKind.FILE_UNREADABLE, name=printable(path.name), reason=reason)
        ) from e


def _has_external_data(path: Path) -> bool:
    graph = onnx.load(path, load_external_data=False).graph
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)
