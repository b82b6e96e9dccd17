"""What options take: a file to write or read, and numbers that mean something."""

from __future__ import annotations

import math
from pathlib import Path

import click

FILE = click.Path(dir_okay=False, path_type=Path)


def check_positive(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a time")
    return value


def check_decibels(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number of decibels")
    return value


def check_share(_context: click.Context, _option: object, value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise click.BadParameter(f"{value} is not between 0 and 1")
    return value
