"""What the command line does: a module for each command, imported when that one is asked for.

No command imports another. What they share stands beside them: opening, measuring_runs, saying and
failing, of which failing and serve are imported without the engine.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """The module of a command, and what the list of commands says of it."""

    module: str
    help: str


COMMANDS = {
    "check": Command("check", "Print what is wrong with quantized models."),
    "measure": Command("measure", "Print what the outputs of quantized models lose."),
    "report": Command("report_file", "Write one HTML file about the models in FOLDER."),
    "requantize": Command(
        "requantize",
        "Write QUANTIZED again, with the changes that take back what was lost.",
    ),
    "run": Command("serve", "Serve the page about MODELS, and open it in the browser."),
}
