"""No name can steer a terminal, end a string or begin a formula."""

from __future__ import annotations

import pytest
from hostile_names import HOSTILE

from playground.utils import exports


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_an_escaped_name_cannot_steer_a_terminal(name):
    assert exports.escape_unprintable(name).isprintable()
    assert len(exports.shorten_name(name)) <= 200


def test_a_harmless_name_is_left_alone():
    assert exports.escape_unprintable("层/卷积 été $x$") == "层/卷积 été $x$"
