"""Find containers whose job is gone, and remove them: only tfslurm's own, only the caller's.

containers  what reap.sh printed on a node -> containers
verdict     a container, who holds it, what the scheduler says of its job -> remove or keep, and why
run         the only part that asks anybody: nodes, the scheduler, the engine
"""

from __future__ import annotations

from tfslurm.reap.run import Reaped, ReapOptions, reap_clusters
from tfslurm.reap.verdict import Verdict

__all__ = ["ReapOptions", "Reaped", "Verdict", "reap_clusters"]
