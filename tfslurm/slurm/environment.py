"""The variables that change what Slurm's commands do behind the argv, and the ``env`` that takes them away. Pure.

Source: the ENVIRONMENT VARIABLES of each manual page, 20.11 to 24.11. SLURM_CONF stays: it says which cluster is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

VARIABLES: Mapping[str, str] = {
    "sbatch": """ACCOUNT ACCTG_FREQ ARRAY_INX BATCH CLUSTERS CONSTRAINT CONTAINER CONTAINER_ID CORE_SPEC CPUS_PER_GPU
        CPU_FREQ_REQ DEBUG DELAY_BOOT DISTRIBUTION ERROR EXCLUSIVE EXPORT GET_USER_ENV GPUS GPUS_PER_NODE GPUS_PER_TASK
        GPU_BIND GPU_FREQ GRES GRES_FLAGS HINT IGNORE_PBS INPUT JOB_NAME MEM_BIND MEM_PER_CPU MEM_PER_GPU MEM_PER_NODE
        NETWORK NO_KILL NO_REQUEUE OOM_KILL_STEP OPEN_MODE OUTPUT OVERCOMMIT PARTITION POWER PRIORITY PROFILE QOS
        REQUEUE REQ_SWITCH RESERVATION SEGMENT_SIZE SIGNAL SPREAD_JOB THREADS_PER_CORE THREAD_SPEC TIMELIMIT TRES_BIND
        TRES_PER_TASK USE_MIN_NODES WAIT WAIT4SWITCH WAIT_ALL_NODES WCKEY""",
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
    # sbatch hands its own environment on to the job: nothing may be set for it.
    return ("env", *unset, *(() if command == "sbatch" else ASKED))
