"""Ask whether records would still run today: their image, tag, driver, code and outputs."""

from tfslurm.audit.findings import Audited, Finding
from tfslurm.audit.run import audit

__all__ = ["Audited", "Finding", "audit"]
