"""`python3 -m tests.cluster up|down|status|env`: the test bed from the command line."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys

from . import site
from .bed import CLUSTERS, BedError
from .demo import demo
from .install import install
from .users import login_environment


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start what is not running, make what is missing; does nothing when all is well")
    down = verbs.add_parser("down", help="stop what `up` started; the data stays, so that the next `up` is fast")
    down.add_argument("--purge", action="store_true", help="also remove the folder, the users and the device nodes")
    status = verbs.add_parser("status", help="one line per daemon and cluster; exit code 1 unless all is well")
    env = verbs.add_parser("env", help="what a login shell of a cluster needs; eval it")
    env.add_argument("cluster", nargs="?", choices=sorted(CLUSTERS), default="alpha")
    verbs.add_parser("install", help="install this checkout's tfslurm for the bed's users")
    verbs.add_parser("demo", help="run the main job as a user types it")
    for verb in (up, down, status, env):
        verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def main() -> int:
    """The exit code: 0 done, 1 the world said no, 2 wrong words."""
    arguments = _arguments()
    if arguments.verb == "env":
        environment = login_environment(arguments.cluster)
        lines = (f"export {key}={shlex.quote(value)}" for key, value in environment.items())
        print(json.dumps(environment, indent=1) if arguments.json else "\n".join(lines))
        return 0
    if os.geteuid() != 0:
        print("tests.cluster: not root: it starts daemons, users and device nodes; run it as root", file=sys.stderr)
        return 1
    try:
        return _act(arguments)
    except BedError as error:
        print(f"tests.cluster: {error}", file=sys.stderr)
        return 1


def _act(arguments: argparse.Namespace) -> int:
    if arguments.verb == "install":
        install()
        return 0
    if arguments.verb == "demo":
        demo()
        return 0
    if arguments.verb == "up":
        facts = site.up()
        print(json.dumps(facts, indent=1)) if arguments.json else None
        return 0
    if arguments.verb == "down":
        stopped = site.down(purge=arguments.purge)
        print(json.dumps({"stopped": stopped})) if arguments.json else None
        return 0
    parts = site.status()
    if arguments.json:
        print(json.dumps(parts, indent=1))
    else:
        for name, state in parts.items():
            print(f"{name:18} {state}")
    return 0 if all(not state.startswith("NOT") for state in parts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
