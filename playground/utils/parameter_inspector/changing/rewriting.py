"""A changed model becomes a file: read whole, checked, written once it is sound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ..facts import WritingNote
from ..reading.file_bytes import list_files
from ..reading.model_file import Model
from ..running.endings import describe_library_error
from ..whole_files import refuse_outputs, write_whole
from .fusion_names import free_fusion_names
from .rewrite_errors import RewriteError

# Protobuf's limit, with room for what a change adds.
MAX_FILE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Saved:
    """What was written. ``file_bytes``, ``current_bytes``: of the new file and of the one it is of.

    ``raised_opset`` is the opset where it had to be raised, else None; ``notes`` are what became of
    layers beside what was asked for.
    """

    path: Path
    layers: tuple[str, ...]
    file_bytes: int
    current_bytes: int
    raised_opset: int | None
    notes: tuple[WritingNote, ...] = ()


def save_proto(
    model: Model,
    proto: onnx.ModelProto,
    out: Path,
    layers: tuple[str, ...],
    raised_opset: int | None,
    notes: tuple[WritingNote, ...] = (),
    inputs: Iterable[Path] = (),
) -> Saved:
    """Write a changed model to ``out`` once it is sound: the one place where a file is made.

    Args:
        inputs: files that ``out`` may be no link to, beside those of the model.

    Raises:
        RewriteError: ``onnx.checker`` refuses what was changed.
        OutputRefusedError: ``out`` is one of the files that are read.
        OSError: ``out`` cannot be written.
    """
    path = model_path(model)
    inputs = (*list_files(model), *inputs)
    refuse_outputs([out], inputs)
    free_fusion_names(proto)
    _check(path, proto)
    content = proto.SerializeToString()
    write_whole(out, content, inputs)
    return Saved(out, layers, len(content), model.file_bytes, raised_opset, notes)


def model_path(model: Model) -> Path:
    """Return where a model is. Raises ``RewriteError`` for one that is in memory only."""
    if model.path is None:
        raise RewriteError(f"{model.name} is no file: save it first")
    return model.path


def load_whole(path: Path) -> onnx.ModelProto:
    """Return a model with what it keeps in other files, which one file then holds."""
    try:
        proto = onnx.load(path, load_external_data=False)
        stored = [tensor for tensor in proto.graph.initializer if uses_external_data(tensor)]
        locations = {path.parent / ExternalDataInfo(tensor).location for tensor in stored}
        size = sum(one.stat().st_size for one in (path, *locations))
        if size <= MAX_FILE_BYTES:
            onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # onnx's checks of the path, and missing bytes
        reason = describe_library_error(error, path.parent)
        raise RewriteError(f"{path.name} cannot be read with its other files: {reason}") from error
    if size > MAX_FILE_BYTES:
        raise RewriteError(
            f"{path.name} and its other files take {size / 1e9:.1f} GB: what would be written is "
            "one ONNX file, which holds 2 GB at most"
        )
    return proto


def _check(path: Path, proto: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker and shape inference raise what they like
        reason = describe_library_error(error, path.parent)
        raise RewriteError(
            f"{path.name}: onnx.checker refuses the changed model: {reason}"
        ) from error
