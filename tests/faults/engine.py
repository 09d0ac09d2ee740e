"""A container engine, as far as the faults need to know it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.cluster.docker import docker
from tests.cluster.podman import podman


@dataclass(frozen=True)
class Engine:
    """An engine by the name that a cluster file gives it."""

    name: str
    ask: Callable[..., subprocess.CompletedProcess[str]]  # what its program gave, by its words
    sees_oom: bool  # whether it knows why a program was killed

    def runs(self, container: str) -> bool:
        """Whether it says that a container runs; podman says so a little after the container does."""
        return self.ask("container", "inspect", "--format", "{{.State.Running}}", container).stdout == "true\n"

    def containers(self, plan_id: str) -> list[str]:
        """The containers of one plan that exist, running or not; those of the probe of its image too."""
        done = self.ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=tfslurm.plan_id={plan_id}")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


def users_podman(*words: str) -> subprocess.CompletedProcess[str]:
    """What podman gave the user whose jobs are struck."""
    return podman("alice", *words)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine for engine in (Engine("docker", docker, True), Engine("podman", users_podman, False))
}
