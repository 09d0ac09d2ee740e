# shellcheck shell=bash disable=SC2034,SC2154
#
# Task role: what the program printed, hashed once it prints no more.

readonly SHA256_OF_NOTHING=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

# In a process of its own. Writes a line `BYTES SHA256 NAME` for each of the task's two logs, of those that are there.
logs::keep() {
    node::_deaf
    log_lines=''
    logs::_await
    if ! logs::_hash "$stdout_log" || ! logs::_hash "$stderr_log"; then
        printf 'not hashed: a log could not be read\n' >"$facts/logs.sha256.error"
        return
    fi
    node::_write "$facts/logs.sha256" "${log_lines%$'\n'}"
}

# For what logs::keep does once the end of the task is written down. A log may be large, and of a job that is being stopped SIGKILL
# is near.
logs::wait() {
    local bell
    local -i turns=$((${TFSLURM_KILL_WAIT:-10} * 5)) # tenths of a second: half of it
    if [[ -z ${log_sums-} ]]; then return 0; fi
    if [[ -z $stopped ]]; then node::_wait "$log_sums" node::_is_stopped; fi
    if [[ -n $stopped ]]; then
        exec {bell}<> <(:) # nothing is ever written to it
        while kill -0 "$log_sums" 2>/dev/null && ((turns-- > 0)); do read -r -t 0.1 -u "$bell" || :; done
        if kill -s KILL "$log_sums" 2>/dev/null; then
            printf 'not hashed: the job was being stopped\n' >"$facts/logs.sha256.error"
        fi
        exec {bell}>&-
    fi
    log_sums=''
}

# Where the logs are cut, by a process each: waits until both have written all.
logs::_await() {
    local -i each
    if [[ -z ${log_bell-} ]]; then return 0; fi
    for each in 1 2; do IFS= read -r -t 5 -u "$log_bell" || return 0; done
}

# Adds the line of one log to log_lines. BYTES is the place that this shell's open file has when sha256sum has read it to its
# end: what somebody appends meanwhile, or later, is in both or in none.
logs::_hash() {
    local sum=$SHA256_OF_NOTHING key='' place=0
    local -i log
    { exec {log}<"$1"; } 2>/dev/null || return 0
    if [[ -s $1 ]]; then
        sum=$(exec sha256sum <&"$log") || return
        while [[ $key != pos: ]]; do read -r key place || return; done <"/proc/self/fdinfo/$log"
    fi
    exec {log}<&-
    log_lines+="$place ${sum%% *} ${1##*/}"$'\n'
}
