"""Which outputs of a network are scores, so that the place of the highest one is a decision."""

from __future__ import annotations

from ..reading.layers import list_layers
from ..reading.model_file import Model
from ..records import Layer

_SCORING = frozenset(("Softmax", "LogSoftmax"))


def puts_out_scores(model: Model, output: str) -> bool:
    """Whether an output comes out of a softmax: whatever else it is, its highest is the answer."""
    maker = _find_maker(model, output)
    return maker is not None and maker.op_type in _SCORING


def may_put_out_scores(model: Model, output: str) -> bool:
    """Whether an output may be scores: one row of numbers for each sample may be an embedding."""
    maker = _find_maker(model, output)
    ranks = [len(o.shape) for o in model.graph.outputs if o.name == output and o.shape is not None]
    is_row = ranks == [2] or (maker is not None and maker.op_type == "Gemm")
    return is_row or puts_out_scores(model, output)


def _find_maker(model: Model, output: str) -> Layer | None:
    return next((one for one in list_layers(model) if output in one.output_names), None)
