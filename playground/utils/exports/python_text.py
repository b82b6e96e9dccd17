"""Python to paste: an assignment under comments, a list of names."""

from __future__ import annotations

from collections.abc import Iterable

from .escaping import escape_unprintable, quote_python


def assign(target: str, value: str, comments: Iterable[str]) -> str:
    text = "".join(f"# {escape_unprintable(comment)}".rstrip() + "\n" for comment in comments)
    return f"{text}{target} = {value}\n"


def list_names(names: Iterable[str]) -> str:
    lines = "".join(f"    {quote_python(name)},\n" for name in names)
    return f"[\n{lines}]" if lines else "[]"
