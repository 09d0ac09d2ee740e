# shellcheck shell=bash disable=SC2034,SC2154
#
# What stands between Slurm and the program, and that it can be lost: the script then ends by itself.

# Slurm's own attendant of a step (slurmstepd) can die alone; its processes then go on, and nothing that happens to the job
# reaches them any more. They notice by having become another's children: this looks every second, without starting a process
# for it, and has the script end as if it had been told to, with the reason in the file. srun waits for ever for a task whose
# attendant is dead, so the batch role looks for that too.
supervision::watch() {
    supervision_watch=''
    if [[ -n $is_local ]]; then return; fi
    (
        node::_deaf
        supervision::_look "$1" "${2-}"
    ) </dev/null >/dev/null 2>&1 &
    supervision_watch=$!
    disown "$supervision_watch" 2>/dev/null || : # or bash would say on standard error that it was killed
}

supervision::_look() {
    local stat bell
    exec {bell}<> <(:) # nothing is ever written to it
    while read -r -t 1 -u "$bell" || IFS= read -r stat <"/proc/$$/stat"; do
        if supervision::_is_attended "$stat"; then
            if [[ -n $2 ]]; then keep::wake; fi
            if [[ -n $2 ]] && kill -0 "$2" && supervision::_task_is_lost; then
                supervision::_abandon "$2"
                return
            fi
            continue
        fi
        supervision::blame "$1" lost slurmstepd 'it ended before what it attends'
        kill -s TERM $$
        return
    done 2>/dev/null
}

# Has this script the parent that started it? By what its file `stat` in /proc says.
supervision::_is_attended() {
    local rest=${1##*) } # state parent …
    rest=${rest#* }
    [[ ${rest%% *} == "$PPID" ]]
}

# Has a task that no slurmstepd attends any more come to its end, and removed a container that it kept?
supervision::_task_is_lost() {
    local file
    for file in "$attempt_dir"/facts/task-*/lost.txt; do
        if [[ -e ${file%/*}/to-keep ]]; then continue; fi
        if [[ -s $file && -e ${file%/*}/exit.json && -s ${file%/*}/cause && $(<"${file%/*}/cause") == lost ]]; then return 0; fi
    done
    return 1
}

# Ends srun, once the other tasks have had the time to end.
supervision::_abandon() {
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

supervision::unwatch() {
    if [[ -z ${supervision_watch-} ]]; then return 0; fi # see task::_told_to_stop
    kill -s KILL "$supervision_watch" 2>/dev/null || :
    # Whatever of a step outlives its script by a moment, Slurm waits a second for.
    local -i looks=5000
    while ((looks-- > 0)) && kill -0 "$supervision_watch" 2>/dev/null; do :; done
    supervision_watch=''
}

# Puts down, once, what stood between Slurm and the program and was lost: the program's end is not its own then. $1 the file,
# $2 the cause, as batch::_exit_json has it, $3 what was lost, $4 why.
supervision::blame() {
    if [[ -s $1 ]]; then return 0; fi
    printf '%s\n' "$2" >"${1%/*}/cause"
    printf 'tfslurm: %s: %s: %s, so the program was ended; submit again\n' "$where" "$3" "$4" >"$1.tmp"
    mv -- "$1.tmp" "$1"
}

# Batch role: the reason in end_reason and 75 in end_code, where the attempt or a task of it was lost.
supervision::lost() {
    local file
    for file in "$attempt_dir"/lost.txt "$attempt_dir"/facts/task-*/lost.txt; do
        if [[ -s $file && ! -s ${file%/*}/refused.txt ]]; then
            IFS= read -r end_reason <"$file" || :
            batch::_cause "${file%/*}" lost
            end_cause=$cause_left end_code=$EX_TEMPFAIL
            printf '%s\n' "$end_reason" >&2
            return
        fi
    done
}

# Batch role: docker's word that the memory was used up, which Slurm does not see, in end_cause, and in end_reason if it has none.
supervision::memory() {
    local folder of
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -r $folder/exit.json && $(<"$folder/exit.json") == *'"oom_killed": true'* ]]; then
            of=" ($memory_mib MiB)"
            if ((memory_mib % 1024 == 0)); then of=" ($((memory_mib / 1024)) GiB)"; fi
            if ((memory_mib == 0)); then of=''; fi
            # Below the job's cgroup the container has what the engine's client and this script leave.
            if [[ -s $folder/oom.txt || (-s $folder/cgroup-parent.txt && $(<"$folder/cgroup-parent.txt") == /*) ]]; then
                of+=" of the whole job, in which the engine's client counts too"
            fi
            end_cause=memory end_reason=${end_reason:-"memory$of used up"}
        fi
    done
}

# Batch role, last: where nobody is left to tell Slurm that the script has ended, Slurm would wait for it.
supervision::tell() {
    if [[ -s $attempt_dir/lost.txt ]]; then scancel "$raw_job_id" >/dev/null 2>&1 || :; fi
}
