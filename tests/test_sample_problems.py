"""Every problem of samples is one sentence."""

from __future__ import annotations

import pytest

from playground.utils.parameter_inspector.running.sample_problems import (
    ModelInput,
    SampleProblem,
    SampleProblemKind,
    SamplesError,
    describe_input,
    describe_problem,
)

IMAGE = ModelInput("x", "float32", ("n", 3, None))
IDS = ModelInput("ids", "int64", ("n", "length"))


@pytest.mark.parametrize("kind", SampleProblemKind)
def test_every_problem_has_a_sentence(kind):
    sentence = describe_problem(
        SampleProblem(kind, "s.npz", "x", IMAGE, (IMAGE, IDS), "int8", (2,))
    )
    assert sentence.startswith("samples 's.npz', 'x': ") and sentence.endswith(".")


def test_open_dimensions_of_an_input_are_named_or_question_marks():
    assert describe_input(IMAGE) == "'x' (float32, n × 3 × ?)"


def test_the_error_says_what_the_problem_is():
    problem = SampleProblem(SampleProblemKind.EMPTY, "s.npz", "x")
    error = SamplesError(problem)
    assert error.problem is problem
    assert str(error) == describe_problem(problem)
