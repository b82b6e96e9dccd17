"""Names come from a model and may hold anything: how each format disarms them."""

from __future__ import annotations

import re
import unicodedata

# Excel, LibreOffice and Google Sheets read a cell that begins so as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

# What can begin markup, a reference or an address.
MARKDOWN = re.compile(r"[\\`*_\[\]<>&|~$@#!{}]|:(?=//)|(?<=www)\.")


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


def escape_markdown(text: str) -> str:
    """Return text on one line that no Markdown takes for markup, a link or the end of a cell.

    Source: CommonMark: a character that is written as a number never has a meaning of its own.
    """
    return MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", escape_unprintable(text))


def escape_sarif(text: str) -> str:
    """Return text for a message of SARIF, in which brackets make links and braces places.

    Source: SARIF 2.1.0, 3.11.5 and 3.11.6.
    """
    plain = escape_unprintable(text).replace("{", "{{").replace("}", "}}")
    return re.sub(r"[\\\[\]]", r"\\\g<0>", plain)


def quote_python(name: str) -> str:
    """Return a name as Python source on one line: nothing in it can end the string or the line."""
    return repr(name)


def quote_short(name: str) -> str:
    """Return a name in quotes for a comment, cut where it is long."""
    return shorten_name(repr(name), 80)
