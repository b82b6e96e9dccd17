"""Numbers and names as words: one spelling for tables, pictures, page and report."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from .parameter_inspector import (
    MARKS,
    Metric,
    MetricKind,
)
from .parameter_inspector.judging.phrases import format_share as spell_share

NAME_LENGTH = 30
NOTHING = "–"
LOSSLESS = "lossless"
NO_CHANGE = "no change"
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def mark_severity(severity: str) -> str:
    """Return a severity as a symbol and a word, a dash for none."""
    return f"{MARKS[severity]} {severity}" if severity else NOTHING


def format_number(number: float) -> str:
    """Return three significant digits, with a true minus sign; a dash for NaN."""
    if math.isnan(number):
        return NOTHING
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    number += 0.0  # no minus before a zero
    return _minus(f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}")


def format_tick(number: float) -> str:
    """Return a number for an axis, short and without an e: 120k, 10M, 2·10⁻⁵."""
    size = abs(number)
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if factor <= size < 1e12 and (size >= 1e4 or unit != "k"):
            return f"{format_number(number / factor)}{unit}"
    if size and math.isfinite(size) and not 1e-4 <= size < 1e12:
        mantissa, power = f"{number:.2e}".split("e")
        digits = mantissa.rstrip("0").rstrip(".")
        return _minus(f"{digits}·10") + str(int(power)).translate(SUPERSCRIPTS)
    return format_number(number)


def format_share(share: float, digits: int = 1) -> str:
    """Return a share in percent: 0.96875 is 96.9%. One so small that it would be 0% is not 0%."""
    if math.isnan(share):
        return NOTHING
    is_lost = share != 0 and round(abs(share), digits + 2) == 0
    return f"{100 * share:.1g}%" if is_lost else f"{share:.{digits}%}"


def format_part(share: float) -> str:
    """Return a share in whole percent, with a digit more where it would read 0 or 100."""
    return NOTHING if math.isnan(share) else spell_share(share)


def format_decibels(decibels: float) -> str:
    """Return decibels without their unit, for a column that has it in its heading."""
    if decibels == math.inf:
        return LOSSLESS
    return format_number(decibels) if not math.isfinite(decibels) else _minus(f"{decibels:.1f}")


def format_db(decibels: float) -> str:
    """Return an SQNR with its unit: a dash where it is not known, a word where nothing was lost."""
    text = format_decibels(decibels)
    return f"{text} dB" if math.isfinite(decibels) else text


def format_gain(after: float, before: float) -> str:
    """Return what was gained, in dB, with its sign."""
    if math.isnan(after) or math.isnan(before):
        return NOTHING
    if after == before:
        return NO_CHANGE
    if math.isinf(after - before):
        return f"now {LOSSLESS}" if after > before else f"no longer {LOSSLESS}"
    return f"{_minus(f'{after - before:+.1f}')} dB"


def format_growth(after: int, before: int) -> str:
    """Return what more it takes, in percent with its sign."""
    if after == before:
        return NO_CHANGE
    share = after / max(1, before) - 1
    return _minus(f"{share:+.{1 if abs(share) < 1 else 0}%}")


def format_metric(metric: Metric, value: float) -> str:
    """Return a metric without its unit, as its kind is written: alike on page and in report."""
    if metric.kind is MetricKind.DECIBELS:
        return format_decibels(value)
    if metric.kind is MetricKind.SHARE:
        return format_share(value)
    if metric.kind is MetricKind.INDEX and math.isfinite(value):
        return str(int(value))
    return format_number(value)


def name_metric(metric: Metric) -> str:
    """Return the heading of a metric's column: its label, with the unit where it has one."""
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def format_bytes(count: int) -> str:
    """Return a file size as people say it: 999 B, 82.9 kB, 3.59 MB."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def format_shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def spell_count(number: int, what: str) -> str:
    """Return a count with its noun: 1 channel, 12 channels."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spell_integer(number: int) -> str:
    return _minus(str(number))


def join_names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shorten_uniquely(names: Sequence[str], length: int = NAME_LENGTH) -> dict[str, str]:
    """Return each name with what tells it from the others; no two are shortened to the same.

    Parts of a path that most names have go first, numbers and the last part late; ``…`` stands
    for them. A name may be longer than ``length`` where that alone sets it apart.
    """
    distinct = list(dict.fromkeys(names))
    paths = {name: re.findall(r"[^/]*/|[^/]+", name) for name in distinct}
    common = Counter(part for path in paths.values() for part in set(path))
    # A number counts layers where few names have it; that of the whole model tells nothing.
    kept_late = {p for p, n in common.items() if 2 * n <= len(paths) and any(map(str.isdigit, p))}
    worth = {part: (part in kept_late, -count) for part, count in common.items()}
    short = {name: _shorten(path, worth, length) for name, path in paths.items()}
    for longer in (*range(length + 8, 4 * length, 8), None):
        uses = Counter(short.values())
        for name in (name for name in distinct if uses[short[name]] > 1):
            short[name] = _shorten(paths[name], worth, longer) if longer else name
    return short


def _shorten(path: Sequence[str], worth: Mapping[str, tuple[bool, int]], length: int) -> str:
    """Return a path of at most so many characters, cut within a part only at the last."""
    kept = list(path)
    for i in sorted(range(len(path) - 1), key=lambda i: (worth[path[i]], i)):
        if len(_join(kept)) <= length:
            break
        kept[i] = "…"
    return cut_middle(_join(kept), length)


def _join(parts: Sequence[str]) -> str:
    return re.sub("…+", "…", "".join(parts))


def cut_middle(text: str, length: int) -> str:
    """Return a text of at most so many characters, its middle left out where it is longer."""
    head = (length - 1) // 2
    return text if len(text) <= length else f"{text[:head]}…{text[head + 1 - length :]}"


def capitalize(sentence: str) -> str:
    """Return a sentence with a capital, but for a name that has none."""
    if sentence.startswith("onnxruntime"):
        return sentence
    return sentence[:1].upper() + sentence[1:]


def _minus(text: str) -> str:
    return text.replace("-", "−")
