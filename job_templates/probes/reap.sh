#!/usr/bin/env bash
# What `tfslurm reap` runs on a compute node: lists the caller's containers and who holds each, and removes those it is told.
#
#   bash -s -- ENGINE look
#   bash -s -- ENGINE remove ID...
#   bash -s -- ENGINE end PLAN-ID JOB-ID     where nothing of that job runs any more: removes what it left
#
# The parts of that engine come before it on standard input.
# A container is the caller's when its label says so and it runs as him. It is held when the client that is attached to it,
# or the script of its task, lives on this node. Which jobs are over is the scheduler's to say, and not asked here.
# Prints `probe.key<TAB>value` lines between `probe.begin` and `probe.end`, as check.sh does; the fields of a container are
# separated by 0x1f. Nothing that is held, or another user's, is ever removed.
set -uo pipefail # no -e: a command that fails is an observation too
export LC_ALL=C

engine_patience_s=20
readonly separator=$'\x1f'

reap::say() {
    printf 'probe.%s\t%s\n' "$1" "${2//[$'\t\r\n']/ }"
}

# Every command line of the caller's on this node, a word after each separator.
reap::processes() {
    local folder word line
    command_lines=()
    for folder in /proc/[0-9]*; do
        if [[ ! -O $folder || ${folder##*/} == "$$" ]]; then continue; fi
        line=''
        while IFS= read -r -d '' word; do line+=$separator$word; done 2>/dev/null <"$folder/cmdline"
        if [[ -n $line ]]; then command_lines+=("${folder##*/}$line$separator"); fi
    done
}

# holder: who holds the container, '' for nobody.
reap::holder() {
    local id=$1 plan_id=$2 job=$3 attempt=$4 line program words
    holder=''
    for line in ${command_lines[@]+"${command_lines[@]}"}; do
        words=$separator${line#*"$separator"}
        program=${words#"$separator"} program=${program%%"$separator"*}
        if engine::is_client "$id" "$program" "$words"; then
            holder="the $engine client, process ${line%%"$separator"*}"
        elif [[ ${program##*/} == @(bash|srun) && -n $plan_id &&
            ($words == *"-$plan_id/$job/attempt-$attempt/job.sbatch$separator"* || $words == *"-$plan_id/job.sbatch$separator"*) ]]; then
            holder="the job's script, process ${line%%"$separator"*}"
        fi
        if [[ -n $holder ]]; then return; fi
    done
}

# Sets ids to the containers with all of these labels.
reap::list() {
    local listed id
    ids=()
    if ! listed=$(engine::list "$@" 2>&1 </dev/null); then
        reap::say error "$engine: ${listed:-no answer in $engine_patience_s s}"
        return 1
    fi
    while IFS= read -r id; do if [[ $id =~ ^[0-9a-f]{64}$ ]]; then ids+=("$id"); fi; done <<<"$listed"
}

# Sets found to the lines of these containers (default: all that are labelled as the caller's), one field after the other.
reap::find() {
    local said id code
    ids=("$@")
    if ((${#ids[@]} == 0)) && ! reap::list "tfslurm.uid=$EUID"; then return 1; fi
    found=''
    if ((${#ids[@]} == 0)) || reap::describe "${ids[@]}"; then return; fi
    if [[ $code == 124 ]]; then
        reap::_is_told ''
        return 1
    fi
    found='' # podman is silent of all where one cannot be looked at
    for id in "${ids[@]}"; do
        said=$found
        if ! reap::describe "$id" && ! reap::_is_told "$found"; then return 1; fi
        found=$said${said:+$'\n'}$found
    done
}

# Sets found to what the engine says of these containers. Fails where it fails, with its code in code.
reap::describe() {
    code=0
    found=$(engine::describe_containers 'uid cluster slurm_cluster job_id plan_id attempt node' "$@" 2>&1 </dev/null) || code=$?
    ((code == 0))
}

# Says what one container's look failed with, unless it has gone meanwhile; fails where the others have no answer either.
reap::_is_told() {
    found=''
    if [[ $code == 124 ]]; then
        reap::say error "$engine: no answer in $engine_patience_s s"
        return 1
    fi
    if engine::is_no_container "$1"; then return; fi
    reap::say error "$engine: $1"
    ! engine::is_gone "$1"
}

# Calls a function with each container that is the caller's: the line, then its fields.
reap::each() {
    local line id user uid job plan_id attempt _
    while IFS= read -r line; do
        IFS=$separator read -r id _ _ user _ uid _ _ job plan_id attempt _ <<<"$line" # in the order of engine::describe_containers
        if [[ $uid != "$EUID" || $user != "$EUID":* || -z $job || ! $id =~ ^[0-9a-f]{64}$ ]]; then continue; fi
        reap::holder "$id" "$plan_id" "$job" "$attempt"
        "$1" "$line" "$id"
    done <<<"$found"
}

reap::show() { reap::say container "$1$holder"; }

reap::remove() {
    local said
    if [[ -n $holder ]]; then
        reap::say kept "$2$separator$holder holds it"
    elif said=$(engine::remove "$2" 2>&1 </dev/null); then
        reap::say removed "$2"
    else
        reap::say kept "$2$separator$engine: ${said:-no answer in $engine_patience_s s}"
    fi
}

reap::end() {
    local id
    if ! reap::list "tfslurm.uid=$EUID" "tfslurm.plan_id=$1" "tfslurm.job_id=$2"; then return; fi
    holder=''
    for id in ${ids[@]+"${ids[@]}"}; do reap::remove '' "$id"; done
}

main() {
    engine=$1
    local wish=$2
    shift 2
    echo # whatever was printed before may not have ended its line
    reap::say begin 1
    reap::say node "${SLURMD_NODENAME:-${HOSTNAME:-$(uname -n)}}"
    reap::say slurm-cluster "${SLURM_CLUSTER_NAME-}"
    if [[ $wish == end ]]; then
        reap::end "$@"
    elif [[ $wish == look || $# -gt 0 ]] && reap::find "$@"; then
        reap::processes
        if [[ $wish == look ]]; then reap::each reap::show; else reap::each reap::remove; fi
    fi
    reap::say end 1
}

main "$@"
