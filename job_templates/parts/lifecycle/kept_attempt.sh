# shellcheck shell=bash disable=SC2034,SC2154
#
# Batch role: an attempt whose program failed and whose container is kept (keep_s). Its end is written as any other's is, before
# anybody can enter the container; the script waits for the container after that. See lifecycle/kept_container.

# Has the task's program failed, and waits its container for the end of the attempt to be written down?
keep::is_announced() { ((${keep_s:-0} > 0)) && [[ -e $attempt_dir/facts/task-0/to-keep ]]; }

# The look that this script has running beside it wakes it for that.
keep::listen() {
    kept='' kept_until=''
    if ((${keep_s:-0} > 0)); then trap 'interrupted=yes' USR2; fi
}

keep::wake() {
    if keep::is_announced && [[ ! -e $attempt_dir/exit.json ]]; then kill -s USR2 $$; fi
}

# In kept_until: until when the container is kept at most, which may be the job's time limit; '' where it is not.
keep::until() {
    local TZ=UTC0 limit=${SLURM_JOB_END_TIME-} # since Slurm 23.02
    local -i at
    kept_until=''
    if [[ -z ${kept-} || -n $stopped ]]; then return 0; fi
    printf -v at '%(%s)T' -1
    at+=keep_s
    if [[ -z $limit ]]; then limit=$(SLURM_TIME_FORMAT=%s timeout 10 squeue --noheader --jobs="$raw_job_id" --format=%e 2>/dev/null) || :; fi
    if [[ $limit =~ ^[1-9][0-9]{8,10}$ ]] && ((limit < at)); then at=limit; fi
    printf -v kept_until '%(%Y-%m-%dT%H:%M:%SZ)T' "$at"
}

# Waits until the container is gone, by the end of srun ($1), and does what no later than that could be done.
keep::await() {
    if [[ -z ${kept-} ]]; then return 0; fi
    waited_for=$1
    # the task waits for the end to be written; a stop may have come while nobody waited for srun
    if [[ -n $stopped || ! -e $attempt_dir/exit.json ]]; then kill -s TERM "$1" 2>/dev/null || :; fi
    node::_wait "$1"
    waited_for=''
    batch::_sweep
    if [[ -n $read_group ]]; then
        outputs::open &
        node::_wait "$!" node::_is_stopped
    fi
    secrets::forget
    supervision::tell
}
