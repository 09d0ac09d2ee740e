#!/bin/bash
# Runs a command in the container of a task: $1 the job's id, $2 its name, $3 the run folder, $4 the job's folder in it, $5 the
# task's rank, $6 `terminal` or '', $7 a name for the step of this, then the command's words.
#
# The step runs on the node of that task, beside what runs there (--overlap). Slurm ends it with the job, and makes none in a job
# of somebody else's. An id may be another job's by now: the name is not.
. ./unsteered.sh
. ./run-folder.sh
. ./last-attempt.sh
refuse() {
    printf 'tfslurm: %s: %s\n' "$1" "$2" >&2
    exit "${3-78}"
}
id=$1 name=$2 run_dir=$3 folder=$4 rank=$5 terminal=$6 token=$7
shift 7
unset -v "${!SQUEUE_@}" # a user's own would change what is asked
if ! is_mine "${run_dir%/*}" "${run_dir##*/}"; then refuse "$run_dir" 'is not a run folder of yours'; fi
if ! listed=$(unsteered squeue --noheader --jobs="$id" --format='%A %T %u %j' 2>&1) && [[ $listed != *'Invalid job id'* ]]; then
    refuse "job $id" "squeue does not answer: ${listed:0:300}" 75 # that is not the job's end
fi
read -r raw state user named <<<"$listed" || :
if [[ ${named-} != "$name" || $user != "$(id --user --name)" ]]; then refuse "job $id" 'has ended: its container is gone'; fi
if [[ $state == SUSPENDED ]]; then refuse "job $id" 'is SUSPENDED: its container waits' 75; fi
if [[ $state != RUNNING ]]; then refuse "job $id" "is ${state:-gone} and not RUNNING"; fi
last_attempt "$run_dir/$folder"
node=$(tr '\0' '\n' 2>/dev/null <"$run_dir/$folder/attempt-$last/facts/task-$rank/slurm.env" | sed -n 's/^SLURMD_NODENAME=//p')
if [[ ! $node =~ ^[A-Za-z0-9._-]+$ ]]; then
    refuse "job $id" "its task $rank has no container yet, or there is no such task"
fi
step=(srun --jobid="$raw" --overlap --nodes=1 --ntasks=1 --nodelist="$node" --job-name="$token" --chdir=/ --export=ALL)
run=(bash "$run_dir/job.sbatch" exec "$folder" "$rank" "$terminal" "$token" "$@")
code=0
if [[ -z $terminal ]]; then
    # Without --unbuffered the node keeps back what is no whole line.
    unsteered "${step[@]}" --unbuffered --quiet --quiet "${run[@]}" || code=$?
else
    # Nothing but srun's own words comes on its standard error.
    unsteered "${step[@]}" --pty "${run[@]}" 2> >(grep --line-buffered --invert-match ': task 0: Exited with exit code ' >&2) || code=$?
    wait "$!" 2>/dev/null
fi
exit "$code"
