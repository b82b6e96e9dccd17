"""A path -> the layers of a model: alone in knowing files, ONNX and how weights are stored."""

from .sympy_later import import_onnx_ir

# Before any module of this folder imports it in the usual way.
import_onnx_ir()
