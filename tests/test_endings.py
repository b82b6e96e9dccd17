"""Every ending of a run has a sentence, and what another process said is cleaned."""

from __future__ import annotations

import signal

import pytest

from playground.utils.parameter_inspector.facts import Ending, EndingKind
from playground.utils.parameter_inspector.running.endings import (
    RunEndedError,
    clean_message,
    describe_ending,
)


@pytest.mark.parametrize("kind", EndingKind)
def test_every_ending_has_a_sentence(kind):
    sentence = describe_ending(Ending(kind, 60, 4_000_000_000, None, "why"))
    assert sentence[0].isupper() or sentence.startswith("onnxruntime")
    assert sentence.count(".") == 1
    assert sentence.endswith(".")


def test_the_sentence_of_time_names_the_limit():
    assert describe_ending(Ending(EndingKind.TIME, 60)) == (
        "The model was stopped: it took longer than 60 s for one run."
    )


def test_a_message_keeps_names_of_nodes_and_hides_paths(tmp_path):
    said = f"in /onnxruntime_src/core/graph.cc:12 node /encoder/MatMul\n{tmp_path}/x.onnx \x1b[1m"
    assert clean_message(said) == "in (path) node /encoder/MatMul (path) ?[1m"


def test_a_message_with_a_name_of_any_length_is_cleaned():
    assert clean_message("/" + "x" * 400) == "/" + "x" * 400


def test_a_message_is_short():
    assert len(clean_message("x" * 10_000)) == 500


def test_the_error_of_a_run_says_the_sentence_of_its_ending():
    ending = Ending(EndingKind.MEMORY, memory_bytes=4_000_000_000)
    assert str(RunEndedError(ending)) == (
        "The model was stopped: it asked for more than 4 GB of memory."
    )


@pytest.mark.parametrize(
    "number, words",
    [
        (signal.SIGSEGV, "its process ended by SIGSEGV"),
        (signal.SIGKILL, "killed from outside"),
        (9999, "its process ended by signal 9999"),
        (None, "its process ended by itself (exit code 3)"),
    ],
)
def test_a_crash_names_its_signal(number, words):
    ending = Ending(EndingKind.CRASHED, signal=number, detail="exit code 3")
    assert words in describe_ending(ending)
