"""``python -m playground``: see `playground.cli`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="python -m playground")
