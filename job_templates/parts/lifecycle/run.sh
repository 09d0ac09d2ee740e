# shellcheck shell=bash disable=SC2034,SC2154
#
# The container's start, its end, and whose end it was.

readonly DIFF_PATIENCE_S=8 # how long docker may look for what was written outside every mount, and removes nothing meanwhile
readonly DAEMON_PATIENCE_S=60 # how long a task waits for an engine's daemon that went away under its container
readonly CLIENT_PATIENCE_S=60 # how long a client may still attend a container whose processes have ended

# Starts the container and waits. The client's standard input is a pipe that only this shell holds open: when this shell
# or the client is killed, entry.sh in the container reads its end and ends everything there.
container::run() {
    event starting "$container_id"
    cgroup::count_oom
    oom_before=$cgroup_oom
    if ((log_mib > 0)); then exec {log_bell}<> <(:); fi
    # shellcheck disable=SC2034  # nothing is ever written to it
    coproc LIFELINE {
        exec {report}>&- >>"$stdout_log" 2>>"$stderr_log"
        if ((log_mib > 0)); then exec > >(limits::log) 2> >(limits::log >&2) {log_bell}>&-; fi
        engine::run "$container_id"
    }
    client=$! # LIFELINE_PID is gone as soon as the client is
    started=yes start_by=$((SECONDS + engine_patience[start]))
    facts::slow
    exec {report}>&- # only who reads it has it open now: a report that nobody reads any more cannot be written either
    report=''
    if [[ -n $stopped ]]; then container::_stop & fi
    if [[ -n $warned ]]; then checkpoint::tell & fi
    usage::start
    probe::start
    mount::admit
    node::_wait "$client"
    client_code=$waited_code
    event client-ended "$client_code"
}

# Again until the client has ended: a stop that comes before the start has no effect. Where the engine does not do what it is told,
# the client is ended, and the lifeline with it, while there is time to write that down.
container::_stop() {
    local code for_s=$grace_s
    local -i stop_by=SECONDS+grace_s+10
    if [[ -n ${TFSLURM_KILL_WAIT-} ]]; then stop_by=$((stopped_at + TFSLURM_KILL_WAIT - 2)); fi
    node::_deaf
    if [[ -n $told_first ]]; then
        checkpoint::tell & # which waits for the program's start, that may never come
        checkpoint::wait_for_client
        for_s=1
    fi
    while kill -0 "$client" 2>/dev/null; do
        code=0
        engine::stop "$for_s" "$container_id" >/dev/null 2>&1 || code=$?
        if ((code == 124 || SECONDS > stop_by)) && kill -0 "$client" 2>/dev/null; then
            container::_give_up stop "stop: the container did not end in $((SECONDS - stopped_at)) s"
        fi
        sleep 0.2
    done
}

# Ends the client of an engine that does not do what it is asked to do, $1, in the words $2.
container::_give_up() {
    event engine-mute "$2"
    printf '%s\n%s\n' "$1" "$2" >"$facts/mute.stderr"
    kill -s KILL "$client" 2>/dev/null || :
    if [[ $1 == stop ]]; then engine::signal KILL "$container_id" >/dev/null 2>&1 || :; fi
}

# While nothing is heard from the container: has the engine started it in its time?
container::await_start() {
    local said=''
    if ((SECONDS < start_by)); then return 0; fi
    start_by=$((SECONDS + ENGINE_PATIENCE_S))
    said=$(engine::process "$container_id" 2>&1) || :
    if [[ $said == [1-9]* ]]; then return 0; fi
    container::_give_up start "start: no answer in ${engine_patience[start]} s"
}

# The container's cgroup, $1, is gone, and with it the last of its processes: so is its client soon, unless the engine is stuck.
container::await_client() {
    local said=''
    local -i turns=CLIENT_PATIENCE_S
    while ((turns-- > 0)); do
        if [[ -e $1 ]] || ! kill -0 "$client" 2>/dev/null; then return 0; fi
        usage::_pause 1 || return 0
    done
    said=$(engine::process "$container_id" 2>&1) || :
    if [[ $said == [1-9]* && -e /proc/$said ]] || ! kill -0 "$client" 2>/dev/null; then return 0; fi
    container::_give_up end "start: it did not return in $CLIENT_PATIENCE_S s after the container's last process had ended"
}

# Looks at the container's end, writes it down and removes it, unless it is to be kept: then kept_id names it. exit_code is
# then the task's.
container::end() {
    ended_id=$container_id
    diff=''
    set +e # whatever cannot be written any more, the container is removed and the end is told
    usage::ring
    container::_diff
    container::look
    usage::end
    if [[ -z $looked ]] && supervision::engine_is_back; then
        container::_diff
        container::look
    fi
    container::_job_memory
    if [[ $state_running == true ]]; then # the client was lost; the lifeline ends it, this makes sure
        container::_blame_client
        if ! engine::ended_unseen "$container_id"; then
            container::_end_without_client
            container::_diff
            container::look
        fi
    fi
    engine::await_end
    if [[ -n $job_oom ]]; then state_oom=true; fi
    if [[ -n $diff ]]; then node::_wait "$diff"; fi
    kept_id='' removal=''
    if ((${keep_s:-0} == 0)); then container::_remove; fi
    container_id=''
    if [[ -n $started ]]; then
        supervision::cause
        container::_judge # while docker removes it
        keep::choose
    fi
    if [[ -z $removal$kept_id ]]; then container::_remove; fi
    logs::keep & # not before: of a job that is being stopped the end may be written down only just in time
    log_sums=$!
    if [[ -n $removal ]]; then node::_wait "$removal"; fi
}

# In removal is the process that removes ended_id.
container::_remove() {
    local said
    (
        node::_deaf
        said=$(task::insist engine::remove "$ended_id" 2>&1 >/dev/null) || event remove-failed "$said"
    ) &
    removal=$!
}

# In job_oom: that the kernel killed the program, or the client that attends it, because the memory of the whole job was used up:
# the engine's client and this script count in it. An engine does not see that.
container::_job_memory() {
    job_oom=''
    if [[ -n $stopped || -z ${oom_before-} ]] || [[ ${client_code-} != 137 && $state_code != @(137|-1) ]]; then return 0; fi
    cgroup::count_oom
    if ((cgroup_oom <= oom_before)); then return 0; fi
    job_oom=yes
    event job-oom "$((cgroup_oom - oom_before)) processes of the job were killed"
    printf 'job\n' >"$facts/oom.txt"
}

# What the program left outside every mount; diff is the process that asks, for docker compares whole layers.
container::_diff() {
    if [[ -n $diff ]]; then node::_wait "$diff"; fi
    diff=''
    if [[ -n $stopped && -n ${TFSLURM_KILL_WAIT-} ]] && ((SECONDS - stopped_at + DIFF_PATIENCE_S > TFSLURM_KILL_WAIT)); then
        printf 'not asked: the job was being stopped, and Slurm leaves it %d s\n' "$TFSLURM_KILL_WAIT" >"$facts/container-diff.txt.error"
        return
    fi
    (
        node::_deaf
        task::insist engine::unsaved_files "$container_id" >"$facts/container-diff.txt" 2>"$facts/container-diff.txt.error"
    ) &
    diff=$!
}

container::_blame_client() {
    event client-lost "$container_id"
    container::_mute
    if [[ -z $stopped && -n $client && -z $job_oom ]]; then
        supervision::blame "$facts/lost.txt" engine "$engine" "${mute:-the client that attends the container ended before it}"
    fi
}

# Where Slurm signals every process of a step, the client was told to stop too; what the program says last is kept.
container::_end_without_client() {
    engine::attach "$container_id" >>"$stdout_log" 2>>"$stderr_log" &
    local last_words=$!
    if [[ $mute_what == stop ]]; then
        engine::signal KILL "$container_id" >/dev/null 2>&1 || :
    else
        task::insist engine::stop "$grace_s" "$container_id" >/dev/null 2>&1 || :
    fi
    timer::start 10 "$last_words"
    node::_wait "$last_words"
    timer::end
}

container::look() {
    local answer first rest errors=$facts/container-inspect.json.error
    { : >"$errors"; } 2>/dev/null || errors=/dev/null
    state_running='' state_code='' state_oom=false state_began='' state_ended='' state_error='' looked=''
    if ! answer=$(node::_deaf; task::insist engine::end_state "$container_id" 2>"$errors"); then
        return
    fi
    first=${answer%%$'\n'*} rest=${answer#*$'\n'} looked=yes
    read -r state_running state_code state_oom state_began state_ended <<<"${first//\"/}"
    state_error=${rest%%$'\n'*}
    if [[ $state_began == 0001-* ]]; then state_began=''; fi
    if [[ $state_ended == 0001-* ]]; then state_ended=''; fi
    { printf '[%s]\n' "${rest#*$'\n'}" >"$facts/container-inspect.json"; } 2>/dev/null
}

# Whose end it was: the engine's (75), a guard's inside (78), or the program's own.
container::_judge() {
    exit_code=$state_code
    if [[ -n $job_oom ]]; then exit_code=137; fi
    report::wait
    if [[ -z $looked ]]; then
        exit_code=$EX_TEMPFAIL state_oom=false
    elif [[ -z $state_began ]]; then
        exit_code=$EX_TEMPFAIL
        if driver::_is_refused; then exit_code=$EX_CONFIG; fi
        if [[ -n $stopped ]]; then exit_code=143; fi
    elif [[ -z $state_ended || $state_code == -1 ]]; then # nobody saw the code: see engine::ended_unseen
        exit_code=137
    elif [[ -n $mount_wrong && -z $stopped ]] || container::_found_no_shell; then
        exit_code=$EX_CONFIG
    fi
    if [[ -s $facts/lost.txt ]]; then exit_code=$EX_TEMPFAIL; fi
    task::_exit_json "$exit_code" "$state_oom" "$state_began" "$state_ended" || exit_code=$EX_TEMPFAIL
    event ended "exit $exit_code, OOM killed: $state_oom"
}

# Not even entry.sh has run.
container::_found_no_shell() { [[ $report_end == nothing* ]] && engine::init_failed "$state_code"; }

# In mute: what the engine did not do, in words; in mute_what: start, stop or end. '' where it did all.
container::_mute() {
    mute='' mute_what=''
    if [[ -s $facts/mute.stderr ]]; then { read -r mute_what && IFS= read -r mute; } <"$facts/mute.stderr" || :; fi
}

# Says why the program was not started, if it was not.
container::tell() {
    local why=$state_error
    if [[ -z $looked ]]; then
        IFS= read -r -d '' why <"$facts/container-inspect.json.error" || :
        container::_mute
        task::engine_failed "${mute:+$mute; }the container cannot be looked at any more: ${why%$'\n'}"
    elif [[ -n $mount_wrong && -z $stopped ]]; then
        task::refuse mounts "$mount_wrong" "$mount_fix"
    elif [[ -z $state_began && -z $stopped ]] && driver::_is_refused; then
        task::refuse driver "too old: NVIDIA's hook refuses driver ${driver_version:-(unknown)}: ${state_error##*requirement error: }" \
            "use an image with an older CUDA, or a node with a newer driver; if you answer for the driver: env: {NVIDIA_DISABLE_REQUIRE: \"1\"}"
    elif [[ -z $state_began && -z $stopped ]]; then
        if [[ $why == '""' ]]; then
            IFS= read -r -d '' why <"$stderr_log" || :
            engine::reason "$why"
            why=${words:-$why}
        fi
        container::_mute
        why=${mute:-$why}
        task::engine_failed "the container did not start: $why"
    elif container::_found_no_shell; then
        task::refuse image "$image_source has no /bin/sh, which starts the program" 'use an image with a shell'
    elif [[ $exit_code == "$EX_CONFIG" && $gpu_check == failed:* ]]; then
        task::refuse gpus "inside the container: ${gpu_check#failed: }" "see $facts/container; exclude the node: --exclude=$where"
    elif [[ $exit_code == "$EX_CONFIG" && $report_no == *': '* ]]; then
        task::refuse "${report_no%%: *}" "${report_no#*: }" 'rename it, or use another image'
    fi
    tensorflow::tell
}

# Was a container that ended, and that nobody here has stopped, ended by what attends it? Its client tells with the
# container's own code.
supervision::cause() {
    if [[ -z $looked || -z $state_began || -z $client || -n $stopped$mount_wrong || $state_oom == true ]]; then return 0; fi
    container::_mute
    if [[ $mute_what == end ]]; then return 0; fi # the client was ended after the program had
    if [[ ${client_code:-$state_code} != "$state_code" ]]; then
        supervision::blame "$facts/lost.txt" engine "$engine" "the client that attends the container ended with $client_code before it"
    elif engine::ended_by_daemon "$ended_id"; then
        supervision::blame "$facts/lost.txt" engine "$engine" 'its daemon stopped the container, or was restarted under it'
    fi
}

# Waits for a daemon that does not answer, which without live-restore ends its containers as it goes and as it comes.
# Not for long where Slurm will kill this script soon.
supervision::engine_is_back() {
    local said
    local -i back_by=SECONDS+DAEMON_PATIENCE_S
    said=$(<"$facts/container-inspect.json.error")
    if ! engine::is_gone "$said"; then return 1; fi
    event engine-gone "$said"
    if [[ -z $stopped ]]; then
        supervision::blame "$facts/lost.txt" engine "$engine" 'its daemon went away under the container'
    fi
    until engine::answers; do
        if [[ -n $stopped ]] && ((back_by > SECONDS + grace_s)); then back_by=$((SECONDS + grace_s)); fi
        if ((SECONDS >= back_by)); then return 1; fi
        task::_in_background sleep 1
    done
    event engine-back
}
