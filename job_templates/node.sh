# shellcheck shell=bash
# The node side of a job, run by job.sbatch, which has set the settings and `set -euo pipefail`. This file is read by every
# role, task.sh by those that the batch role starts on the nodes.
#
#   batch   node::begin, node::batch   once per attempt, on the first node: starts one task per srun task, keeps the end
#   prepare node::prepare              before several tasks, once per task: has the image pulled, says where it can be reached
#   task    node::task                 once per task, on its node: observe, guard, run one container, observe again
#   sweep   node::sweep                once per node, only when a task died without an end: ends and removes its container
#
# It observes, guards, runs and writes what it saw to files, one per observation; nothing here reads meaning into them.
# A link that does not hold ends the task with 78 before the program starts, an engine that fails with 75; there is no
# falling back. Needs bash 4.2, coreutils, findutils, flock and docker or podman; nvidia-smi where there are GPUs.
#
# shellcheck disable=SC2034,SC2154  # the settings stand in job.sbatch; some of what is set here, task.sh reads

if ((${points:-0} > 0)); then eval "$point_sh"; fi # an array's; job.sbatch has read it

readonly EX_TEMPFAIL=75 EX_CONFIG=78
readonly WARNING=URG # see checkpoint, below
# Starts a role by the script in the attempt's folder, where others can replace a folder above: bash -c THIS NAME RUN_DIR SCRIPT ROLE.
# shellcheck disable=SC2016  # that bash reads it
readonly FROM_OWN='exec {run}<"$1/." && own=/proc/$$/fd/$run && [[ -O $own/. && $(stat --format=%a -- "$own/.") =~ ^[0-7]*[0145][0145]$ ]] ||
    { printf "tfslurm: %s: another folder lies in the place of the run folder\n" "$1" >&2; exit 78; }
exec bash "$own/$2" "$3" "$0"'

# ---------------------------------------------------------------------------------------------------------- batch role

# Makes the attempt's folder and says there who, where and when; from here on every end is written down.
node::begin() {
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
}

# Batch role: the run folder must be this user's, and nobody else may write in it. Who can replace it, or a folder above, is
# then in shared_folders: mode, owner and name of each folder on the way that belongs to another user than root, or in which
# others may write and no sticky bit keeps them from what is not theirs. Links on the way are followed one by one.
folders::own() {
    local part link='' target way=$run_dir mode owner group name own=''
    local -i hops=0
    local -a above=() links=()
    shared_folders=()
    while :; do
        part=$way link=''
        while [[ -n $part ]]; do
            if [[ -L $part ]]; then link=$part; fi
            if [[ $part != "$run_dir" ]]; then above+=("$part"); fi
            part=${part%/*}
        done
        if [[ -z $link ]] || ((hops++ >= 40)); then break; fi
        links+=("$link")
        target=$(readlink -- "$link")
        if [[ $target != /* ]]; then target=${link%/*}/$target; fi
        way=$target${way#"$link"}
    done
    while read -r mode owner group name; do
        if [[ $name == "$run_dir" ]]; then
            own="$mode $owner"
        elif folders::_is_shared "$mode" "$owner" "$group" "$name"; then
            shared_folders+=("$mode $owner $name")
        fi
    done < <(
        if ((${#links[@]})); then stat --format='0 %u %g %n' -- "${links[@]}"; fi
        exec stat --dereference --format='%a %u %g %n' -- / "${above[@]}" "$run_dir"
    )
    if [[ -L $run_dir || ! -d $run_dir || ! $own =~ ^[0-7]*[0145][0145]\ $EUID$ ]]; then
        printf 'tfslurm: job.sbatch: %s: is not a folder in which this user alone may write (%s); submit again\n' "$run_dir" "$own" >&2
        exit "$EX_CONFIG"
    fi
}

# A group of the user's own name without another member is the user, unless there is an ACL: the group's bits are then the
# most that anybody named there may do, and ls marks it with a plus.
folders::_is_shared() {
    local mode=$1 row
    if [[ $2 != 0 && $2 != "$EUID" ]]; then return 0; fi
    if [[ $mode =~ ^[1357]...$ || ! $mode =~ [2367].?$ ]]; then return 1; fi
    if [[ $mode =~ [2367]$ ]]; then return 0; fi
    row=$(getent group "$3") || return 0
    node::_user
    [[ ${row%%:*} != "$user" || (-n ${row##*:} && ${row##*:} != "$user") || $(LC_ALL=C ls -Lld -- "$4") == ??????????+* ]]
}

# A folder of the run's, for the user alone, or for the group that may read.
folders::make() {
    if [[ -n $read_group ]]; then umask g=rx,o=; fi
    # shellcheck disable=SC2174  # the run folder is there
    mkdir --parents --mode=0750 -- "$1"
}

# Keeps them for the record, and refuses them unless the cluster's file accepts them.
folders::tell() {
    local first why
    printf '%s\n' ${shared_folders[@]+"${shared_folders[@]}"} >"$attempt_dir/shared-folders"
    if ((${#shared_folders[@]} == 0)); then
        : >"$attempt_dir/shared-folders"
        return
    fi
    if [[ $shared_parents == accept ]]; then return; fi
    first=${shared_folders[0]}
    why="folders: ${first#* * } (mode ${first%% *}) is on the way to the run folder, and others can replace what lies there"
    printf 'tfslurm: %s: %s; chmod go-w or +t it, or write shared_parents: accept in the cluster file\n' "$where" "$why" |
        tee "$attempt_dir/refused.txt" >&2
    secrets::forget
    batch::_exit_json "$EX_CONFIG" refused "$why"
    exit "$EX_CONFIG"
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
    lifetime::watch "$attempt_dir/lost.txt" "$tasks"
    node::_wait "$tasks" batch::_have_ended
    waited_for=''
    if [[ -z $waited_code ]]; then
        batch::_ends
        waited_code=$((highest < 0 ? 1 : highest))
    fi
    batch::_sweep
    batch::_end "$waited_code"
    lifetime::unwatch
    if kill -0 "$tasks" 2>/dev/null; then node::_wait "$tasks"; fi
}

batch::_runner() {
    local name=${attempt_dir#"${own_dir:-$run_dir}/"}/job.sbatch
    runner=() script=(bash "$attempt_dir/job.sbatch")
    if [[ $shared_parents == accept ]]; then script=(bash -c "$FROM_OWN" "$run_dir/$name" "$run_dir" "$name"); fi
    if [[ -n $is_local ]]; then return; fi
    # --export=ALL although it is the default: SLURM_EXPORT_ENV of `sbatch --export=NONE` would be inherited.
    runner=(srun --export=ALL --kill-on-bad-exit=1 --input=none)
    if [[ -n ${SLURM_CPUS_PER_TASK-} ]]; then runner+=("--cpus-per-task=$SLURM_CPUS_PER_TASK"); fi # not inherited since 22.05
    if ((gpus_per_task > 0)); then runner+=("--gpus-per-task=$gpus_per_task"); fi # which also binds; see srun(1), --gpu-bind
}

# Whatever all tasks must have or know before one of them starts, in a step of the same layout. Fails with the step's code
# in waited_code.
batch::_prepare() {
    waited_code=0
    if ((nodes * tasks_per_node == 1)) || [[ -n $is_local ]] || [[ $network != host && $prepull != true ]]; then return; fi
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
        if [[ -d $folder && ! -e $folder/exit.json ]]; then left=yes; fi
    done
    if [[ -z $left ]]; then return; fi
    local -a again=()
    if [[ -z $is_local ]]; then again=(srun --export=ALL --input=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1); fi
    if [[ -z $stopped ]]; then export TFSLURM_TASK_CODE=$waited_code; fi
    timeout --kill-after=5 30 ${again[@]+"${again[@]}"} "${script[@]}" sweep </dev/null || :
}

batch::_end() {
    local code=$1 reason=${batch_reason-} cause=${batch_reason:+refused} folder foreign_look mute='' early=''
    set +e # whatever cannot be written any more, the secrets are removed and the end is told
    batch::_own_code
    batch::_blame
    lifetime::lost
    job_exit_code=$code
    foreign::look &
    foreign_look=$!
    # Alone, if there is time: a file that is renamed meanwhile has no owner for `find`, which counts as another one.
    if [[ -z $stopped ]]; then node::_wait "$foreign_look" node::_is_stopped; fi
    outputs::list
    if [[ -n $read_group ]]; then
        outputs::open &
        node::_wait "$!" node::_is_stopped
    fi
    node::_wait "$foreign_look" node::_is_stopped
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -z $reason && -s $folder/refused.txt ]]; then
            IFS= read -r reason <"$folder/refused.txt" || :
            batch::_cause "$folder" refused
        fi
        if [[ $code == "$EX_TEMPFAIL" && ! -s $folder/exit.json ]]; then mute=${folder%/}; fi
        if ((code != 0)) && [[ -r $folder/exit.json && $(<"$folder/exit.json") == *'"started_at": null'* ]]; then early=${folder%/}; fi
    done
    if [[ -z $reason && -n $mute ]]; then
        cause=lost reason="${mute##*/} could not write down its end; see the output of the job"
    fi
    if [[ -z $reason && ! -d $attempt_dir/facts/task-0 ]]; then cause=lost reason="no task began: srun ended with $code"; fi
    if [[ -z $reason && -n $stopped ]]; then cause=stopped reason="stopped by SIG$stopped"; fi
    if [[ -z $cause ]]; then lifetime::memory; fi
    if [[ -z $reason && -n $early ]]; then
        cause=lost reason="${early##*/} ended before its program began; see the output of the job"
    fi
    checkpoint::end "$code" "${cause:-program}" "$reason"
    lifetime::tell
}

# What ended a task, by the word that it left in its folder ($1), in cause; $2 where it left none.
batch::_cause() {
    cause=$2
    if [[ -s $1/cause ]]; then IFS= read -r cause <"$1/cause" || :; fi
}

# Of several tasks, one that failed by itself speaks for the job: srun gives the highest code of all, and those that it then
# stopped often end with a higher one.
batch::_blame() {
    if ((nodes * tasks_per_node == 1 || code == 0)) || [[ -n $stopped || -e $attempt_dir/warned ]]; then return; fi
    local -i rank
    local end
    for ((rank = 0; rank < nodes * tasks_per_node; rank++)); do
        folder=$attempt_dir/facts/task-$rank
        if [[ ! -r $folder/exit.json ]]; then continue; fi
        if grep --quiet --extended-regexp $'\t(told-to-stop|swept)\t' "$folder/events.tsv" 2>/dev/null; then continue; fi
        end=$(<"$folder/exit.json")
        if [[ $end =~ \"exit_code\":\ ([0-9]+) ]] && ((BASH_REMATCH[1] != 0)); then
            code=${BASH_REMATCH[1]}
            if [[ -z $reason && ! -s $folder/refused.txt ]]; then reason="task $rank ended with $code, so the others were ended"; fi
            return
        fi
    done
}

# Of a job that is being stopped, waits until every task has written its end; the highest code is then in waited_code, as srun
# would give it. srun ($1) waits for what a task does after that too, and SIGKILL may come first. Fails when srun has ended.
batch::_have_ended() {
    local bell
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
    local -i ended highest
    if [[ $code != 1 ]]; then return; fi
    batch::_ends
    if ((highest > 0)); then code=$highest; fi
    if ((highest == 0)); then reason=${reason:-'srun ended with 1 though every task ended with 0: see the job'"'"'s own output'}; fi
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
        reason s "$reason"
    node::_write "$attempt_dir/exit.json" "$json"
}

# Every other way out, for example a prologue that failed.
node::_batch_left() {
    local code=$?
    trap - EXIT
    lifetime::unwatch
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

# What the program left in `outputs`: sizes first, for they are cheap, then the sha256 of every file. It may be any number of
# files of any size, so this script waits for it as for everything else: SIGTERM can come.
outputs::list() {
    local sums why='a file could not be read, or its path is too long; see the output of the job'
    if [[ -z $outputs ]]; then return; fi
    outputs::_look &
    sums=$!
    if [[ -z $stopped ]]; then node::_wait "$sums" node::_is_stopped; fi
    if [[ -n $stopped ]]; then # SIGKILL is near: what cannot be read in time is left out whole
        local -i left_s=${kill_wait:-5}/2
        why='the job was being stopped'
        timer::start "$left_s" "$sums"
        node::_wait "$sums"
        timer::end
    fi
    if [[ -e $attempt_dir/outputs.sha256 ]]; then return; fi
    printf 'not hashed: %s\n' "$why" >"$attempt_dir/outputs.sha256.error"
    rm --force "$attempt_dir/outputs.sha256.tmp"
}

# The group reads outputs once no program writes there any more: one that a program leaves with the bit for it runs as this
# user, whoever starts it. Where find may not look, nobody else may either.
outputs::open() {
    local folder
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -d $folder && ! -e $folder/exit.json ]]; then return 0; fi
    done
    find "$job_dir/out" '(' -type f -perm /6022 -exec chmod ug-s,go-w -- {} + ')' \
        -o '(' -type d -perm /022 -exec chmod go-w -- {} + ')' && chmod g=rX -- "$job_dir/out"
}

# In a process of its own.
outputs::_look() {
    cd "$job_dir/out" || exit
    find . -type f -printf '%s %P\0' >"$attempt_dir/outputs.sizes.tmp" || exit
    mv -- "$attempt_dir/outputs.sizes.tmp" "$attempt_dir/outputs.sizes"
    if [[ -s $attempt_dir/outputs.sizes ]]; then outputs::_sums; else : >"$attempt_dir/outputs.sha256"; fi
}

# What in the job's folder belongs to somebody else: the user may be unable to remove it. There should be nothing.
foreign::look() {
    local found=$attempt_dir/foreign-files patience_s=20 first
    if [[ -n $stopped ]]; then patience_s=2; fi # SIGKILL is near
    first=$(timeout "$patience_s" find "$job_dir" ! -uid "$EUID" -print -quit 2>/dev/null </dev/null) || :
    if [[ -z $first ]]; then return 0; fi
    if [[ -z $stopped ]]; then sleep 1; fi # what vanishes while it is looked at does not count
    timeout "$patience_s" find "$job_dir" ! -uid "$EUID" -printf '%U %P\0' >"$found" 2>/dev/null </dev/null || :
    if [[ ! -s $found ]]; then
        rm --force "$found"
        return 0
    fi
    printf 'tfslurm: %s: %s: holds files that do not belong to %s, see %s\n' "$job" "$job_dir" "$user" "$found" >&2
}

# What reads the files is ended with this process: `timeout` passes a signal on to all that it started.
outputs::_sums() {
    local reader
    trap 'kill -s TERM "$reader"; exit 143' TERM
    # shellcheck disable=SC2016  # the inner bash reads it
    timeout 0 bash -c 'set -o pipefail
        find . -type f -print0 | sort --zero-terminated |
            if sha256sum --zero </dev/null >/dev/null 2>&1; then # coreutils 8.25
                xargs --null --no-run-if-empty sha256sum --zero --
            else
                while IFS= read -r -d "" path; do
                    sum=$(sha256sum <"$path") && printf "%s  %s\0" "${sum%% *}" "$path"
                done
            fi' >"$attempt_dir/outputs.sha256.tmp" &
    reader=$!
    wait "$reader" && mv -- "$attempt_dir/outputs.sha256.tmp" "$attempt_dir/outputs.sha256"
}

# No later attempt needs them; the tasks of an array share theirs. What lies there must be the run folder still: elsewhere a
# folder of this name is not ours to remove.
secrets::forget() {
    if [[ -n ${SLURM_ARRAY_JOB_ID-} || ${#secrets[@]} -eq 0 ]]; then return 0; fi
    local folder=${own_dir:-$run_dir}
    if [[ (-L $folder && $folder == "$run_dir") || ! -O $folder || ! -f $folder/plan.json || -L $folder/secrets ]]; then return 0; fi
    rm --recursive --force -- "$folder/secrets"
}

# --------------------------------------------------------------------------------------------------------------- peers

# What the tasks said of themselves becomes what every task is told: TFSLURM_WORKERS, host:port by rank, and TFSLURM_HOSTS,
# the names that the nodes' own resolver does not know.
peers::gather() {
    local word rank node port workers=''
    local -a worker_of=()
    local -A reach=()
    peers_hosts=''
    while read -r word rank node port; do
        if [[ $word != tfslurm-task || ! $rank =~ ^[0-9]+$ ]]; then continue; fi # what a site's prolog prints
        if [[ -z ${reach[$node]-} ]]; then
            peers::_reach "$node" || return
            reach[$node]=$reached
        fi
        worker_of[rank]=${reach[$node]}:$port
    done <"$attempt_dir/tasks.txt"
    if ((${#worker_of[@]} != nodes * tasks_per_node)); then
        peers::_refuse "${#worker_of[@]} of $((nodes * tasks_per_node)) tasks said where they are" "see $attempt_dir/tasks.txt" || return
    fi
    for word in "${worker_of[@]}"; do workers+=,$word; done
    export TFSLURM_WORKERS=${workers#,} TFSLURM_HOSTS=${peers_hosts# }
}

# How others reach a node, in reached: by its name where that means an address, else by the one that Slurm itself uses.
peers::_reach() {
    local node=$1 said=''
    reached=$node
    if getent hosts "$node" >/dev/null; then return; fi
    said=$(scontrol show node "$node" 2>/dev/null) || :
    if [[ $said =~ NodeAddr=([0-9A-Za-z.:_-]+) ]] && read -r reached _ < <(getent ahostsv4 "${BASH_REMATCH[1]}"); then
        peers_hosts+=" $node:$reached"
        return
    fi
    peers::_refuse "the name $node means no address on $where, and Slurm tells none" \
        "ask the site to put node names into its DNS or /etc/hosts; tasks that do not talk to each other can do with \`network: none\`"
}

peers::_refuse() {
    printf 'tfslurm: %s: network: %s; %s\n' "$where" "$1" "$2" >&2
    batch_reason="$1"
    return "$EX_CONFIG"
}

# ------------------------------------------------------------------------------------------------------------ lifetime

# Slurm's own attendant of a step (slurmstepd) can die alone; its processes then go on, and nothing that happens to the job
# reaches them any more. They notice by having become another's children: this looks every second, without starting a process
# for it, and has the script end as if it had been told to, with the reason in the file. srun waits for ever for a task whose
# attendant is dead, so the batch role looks for that too.
lifetime::watch() {
    lifetime_watch=''
    if [[ -n $is_local ]]; then return; fi
    (
        node::_deaf
        lifetime::_look "$1" "${2-}"
    ) </dev/null >/dev/null 2>&1 &
    lifetime_watch=$!
    disown "$lifetime_watch" 2>/dev/null || : # or bash would say on standard error that it was killed
}

lifetime::_look() {
    local stat bell
    exec {bell}<> <(:) # nothing is ever written to it
    while read -r -t 1 -u "$bell" || IFS= read -r stat <"/proc/$$/stat"; do
        if lifetime::_is_attended "$stat"; then
            if [[ -n $2 ]] && kill -0 "$2" && lifetime::_task_is_lost; then
                lifetime::_abandon "$2"
                return
            fi
            continue
        fi
        lifetime::blame "$1" lost slurmstepd 'it ended before what it attends'
        kill -s TERM $$
        return
    done 2>/dev/null
}

# Has this script the parent that started it? By what its file `stat` in /proc says.
lifetime::_is_attended() {
    local rest=${1##*) } # state parent …
    rest=${rest#* }
    [[ ${rest%% *} == "$PPID" ]]
}

# Has a task that no slurmstepd attends any more come to its end?
lifetime::_task_is_lost() {
    local file
    for file in "$attempt_dir"/facts/task-*/lost.txt; do
        if [[ -s $file && -e ${file%/*}/exit.json && -s ${file%/*}/cause && $(<"${file%/*}/cause") == lost ]]; then return 0; fi
    done
    return 1
}

# Ends srun, once the other tasks have had the time to end.
lifetime::_abandon() {
    local -i left=${kill_wait:-30}+5
    local folder running=yes
    kill -s TERM "$1"
    while [[ -n $running ]] && ((left-- > 0)); do
        running=''
        for folder in "$attempt_dir"/facts/task-*/; do
            if [[ ! -e $folder/exit.json ]]; then running=yes; fi
        done
        if [[ -n $running ]]; then read -r -t 1 -u "$bell" || :; fi
    done
    kill -s KILL "$1"
}

lifetime::unwatch() {
    if [[ -z ${lifetime_watch-} ]]; then return 0; fi # see task::_told_to_stop
    kill -s KILL "$lifetime_watch" 2>/dev/null || :
    # Whatever of a step outlives its script by a moment, Slurm waits a second for.
    local -i looks=5000
    while ((looks-- > 0)) && kill -0 "$lifetime_watch" 2>/dev/null; do :; done
    lifetime_watch=''
}

# Puts down, once, what stood between Slurm and the program and was lost: the program's end is not its own then. $1 the file,
# $2 the cause, as batch::_exit_json has it, $3 what was lost, $4 why.
lifetime::blame() {
    if [[ -s $1 ]]; then return 0; fi
    printf '%s\n' "$2" >"${1%/*}/cause"
    printf 'tfslurm: %s: %s: %s, so the program was ended; submit again\n' "$where" "$3" "$4" >"$1.tmp"
    mv -- "$1.tmp" "$1"
}

# Batch role: the reason in `reason` and 75 in `code`, where the attempt or a task of it was lost.
lifetime::lost() {
    local file
    for file in "$attempt_dir"/lost.txt "$attempt_dir"/facts/task-*/lost.txt; do
        if [[ -s $file && ! -s ${file%/*}/refused.txt ]]; then
            IFS= read -r reason <"$file" || :
            batch::_cause "${file%/*}" lost
            code=$EX_TEMPFAIL
            printf '%s\n' "$reason" >&2
            return
        fi
    done
}

# Batch role: docker's word that the memory was used up, which Slurm does not see, in cause, and in reason if it has none.
lifetime::memory() {
    local folder
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -r $folder/exit.json && $(<"$folder/exit.json") == *'"oom_killed": true'* ]]; then
            cause=memory reason=${reason:-"the container's memory was used up"}
        fi
    done
}

# Batch role, last: where nobody is left to tell Slurm that the script has ended, Slurm would wait for it.
lifetime::tell() {
    if [[ -s $attempt_dir/lost.txt ]]; then scancel "$raw_job_id" >/dev/null 2>&1 || :; fi
}

# ---------------------------------------------------------------------------------------------------------- checkpoint

# Slurm warns with SIGURG, not with the signal that the program gets: where a site signals every process of a step,
# SIGURG ends none of them and docker's client does not pass it on, so the program gets its own signal once, from here.

# Batch role: what is in `outputs` before the attempt, to tell later whether it got anywhere.
checkpoint::begin() {
    if [[ -z $checkpoint_signal ]]; then return; fi
    trap 'checkpoint::_pass_on' "$WARNING"
    checkpoint::_outputs >"$attempt_dir/outputs.before"
}

# Near SIGKILL it has 3 s: cut off, it is another list than the one before, and the job goes on.
checkpoint::_outputs() (
    local -a within=()
    if [[ -n $stopped ]]; then within=(timeout --kill-after=1 3); fi
    cd "$job_dir/out" && ${within[@]+"${within[@]}"} find . -type f -printf '%s %T@ %P\0' | sort --zero-terminated
)

# Where the warning comes to this script itself: without a scheduler, or asked for with `scancel --batch`.
checkpoint::_pass_on() {
    interrupted=yes
    if [[ -n $is_local && -n $waited_for ]]; then
        kill -s "$WARNING" "$waited_for" 2>/dev/null || :
    elif [[ -n $waited_for ]]; then
        scancel --signal="$WARNING" "$SLURM_JOB_ID" 2>/dev/null || :
    fi
}

# Batch role, at the end: goes the job on in another attempt? Asks for it, or writes down why not. A program that was
# warned has not finished by ending with 0: it has saved. Where it cannot go on, 75 keeps that from looking done.
checkpoint::end() {
    local code=$1 cause=$2 reason=$3 why=''
    local -r requeued="requeued after SIG$checkpoint_signal"
    if checkpoint::_unfinished "$code"; then
        cause=unfinished
        checkpoint::_forbidden
        if [[ -z $why ]]; then
            batch::_exit_json "$code" requeued "$requeued"
            checkpoint::_requeue && return
        fi
        reason="not $requeued: $why"
        if ((code == 0)); then code=$EX_TEMPFAIL; fi
        printf 'tfslurm: %s: %s\n' "$job" "$reason" >&2
    fi
    # shellcheck disable=SC2034  # job.sbatch exits with it
    job_exit_code=$code
    # Slurm itself may queue a job again that it stopped.
    if [[ $checkpoint_requeue != true || -z $stopped ]]; then secrets::forget; fi
    # shellcheck disable=SC2034  # as above
    batch::_exit_json "$code" "$cause" "$reason" || job_exit_code=$EX_TEMPFAIL
}

# It was warned, said not that it had finished, and ended well, by that very signal, or because its time was up.
checkpoint::_unfinished() {
    local code=$1
    if [[ $checkpoint_requeue != true || ! -e $attempt_dir/warned ]]; then return 1; fi
    if [[ -f $attempt_dir/program/0/finished && ! -L $attempt_dir/program/0/finished ]]; then return 1; fi
    if [[ -n $stopped ]]; then
        [[ $(scontrol show job "$SLURM_JOB_ID" 2>/dev/null) == *Reason=TimeLimit* ]]
    else
        ((code == 0 || code == 128 + $(kill -l "$checkpoint_signal")))
    fi
}

# In why: the two bounds of a job that would be queued again for ever, and where nobody can be asked (then in cause too).
checkpoint::_forbidden() {
    local file end
    local -i times=0
    for file in "$job_dir"/attempt-*/exit.json; do
        if [[ -r $file ]] && IFS= read -r end <"$file" && [[ $end == *'"cause": "requeued"'* ]]; then times+=1; fi
    done
    if ((times >= checkpoint_max_requeues)); then
        why="it was queued again $times times already; raise checkpoint.max_requeues if it does get on"
    elif [[ -n $outputs ]] &&
        [[ $(sha256sum <"$attempt_dir/outputs.before") == "$(checkpoint::_outputs | sha256sum)" ]]; then
        why='this attempt changed nothing in its outputs, so the next would begin where it began; save more often'
    elif [[ -n $is_local ]]; then
        cause=no_scheduler why='there is no scheduler here'
    elif ! type -P scontrol >/dev/null; then
        why="there is no scontrol on $where; $(checkpoint::_by_hand)"
    fi
}

# Asks Slurm, which may say no: why.
checkpoint::_requeue() {
    local said
    if said=$(scontrol requeue "$SLURM_JOB_ID" 2>&1); then return 0; fi
    why="${said:-scontrol failed}; $(checkpoint::_by_hand)"
    return 1
}

checkpoint::_by_hand() { printf "\`scontrol requeue %s\` on a login node continues it" "$SLURM_JOB_ID"; }

# --------------------------------------------------------------------------------------------------------------- words

# Who and what this is, from Slurm or from the caller that runs without it.
node::_job() {
    is_local='' interrupted=''
    if [[ -n ${TFSLURM_LOCAL_JOB_ID-} ]]; then is_local=yes; fi
    raw_job_id=${TFSLURM_LOCAL_JOB_ID:-${SLURM_JOB_ID:-}}
    where=${SLURMD_NODENAME:-${HOSTNAME-}}
    if [[ -z $raw_job_id ]]; then
        printf 'tfslurm: job.sbatch: this is not a job: SLURM_JOB_ID is not set; submit it: sbatch %s/job.sbatch\n' "$run_dir" >&2
        exit "$EX_CONFIG"
    fi
    job=$raw_job_id
    if [[ -z $is_local && -n ${SLURM_ARRAY_JOB_ID-} ]]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
    if ((${points:-0} > 0)); then node::_point; fi
    job_dir=${own_dir:-$run_dir}/$job
}

# The point of a sweep that this task of an array runs, or that it runs now: its command, and what it has more of variables.
node::_point() {
    local place=${SLURM_ARRAY_TASK_ID-} points_file=''
    if ((points_per_job > 1)); then
        place=${TFSLURM_POINT-}
        job+=.$place
    fi
    node::_points
    if ! point::read "/proc/$$/fd/$points_file" "$points" "$place"; then
        printf 'tfslurm: job.sbatch: %s: %s\n' "$run_dir/points" "${point_error#"/proc/$$/fd/$points_file: "}" >&2
        exit "$EX_CONFIG"
    fi
    exec {points_file}<&-
    command=("${point_argv[@]}")
    environment+=(${point_env[@]+"${point_env[@]}"})
}

# The file of points must be the one that was sent: opened here, in points_file, it is looked at and then read, whatever its name
# means by then. Another user could change his own after the look.
node::_points() {
    local state='' sum=''
    { exec {points_file}<"${own_dir:-$run_dir}/points"; } 2>/dev/null || points_file=''
    if [[ -n $points_file && -O /proc/$$/fd/$points_file ]]; then
        state=$(stat --dereference --format='%d %i %s %Z %Y %a %u' -- "/proc/$$/fd/$points_file") || state=''
        if known::is "points-$points_sha256" "$state"; then return; fi
        sum=$(sha256sum <"/proc/$$/fd/$points_file") || sum=''
    fi
    if [[ ${sum%% *} != "$points_sha256" ]]; then
        printf 'tfslurm: job.sbatch: %s: is not the file that was sent; submit again\n' "$run_dir/points" >&2
        exit "$EX_CONFIG"
    fi
    known::keep "points-$points_sha256" "$state" "/proc/$$/fd/$points_file"
}

node::_user() {
    user=${SLURM_JOB_USER:-${USER-}}
    if [[ -z $user ]]; then user=$(id --user --name 2>/dev/null) || user=$EUID; fi
}

# For a subshell that must not end by what is meant for the job.
node::_deaf() {
    trap - EXIT
    trap '' TERM INT HUP ${checkpoint_signal:+"$checkpoint_signal"}
    set +e
}

# Waits until the process has ended, however often a signal interrupts the waiting; waited_code is its exit code. What $2 names
# may find after a signal that there is no need to wait longer.
#
# The one way to wait for a process where a trap lets the script go on: a trapped signal that comes while `wait` takes a child
# from the kernel has bash 5.2 forget that child. It believes that it runs, and would wait for it for ever; its code is lost
# then, and waited_code empty.
node::_wait() {
    local broken=''
    while kill -0 "$1" 2>/dev/null || ! node::_is_forgotten "$1"; do
        interrupted='' waited_code=0
        wait "$1" 2>/dev/null || waited_code=$?
        if [[ -z $interrupted ]] && ! { ((waited_code > 128)) && kill -0 "$1" 2>/dev/null; }; then
            if [[ -n $broken && $waited_code == 127 ]]; then waited_code=''; fi
            return 0
        fi
        if [[ -n ${2-} ]] && "$2" "$1"; then return 0; fi
        broken=yes forgetful=yes
    done
    waited_code=''
}

# Of a process that is no more: does bash have it among those that run? Only where a signal broke into some `wait`.
node::_is_forgotten() { [[ -n ${forgetful-} && $'\n'$(jobs -rp)$'\n' == *$'\n'"$1"$'\n'* ]]; }

# Sends SIGTERM to $2 after $1 seconds, unless it is ended before. Not `sleep`: where Slurm does not confine processes it would
# outlive the job. It is ended by a bell, because a signal can find a new process with this script's traps still set, and bash
# would run the one that is for the script's own end.
timer::start() {
    exec {timer_bell}<> <(:)
    (
        node::_deaf
        if ! read -r -t "$1" -u "$timer_bell"; then kill -s TERM -- "$2"; fi
    ) </dev/null >/dev/null 2>&1 &
    timer=$!
}

timer::end() {
    printf '\n' >&"$timer_bell"
    node::_wait "$timer"
    exec {timer_bell}>&-
}

node::_is_stopped() { [[ -n $stopped ]]; }

# RFC 3339 in UTC, in now; with milliseconds where bash knows them (5.0).
time::now() {
    local TZ=UTC0 fraction=''
    if [[ -n ${EPOCHREALTIME-} ]]; then
        fraction=${EPOCHREALTIME##*[.,]}
        fraction=.${fraction:0:3}
        printf -v now '%(%Y-%m-%dT%H:%M:%S)T%sZ' "${EPOCHREALTIME%%[.,]*}" "$fraction"
    else
        printf -v now '%(%Y-%m-%dT%H:%M:%S)TZ' -1
    fi
}

# Whole or not at all. Where it fails, the reason is on standard error, which may be on the same file system: an end that
# cannot be written is told by the exit code too.
node::_write() {
    if { printf '%s\n' "$2" >"$1.tmp" && mv --no-target-directory -- "$1.tmp" "$1"; } 2>/dev/null; then return 0; fi # see task::_told_to_stop
    printf 'tfslurm: %s: root: %s cannot be written: the file system is full, read-only or gone; free space there, then submit again\n' \
        "$where" "$1" >&2 || :
    return 1
}

# json::object KEY KIND VALUE …  -> json. Kinds: s text, o text or null when empty, n as it stands, l a list of one text.
json::object() {
    json='{'
    while (($#)); do
        if [[ $json != '{' ]]; then json+=', '; fi
        json::string "$3"
        case $2 in
        n) json_text=$3 ;;
        o) if [[ -z $3 ]]; then json_text=null; fi ;;
        l) json_text="[$json_text]" ;;
        esac
        json+="\"$1\": $json_text"
        shift 3
    done
    json+='}'
}

# Any bytes -> a JSON string in json_text; what is not UTF-8 becomes U+FFFD, byte by byte.
json::string() {
    local LC_ALL=C rest=$1 char escape
    local -r utf8=$'^([\x01-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf][\x80-\xbf]|[\xf1-\xf3][\x80-\xbf][\x80-\xbf][\x80-\xbf]|\xf4[\x80-\x8f][\x80-\xbf][\x80-\xbf])'
    json_text=''
    while [[ -n $rest ]]; do
        char=${rest%%[!\ !#-\[\]-~]*} # the longest run that needs nothing
        json_text+=$char
        rest=${rest:${#char}}
        if [[ -z $rest ]]; then break; fi
        char=${rest:0:1}
        if [[ $rest =~ $utf8 ]]; then char=${BASH_REMATCH[1]}; fi
        case $char in
        \" | \\) json_text+=\\$char ;;
        [$'\x01'-$'\x1f'$'\x7f'])
            printf -v escape '\\u%04x' "'$char"
            json_text+=$escape ;;
        [$'\x80'-$'\xff']) json_text+='\ufffd' ;;
        *) json_text+=$char ;;
        esac
        rest=${rest:${#char}}
    done
    json_text="\"$json_text\""
}

# The signal behind an exit code as shells and docker write it, in signal; null where there is none.
json::signal() {
    signal=null
    if (($1 > 128 && $1 <= 192)); then signal=$(($1 - 128)); fi
}

# What was hashed on this node, and what its inodes were like then, in a folder that only this user can write in. A missing
# one, or another's, means that it is hashed again.
known::is() {
    local folder=/tmp/tfslurm-$EUID was=''
    if [[ -z $2 || -L $folder || ! -O $folder || -L $folder/$1 || ! -O $folder/$1 || ! -f $folder/$1 ]]; then return 1; fi
    IFS= read -r was <"$folder/$1"
    [[ $was == "$2" ]]
}

# Not while a change could still have the ctime that was seen: clocks have a grain.
known::keep() {
    local folder=/tmp/tfslurm-$EUID
    if [[ -z $2 ]] || ! folder::is_alone "$folder"; then return 0; fi
    if [[ -n $(find -H "$3" -newerct '3 seconds ago' -print -quit) ]]; then return 0; fi
    printf '%s\n' "$2" >"$folder/$1.$BASHPID" && mv -- "$folder/$1.$BASHPID" "$folder/$1"
}

# Makes a folder if need be, for this user alone, whatever the umask and the folder above say. Fails where it is not.
folder::is_alone() {
    if [[ ! -d $1 ]]; then mkdir --mode=0700 "$1" 2>/dev/null || :; fi
    [[ $(stat --format='%a %u %F' "$1" 2>/dev/null) =~ ^[2-7]?700\ $EUID\ directory$ ]]
}
