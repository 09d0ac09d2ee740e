# shellcheck shell=bash disable=SC2034,SC2154
#
# Exec role: a command beside the program, in the container of a task that runs. It is a step of the job by itself, so that Slurm
# lets nobody else in and ends it with the job. Of the job's facts it writes one: that somebody was here, and when.

# $1 is the name of the job's folder, $2 the rank of the task, $3 `terminal` or '', $4 a name for its lifeline, then the command;
# without one it is the image's bash, or sh.
node::exec() {
    local terminal=$3 token=$4 latest='' code holds
    if ((${#engine_environment[@]})); then export -- "${engine_environment[@]}"; fi
    is_local='' interrupted='' stopped='' client=''
    where=${SLURMD_NODENAME:-${HOSTNAME-}} job=$1 rank=$2
    job_dir=$own_dir/$job
    shift 4
    if (($# == 0)); then set -- /bin/sh -c 'if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh'; fi
    { IFS= read -r latest <"$job_dir/latest"; } 2>/dev/null || :
    if [[ ! $latest =~ ^attempt-[1-9][0-9]{0,5}$ ]]; then exec::_refuse job "$job has no attempt that runs" 'try again later'; fi
    attempt_dir=$job_dir/$latest
    task::_places
    exec::_container
    time::now
    { printf '%s\t%s\n' "$now" "$token" >>"$facts/entered.tsv"; } 2>/dev/null ||
        exec::_refuse root "$facts/entered.tsv cannot be written, where the record reads that somebody was here" 'free space there'
    task_facts=$facts facts=$(mktemp --directory)
    trap exec::_left EXIT
    trap exec::_told TERM HUP INT
    node::_user
    engine::available
    mkfifo --mode=0600 -- "$program_dir/$token"
    exec {lifeline}<>"$program_dir/$token" {input}<&0
    exec {holds}>/dev/null
    if [[ $token == tfslurm-shell-* ]]; then
        exec {holds}<>"$program_dir/hold" # the job ends with what is written there, and when nobody holds it open any more
        : >"$program_dir/held"
    fi
    if [[ -z $terminal ]]; then printf '<tfslurm-begin>'; fi
    engine::exec "$container_id" "$terminal" "${entry[@]}" exec "$mask" "$token" "${between[@]}" "$@" <&"$input" {lifeline}>&- {holds}>&- &
    client=$!
    exec {input}<&-
    node::_wait "$client"
    code=${waited_code:-1}
    if [[ -n $stopped ]]; then code=143; else printf '%s\n' "$code" >&"$holds"; fi
    if [[ -z $stopped && $code == 137 ]]; then exec::_tell_of_time; fi
    exit "$code"
}

# In container_id, entry, mask and between, from the words with which the container was made: which one it is, how /bin/sh reads
# entry.sh there, and its words from the folder of packages to the variables.
exec::_container() {
    local -i at=2 ends=0
    container_id=''
    { IFS= read -r container_id <"$facts/container-id.txt"; } 2>/dev/null || :
    if [[ ! $container_id =~ ^[0-9a-f]{12,64}$ ]] || { [[ -e $facts/exit.json ]] && ! exec::_is_kept; }; then
        exec::_refuse container "task $rank of job $job has none that runs" "\`tfslurm logs $cluster:$job\` says what it does"
    fi
    engine::shell_words "$facts/container-argv"
    entry=("${shell_words[@]:1:1}") between=()
    if [[ ${entry[*]} == -c ]]; then
        entry=("${shell_words[@]:1:3}")
        at=4
    fi
    mask=${shell_words[at + 1]-}
    for ((at += 4; ends < 3; at++)); do
        if ((at >= ${#shell_words[@]})); then exec::_refuse container "$facts/container-argv is not whole" 'submit again'; fi
        between+=("${shell_words[at]}")
        if [[ ${shell_words[at]} == -- ]]; then ends+=1; fi
    done
}

# Has the program failed, and its container been kept and started again? That takes a moment.
exec::_is_kept() {
    local bell
    local -i turns=150
    exec {bell}<> <(:) # nothing is ever written to it
    while [[ -e $facts/to-keep && ! -e $facts/kept.json ]] && ((turns-- > 0)); do read -r -t 0.2 -u "$bell" || :; done
    exec {bell}>&-
    if [[ -e $facts/to-keep && ! -e $facts/kept.json ]]; then
        exec::_refuse container "that of the program that failed is not started again yet: the sums of its outputs come first" 'try again later'
    fi
    [[ -e $facts/to-keep ]]
}

# Was the command ended with a container that was kept, because its time is over?
exec::_tell_of_time() {
    local was='' until=''
    if [[ -r $task_facts/kept.json ]]; then was=$(<"$task_facts/kept.json"); fi
    if [[ ! $was =~ \"until_at\":\ \"([0-9TZ:-]+)\" ]]; then return 0; fi
    until=$(date --date="${BASH_REMATCH[1]}" +%s 2>/dev/null) || return 0
    if ((until <= $(date +%s))); then
        printf 'tfslurm: %s: container: it was kept until %s, so the command was ended\n' "$where" "${BASH_REMATCH[1]}" >&2
    fi
}

exec::_refuse() {
    local line="tfslurm: $where: $1: $2; $3"
    printf '%s\n' "${line//$own_dir/$run_dir}" >&2
    exit "$EX_CONFIG"
}

# The client's end does not end what it started, the lifeline's does.
exec::_told() {
    interrupted=yes stopped=TERM
    if [[ -n $client ]]; then kill -s TERM "$client" 2>/dev/null || :; fi
}

exec::_left() {
    local code=$?
    trap - EXIT
    rm --force -- "$program_dir/$token"
    rm --recursive --force -- "$facts"
    exit "$code"
}
