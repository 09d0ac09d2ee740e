# shellcheck shell=bash disable=SC2034,SC2154
#
# The limits that the container gets: the job's own, said to the engine.

# The CPUs that this task is bound to, if that is fewer than there are; else their number.
limits::cpus() {
    local key value bound='' online='' count=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-$cpus}}
    while IFS=$':\t' read -r key value; do
        if [[ $key == Cpus_allowed_list ]]; then bound=$value; fi
    done </proc/self/status
    IFS= read -r online </sys/devices/system/cpu/online || :
    limits::_count "$online"
    local there=$counted
    limits::_count "$bound"
    if ((counted > 0 && counted < there)); then
        engine::add_limit cpuset "$bound" # else it inherits what the task is bound to
    elif ((count < there || there == 0)); then
        engine::add_limit cpu "$count"
    fi
}

# A core holds the secrets, and a daemon's own limit is none: the job's counts.
limits::core() {
    local kib
    if engine::inherits; then return; fi
    kib=$(ulimit -S -c)
    if [[ $kib != unlimited ]]; then engine::add_limit core "$((kib * 1024))"; fi
}

# 0-3,8 -> 5
limits::_count() {
    local range
    local -a ranges
    counted=0
    IFS=, read -r -a ranges <<<"$1"
    for range in ${ranges[@]+"${ranges[@]}"}; do counted=$((counted + ${range#*-} - ${range%-*} + 1)); done
}

# Keeps the first log_mib MiB of standard input; the program goes on, and what else it prints is read and dropped. Rings when all
# that is kept is written: see logs::_await.
limits::log() {
    node::_deaf
    head --bytes="${log_mib}M"
    if [[ $(head --bytes=1 | wc --bytes) != 0 ]]; then
        printf '\ntfslurm: the log ends here: this cluster keeps %d MiB of it (limits.log_mib)\n' "$log_mib"
        cat >/dev/null
    fi
    printf '\n' >&"$log_bell"
}

# The least of what was asked for and what Slurm gave, shared by the node's tasks; swap would hide that it is too little.
limits::memory() {
    local -i limit=0 each
    for each in "$memory_mib" "${SLURM_MEM_PER_NODE:-0}" "$((${SLURM_MEM_PER_CPU:-0} * ${SLURM_CPUS_ON_NODE:-0}))"; do
        if ((each > 0 && (limit == 0 || each < limit))); then limit=each; fi
    done
    if ((limit > 0)); then engine::add_limit memory "$((limit / tasks_per_node))"; fi
}
