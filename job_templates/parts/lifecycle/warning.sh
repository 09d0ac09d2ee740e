# shellcheck shell=bash disable=SC2034,SC2154
#
# Task role: the warning before the end, and the signal that the program gets for it. See lifecycle/checkpoint.

# Task role. A signal that somebody sends by hand counts as the warning too, unless it means something else here.
checkpoint::listen() {
    if [[ -z $checkpoint_signal ]]; then return 0; fi
    trap 'checkpoint::_told' "$WARNING"
    if [[ $checkpoint_signal == USR* ]]; then trap 'checkpoint::_told' "$checkpoint_signal"; fi
}

checkpoint::_told() {
    interrupted=yes
    if [[ -n $warned || -n ${kept_id-} ]]; then return 0; fi
    checkpoint::_note
    if [[ -n $client ]]; then checkpoint::tell & fi
}

checkpoint::_note() {
    warned=yes
    event told-to-save "SIG$checkpoint_signal"
    printf '%s\n' "$now" >"$attempt_dir/warned"
}

# A program that is to be stopped unwarned gets its signal first and SIGTERM when most of the time is over.
checkpoint::tell_first() {
    if [[ -z $checkpoint_signal || $checkpoint_signal == TERM || -n $warned || -n ${kept_id-} ]]; then return 0; fi # in a trap, see task::_told_to_stop
    checkpoint::_note
    told_first=yes
}

# Gives the program its signal, once it runs; the one place that does.
checkpoint::tell() {
    while kill -0 "$client" 2>/dev/null; do
        if [[ -s $facts/container/program-started-at.txt ]] &&
            engine::signal "$checkpoint_signal" "$container_id" >/dev/null 2>"$facts/kill.stderr"; then
            event signal-delivered "SIG$checkpoint_signal"
            printf '%s\n' "$now" >"$facts/signal-delivered.txt"
            return 0
        fi
        sleep 0.2
    done
}

checkpoint::wait_for_client() {
    local -i turns=$(((grace_s - 1) * 5))
    while ((turns-- > 0)) && kill -0 "$client" 2>/dev/null; do sleep 0.2; done
}

# A program that is started now would be interrupted before it had begun.
checkpoint::refuse_if_told() {
    if [[ -z $warned ]]; then return 0; fi
    task::refuse checkpoint 'the warning came before the program was started' \
        'ask for more time, or a shorter before_end' "$EX_TEMPFAIL"
}
