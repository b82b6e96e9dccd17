"""Bias correction against means that numpy takes of onnxruntime's outputs."""

from contextlib import ExitStack

import numpy as np
import pytest
from plans_for_tests import SAMPLES, compare_spoiled, quantized_name

from playground.utils.parameter_inspector import Limits, Move, MoveKind, read_samples
from playground.utils.parameter_inspector.changing.bias_correction import correct_biases
from playground.utils.parameter_inspector.changing.plan_bench import PlanBench


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    comparison = compare_spoiled(tmp_path_factory.mktemp("biases"), "r1", 12.0)
    with ExitStack() as stack:
        limits = Limits.for_this_machine()
        name = quantized_name(comparison)
        samples = read_samples(comparison, SAMPLES)
        yield PlanBench(stack, comparison, name, samples, limits)


def output_mean(bench, moves, rows, on=None):
    inputs = bench.create_inputs(moves, on)
    found = bench.bench.first.run("switched", extra=inputs, outputs=["y"], rows=rows)
    return found["y"].astype(np.float64).mean(axis=0)


def test_the_mean_of_the_last_layer_is_the_originals_afterwards(bench):
    rows = list(range(8))
    end = next(q for q in bench.quantizers if q.tensor == "y")
    free = Move(MoveKind.FREE, (end,))  # its codes round what the layer makes
    moves = correct_biases(bench, (free,), rows)
    wanted = output_mean(bench, (), rows, np.zeros(len(bench.quantizers), bool))
    before = np.abs(output_mean(bench, (free,), rows) - wanted).max()
    after = np.abs(output_mean(bench, (free, *moves), rows) - wanted).max()
    assert after < before / 100


def test_each_layer_with_a_bias_is_corrected_once(bench):
    moves = correct_biases(bench, (), [0, 1])
    assert {move.kind for move in moves} == {MoveKind.CORRECT_BIAS}
    assert sorted(move.bias.size for move in moves) == [3, 5, 5]
    assert len({move.indices for move in moves}) == 3


def test_what_is_not_quantized_is_not_corrected(bench):
    free = correct_biases(bench, (), [0, 1])
    assert all(move.is_weight for move in free)
