"""Python to paste is one assignment, whatever the names and comments are."""

from __future__ import annotations

import ast

import pytest
from hostile_names import HOSTILE, pasted

from playground.utils.exports.python_text import assign, list_names


def test_names_are_read_back_to_the_last_character():
    assert ast.literal_eval(pasted(assign("names", list_names(HOSTILE), ()))) == list(HOSTILE)


@pytest.mark.parametrize("comment", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_comment_stays_a_comment(comment):
    assert ast.literal_eval(pasted(assign("names", list_names([]), [comment]))) == []
