"""One command: given models, or nothing, it serves the page about them. Without a browser there are
``check`` for a gate in CI, ``measure`` for what the output loses, ``report`` for a file to send and
``requantize`` for a better model.

Only what was asked for is imported: `playground.commands` has a module for each.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module

import click

from playground.commands import COMMANDS


class CommandsOnDemand(click.Group):
    """A group that imports a command when it is run or explained, not when it is listed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read models, or options of the page, as ``run`` with them."""
        if not args or args[0] not in {*COMMANDS, *self.options_of_the_whole(ctx)}:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def options_of_the_whole(self, ctx: click.Context) -> list[str]:
        return [option for parameter in self.get_params(ctx) for option in parameter.opts]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"playground.commands.{COMMANDS[cmd_name].module}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


@click.group(cls=CommandsOnDemand, subcommand_metavar="[COMMAND] [MODELS]...")
@click.version_option(package_name="quantization-playground", prog_name="quantization-playground")
def main() -> None:
    """Show which layers of a quantized ONNX model lose accuracy, why, and what would fix them.

    Without a command: ``run``. So MODELS are shown by naming them, the shipped ones by nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
