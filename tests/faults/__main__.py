"""`python -m tests.faults [--quick] [--only NAME]...`: every way in which a job ends, as a table.

Runs as root beside a test bed that is up; what is struck are an ordinary user's jobs. Daemons of the bed are restarted.
A cell that is not `yes` says what is wrong; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.cluster.bed import BedError
from tests.faults.engine import ENGINES
from tests.faults.judge import Row
from tests.faults.matrix import CASES, full, quick, run

HEAD = "| fault | cluster | engine | container gone after s | record complete | exit code right | nothing left |"


def main() -> int:
    """Run the matrix and print the table; the exit code is 1 when a cell of it is not as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form: some faults, each on one cluster")
    parser.add_argument("--only", action="append", metavar="NAME", choices=[case.name for case in CASES])
    parser.add_argument("--cluster", action="append", choices=("alpha", "beta"), help="default: alpha and beta")
    parser.add_argument("--engine", action="append", choices=tuple(ENGINES), help="default: docker and podman")
    arguments = parser.parse_args()
    clusters = arguments.cluster or ["alpha", "beta"]
    began = time.monotonic()
    rows: list[Row] = []
    try:
        for name in arguments.engine or ENGINES:
            engine = ENGINES[name]
            tasks = quick(clusters, engine) if arguments.quick else full(clusters, engine)
            if arguments.only:
                tasks = [task for task in tasks if task[0].name in arguments.only]
            rows += run(tasks, engine, tell)
    except BedError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    print("\n".join([HEAD, "|---" * 7 + "|", *(row.as_markdown() for row in rows)]))
    red = [row for row in rows if not row.is_green]
    say(f"{len(rows)} rows, {len(red)} not as they have to be, {time.monotonic() - began:.0f} s")
    return 1 if red or not rows else 0


def tell(row: Row) -> None:
    """Progress."""
    say(f"{'ok ' if row.is_green else 'NOT'} {row.as_markdown()}")


def say(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
