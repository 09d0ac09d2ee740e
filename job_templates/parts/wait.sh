# shellcheck shell=bash disable=SC2034,SC2154
#
# Waiting for processes where a signal may come meanwhile.

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
