#!/bin/bash
# Runs its words without the variables that srun takes for options; inside an allocation it would make a step of that job.
for name in "${!SLURM_@}" "${!SRUN_@}"; do
    [[ $name == SLURM_CONF ]] || unset "$name"
done
exec "$@"
