# shellcheck shell=bash disable=SC2034,SC2154
#
# Batch role: a job that is warned before its end, and queued again.
#
# Slurm warns with SIGURG, not with the signal that the program gets: where a site signals every process of a step,
# SIGURG ends none of them and docker's client does not pass it on, so the program gets its own signal once, from
# lifecycle/warning.

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
    local code=$1 cause=$2 reason=$3
    local -r requeued="requeued after SIG$checkpoint_signal"
    if checkpoint::_unfinished "$code"; then
        checkpoint::_forbidden
        if [[ -z $forbidden ]]; then
            batch::_exit_json "$code" requeued "$requeued"
            checkpoint::_requeue && return
        fi
        cause=$forbidden_cause reason="not $requeued: $forbidden"
        if ((code == 0)); then code=$EX_TEMPFAIL; fi
        printf 'tfslurm: %s: %s\n' "$job" "$reason" >&2
    fi
    # shellcheck disable=SC2034  # job.sbatch exits with it
    job_exit_code=$code
    # Slurm itself may queue a job again that it stopped.
    if [[ -z ${kept-} ]] && [[ $checkpoint_requeue != true || -z $stopped ]]; then secrets::forget; fi
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

# In forbidden: the two bounds of a job that would be queued again for ever, and where nobody can be asked. In forbidden_cause the
# cause of an end for which that stands.
checkpoint::_forbidden() {
    local file end
    local -i times=0
    forbidden='' forbidden_cause=unfinished
    for file in "$job_dir"/attempt-*/exit.json; do
        if [[ -r $file ]] && IFS= read -r end <"$file" && [[ $end == *'"cause": "requeued"'* ]]; then times+=1; fi
    done
    if ((times >= checkpoint_max_requeues)); then
        forbidden="it was queued again $times times already; raise checkpoint.max_requeues if it makes progress"
    elif [[ -n $outputs ]] &&
        [[ $(sha256sum <"$attempt_dir/outputs.before") == "$(checkpoint::_outputs | sha256sum)" ]]; then
        forbidden='this attempt changed nothing in its outputs, so the next would begin where it began; save more often'
    elif [[ -n $is_local ]]; then
        forbidden_cause=no_scheduler forbidden='there is no scheduler here'
    elif ! type -P scontrol >/dev/null; then
        forbidden="there is no scontrol on $where; $(checkpoint::_by_hand)"
    fi
}

# Asks Slurm, which may say no: why, in forbidden.
checkpoint::_requeue() {
    local said
    if said=$(scontrol requeue "$SLURM_JOB_ID" 2>&1); then return 0; fi
    forbidden="${said:-scontrol failed}; $(checkpoint::_by_hand)"
    return 1
}

checkpoint::_by_hand() { printf "\`scontrol requeue %s\` on a login node continues it" "$SLURM_JOB_ID"; }
