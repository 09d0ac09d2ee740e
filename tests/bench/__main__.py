"""`python -m tests.bench [PART]... [--rounds N] [--json]`: the table of docs/benchmarks.md, measured here and now.

Runs as root beside a test bed that is up; every measured command runs as an ordinary user. Commands of one row take
turns (A B A B …), so that whatever else the machine does falls on all of them; given are medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.bench import before, crate, inputs, mirror, node, processes, ssh, status, sweep, tracker
from tests.bench.measure import Row
from tests.cluster.bed import BedError

PARTS = {
    "local": processes.rows,
    "node": node.rows,
    "inputs": inputs.rows,
    "ssh": ssh.rows,
    "status": status.rows,
    "sweep": sweep.rows,
    "crate": crate.rows,
    "tracker": tracker.rows,
    "mirror": mirror.rows,
}


def main() -> int:
    """Measure, print the table; the exit code is 1 when a bound of the table does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each command runs (default: 9)")
    parser.add_argument("--before", metavar="COMMIT", help="measure this tree beside an older commit instead")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    wanted = arguments.parts or [*PARTS]
    if unknown := sorted({*wanted} - {*PARTS}):
        parser.error(f"no such part: {', '.join(unknown)}")
    try:
        if arguments.before:
            rows = before.rows(arguments.rounds, arguments.before)
        else:
            rows = [row for part in wanted for row in PARTS[part](arguments.rounds)]
    except BedError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps([row.as_value() for row in rows], indent=1) if arguments.json else table(rows))
    return 0 if all(row.holds for row in rows) else 1


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    head = ["| what | tfslurm (s) | beside it | (s) | result | bound | holds |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*head, *(row.as_markdown() for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
