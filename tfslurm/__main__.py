"""`python -m tfslurm` is the command line; so is the program `tfslurm`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, also where Ctrl-C comes while it is still being loaded."""
    try:
        from tfslurm.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
