"""A path -> an opened model. Every refusal of a bad file lives here.

Opening reads the graph. A tensor's bytes are read when somebody asks for them.
"""

from __future__ import annotations

import logging
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
import onnx_ir as ir

from ..budgets import OutOfTimeError
from ..facts import Refusal, RefusalKind
from ..quantization import RefusedError, Source, UnavailableError
from .inlining import inline_functions
from .mending import Graph, graphs_of, mend_graph
from .protobuf_fields import (
    IN_THIS_FILE,
    MAX_GRAPH_BYTES,
    GraphTooLargeError,
    read_without_payloads,
)

# It writes names from the file to the terminal as they are.
logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)


_DATA_TYPE_NAMES = {ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}
_ONNX_NAMES = {name: data_type.name for data_type, name in _DATA_TYPE_NAMES.items()}


class ModelFileError(RefusedError):
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
        ir_version: of the file format; 0 where the file does not say.
        repeated_names: what several of its nodes are called.
        constants_defined_again: what several of its constants are called; the one that onnxruntime
            uses is read.
    """

    path: Path | None
    name: str
    graph: ir.Graph
    opset: int
    producer: str
    file_bytes: int
    ir_version: int = 0
    repeated_names: tuple[str, ...] = ()
    constants_defined_again: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TensorSource:
    """A small tensor that came with the graph."""

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
            UnavailableError: the shape is impossible, or the bytes do not fit it.
        """
        proto = self.tensor.raw
        if isinstance(proto, onnx.TensorProto):
            self._check_size(proto)
        try:
            array = self.tensor.numpy()
        except Exception as error:  # onnx_ir raises whatever a malformed tensor leads to
            refusal = Refusal(
                RefusalKind.TENSOR_UNREADABLE, name=self.name, reason=_one_line(error)
            )
            raise UnavailableError(refusal) from error
        return _read_only(array)

    def _check_size(self, proto: onnx.TensorProto) -> None:
        """Refuse a shape that the bytes do not fill, before anything of that size is allocated."""
        if proto.HasField("raw_data"):
            _check_length(self.name, self.shape, self.tensor.dtype, len(proto.raw_data))
            return
        wanted = _byte_count(self.name, self.shape, self.tensor.dtype)
        fields = (proto.float_data, proto.int32_data, proto.int64_data, proto.double_data)
        entries = sum(len(f) for f in (*fields, proto.uint64_data, proto.string_data))
        if wanted > 16 * entries:
            raise UnavailableError(
                Refusal(RefusalKind.TENSOR_ENTRIES, name=self.name, shape=self.shape, count=entries)
            )


@dataclass(frozen=True, eq=False)
class FileSource:
    """A tensor that lies in a file: in the model itself or beside it as external data.

    Its bytes are copied when it is read, not mapped: a file that shrinks under a mapping would end
    the process. The record can be pickled.

    Attributes:
        path: of the file; ``location`` is how the model spells it.
        folder: that the file has to lie in; None for the model file itself.
        length: in bytes, as the model says; None where it does not.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]
    path: Path
    location: str
    folder: Path | None
    offset: int
    length: int | None

    def read(self) -> np.ndarray:
        """Return the array, read-only.

        Raises:
            UnavailableError: the file is missing, outside the model's folder, not a regular file,
                or too short for the shape.
        """
        with self.open() as tensor:
            packed = np.empty(tensor.byte_count, np.uint8)
            tensor.read_into(packed, 0)
        if tensor.dtype.bitwidth < 8:
            unpacked = ir.PackedTensor(packed, tensor.dtype, shape=ir.Shape(self.shape)).numpy()
            return _read_only(unpacked)
        return _read_only(packed.view(tensor.array_dtype).reshape(self.shape))

    def open(self) -> OpenTensor:
        """Return the tensor opened and checked, to be read in parts. Raises as `read` does."""
        dtype = ir.DataType[_ONNX_NAMES.get(self.data_type, self.data_type.upper())]
        wanted = _byte_count(self.name, self.shape, dtype)
        if self.length is not None:
            _check_length(self.name, self.shape, dtype, self.length)
        if self.folder is not None:
            self._check_inside(self.folder)
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise self.refuse(RefusalKind.DATA_UNREADABLE, reason=_system_says(error)) from error
        size = os.fstat(file.fileno()).st_size
        if self.offset < 0 or self.offset + wanted > size:
            file.close()
            raise self.refuse(RefusalKind.DATA_CUT_OFF, limit=self.offset + wanted, count=size)
        return OpenTensor(self, file, dtype, wanted)

    def refuse(
        self, kind: RefusalKind, *, limit: int = 0, count: int = 0, reason: str = ""
    ) -> UnavailableError:
        """Return the error that says why the bytes are not there."""
        location = None if self.folder is None else self.location
        return UnavailableError(
            Refusal(
                kind, name=self.name, location=location, limit=limit, count=count, reason=reason
            )
        )

    def _check_inside(self, folder: Path) -> None:
        """Refuse external data outside the model's folder, and what is not a regular file."""
        try:
            target = self.path.resolve(strict=True)
            status = target.stat()
        except (OSError, ValueError, RuntimeError) as error:
            raise self.refuse(RefusalKind.EXTERNAL_MISSING) from error
        if not target.is_relative_to(folder.resolve()):
            raise self.refuse(RefusalKind.EXTERNAL_OUTSIDE)
        if not stat.S_ISREG(status.st_mode):
            raise self.refuse(RefusalKind.EXTERNAL_NOT_REGULAR)


@dataclass(frozen=True, eq=False)
class OpenTensor:
    """The bytes of a `FileSource`, open for reading in parts."""

    source: FileSource
    file: FileIO
    dtype: ir.DataType
    byte_count: int

    @property
    def array_dtype(self) -> np.dtype:
        return self.dtype.numpy().newbyteorder("<")

    def read_into(self, array: np.ndarray, start: int) -> None:
        """Fill a C-contiguous array with the bytes from ``start`` of the tensor on."""
        buffer = array.reshape(-1).view(np.uint8).data
        filled = 0
        while filled < len(buffer):
            try:
                count = os.preadv(
                    self.file.fileno(), [buffer[filled:]], self.source.offset + start + filled
                )
            except OSError as error:
                reason = _system_says(error)
                raise self.source.refuse(RefusalKind.DATA_UNREADABLE, reason=reason) from error
            if not count:
                raise self.source.refuse(RefusalKind.DATA_SHRANK)
            filled += count

    def __enter__(self) -> OpenTensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def source_of(tensor: ir.TensorProtocol, alias: str, model_path: Path | None) -> Source:
    """Return where a tensor is: in the graph, in the model's file, or in a file beside it."""
    if not isinstance(tensor, ir.ExternalTensor):
        return TensorSource(tensor, alias)
    location = str(tensor.location)
    folder = model_path.parent if model_path is not None else Path()
    itself = location == IN_THIS_FILE and model_path is not None
    return FileSource(
        name=tensor.name or alias,
        data_type=data_type_name(tensor),
        shape=tuple(int(d) for d in tensor.shape),  # type: ignore[arg-type]
        path=model_path if itself and model_path is not None else folder / location,
        location=location,
        folder=None if itself else folder,
        offset=tensor.offset or 0,
        length=tensor.length,
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _byte_count(name: str, shape: tuple[int, ...], dtype: ir.DataType) -> int:
    if any(d < 0 for d in shape):
        raise UnavailableError(Refusal(RefusalKind.TENSOR_SHAPE, name=name, shape=shape))
    try:
        return math.ceil(dtype.bitwidth * math.prod(shape) / 8)
    except TypeError as error:
        refusal = Refusal(RefusalKind.TENSOR_TYPE, name=name, data_type=str(dtype))
        raise UnavailableError(refusal) from error


def _check_length(name: str, shape: tuple[int, ...], dtype: ir.DataType, byte_count: int) -> None:
    """Refuse before anything of the declared size is allocated."""
    expected = _byte_count(name, shape, dtype)
    if expected != byte_count:
        raise UnavailableError(
            Refusal(
                RefusalKind.TENSOR_BYTES,
                name=name,
                shape=shape,
                data_type=spell_data_type(dtype),
                limit=expected,
                count=byte_count,
            )
        )


def _system_says(error: OSError) -> str:
    return error.strerror or str(error)


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
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return _open_proto(copy, None, _as_text(source.graph.name) or "model", source.ByteSize())
    path = Path(source)
    proto = _parse(path)
    return _open_proto(proto, path, path.stem, path.stat().st_size)


def _as_text(name: str | bytes) -> str:
    """Return a name as text: protobuf hands out as bytes what is not UTF-8."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def printable(text: str) -> str:
    """Return a name from a file or a folder on one line, its control characters as codes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text
    )


def _refuse_file(
    kind: RefusalKind, name: str, *, limit: int = 0, reason: str = ""
) -> ModelFileError:
    return ModelFileError(Refusal(kind, name=name, limit=limit, reason=reason))


def _parse(path: Path) -> onnx.ModelProto:
    name = printable(path.name)
    try:
        if not path.is_file():
            raise _refuse_file(RefusalKind.NO_FILE, name)
        with path.open("rb") as file:
            _refuse_other_formats(name, file.read(512))
        return read_without_payloads(path)
    except GraphTooLargeError:
        raise _refuse_file(RefusalKind.GRAPH_TOO_LARGE, name, limit=MAX_GRAPH_BYTES) from None
    except OSError as error:
        raise _refuse_file(RefusalKind.FILE_UNREADABLE, name, reason=_system_says(error)) from error
    except google.protobuf.message.DecodeError as error:
        raise _refuse_file(RefusalKind.FILE_INCOMPLETE, name) from error


def _refuse_other_formats(name: str, head: bytes) -> None:
    """Tell the files that people mistake for ONNX by their first bytes."""
    if not head:
        raise _refuse_file(RefusalKind.FILE_EMPTY, name)
    if head.startswith(b"version https://git-lfs"):
        raise _refuse_file(RefusalKind.GIT_LFS_POINTER, name)
    if head.lstrip()[:1] == b"<":
        raise _refuse_file(RefusalKind.WEB_PAGE, name)
    if head[4:8] == b"ORTM":
        raise _refuse_file(RefusalKind.ORT_FORMAT, name)


def _open_proto(proto: onnx.ModelProto, path: Path | None, name: str, size: int) -> Model:
    name = printable(name)
    repeated = _find_repeated_node_names(proto.graph)
    if not proto.graph.node and not proto.graph.initializer:
        raise _refuse_file(RefusalKind.NO_GRAPH, name)
    try:
        defined_again = mend_graph(proto)
        for graph in graphs_of(proto.graph):
            _refuse_names_defined_twice(name, graph)
        model = _deserialize(proto, name)
    except (ModelFileError, OutOfTimeError):
        raise
    except RefusedError as error:
        raise ModelFileError(error.refusal) from error
    except Exception as error:  # onnx_ir has no single class for a graph it cannot read
        reason = _one_line(error)
        raise _refuse_file(RefusalKind.GRAPH_UNREADABLE, name, reason=reason) from error
    opsets = model.opset_imports
    return Model(
        path,
        name,
        model.graph,
        opsets.get("", opsets.get("ai.onnx", 0)),
        _as_text(proto.producer_name),
        size,
        proto.ir_version,
        repeated,
        tuple(printable(_as_text(constant)) for constant in defined_again),
    )


def _refuse_names_defined_twice(name: str, graph: Graph) -> None:
    """Refuse a graph in which one name means two tensors: onnxruntime does not open it.

    A constant that is given again in the same shape is no more in it, and an initializer may be an
    input as well.
    """
    if not isinstance(graph, onnx.GraphProto):
        return
    by: dict[str, str] = {}
    initializers = [tensor.name for tensor in graph.initializer]
    initializers += [sparse.values.name for sparse in graph.sparse_initializer]
    for given in initializers:
        _define(name, by, given, "an initializer")
    inputs: dict[str, str] = {}
    for value in graph.input:
        _define(name, inputs, value.name, "an input of the model")
    by = inputs | by
    for node in graph.node:
        for output in filter(None, node.output):
            _define(name, by, output, f"an output of {printable(_as_text(node.op_type))}")


def _define(name: str, by: dict[str, str], defined: str, what: str) -> None:
    if defined in by:
        value, names = printable(_as_text(defined)), (by[defined], what)
        raise ModelFileError(
            Refusal(RefusalKind.NAME_DEFINED_TWICE, name=name, value=value, names=names)
        )
    by[defined] = what


def _find_repeated_node_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Return the names that several nodes have, which onnxruntime refuses."""
    nodes = Counter(node.name for node in graph.node if node.name)
    return tuple(_as_text(name) for name, count in nodes.items() if count > 1)


def _deserialize(proto: onnx.ModelProto, name: str) -> ir.Model:
    """Return the model with its functions inlined."""
    model = ir.serde.deserialize_model(proto)
    inline_functions(name, model)
    _check_names_are_text(name, model.graph)
    return model


def _check_names_are_text(name: str, graph: ir.Graph) -> None:
    """Refuse names that are not UTF-8, which protobuf hands out as bytes."""
    for node in graph.all_nodes():
        values = (*node.inputs, *node.outputs)
        names = (node.name, node.op_type, node.domain, *(v.name for v in values if v is not None))
        if any(isinstance(text, bytes) for text in names):
            raise _refuse_file(RefusalKind.NAME_NOT_TEXT, name)


def all_nodes(model: Model) -> Iterator[ir.Node]:
    """Yield every node in graph order, those of If and Loop bodies after their owner."""
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _one_line(error: BaseException) -> str:
    """Return what a library's innermost error says, cut to what a sentence can hold."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
