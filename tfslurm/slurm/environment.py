"""The variables that change what Slurm's commands do behind the argv, and the ``env`` that takes them away. Pure.

Source: the ENVIRONMENT VARIABLES of each manual page, 20.11 to 26.05. SLURM_CONF stays: it says which cluster is meant.
sbatch and srun, which hand their environment on, are called by job_templates/remote/unsteered.sh instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

VARIABLES: Mapping[str, str] = {
    "squeue": """ACCOUNT ALL ARRAY FEDERATION FORMAT FORMAT2 LICENSES LOCAL NAMES PARTITION PRIORITY QOS SIBLING SORT
        STATES USERS""",
    "sacct": "FEDERATION FORMAT LOCAL",
    "scancel": "ACCOUNT BATCH CTLD FULL HURRY INTERACTIVE NAME PARTITION QOS STATE USER VERBOSE WCKEY",
    "sinfo": "ALL FEDERATION FORMAT LOCAL PARTITION SORT",
    "scontrol": "ALL FEDERATION FUTURE LOCAL SIBLING",
    "sacctmgr": "",
}
FOR_ALL = ("SLURM_CLUSTERS", "SLURM_DEBUG_FLAGS", "SLURM_EXIT_ERROR")
# Seconds since 1970 come out, UTC goes in (sacct --starttime), and no list of array tasks is cut at 64 characters.
ASKED = ("TZ=UTC0", "SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0")


@cache
def clean(command: str) -> tuple[str, ...]:
    """The ``env`` to put before an argv of this command."""
    names = (*(f"{command.upper()}_{name}" for name in VARIABLES[command].split()), *FOR_ALL)
    unset = tuple(word for name in names for word in ("-u", name))
    return ("env", *unset, *ASKED)
