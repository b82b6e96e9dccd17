"""What lies over a picture as HTML: places, words, and one stop for the keyboard."""

from __future__ import annotations

import re

import pytest

from playground.utils.figures import Picture, Spot
from playground.utils.pointing import frame_figure, frame_spots


def columns(count: int) -> tuple[Spot, ...]:
    return tuple(Spot(i / count, 0.25, 1 / count, 0.5, f"bin {i}") for i in range(count))


def test_a_spot_is_plain_text_and_keeps_its_lines():
    shown = frame_spots(Picture(b"drawn", "", (), (Spot(0, 0, 1, 1, '<b>"x"\n1'),)))
    assert 'aria-label="&lt;b&gt;&quot;x&quot;&#10;1"' in shown


def test_all_spots_of_a_picture_are_one_stop_for_the_keyboard_and_those_of_another_its_own():
    one, other = (frame_spots(Picture(png, "", (), columns(40))) for png in (b"one", b"other"))
    assert len(re.findall("type=radio ", one)) == 40
    names = [set(re.findall(r"name=(\w+)", shown)) for shown in (one, other)]
    assert [len(of_one) for of_one in names] == [1, 1]
    assert names[0] != names[1]


def test_neighbours_share_strips_that_cover_what_they_cover():
    shown = frame_spots(Picture(b"drawn", "", (), columns(40)))
    strips = re.findall(r'style="left:([\d.]+)%;top:25.00%;width:([\d.]+)%;height:50.00%', shown)
    assert [float(left) for left, _ in strips] == pytest.approx([0, 40, 80])
    assert sum(float(width) for _, width in strips) == pytest.approx(100)


def test_a_wide_spot_takes_as_much_more_of_its_strip():
    spots = (Spot(0, 0, 0.1, 1, "a"), Spot(0.1, 0, 0.35, 1, "b"))
    assert 'aria-label="b" style="flex-grow:3.5"' in frame_spots(Picture(b"", "", (), spots))


def test_rows_one_below_the_other_stand_in_a_column():
    spots = tuple(Spot(0, 0.1 * i, 1, 0.1, f"row {i}") for i in range(4))
    assert '<div class="rows" style="left:0.00%;top:0.00%;width:100.00%;height:40.00%' in (
        frame_spots(Picture(b"", "", (), spots))
    )


def test_a_picture_without_spots_is_the_picture():
    assert frame_figure(Picture(b"drawn", "words")).endswith('alt="words"></figure>')
