"""Work is charged to whoever set a limit around it, and to nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from playground.utils.parameter_inspector.budgets import (
    STEPS_BETWEEN_LOOKS,
    Budget,
    OutOfStepsError,
    OutOfTimeError,
    charge_to,
    current_budget,
    limited,
    spend,
)
from playground.utils.parameter_inspector.quantization import UnavailableError


def test_steps_are_counted_within_the_limit_alone():
    spend(7)
    with limited(Budget()) as budget:
        spend(5)
        spend()
    spend(3)
    assert budget.steps == 6


def test_work_ends_when_its_time_is_over():
    with limited(Budget(seconds=-1)), pytest.raises(OutOfTimeError):
        spend(STEPS_BETWEEN_LOOKS)


def test_the_clock_is_not_asked_at_every_step():
    with limited(Budget(seconds=-1)):
        spend(STEPS_BETWEEN_LOOKS - 1)


def test_no_layer_takes_the_end_of_its_file_for_its_own():
    """What a single layer leads to is caught as one of these."""
    assert not issubclass(OutOfTimeError, (ValueError, ArithmeticError, LookupError, TypeError))


def test_what_is_beyond_the_steps_is_not_there():
    with limited(Budget(most_steps=10)):
        spend(10)
        with pytest.raises(OutOfStepsError) as refused:
            spend()
    assert isinstance(refused.value, UnavailableError)
    assert "work" in str(refused.value)


def test_who_started_the_work_can_end_it():
    def leave() -> None:
        raise ConnectionError("left")

    with limited(Budget(check=leave)), pytest.raises(ConnectionError):
        spend(STEPS_BETWEEN_LOOKS)


def test_a_thread_is_charged_to_nobody_unless_told():
    with limited(Budget()) as budget:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(spend, 5).result()
        assert budget.steps == 0
        with ThreadPoolExecutor(1, initializer=charge_to, initargs=(current_budget(),)) as pool:
            pool.submit(spend, 5).result()
        assert budget.steps == 5
