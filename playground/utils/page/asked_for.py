"""What the page was started with: a folder of networks, or the files of one."""

from __future__ import annotations

from pathlib import Path

import marimo as mo

from ..parameter_inspector import (
    Place,
    describe_refusal,
    find_networks,
    look_for_networks,
    printable,
)
from ..spelling import capitalize

SHIPPED = Path(__file__).resolve().parents[3] / "models"


def list_networks(root: Path | None = None) -> dict[str, Place]:
    """Return the networks by the name to choose each by; one alone where files were named."""
    files = [Path(str(file)) for file in mo.cli_args().get_all("file")]
    if files:
        return {" + ".join(printable(path.name) for path in files): tuple(files)}
    return dict(find_networks(root or find_root()))


def find_root() -> Path:
    """Return the folder that networks are looked for in."""
    return Path(str(mo.cli_args().get("models") or SHIPPED))


def explain_no_network(root: Path | None = None) -> str:
    """Return why there is nothing to choose, and what was not looked into."""
    refusals = look_for_networks(root or find_root()).refusals
    return " ".join(f"{capitalize(describe_refusal(refusal))}." for refusal in refusals)
