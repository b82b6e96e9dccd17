"""Names come from a model and may hold anything: how each format disarms them."""

from __future__ import annotations

import unicodedata

# Excel, LibreOffice and Google Sheets read a cell that begins so as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def escape_unprintable(text: str) -> str:
    """Return ``text`` on one line; what would steer a terminal or turn the text shows its code."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else _spell(char)
        for char in text
    )


def _spell(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten_name(name: str, length: int = 200) -> str:
    """Return ``name`` on one line, cut in the middle where it is longer than ``length``."""
    name = escape_unprintable(name)
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[head + 1 - length :]}"


def escape_formula(cell: object) -> object:
    """Return a text cell so that no spreadsheet takes it for a formula; numbers stay as they are.

    Source: OWASP, CSV injection.
    """
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS):
        return "'" + cell
    return cell


def escape_xml(text: str) -> str:
    """Return text that XML 1.0 can hold: it has no way to write most control characters."""
    return escape_unprintable(text)


def quote_python(name: str) -> str:
    """Return a name as Python source on one line: nothing in it can end the string or the line."""
    return repr(name)


def quote_short(name: str) -> str:
    """Return a name in quotes for a comment, cut where it is long."""
    return shorten_name(repr(name), 80)
