"""A picture as HTML, with what answers to the pointer over it: for page and report alike.

No script: each spot is a radio button without a face. A browser makes one stop of all of a
picture's for the keyboard and moves between them by the arrow keys; a tap chooses one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence

from .figures import Picture, Spot
from .markup import escape

STRIP = 16  # spots in a strip, whose words all stand at the same side of the pointer
NEAR = 1e-6
LOW = 0.5  # of the picture: from here on words stand above a row, not below it
ALIKE = 0.01  # of a size


def frame_figure(picture: Picture, attributes: str = "") -> str:
    """Return the picture, its bytes within the page, under its spots.

    Args:
        attributes: more of them for the ``img``.
    """
    data = base64.b64encode(picture.png).decode("ascii")
    alt = escape(picture.alt)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{alt}"{attributes}>'
        f"{frame_spots(picture)}</figure>"
    )


def frame_spots(picture: Picture) -> str:
    """Return what lies over a picture and names what is under the pointer; empty without spots."""
    if not picture.spots:
        return ""
    group = f"p{zlib.crc32(picture.png) & 0xFFFFF:x}"  # short: it is said by every spot
    strips = "".join(_frame_strip(strip, group) for strip in _list_strips(picture.spots))
    label = "Numbers of the picture, by the arrow keys"
    return f'<div class="spots" role="radiogroup" aria-label="{label}">{strips}</div>'


def _frame_strip(strip: Sequence[Spot], group: str) -> str:
    """Return neighbours as one box that shares its room out, so that none needs a place."""
    first, last = strip[0], strip[-1]
    # What is wide has its words below or above it, what is high beside the top of the picture.
    is_column = _is_below(first, strip[1]) if len(strip) > 1 else first.width > first.height
    right, bottom = last.left + last.width, last.top + last.height
    kinds = [*["rows"] * bool(is_column), *["low"] * bool(first.top > LOW)]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    sizes = [spot.height if is_column else spot.width for spot in strip]
    spots = "".join(
        _write_spot(spot, group, size / min(sizes)) for spot, size in zip(strip, sizes, strict=True)
    )
    middle = min(max((first.left + right) / 2, 0.0), 1.0)
    return (
        f'<div{kind} style="left:{first.left:.2%};top:{first.top:.2%};width:'
        f"{right - first.left:.2%};height:{bottom - first.top:.2%};--side:{-middle:.0%}"
        f'">{spots}</div>'
    )


def _write_spot(spot: Spot, group: str, part: float) -> str:
    """Return one spot; ``part`` is its size beside that of the smallest of its strip."""
    text = "&#10;".join(map(escape, spot.text.split("\n")))
    grows = f' style="flex-grow:{part:.3g}"' if part > 1 + ALIKE else ""
    return f'<input type=radio name={group} aria-label="{text}"{grows}>'


def _list_strips(spots: Sequence[Spot]) -> Iterator[list[Spot]]:
    """Yield runs of spots that touch, side by side or one below the other."""
    strip: list[Spot] = []
    for spot in spots:
        if strip and not _continues(strip, spot):
            yield strip
            strip = []
        strip.append(spot)
    if strip:
        yield strip


def _continues(strip: Sequence[Spot], spot: Spot) -> bool:
    """Whether a spot goes on where a strip ends, in the direction of the strip."""
    if len(strip) == STRIP:
        return False
    ways = [way for way in (_is_beside, _is_below) if way(strip[-1], spot)]
    return bool(ways) and (len(strip) == 1 or ways[0](strip[0], strip[1]))


def _is_beside(one: Spot, other: Spot) -> bool:
    return _are_near(
        (one.left + one.width, one.top, one.height), (other.left, other.top, other.height)
    )


def _is_below(one: Spot, other: Spot) -> bool:
    return _are_near(
        (one.top + one.height, one.left, one.width), (other.top, other.left, other.width)
    )


def _are_near(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) < NEAR for a, b in zip(one, other, strict=True))
