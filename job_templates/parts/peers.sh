# shellcheck shell=bash disable=SC2034,SC2154
#
# How several tasks find each other: each says where it is, and is told of the others.

# What the tasks said of themselves becomes what every task is told: TFSLURM_WORKERS, host:port by rank, and TFSLURM_HOSTS,
# the names that the nodes' own resolver does not know.
peers::gather() {
    local word rank node port workers=''
    local -a worker_of=()
    local -A reach=()
    peers_hosts=''
    while read -r word rank node port; do
        if [[ $word != tfslurm-task || ! $rank =~ ^[0-9]+$ ]]; then continue; fi # what a site's prolog prints
        if [[ -z ${reach[$node]-} ]]; then
            peers::_reach "$node" || return
            reach[$node]=$reached
        fi
        worker_of[rank]=${reach[$node]}:$port
    done <"$attempt_dir/tasks.txt"
    if ((${#worker_of[@]} != nodes * tasks_per_node)); then
        peers::_refuse "${#worker_of[@]} of $((nodes * tasks_per_node)) tasks said where they are" "see $attempt_dir/tasks.txt" || return
    fi
    for word in "${worker_of[@]}"; do workers+=,$word; done
    export TFSLURM_WORKERS=${workers#,} TFSLURM_HOSTS=${peers_hosts# }
}

# How others reach a node, in reached: by its name where that means an address, else by the one that Slurm itself uses.
peers::_reach() {
    local node=$1 said=''
    reached=$node
    if getent hosts "$node" >/dev/null; then return; fi
    said=$(scontrol show node "$node" 2>/dev/null) || :
    if [[ $said =~ NodeAddr=([0-9A-Za-z.:_-]+) ]] && read -r reached _ < <(getent ahostsv4 "${BASH_REMATCH[1]}"); then
        peers_hosts+=" $node:$reached"
        return
    fi
    peers::_refuse "the name $node means no address on $where, and Slurm tells none" \
        "ask the site to put node names into its DNS or /etc/hosts; tasks that do not talk to each other can do with \`network: none\`"
}

peers::_refuse() {
    printf 'tfslurm: %s: network: %s; %s\n' "$where" "$1" "$2" >&2
    batch_reason="$1"
    return "$EX_CONFIG"
}

# A port of this node, in port, where nothing listens: by job id, so that jobs do not meet; the tasks of one job never
# choose the same one, even if two nodes were one machine. Below the ports that Linux gives to clients by itself.
peers::port() {
    local -i first=20000 count=12000 tasks=${SLURM_NTASKS:-1} step=${SLURM_PROCID:-0}
    local taken=' ' local_address state file hex
    for file in /proc/net/tcp /proc/net/tcp6; do
        if [[ ! -r $file ]]; then continue; fi
        while read -r _ local_address _ state _; do
            if [[ -n $state ]]; then taken+="${local_address##*:} "; fi
        done <"$file"
    done
    for ((; step < count; step += tasks)); do
        port=$((first + (raw_job_id * 64 + step) % count))
        printf -v hex '%04X' "$port"
        if [[ $taken != *" $hex "* ]]; then return; fi
    done
    printf 'tfslurm: %s: network: no port from %d to %d is free for task %s; exclude the node: --exclude=%s\n' \
        "$where" "$first" "$((first + count - 1))" "${SLURM_PROCID:-0}" "$where" >&2
    exit "$EX_TEMPFAIL"
}
