# shellcheck shell=bash disable=SC2034,SC2154
#
# Batch role: once per attempt, on the first node. Starts the tasks, waits for them, and keeps how the attempt ended.

# Starts a role by the script in the attempt's folder, where others can replace a folder above: bash -c THIS NAME RUN_DIR SCRIPT ROLE.
# shellcheck disable=SC2016  # that bash reads it
readonly FROM_OWN='exec {run}<"$1/." && own=/proc/$$/fd/$run && [[ -O $own/. && $(stat --format=%a -- "$own/.") =~ ^[0-7]*[0145][0145]$ ]] ||
    { printf "tfslurm: %s: another folder lies in the place of the run folder\n" "$1" >&2; exit 78; }
exec bash "$own/$2" "$3" "$0"'

# Makes the attempt's folder and says there who, where and when; from here on every end is written down.
node::begin() {
    environment::own
    node::_job
    folders::own
    batch::_ask_kill_wait
    local restarts=${SLURM_RESTART_COUNT:-0} submitted_from=${SLURM_SUBMIT_HOST:-${HOSTNAME-}}
    attempt=$((restarts + 1))
    folders::make "$job_dir"
    until mkdir "$job_dir/attempt-$attempt" 2>/dev/null; do # never over the evidence of another attempt
        if [[ ! -d $job_dir/attempt-$attempt ]]; then
            printf 'tfslurm: %s: the job has no folder: it cannot be made; make it writable\n' "$job_dir" >&2
            exit "$EX_CONFIG"
        fi
        attempt=$((attempt + 1))
    done
    attempt_dir=$job_dir/attempt-$attempt
    printf 'attempt-%s\n' "$attempt" >"$job_dir/latest"
    node::_user
    mkdir --parents "$job_dir/out" "$attempt_dir/facts"
    if [[ -n $read_group ]]; then chmod go= -- "$job_dir/out"; fi # see outputs::open
    cp -- "$0" "$attempt_dir/job.sbatch" # the very script that runs; the tasks run this copy
    time::now
    began_at=$now
    json::object cluster s "$cluster" job_id s "$raw_job_id" array_job_id o "${SLURM_ARRAY_JOB_ID-}" \
        array_task_id o "${SLURM_ARRAY_TASK_ID-}" attempt n "$attempt" restart_count n "$restarts" user s "$user" \
        uid n "$EUID" gid n "${GROUPS[0]}" submit_host s "$submitted_from" \
        nodelist s "${SLURM_JOB_NODELIST:-${HOSTNAME-}}" partition o "${SLURM_JOB_PARTITION-}" \
        job_name s "${SLURM_JOB_NAME:-$name-$plan_id}" script_sha256 s "$script_sha256" began_at s "$began_at"
    node::_write "$attempt_dir/begin.json" "$json"
    job_exit_code='' stopped='' waited_for=''
    trap node::_batch_left EXIT
    trap 'node::_batch_told TERM' TERM INT HUP
    folders::tell
    checkpoint::begin
    keep::listen
}

# Runs the tasks, waits for all of them, and leaves the job's exit code in job_exit_code. It stays alive through SIGTERM:
# when a batch script dies Slurm kills its srun at once, and what the tasks still had to say is lost.
node::batch() {
    export TFSLURM_ATTEMPT=$attempt
    batch::_kill_wait
    batch::_runner
    if ! batch::_prepare; then
        batch::_end "$waited_code"
        return
    fi
    ${runner[@]+"${runner[@]}"} "${script[@]}" task </dev/null &
    local tasks=$!
    waited_for=$tasks
    supervision::watch "$attempt_dir/lost.txt" "$tasks"
    node::_wait "$tasks" batch::_have_ended
    if [[ -z ${kept-} ]]; then waited_for=''; fi # else srun goes on, and is to be told to stop
    if [[ -z $waited_code ]] || keep::is_announced; then # then the task's end is written down, whatever became of srun
        batch::_ends
        waited_code=$((highest < 0 ? 1 : highest))
    fi
    if [[ -z ${kept-} ]]; then batch::_sweep; fi
    batch::_end "$waited_code"
    keep::await "$tasks"
    supervision::unwatch
    if kill -0 "$tasks" 2>/dev/null; then node::_wait "$tasks"; fi
}

batch::_runner() {
    local name=${attempt_dir#"$own_dir/"}/job.sbatch
    runner=() script=(bash "$attempt_dir/job.sbatch")
    if [[ $shared_parents == accept ]]; then script=(bash -c "$FROM_OWN" "$run_dir/$name" "$run_dir" "$name"); fi
    if [[ -n $is_local ]]; then return; fi
    # --export=ALL although it is the default: SLURM_EXPORT_ENV of `sbatch --export=NONE` would be inherited.
    runner=(srun --export=ALL --kill-on-bad-exit=1 --input=none "--nodes=$nodes" "--ntasks=$((nodes * tasks_per_node))")
    runner+=("--ntasks-per-node=$tasks_per_node")
    if [[ -n ${SLURM_CPUS_PER_TASK-} ]]; then runner+=("--cpus-per-task=$SLURM_CPUS_PER_TASK"); fi # not inherited since 22.05
    if ((gpus_per_task > 0)); then runner+=("--gpus-per-task=$gpus_per_task"); fi # which also binds; see srun(1), --gpu-bind
}

# Whatever all tasks must have or know before one of them starts, in a step of the same layout. Fails with the step's code
# in waited_code.
batch::_prepare() {
    waited_code=0
    if ((nodes * tasks_per_node == 1)) || [[ -n $is_local ]]; then return; fi
    if [[ $network != host && $prepull != true ]] && ((${#mounts_hashed[@]} == 0)); then return; fi
    "${runner[@]}" "${script[@]}" prepare </dev/null >"$attempt_dir/tasks.txt" &
    waited_for=$!
    node::_wait "$waited_for"
    waited_for=''
    if [[ -n $stopped ]] && ((waited_code == 0)); then waited_code=143; fi
    if ((waited_code == 0)) && [[ $network == host ]]; then peers::gather || waited_code=$?; fi
    ((waited_code == 0))
}

# How long after SIGTERM Slurm sends SIGKILL; asked once per attempt, beside everything else, and told to every task.
batch::_ask_kill_wait() {
    if [[ -z $is_local ]]; then exec {kill_wait_answer}< <(exec scontrol show config 2>/dev/null </dev/null); fi
}

batch::_kill_wait() {
    local said
    kill_wait=''
    if [[ -z $is_local ]]; then
        IFS= read -r -d '' said <&"$kill_wait_answer" || :
        exec {kill_wait_answer}<&-
        if [[ $said =~ (^|$'\n')KillWait\ *=\ *([0-9]+) ]]; then kill_wait=${BASH_REMATCH[2]}; fi
    fi
    export TFSLURM_KILL_WAIT=$kill_wait
}

# Tasks that were killed outright left a container behind; its lifeline has ended it, this looks at it and removes it.
batch::_sweep() {
    local folder left=''
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -d $folder && (! -e $folder/exit.json || -e $folder/to-keep) ]]; then left=yes; fi
    done
    if [[ -z $left ]]; then return; fi
    local -a again=()
    if [[ -z $is_local ]]; then again=(srun --export=ALL --input=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1); fi
    if [[ -z $stopped ]]; then export TFSLURM_TASK_CODE=$waited_code; fi
    timeout --kill-after=5 30 ${again[@]+"${again[@]}"} "${script[@]}" cleanup </dev/null || :
}

# Its code, cause and reason are end_code, end_cause and end_reason, which what is called here may set.
batch::_end() {
    local folder foreign_look mute='' early=''
    end_code=$1 end_reason=${batch_reason-} end_cause=${batch_reason:+refused}
    set +e # whatever cannot be written any more, the secrets are removed and the end is told
    batch::_own_code
    batch::_blame
    supervision::lost
    job_exit_code=$end_code
    foreign::look &
    foreign_look=$!
    # Alone, if there is time: a file that is renamed meanwhile has no owner for `find`, which counts as another one.
    if [[ -z $stopped ]]; then node::_wait "$foreign_look" node::_is_stopped; fi
    outputs::list
    if [[ -n $read_group && -z ${kept-} ]]; then
        outputs::open &
        node::_wait "$!" node::_is_stopped
    fi
    node::_wait "$foreign_look" node::_is_stopped
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -z $end_reason && -s $folder/refused.txt ]]; then
            IFS= read -r end_reason <"$folder/refused.txt" || :
            batch::_cause "$folder" refused
            end_cause=$cause_left
        fi
        if [[ $end_code == "$EX_TEMPFAIL" && ! -s $folder/exit.json ]]; then mute=${folder%/}; fi
        if ((end_code != 0)) && [[ -r $folder/exit.json && $(<"$folder/exit.json") == *'"started_at": null'* ]]; then early=${folder%/}; fi
    done
    if [[ -z $end_reason && -n $mute ]]; then
        end_cause=lost end_reason="${mute##*/} could not write down its end; see the output of the job"
    fi
    if [[ -z $end_reason && ! -d $attempt_dir/facts/task-0 ]]; then end_cause=lost end_reason="no task began: srun ended with $end_code"; fi
    if [[ -z $end_reason && -n $stopped && -z ${kept-} ]]; then end_cause=stopped end_reason="stopped by SIG$stopped"; fi
    if [[ -z $end_cause ]]; then supervision::memory; fi
    if [[ -z $end_reason && -n $early ]]; then
        end_cause=lost end_reason="${early##*/} ended before its program began; see the output of the job"
    fi
    keep::until
    checkpoint::end "$end_code" "${end_cause:-program}" "$end_reason"
    supervision::tell
}

# What ended a task, by the word that it left in its folder ($1), in cause_left; $2 where it left none.
batch::_cause() {
    cause_left=$2
    if [[ -s $1/cause ]]; then IFS= read -r cause_left <"$1/cause" || :; fi
}

# Of several tasks, one that failed by itself speaks for the job: srun gives the highest code of all, and those that it then
# stopped often end with a higher one.
batch::_blame() {
    if ((nodes * tasks_per_node == 1 || end_code == 0)) || [[ -n $stopped || -e $attempt_dir/warned ]]; then return; fi
    local -i rank
    local end folder
    for ((rank = 0; rank < nodes * tasks_per_node; rank++)); do
        folder=$attempt_dir/facts/task-$rank
        if [[ ! -r $folder/exit.json ]]; then continue; fi
        if grep --quiet --extended-regexp $'\t(told-to-stop|swept)\t' "$folder/events.tsv" 2>/dev/null; then continue; fi
        end=$(<"$folder/exit.json")
        if [[ $end =~ \"exit_code\":\ ([0-9]+) ]] && ((BASH_REMATCH[1] != 0)); then
            end_code=${BASH_REMATCH[1]}
            if [[ -z $end_reason && ! -s $folder/refused.txt ]]; then end_reason="task $rank ended with $end_code, so the others were ended"; fi
            return
        fi
    done
}

# Of a job that is being stopped, waits until every task has written its end; the highest code is then in waited_code, as srun
# would give it. srun ($1) waits for what a task does after that too, and SIGKILL may come first. Fails when srun has ended.
# The same, and kept is yes, where the program of a job has failed and its container is to be kept.
batch::_have_ended() {
    local bell
    if keep::is_announced; then
        kept=yes
        batch::_ends
        waited_code=$highest
        return 0
    fi
    if [[ -z $stopped || $checkpoint_requeue == true ]]; then return 1; fi # queueing it again would cut the tasks short
    exec {bell}<> <(:) # nothing is ever written to it
    while kill -0 "$1" 2>/dev/null; do
        batch::_ends
        if ((ended == nodes * tasks_per_node)); then
            waited_code=$highest
            return 0
        fi
        read -r -t 0.1 -u "$bell" || :
    done
    return 1
}

# How many tasks have written their end, in ended, and the highest code among those, in highest.
batch::_ends() {
    local folder end
    ended=0 highest=-1
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ ! -r $folder/exit.json ]]; then continue; fi
        end=$(<"$folder/exit.json")
        if [[ ! $end =~ \"exit_code\":\ ([0-9]+) ]]; then continue; fi
        ended=$((ended + 1))
        if ((BASH_REMATCH[1] > highest)); then highest=${BASH_REMATCH[1]}; fi
    done
}

# srun ends with 1 where Slurm's own cgroup ran out of memory, whatever the task ended with: that is the job's code then.
batch::_own_code() {
    if [[ $end_code != 1 ]]; then return; fi
    batch::_ends
    if ((highest > 0)); then end_code=$highest; fi
    if ((highest == 0)); then end_reason=${end_reason:-'srun ended with 1 though every task ended with 0: see the job'"'"'s own output'}; fi
}

# What ended the attempt is one word for programs, `cause`, and a sentence for people, `reason`. The words: program, memory (the
# container's was used up), stopped (from outside), requeued (another attempt follows), unfinished (none can, though the program
# was warned and saved), no_scheduler (none, for there is nobody to ask), refused (a link did not hold), engine (it failed), lost
# (what attends the job failed), script (another part of job.sbatch ended it).
batch::_exit_json() {
    local code=$1 cause=$2 reason=$3
    time::now
    json::signal "$code"
    json::object exit_code n "$code" signal n "$signal" began_at s "$began_at" ended_at s "$now" cause s "$cause" \
        reason s "$reason" ${kept_until:+kept_until_at s "$kept_until"}
    node::_write "$attempt_dir/exit.json" "$json"
}

# Every other way out, for example a prologue that failed.
node::_batch_left() {
    local code=$?
    trap - EXIT
    supervision::unwatch
    if [[ -n $waited_for ]]; then kill -s TERM "$waited_for" 2>/dev/null || :; fi
    if [[ ! -e $attempt_dir/exit.json ]]; then
        local cause=script
        if [[ -n $stopped ]]; then cause=stopped; fi
        batch::_exit_json "$code" "$cause" "${stopped:+stopped by SIG$stopped; }the script ended with $code before its tasks did" ||
            code=$EX_TEMPFAIL
        if [[ $checkpoint_requeue != true || -z $stopped ]]; then secrets::forget || :; fi
    fi
    exit "$code"
}

node::_batch_told() {
    if [[ $1 == TERM ]]; then stopped=TERM; fi
    interrupted=yes
    # srun passes it on to the tasks, for which a second one is harmless.
    if [[ -n $waited_for ]]; then kill -s "$1" "$waited_for" 2>/dev/null || :; fi
}

# No later attempt needs them; the tasks of an array share theirs. What lies there must be the run folder still: elsewhere a
# folder of this name is not ours to remove.
secrets::forget() {
    if [[ -n ${SLURM_ARRAY_JOB_ID-} || ${#secrets[@]} -eq 0 ]]; then return 0; fi
    local folder=$own_dir
    if [[ (-L $folder && $folder == "$run_dir") || ! -O $folder || ! -f $folder/plan.json || -L $folder/secrets ]]; then return 0; fi
    rm --recursive --force -- "$folder/secrets"
}
