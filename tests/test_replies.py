"""What the child process says is believed only if every field of it is right."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from models_for_running import ending_of, write_fake_child

from playground.utils.parameter_inspector.facts import EndingKind
from playground.utils.parameter_inspector.running.limits import Limits
from playground.utils.parameter_inspector.running.process import Child
from playground.utils.parameter_inspector.running.replies import (
    BadReplyError,
    Port,
    list_announced,
    parse_differences,
    parse_loaded,
    parse_shapes,
    read_header,
    read_reply,
)

LIMITS = Limits(memory_bytes=600 << 20, run_seconds=60, total_seconds=300)


def load_anything(child: Child) -> None:
    child.load(b"anything")


BAD_REPLIES = {
    "no JSON": "send(b'hello\\n')",
    "no object": "send([1])",
    "no number": "send({'end': 'done'})",
    "a number that is a truth": "send(done(True))",
    "another number": "send(done(number + 1))",
    "an unknown end": "send({**done(number), 'end': 'won'})",
    "no reason": "send({**done(number), 'why': 3})",
    "no arrays": "send({**done(number), 'arrays': 3})",
    "an array of three": "send({**done(number), 'arrays': [[1, 2]]})",
    "a nameless array": "send({**done(number), 'arrays': [[1, 'int8', [1]]]}, b'x')",
    "objects": "send({**done(number), 'arrays': [['y', 'object', [1]]]}, b'x' * 8)",
    "an unknown type": "send({**done(number), 'arrays': [['y', 'S9', [1]]]}, b'x' * 9)",
    "a negative shape": "send({**done(number), 'arrays': [['y', 'int8', [-1]]]})",
    "a broken shape": "send({**done(number), 'arrays': [['y', 'int8', [1.5]]]})",
    "a huge array": "send({**done(number), 'arrays': [['y', 'int8', [1 << 40]]]})",
    "two of a name": "send({**done(number), 'arrays': [['y', 'int8', [1]]] * 2}, b'xx')",
    "deep JSON": "send(b'[' * 100000 + b'\\n')",
    "a line without end": "send(b'x' * (20 << 20))",
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_ends_the_child(tmp_path, name):
    with Child(LIMITS, program=write_fake_child(tmp_path, BAD_REPLIES[name])) as child:
        ending = ending_of(child, lambda child: child.hold("samples", {}))
        assert ending.kind is EndingKind.BAD_REPLY
        assert ending.detail and not child.alive


@pytest.mark.parametrize(
    "more",
    [
        "seconds='1', inputs=[], outputs=[]",
        "seconds=float('nan'), inputs=[], outputs=[]",
        "seconds=0.1, outputs=[]",
        "seconds=0.1, inputs=[], outputs=[['y', 'tensor(float)', [1]]]",
        "seconds=0.1, inputs=[['x', 7, [1], True]], outputs=[]",
        "seconds=0.1, inputs=[['x', 'tensor(float)', ['n'], True]], outputs=[]",
    ],
)
def test_a_bad_description_of_a_model_ends_the_child(tmp_path, more):
    program = write_fake_child(tmp_path, f"send(done(number, {more}))")
    with Child(LIMITS, program=program) as child:
        assert ending_of(child, load_anything).kind is EndingKind.BAD_REPLY


SUMS = "np.array([[1.0]]).tobytes() * 2"
HEADS = "[['0:noise', 'float64', [1, 1]], ['0:signal', 'float64', [1, 1]]]"


@pytest.mark.parametrize(
    "answer",
    [
        "send(done(number))",
        "send(done(number, compared={'y': [0, False]}))",
        "send(done(number, compared={'y': 3}))",
        f"send({{**done(number, compared={{'y': [-1, False]}}), 'arrays': {HEADS}}}, {SUMS})",
        f"send({{**done(number, compared={{'y': [0, 1]}}), 'arrays': {HEADS}}}, {SUMS})",
        f"send({{**done(number, compared={{'y': [0, False]}}), 'arrays': {HEADS}}}, "
        "np.array([-1.0, 1.0]).tobytes())",
    ],
)
def test_a_bad_comparison_ends_the_child(tmp_path, answer):
    with Child(LIMITS, program=write_fake_child(tmp_path, answer)) as child:
        ending = ending_of(child, lambda child: child.compare("float", "switched"))
    assert ending.kind is EndingKind.BAD_REPLY


def test_a_reply_that_is_cut_off_is_a_crash(tmp_path):
    answer = "send({**done(number), 'arrays': [['y', 'int8', [9]]]}, b'123')\nos._exit(0)"
    with Child(LIMITS, program=write_fake_child(tmp_path, answer)) as child:
        ending = ending_of(child, lambda child: child.hold("samples", {}))
    assert ending.kind is EndingKind.CRASHED


def answer(arrays=(), **words):
    """The reply that a child would send as its first, read as the parent reads it."""
    listed = [[name, array.dtype.name, list(array.shape)] for name, array in dict(arrays).items()]
    header = {"number": 1, "end": "done", "why": "", "arrays": listed, **words}
    body = b"".join(array.tobytes() for array in dict(arrays).values())
    stream = io.BytesIO(json.dumps(header).encode() + b"\n" + body)
    return read_reply(stream, read_header(stream, 1), 1 << 20)


def test_arrays_are_those_that_were_sent_and_cannot_be_written_to():
    sent = {
        "a": np.arange(6, dtype=np.int16).reshape(2, 3),
        "b": np.array(0.5),
        "c": np.zeros((0, 3), bool),
    }
    found = answer(sent).arrays
    assert list(found) == list(sent)
    for name, array in sent.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable


@pytest.mark.parametrize("most, is_taken", [(8, True), (7, False)])
def test_arrays_are_taken_up_to_the_last_byte_that_is_allowed(most, is_taken):
    header = {
        "end": "done",
        "why": "",
        "arrays": [["a", "int8", [4]], ["b", "int16", [2]]],
    }
    if is_taken:
        assert len(read_reply(io.BytesIO(bytes(8)), header, most).arrays) == 2
    else:
        with pytest.raises(BadReplyError, match="larger than the limit"):
            read_reply(io.BytesIO(bytes(8)), header, most)


def test_an_open_dimension_of_a_port_has_no_number():
    port = ["x", "tensor(float)", [None, 3], True]
    loaded = parse_loaded(answer(seconds=0.5, inputs=[port], outputs=[]))
    assert loaded.inputs == (Port("x", "tensor(float)", (None, 3), True),)
    assert (loaded.outputs, loaded.seconds) == ((), 0.5)


def test_each_run_of_an_output_has_a_shape():
    assert parse_shapes(answer(shapes={"y": [[2, 3], []]})) == {"y": ((2, 3), ())}


def test_sums_of_channels_add_up_to_the_sum_of_a_sample():
    noise, signal = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    agreeing = np.array([3, 0])
    arrays = {"0:noise": noise, "0:signal": signal, "0:agreeing": agreeing}
    found = parse_differences(answer(arrays, compared={"y": [3, False]}), True)["y"]
    np.testing.assert_array_equal(found.noise, [3, 7])
    np.testing.assert_array_equal(found.signal, [11, 15])
    np.testing.assert_array_equal(found.channel_noise, noise)
    np.testing.assert_array_equal(found.agreeing, agreeing)
    assert found.correct is None


@pytest.mark.parametrize("agreeing", [[4, 0], [-1, 0], [1]])
def test_more_argmaxes_than_there_are_cannot_agree(agreeing):
    arrays = {name: np.ones((2, 1)) for name in ("0:noise", "0:signal")}
    reply = answer({**arrays, "0:agreeing": np.array(agreeing)}, compared={"y": [3, False]})
    with pytest.raises(BadReplyError, match="agreeing"):
        parse_differences(reply, False)


def test_what_is_announced_tells_how_many_bytes_follow():
    arrays = {"model": b"four", "x": np.zeros((2, 3), np.float16)}
    assert list_announced(arrays) == [["model", "bytes", [4]], ["x", "float16", [2, 3]]]
