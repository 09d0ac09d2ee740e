"""Check what works on a cluster: one fact per line, observed or unknown, with what to do about it.

fact      a fact, its status and its fix
site      what Slurm says of itself -> facts
node      the output of check.sh on a compute node -> facts
engines   what the container engine there says of itself -> facts
run       the only part that asks anybody: login node, compute nodes (node_probe), registries
"""

from __future__ import annotations

from tfslurm.check.fact import Fact, failed
from tfslurm.check.node_probe import Look
from tfslurm.check.run import CheckOptions, check_clusters

__all__ = ["CheckOptions", "Fact", "Look", "check_clusters", "failed"]
