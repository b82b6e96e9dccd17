"""A path -> an opened model. Every refusal of a bad file lives here.

Opening reads the graph. A tensor's bytes are read when somebody asks for them.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from .quantization import UnavailableError

# Calls of model-local functions, counted through every level: more is a decompression bomb.
MAX_INLINED_NODES = 100_000

_DATA_TYPE_NAMES = {ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}


class ModelFileError(ValueError):
    """The file is not a model that can be read. The message is one sentence for the reader."""


@dataclass(frozen=True, eq=False)
class Model:
    """An opened model variant: one file of a network.

    Attributes:
        path: None for a model that was given as a ``ModelProto``.
        name: the file's name without its ending.
        graph: model-local functions are inlined.
        opset: version of the ONNX operator set.
        file_bytes: size of the file, without external data.
    """

    path: Path | None
    name: str
    graph: ir.Graph
    opset: int
    producer: str
    file_bytes: int


@dataclass(frozen=True, eq=False)
class TensorSource:
    """A tensor of the file, read when asked."""

    tensor: ir.TensorProtocol
    alias: str = ""

    @property
    def name(self) -> str:
        """The tensor's name, or that of the value that holds it."""
        return self.tensor.name or self.alias

    @property
    def data_type(self) -> str:
        return data_type_name(self.tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(d) for d in self.tensor.shape)  # type: ignore[arg-type]

    def read(self) -> np.ndarray:
        """Return the array, read-only.

        Raises:
            UnavailableError: the shape is impossible, the bytes are missing or do not fit it.
        """
        self._check_bytes()
        try:
            array = self.tensor.numpy()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UnavailableError(
                f"tensor {self.name!r} cannot be read: {_one_line(error)}"
            ) from error
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        return array

    def _check_bytes(self) -> None:
        """Refuse before anything of the declared size is allocated."""
        if any(d < 0 for d in self.shape):
            raise UnavailableError(f"tensor {self.name!r} has an impossible shape {self.shape}")
        if isinstance(self.tensor, ir.ExternalTensor):
            _check_external(self.tensor)
            return
        proto = self.tensor.raw
        if not isinstance(proto, onnx.TensorProto) or not proto.HasField("raw_data"):
            return
        try:
            expected = math.ceil(self.tensor.dtype.bitwidth * math.prod(self.shape) / 8)
        except (TypeError, ValueError) as error:
            raise UnavailableError(
                f"tensor {self.name!r} has data type {self.data_type}, which has no known layout"
            ) from error
        if expected != len(proto.raw_data):
            raise UnavailableError(
                f"tensor {self.name!r} of shape {self.shape} and type {self.data_type} needs "
                f"{expected} bytes, the file holds {len(proto.raw_data)}"
            )


def _check_external(tensor: ir.ExternalTensor) -> None:
    """Refuse external data that is not a regular file of the wanted length.

    onnx_ir itself refuses what lies outside the model's folder.
    """
    try:
        status = Path(tensor.path).stat()
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"tensor {tensor.name!r}: its external file {str(tensor.location)!r} is missing"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnavailableError(
            f"tensor {tensor.name!r}: its external file {str(tensor.location)!r} is not a "
            "regular file"
        )
    end = (tensor.offset or 0) + tensor.nbytes
    if (tensor.offset or 0) < 0 or end > status.st_size:
        raise UnavailableError(
            f"tensor {tensor.name!r} ends at byte {end:,} of {str(tensor.location)!r}, "
            f"which has {status.st_size:,}"
        )


def data_type_name(tensor: ir.TensorProtocol) -> str:
    """Return the data type as ONNX spells it: ``int8``, ``uint4``, ``float8e4m3fn``."""
    try:
        return spell_data_type(tensor.dtype)
    except ValueError:
        return "unknown"


def spell_data_type(data_type: ir.DataType) -> str:
    return _DATA_TYPE_NAMES.get(data_type, data_type.name.lower())


def load_model(source: str | os.PathLike[str] | onnx.ModelProto) -> Model:
    """Open a model without reading its weights.

    Args:
        source: path of an ``.onnx`` file, or a model that is already in memory.

    Raises:
        ModelFileError: the file is missing, is not ONNX, or its graph cannot be understood.
    """
    if isinstance(source, onnx.ModelProto):
        return _open_proto(source, None, source.graph.name or "model", source.ByteSize())
    path = Path(source)
    proto = _parse(path)
    return _open_proto(proto, path, path.stem, path.stat().st_size)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise ModelFileError(f"{path.name}: there is no such file")
        with path.open("rb") as file:
            _refuse_other_formats(path.name, file.read(512))
        proto = onnx.load(path, load_external_data=False, format="protobuf")
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be opened: {error.strerror or error}") from error
    except google.protobuf.message.DecodeError as error:
        raise ModelFileError(
            f"{path.name} is not a complete ONNX file: it is damaged or was cut off; fetch it again"
        ) from error
    return proto


def _refuse_other_formats(name: str, head: bytes) -> None:
    """Tell the files that people mistake for ONNX by their first bytes."""
    if not head:
        raise ModelFileError(f"{name} is empty")
    if head.startswith(b"version https://git-lfs"):
        raise ModelFileError(f"{name} is a Git LFS pointer, not the model: run `git lfs pull`")
    if head.lstrip()[:1] == b"<":
        raise ModelFileError(f"{name} is a web page or XML, not a model: download the raw file")
    if head[4:8] == b"ORTM":
        raise ModelFileError(
            f"{name} is in onnxruntime's .ort format, whose weights cannot be read: "
            "open the .onnx it was made from"
        )


def _open_proto(proto: onnx.ModelProto, path: Path | None, name: str, size: int) -> Model:
    if not proto.graph.node and not proto.graph.initializer:
        raise ModelFileError(f"{name} holds no graph: it is not an ONNX model, or an empty one")
    _drop_repeated_initializers(proto.graph)
    try:
        model = ir.serde.deserialize_model(proto)
        if path is not None:
            ir.external_data.set_base_dir(model.graph, path.parent)
        if model.functions:
            _check_inlining(name, model)
            InlinePass()(model)
    except ModelFileError:
        raise
    except Exception as error:  # onnx_ir has no single class for a graph it cannot read
        raise ModelFileError(
            f"{name}: the graph cannot be understood: {_one_line(error)}"
        ) from error
    opsets = model.opset_imports
    return Model(
        path, name, model.graph, opsets.get("", opsets.get("ai.onnx", 0)), proto.producer_name, size
    )


def _drop_repeated_initializers(graph: onnx.GraphProto) -> None:
    """Keep the first initializer of a name, as onnxruntime does."""
    seen: set[str] = set()
    repeated = [t for t in graph.initializer if t.name in seen or seen.add(t.name)]  # type: ignore[func-returns-value]
    if repeated:
        firsts = {t.name: t for t in reversed(graph.initializer)}
        del graph.initializer[:]
        graph.initializer.extend(firsts[name] for name in seen)


def _check_inlining(name: str, model: ir.Model) -> None:
    """Refuse functions that call each other in a circle, or expand beyond reason."""
    sizes: dict[ir.OperatorIdentifier, int] = {}

    def expanded(node: ir.Node, callers: tuple[ir.OperatorIdentifier, ...]) -> int:
        callee = node.op_identifier()
        if callee not in model.functions:
            return 1
        if callee in callers:
            raise ModelFileError(f"{name}: function {callee[1]!r} calls itself")
        if callee not in sizes:
            body = model.functions[callee].all_nodes()
            sizes[callee] = sum(expanded(inner, (*callers, callee)) for inner in body)
        return sizes[callee]

    total = sum(expanded(node, ()) for node in model.graph.all_nodes())
    if total > MAX_INLINED_NODES:
        raise ModelFileError(
            f"{name}: its functions expand to {total:,} nodes, more than {MAX_INLINED_NODES:,}"
        )


def all_nodes(model: Model) -> Iterator[ir.Node]:
    """Yield every node in graph order, those of If and Loop bodies after their owner."""
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _one_line(error: BaseException) -> str:
    """Return what a library's innermost error says, cut to what a sentence can hold."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
