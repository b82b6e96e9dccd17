"""Functions written out where they are called: the names the inliner itself gives, in one sweep."""

from __future__ import annotations

import costly_files
import onnx
import onnx_ir as ir
import pytest
from models_for_tests import make_model
from onnx import helper
from onnx_ir.passes.common import InlinePass

from playground.utils.parameter_inspector import ModelFileError, load_model
from playground.utils.parameter_inspector.budgets import Budget, limited
from playground.utils.parameter_inspector.facts import RefusalKind
from playground.utils.parameter_inspector.reading.inlining import inline_functions


def crowded() -> onnx.ModelProto:
    """Return calls of functions whose names stand in the graph already, or in another function."""
    inner = [
        helper.make_node("Relu", ["x"], ["t"], "same"),
        helper.make_node("Relu", ["t"], ["t_2"], "same"),
        helper.make_node("Neg", ["t_2"], ["o"]),
    ]
    outer = [
        helper.make_node("inner", ["x"], ["t"], "call", domain="local"),
        helper.make_node("Abs", ["t"], ["t_3"], "same_2"),
        helper.make_node("inner", ["t_3"], ["o"], domain="local"),
    ]
    functions = [
        costly_files.function_of(inner, "inner", ["o"]),
        costly_files.function_of(outer, "outer", ["o"]),
    ]
    functions[1].opset_import.append(helper.make_opsetid("local", 1))
    nodes = [
        helper.make_node("Relu", ["x"], ["t"], "same"),
        *(
            helper.make_node(name, [a], [b], domain="local")
            for name, a, b in (
                ("outer", "t", "t_4"),
                ("inner", "t_4", "o_2"),
                ("outer", "o_2", "y"),
            )
        ),
    ]
    return make_model(nodes, {}, inputs={"x": (2, 7)}, opset=17, domains=["local"],
                      functions=functions)  # fmt: skip


def list_names(model: ir.Model) -> list[tuple[str | None, list[str | None]]]:
    return [(node.name, [value.name for value in node.outputs]) for node in model.graph]


@pytest.mark.parametrize(
    "make",
    [crowded, lambda: costly_files.calls_of_a_function_of_many_outputs(7, 5)],
    ids=["crowded", "many outputs"],
)
def test_names_are_those_that_the_inliner_gives(make):
    ours, theirs = (ir.serde.deserialize_model(make()) for _ in range(2))
    inline_functions("m", ours)
    InlinePass()(theirs)
    assert list_names(ours) == list_names(theirs)


def test_functions_in_a_long_row_are_inlined():
    """Their depth is not that of Python's stack."""
    (node,) = load_model(costly_files.functions_that_call_each_other(3000)).graph
    assert node.op_type == "Relu"


def test_a_function_that_calls_itself_through_another_is_refused():
    calls = [helper.make_node(name, ["x"], ["o"], domain="local") for name in ("g", "f")]
    functions = [
        costly_files.function_of([call], name, ["o"])
        for call, name in zip(calls, "fg", strict=True)
    ]
    model = costly_files.with_functions([helper.make_node("f", ["x"], ["y"], domain="local")],
                                        functions, "y")  # fmt: skip
    with pytest.raises(ModelFileError) as refused:
        load_model(model)
    assert refused.value.refusal.kind is RefusalKind.FUNCTION_CALLS_ITSELF


def test_functions_that_would_take_too_much_are_refused_before_they_are_inlined(monkeypatch):
    monkeypatch.setattr(InlinePass, "call", None)
    with pytest.raises(ModelFileError) as refused:
        load_model(costly_files.calls_of_a_function_of_many_outputs(2000))
    assert refused.value.refusal.kind is RefusalKind.INLINED_TOO_LARGE


@pytest.mark.parametrize(
    "make",
    [costly_files.calls_of_a_function_of_many_outputs, costly_files.functions_that_call_each_other],
    ids=lambda make: make.__name__,
)
def test_steps_grow_as_the_calls_do(make):
    steps = []
    for n in (100, 200, 400):
        with limited(Budget()) as budget:
            load_model(make(n))
        steps.append(budget.steps)
    assert steps[1] < 2.1 * steps[0]
    assert steps[2] < 2.1 * steps[1]
