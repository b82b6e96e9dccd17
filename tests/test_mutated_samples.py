"""Whatever a file of samples holds: samples or a refusal in one sentence, and no other exception.

300 examples, the same in each run; `python tests/test_mutated_samples.py SEED` tries others.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from samples_for_tests import BOTH, I64, IMAGE, X

from playground.utils.parameter_inspector.running.sample_problems import SamplesError
from playground.utils.parameter_inspector.running.samples import load_samples

ALLOWED = 1 << 20
TYPES = "<f4 >f4 <f8 |i1 <i8 |b1 <c8 <c16 |O <U3 |S4 |V8 f4,f4 2f4 <M8[ns] <f2 <f16 |S0 ?".split()
SIZES = st.sampled_from([-1, 0, 1, 3, 2, 4, 10**9, 1 << 62, 10**400, True, 1.5, None])


@st.composite
def mutated_zips(draw: st.DrawFn) -> tuple[str, bytes]:
    """A zip of sound arrays, some of its bytes changed, or cut off."""
    whole = io.BytesIO()
    draw(st.sampled_from([np.savez, np.savez_compressed]))(whole, x=X, ids=I64)
    return "s.npz", _mutate(draw, whole.getvalue())


@st.composite
def repacked_zips(draw: st.DrawFn) -> tuple[str, bytes]:
    """A zip of any packing, whose arrays have any header."""
    whole, method = io.BytesIO(), draw(st.sampled_from([0, 8, 12, 14]))
    with zipfile.ZipFile(whole, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two arrays of one name
        for name in draw(st.lists(st.sampled_from(["x.npy", "ids.npy", "labels.npy", "x", "y"]))):
            archive.writestr(name, draw(headers()))
    content = whole.getvalue()
    return "s.npz", _mutate(draw, content) if draw(st.booleans()) else content


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """An array of any header, with too few bytes or too many."""
    said = {
        "descr": draw(st.sampled_from([*TYPES, ["<f4"], 4, None])),
        "fortran_order": draw(st.sampled_from([False, True, 1, "x"])),
        "shape": draw(st.one_of(st.lists(SIZES, max_size=4).map(tuple), st.just((4, 3, 2)), SIZES)),
    }
    for left_out in draw(st.lists(st.sampled_from(list(said)), max_size=1)):
        del said[left_out]
    text = draw(st.sampled_from([repr(said), repr(said)[:-1], f"[{said}]", "{1: \\d}"])).encode()
    data = bytes(draw(st.sampled_from([0, 10, 48, 96, 1000])))
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@st.composite
def mutated_tensors(draw: st.DrawFn) -> tuple[str, bytes]:
    proto = numpy_helper.from_array(draw(st.sampled_from([X, X.astype("f8"), I64, X > 3])))
    if draw(st.booleans()):
        proto.dims[:] = draw(st.lists(st.integers(-(1 << 40), 1 << 40), max_size=5))
    proto.data_type = draw(st.one_of(st.just(proto.data_type), st.integers(0, 30)))
    return "s.pb", _mutate(draw, proto.SerializeToString())


def _mutate(draw: st.DrawFn, content: bytes) -> bytes:
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        mutated[draw(st.integers(0, len(mutated) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(mutated)))
    return bytes(mutated[: draw(st.sampled_from([len(mutated), len(mutated), cut]))])


KINDS = {
    "bytes": mutated_zips(),
    "packing": repacked_zips(),
    "headers": headers().map(lambda content: ("s.npy", content)),
    "tensors": mutated_tensors(),
}


def try_file(name: str, content: bytes, folder: Path) -> str:
    """Return "read" or "refused"; whatever else is raised is a crash."""
    (folder / name).write_bytes(content)
    try:
        samples = load_samples(
            folder / name, BOTH if name == "s.npz" else [IMAGE], most_bytes=ALLOWED
        )
    except SamplesError as error:
        sentence = str(error)
        assert sentence.startswith("samples") and sentence.endswith(".")
        assert sentence.isprintable() and len(sentence) < 1000 and str(folder) not in sentence
        return "refused"
    assert sum(array.nbytes for array in samples.inputs.values()) <= ALLOWED
    return "read"


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused_in_one_sentence(kind, tmp_path):
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=75,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind])
    def try_one(file: tuple[str, bytes]) -> None:
        outcomes[try_file(*file, tmp_path)] += 1

    try_one()
    assert outcomes.total() >= 50 and outcomes["refused"]


def main(start: int, examples: int = 200) -> None:
    """Print what came of further files; a crash ends it."""
    warnings.simplefilter("error")
    outcomes: Counter[str] = Counter()
    quiet = settings(
        max_examples=examples // len(KINDS),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with tempfile.TemporaryDirectory() as folder:

        def try_one(file: tuple[str, bytes]) -> None:
            outcomes[try_file(*file, Path(folder))] += 1

        for strategy in KINDS.values():
            quiet(seed(start)(given(strategy)(try_one)))()
    print(f"seed {start}: {dict(outcomes)}, 0 crashed")


if __name__ == "__main__":
    main(int(sys.argv[1]))
