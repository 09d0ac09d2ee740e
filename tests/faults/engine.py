"""A container engine, as far as the faults need to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.cluster.docker import docker


@dataclass(frozen=True)
class Engine:
    """An engine by the name that a cluster file gives it."""

    name: str
    client: tuple[str, ...]  # words in the command line of the process that attends a running container

    def containers(self, plan_id: str) -> list[str]:
        """The containers of one plan that exist, running or not; those of the probe of its image too."""
        asked = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=tfslurm.plan_id={plan_id}")
        done = docker(*asked)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


ENGINES: Mapping[str, Engine] = {"docker": Engine("docker", ("docker", "start", "--attach"))}
