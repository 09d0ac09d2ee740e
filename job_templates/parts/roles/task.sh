# shellcheck shell=bash disable=SC2034,SC2154
#
# Task role: one container. What every function of it uses to say no, to wait and to end.

# One container: everything that must hold is looked at before it starts, everything that can wait while it runs.
node::task() {
    node::_job
    node::_task
    trap task::_left EXIT
    trap 'task::_told_to_stop' TERM INT HUP
    supervision::watch "$facts/lost.txt"
    checkpoint::listen
    event task-began "step $step"
    groups::look
    node::_user
    engine::available
    engine::ask_ahead
    image::look
    gpu::look
    driver::look
    report::make
    facts::environment
    cgroup::choose
    mount::check
    code::look
    secrets::check
    image::ensure
    packages::ensure
    gpu::resolve
    driver::check
    tensorflow::look
    code::check
    packages::check
    inputs::hash
    container::create
    container::run
    container::end
    container::tell
    keep::hold
    task::_finish "$exit_code"
}

node::_task() {
    attempt=${TFSLURM_ATTEMPT:-$((${SLURM_RESTART_COUNT:-0} + 1))}
    attempt_dir=$job_dir/attempt-$attempt
    rank=${SLURM_PROCID:-0}
    task::_places
    grace_s=3 # between SIGTERM and SIGKILL for the program: less than Slurm's own, or nobody is left to write the end
    if [[ -n ${TFSLURM_KILL_WAIT-} ]]; then
        if ((TFSLURM_KILL_WAIT > 8)); then grace_s=$((TFSLURM_KILL_WAIT - 5)); fi
        if ((TFSLURM_KILL_WAIT < 7)); then grace_s=2; fi # what follows the program's end takes its time on a busy node
    fi
    engine::grace "$grace_s"
    if [[ -n $is_local ]]; then grace_s=10; fi
    warned='' told_first=''
    mount_wrong='' container_id='' started='' stopped='' client='' kept_id='' waited_for='' exit_code='' slow_facts='' probe=''
    step=${SLURM_STEP_ID:-0}
    if [[ -s $attempt_dir/shared-folders ]] && images::folder; then # kept open, as the run folder is
        exec {images_file}<"$images_dir/."
        images_dir=/proc/$$/fd/$images_file/.
    fi
    container_name=tfslurm-$cluster-$job-${SLURM_STEP_ID:-$plan_id}-$rank-$attempt # local ids are each tracker's own
    if [[ -n $read_group ]]; then umask g=rx,o=; fi
    # shellcheck disable=SC2174  # those above them are named before them
    mkdir --parents --mode=0700 "$facts/container" "${home_dir%/*}" "${program_dir%/*}" "$home_dir" "$program_dir"
    if [[ -n $read_group ]]; then chmod g=rx "$facts/container"; fi
}

# Where a task of this rank leaves what: rank 0's logs have the plain names.
task::_places() {
    local of_rank=.$rank
    if [[ $rank == 0 ]]; then of_rank=''; fi
    facts=$attempt_dir/facts/task-$rank
    home_dir=$attempt_dir/home/$rank
    program_dir=$attempt_dir/program/$rank # what the program may write beside its outputs: nothing there is believed
    stdout_log=$attempt_dir/stdout$of_rank.log stderr_log=$attempt_dir/stderr$of_rank.log
}

# SIGTERM: scancel, the time limit, preemption. A second one changes nothing.
task::_told_to_stop() {
    interrupted=yes
    if [[ -n $stopped ]]; then return 0; fi # a bare `return` in a trap gives the status of what the signal interrupted
    stopped=TERM stopped_at=$SECONDS
    event told-to-stop SIGTERM
    if [[ -n $client ]]; then
        checkpoint::tell_first
        container::_stop &
    elif [[ -n $waited_for ]]; then # a pull, or a lock
        kill -s TERM "$waited_for" 2>/dev/null || :
    fi
}

# Before anything slow begins: is there still a reason to begin it?
task::_stop_if_told() {
    checkpoint::refuse_if_told
    if [[ -z $stopped ]]; then return; fi
    printf 'tfslurm: %s: stopped before the program started\n' "$where" >&2
    exit 143
}

# The one way to say no. What it names is the link; the program has not started. $5 is the cause, as batch::_exit_json has it.
task::refuse() {
    local what=$1 why=$2 fix=${3-} code=${4:-$EX_CONFIG} cause=${5:-refused}
    local line="tfslurm: $where: $what: $why${fix:+; $fix}"
    if [[ $own_dir != "$run_dir" ]]; then line=${line//$own_dir/$run_dir}; fi
    line=${line//[$'\n\r\t']/ }
    # a full file system does not change the code
    if [[ ! -s $facts/cause ]]; then { printf '%s\n' "$cause" >"$facts/cause"; } 2>/dev/null || :; fi
    { printf '%s\n' "$line" >"$facts/refused.txt"; } 2>/dev/null || :
    printf '%s\n' "$line" >&2 || :
    event refused "$what: $why"
    exit "$code"
}

task::engine_failed() {
    task::refuse "$engine" "$1" "${2:-ask the administrator of $where, or exclude the node: --exclude=$where}" "$EX_TEMPFAIL" engine
}

task::_finish() {
    facts::wait
    supervision::unwatch
    event task-ended "$1"
    trap - EXIT
    exit "$1"
}

# Whatever went wrong: no container stays, the node is still described, and the end is written.
task::_left() {
    local code=$?
    trap - EXIT
    set +e
    if [[ -n ${kept_id-} ]]; then keep::end; fi
    keep_s=0
    if [[ -n $container_id ]]; then container::end; fi
    facts::slow
    if [[ ! -e $facts/exit.json ]]; then task::_exit_json "$code" false '' '' || code=$EX_TEMPFAIL; fi
    facts::wait
    supervision::unwatch
    event task-ended "$code"
    exit "$code"
}

task::_exit_json() {
    local code=$1 oom=$2 began=$3 ended=$4
    time::now
    json::signal "$code"
    json::object exit_code n "$code" oom_killed n "$oom" started_at o "$began" ended_at s "${ended:-$now}" signal n "$signal"
    node::_write "$facts/exit.json" "$json"
}

# Runs a command that SIGTERM may end.
task::_in_background() {
    "$@" </dev/null &
    waited_for=$!
    node::_wait "$waited_for"
    waited_for=''
    return "${waited_code:-143}"
}

# A command of the engine's, again where it may have failed because a signal ended it, not where it got no answer: where Slurm
# signals every process of a step, SIGTERM reaches this one too, whether it is ignored here or not. Prints what the last try
# printed: an earlier one may have begun to answer (docker 28 prints an empty line).
task::insist() {
    local printed
    local -i left=3 code
    while :; do
        code=0
        printed=$("$@") || code=$?
        if ((code == 0 || code == 124 || --left == 0)) || [[ -z $stopped && $code -lt 128 ]]; then
            if [[ -n $printed ]]; then printf '%s\n' "$printed"; fi
            return "$code"
        fi
    done
}
