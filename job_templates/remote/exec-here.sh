#!/bin/bash
# Runs a command in the container of a job of this machine: $1 the run folder, $2 the job's folder in it, $3 the task's rank,
# $4 `terminal` or '', $5 a name for the command's lifeline, then the command's words. There is no scheduler to ask whether the
# job runs: the script in the run folder says so.
. ./run-folder.sh
run_dir=$1
shift
if ! is_mine "${run_dir%/*}" "${run_dir##*/}"; then
    printf 'tfslurm: %s: is not a run folder of yours\n' "$run_dir" >&2
    exit 78
fi
exec bash "$run_dir/job.sbatch" exec "$@"
