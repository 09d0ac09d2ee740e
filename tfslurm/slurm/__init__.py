"""The dialect of Slurm: the argv of its programs, and parsers of their output. Pure; nothing runs here.

jobs       sbatch, squeue, sacct, scancel: JobStatus
states     the states of a job
reasons    why a job waits, and whether it can start at all
site       scontrol show config, sinfo, sacctmgr: a cluster's configuration, partitions and accounts
profile    all of these and the user's limits, asked with one command
room       the free resources of a partition's nodes
nodes      the partition of each node, and the srun that probes one
options    sbatch's long options: checked and formatted
rejection  why sbatch refused a job, with the names that it would have taken
"""

from __future__ import annotations

from tfslurm.slurm.jobs import (
    MOST_BYTES,
    JobStatus,
    accounting_argv,
    begin_argv,
    cancel_argv,
    has_no_accounting,
    hold_argv,
    ids_in,
    is_job_id,
    parse_queue,
    parse_sacct,
    parse_sbatch,
    queue_argv,
    sacct_argv,
    sbatch_argv,
)
from tfslurm.slurm.options import check_options
from tfslurm.slurm.reasons import REASON_ARGV, Outlook, explain_reason, outlook
from tfslurm.slurm.site import (
    Account,
    Partition,
    SlurmConfig,
    accounts_argv,
    parse_accounts,
    parse_partitions,
    partitions_argv,
)
from tfslurm.slurm.states import STATES, is_final, state_from_exit
from tfslurm.slurm.values import FIELD

__all__ = [
    "FIELD",
    "MOST_BYTES",
    "REASON_ARGV",
    "STATES",
    "Account",
    "JobStatus",
    "Outlook",
    "Partition",
    "SlurmConfig",
    "accounting_argv",
    "accounts_argv",
    "begin_argv",
    "cancel_argv",
    "check_options",
    "explain_reason",
    "has_no_accounting",
    "hold_argv",
    "ids_in",
    "is_final",
    "is_job_id",
    "outlook",
    "parse_accounts",
    "parse_partitions",
    "parse_queue",
    "parse_sacct",
    "parse_sbatch",
    "partitions_argv",
    "queue_argv",
    "sacct_argv",
    "sbatch_argv",
    "state_from_exit",
]
