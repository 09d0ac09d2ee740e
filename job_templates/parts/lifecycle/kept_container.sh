# shellcheck shell=bash disable=SC2034,SC2154
#
# Task role: the container of a program that failed, kept for `tfslurm exec`. Its end was looked at and written down as every
# end is. When the batch role has written the attempt's, sums of the outputs among it, the same container is started again, and
# entry.sh in it waits in place of the program. Files of the task: to-keep from here until the container is removed, kept.json
# while somebody can enter it and after.

# In kept_id the container, if it is to be kept: its program began, and failed by itself. See container::end for the rest.
keep::choose() {
    kept_id='' kept_began='' kept_until='' kept_ended_by='' kept_why=''
    if ((${keep_s:-0} == 0 || exit_code == 0)) || [[ -n $stopped$warned$mount_wrong || -z $looked || -z $state_began ]]; then return 0; fi
    if [[ $state_running == true || -s $facts/lost.txt ]]; then return 0; fi
    if [[ -n $slow_facts ]]; then node::_wait "$slow_facts" node::_is_stopped; fi # which reads what the container reported
    if [[ -s $facts/container/program-started-at.txt ]]; then kept_id=$ended_id; fi
}

keep::hold() {
    local bell
    if [[ -z $kept_id ]]; then return 0; fi
    exec {bell}<> <(:) # nothing is ever written to it
    if node::_write "$facts/to-keep" "$kept_id" && keep::_await_end && keep::_start; then keep::_attend; fi
    exec {bell}>&-
    keep::end
}

# Fails where the attempt's end does not say that the container is kept.
keep::_await_end() {
    local end
    until [[ -e $attempt_dir/exit.json || -n $stopped ]]; do read -r -t 0.2 -u "$bell" || :; done
    if [[ -n $stopped ]]; then return 1; fi
    end=$(<"$attempt_dir/exit.json")
    if [[ ! $end =~ \"kept_until_at\":\ \"([0-9TZ:-]+)\" ]]; then return 1; fi
    kept_until=${BASH_REMATCH[1]}
    kept_until_s=$(date --date="$kept_until" +%s) # POSIX's date has no --date, coreutils' has
}

# Starts the container again. The program may have left anything under the names by which entry.sh is told, links among it, so
# they are removed, and made by what follows no link. Fails where nobody can enter the container, with the reason in kept_why.
keep::_start() {
    rm --recursive --force -- "$program_dir"/{keep,holding,waiting}
    if ! mkdir -- "$program_dir/keep"; then
        kept_why="$program_dir cannot be written"
        return 1
    fi
    event starting-again "$kept_id"
    coproc LIFELINE { engine::run "$kept_id" >/dev/null 2>"$facts/keep.stderr"; }
    client=$! container_id=$kept_id mount_wrong=''
    if [[ -n $stopped ]]; then container::_stop & fi
    start_by=$((SECONDS + engine_patience[start]))
    mount::admit
    until [[ -e $program_dir/holding || -n $mount_wrong ]] || ! kill -0 "$client" 2>/dev/null; do
        if ((SECONDS >= start_by)); then container::_give_up start "start: no answer in ${engine_patience[start]} s"; fi
        read -r -t 0.1 -u "$bell" || :
    done
    if [[ ! -e $program_dir/holding || -n $mount_wrong ]]; then
        node::_wait "$client"
        engine::reason "$(<"$facts/keep.stderr")"
        kept_why=${mount_wrong:-${words:-it was not started again}}
        return 1
    fi
    time::now
    kept_began=$now
    keep::_write ''
    event kept "until $kept_until"
}

keep::_attend() {
    local -i at
    while kill -0 "$client" 2>/dev/null && [[ -z $stopped ]] && printf -v at '%(%s)T' -1 && ((at < kept_until_s)); do
        read -r -t 1 -u "$bell" || :
    done
    kept_ended_by='time'
    if [[ -s $facts/lost.txt ]]; then # then the script has told itself to stop
        kept_ended_by=lost kept_why='what attends the job on its node ended before'
    elif [[ -n $stopped ]]; then
        kept_ended_by=stop
    elif ! kill -0 "$client" 2>/dev/null; then
        kept_ended_by=engine kept_why='the container ended before its time'
    else
        task::insist engine::stop 1 "$container_id" >/dev/null 2>&1 || :
    fi
    node::_wait "$client"
}

# Whatever came of it: the container is removed, and that is written down. Where it could not be removed, to-keep stays, and the
# cleanup role tries again.
keep::end() {
    local is_removed=yes
    keep::_remove || is_removed=''
    kept_id='' container_id=''
    if [[ -z $kept_ended_by ]]; then
        kept_ended_by=engine
        if [[ -n $stopped ]]; then kept_ended_by=stop; fi
    fi
    rm --recursive --force -- "$program_dir"/{keep,holding,waiting} || :
    time::now
    keep::_write "$now"
    if [[ -n $is_removed ]]; then rm --force -- "$facts/to-keep"; fi
    event kept-ended "$kept_ended_by${kept_why:+: $kept_why}"
}

# A daemon that went away may come back. Fails where the container is still there.
keep::_remove() {
    local said
    local -i by=SECONDS+DAEMON_PATIENCE_S
    until said=$(task::insist engine::remove "$kept_id" 2>&1 >/dev/null); do
        if [[ -n $stopped ]] || ((SECONDS >= by)) || ! engine::is_gone "$said"; then
            event remove-failed "$said"
            return 1
        fi
        task::_in_background sleep 1
    done
}

keep::_write() {
    json::object began_at o "$kept_began" until_at o "$kept_until" ended_at o "$1" ended_by o "$kept_ended_by" reason o "$kept_why"
    node::_write "$facts/kept.json" "$json" || :
}

# Cleanup role: what a task left that died while its container was kept, or could not remove it. Fails where it kept none.
keep::sweep() {
    if [[ ! -e $facts/to-keep ]]; then return 1; fi
    kept_id=$1 kept_began='' kept_until='' kept_ended_by=lost kept_why="the task's script ended before"
    local was=''
    if [[ -r $facts/kept.json ]]; then was=$(<"$facts/kept.json"); fi
    if [[ $was =~ \"ended_at\":\ \"[0-9] ]]; then # its end is written
        if keep::_remove; then rm --force -- "$facts/to-keep"; fi
        return 0
    fi
    if [[ $was =~ \"began_at\":\ \"([0-9TZ:.-]+)\" ]]; then kept_began=${BASH_REMATCH[1]}; fi
    if [[ $was =~ \"until_at\":\ \"([0-9TZ:.-]+)\" ]]; then kept_until=${BASH_REMATCH[1]}; fi
    keep::end
}
