"""What a manuscript says of the runs that it reports, held against their records. Pure."""

from tfslurm.export.manuscript.check import Finding, checked

__all__ = ["Finding", "checked"]
