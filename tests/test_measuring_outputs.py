"""The button that measures, how far it is, and what each variant lost, as the page shows it."""

from __future__ import annotations

import html
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from comparisons_for_tests import compare_equal
from measured_for_tests import make_outputs

from playground.utils.page import measuring_outputs, shared_runs
from playground.utils.page.measuring_outputs import RunSetters, frame_news, frame_trust, show_news
from playground.utils.page.shared_runs import News, RunOn, Wish
from playground.utils.parameter_inspector import (
    Progress,
    compare,
)

ROOT = Path(__file__).resolve().parents[1]
SYNTHETIC = RunOn(None, "", None)


def offer(comparison, run_on=SYNTHETIC) -> str:
    setters = RunSetters(*[lambda _: None] * 4, get_outputs=dict)
    button = measuring_outputs.create_measure_button(run_on, setters)
    controls = measuring_outputs.create_measuring_controls(comparison)
    return html.unescape(
        measuring_outputs.offer_measuring(comparison, run_on, button, *controls).text
    )


def test_the_offer_names_what_is_run_and_the_level_that_can_be_chosen():
    text = offer(compare_equal())
    assert "Measure on synthetic inputs" in text
    assert "runs of the network" in text
    assert "with onnxruntime's default optimizations of the graph" in text


def test_optimizations_are_off_until_they_are_switched_on():
    _, optimized = measuring_outputs.create_measuring_controls(compare_equal())
    assert optimized.value is False


def test_samples_that_cannot_be_used_are_one_sentence_and_synthetic_inputs_are_offered(tmp_path):
    for name in ("fp32", "int8"):
        shutil.copy(ROOT / "models" / "dscnn" / f"{name}.onnx", tmp_path)
    np.savez(tmp_path / "samples.npz", wrong=np.zeros((3, 2)))
    comparison = compare(sorted(tmp_path.glob("*.onnx")))
    run_on = shared_runs.find_samples(comparison)
    assert run_on.samples is None
    assert "the model asks for 'image'" in run_on.why
    text = offer(comparison, run_on)
    assert run_on.why in text
    assert "Measure on synthetic inputs" in text


def test_the_first_samples_beside_the_models_are_found_and_read_once():
    comparison = compare([ROOT / f"models/dscnn/{name}.onnx" for name in ("fp32", "int8")])
    found = shared_runs.find_samples(comparison)
    assert (found.samples.count, found.samples.available) == (16, 180)
    assert shared_runs.find_samples(comparison) is found


def test_it_is_measured_when_every_variant_is_and_wholly():
    comparison = compare_equal()
    assert not measuring_outputs.is_measured(comparison, {})
    assert not measuring_outputs.is_measured(comparison, {"INT8": make_outputs(complete=False)})
    assert measuring_outputs.is_measured(comparison, {"INT8": make_outputs()})


def test_while_it_runs_the_page_tells_runs_left_and_what_is_known():
    news = News("INT8", 2, 3, progress=Progress(12, 30, make_outputs()))
    text = html.unescape(frame_news(news))
    assert 'max="42" value="12"' in text
    assert "INT8 (2 of 3)" in text
    assert "12 runs done, 30 left" in text


def test_who_waits_for_another_measuring_is_told():
    assert "Waiting: 1 measuring before this one." in frame_news(News("INT8", 1, 1, ahead=1))
    assert "Waiting" not in frame_news(News("INT8", 1, 1))
    assert "Starting the process" in frame_news(None)


def test_what_stops_a_measuring_stands_beside_how_far_it_is():
    stop = measuring_outputs.create_stop_button(threading.Event())
    text = html.unescape(show_news(None, stop).text)
    assert text.index("Stop") < text.index("Starting the process")


def test_names_of_outputs_are_plain_text():
    script = "<script>"
    loss = measuring_outputs.tables.create_output_table(make_outputs())
    assert loss["Output"].tolist() == ["y"]
    outputs = make_outputs(parted_at=script)
    framed = frame_trust(compare_equal().with_outputs({"INT8": outputs}), "INT8")
    assert script not in framed
    assert html.escape(script) in framed


def test_the_shares_known_so_far_are_drawn_before_the_end():
    news = News("INT8", 1, 1, progress=Progress(12, 30, make_outputs(complete=False, recovered=())))
    assert "Share of the noise" in measuring_outputs.show_so_far(compare_equal(), news).text
    assert measuring_outputs.show_so_far(compare_equal(), None) is None


@pytest.mark.parametrize("asked", [False, True])
def test_a_measuring_beside_the_page_ends_with_what_it_found(monkeypatch, asked):
    ended, told = threading.Event(), []
    monkeypatch.setattr(
        measuring_outputs,
        "follow_runs",
        lambda wish, cancelled, tell, keep: keep("INT8", make_outputs()) or ["INT8: no."] * asked,
    )
    setters = RunSetters(
        run=lambda sentences: (told.append(sentences), ended.set()),
        outputs=lambda found: told.append(list(found)),
        news=told.append,
        shares=lambda _: None,
        get_outputs=lambda: {"UINT8": make_outputs()},
    )
    wish = Wish(compare_equal(), ("INT8",), SYNTHETIC, False)
    measuring_outputs.run_beside(wish, threading.Event(), setters)
    assert ended.wait(30)
    assert told == [["UINT8", "INT8"], ("INT8: no.",) * asked]
