# shellcheck shell=bash disable=SC2034,SC2154
#
# What the container uses while it runs.

# What the container uses: Slurm's accounting cannot see it. Its cgroup vanishes with its last process, so it is looked at
# while it runs, by builtins alone: soon at first, then every second. Whoever signals this step does not end the watch; it
# ends with the cgroup, or when the task rings.
usage::start() {
    exec {usage_bell}<> <(:)
    (
        node::_deaf
        usage::_watch
    ) </dev/null >/dev/null 2>&1 &
    usage_watch=$!
    if ((${#gpu_ids[@]} == 0)); then return; fi
    (
        node::_deaf
        usage::_watch_gpus
    ) </dev/null >/dev/null 2>&1 &
    usage_gpu_watch=$!
}

usage::ring() {
    if [[ -n ${usage_watch-} ]]; then printf '\n\n' >&"$usage_bell"; fi # one for each watch
}

usage::end() {
    if [[ -z ${usage_watch-} ]]; then return 0; fi
    node::_wait "$usage_watch"
    usage_watch=''
    if [[ -z ${usage_gpu_watch-} ]]; then return 0; fi
    kill -s KILL "$usage_gpu_watch" 2>/dev/null || : # nvidia-smi, for which it may be waiting, has a timeout
    node::_wait "$usage_gpu_watch"
    usage_gpu_watch=''
}

# Waits; fails when the bell has rung. No process is started for it.
usage::_pause() {
    ! IFS= read -r -t "$1" -u "$usage_bell"
}

usage::_watch() {
    local -i tries=0
    memory_file='' memory_source='' cpu_file='' cpu_source='' memory=0 cpu='' seen_at='' samples=0 # of the watch's own process
    engine::cgroup_folders "$container_id"
    until usage::_find; do
        tries+=1
        if ((tries % 20 == 0)); then usage::_ask && break; fi
        if [[ -e $facts/container-usage.txt.error ]]; then return; fi
        if ! usage::_pause 0.05 || ! kill -0 "$client"; then
            printf 'exit 1\nthe container ended before its cgroup was found\n' >"$facts/container-usage.txt.error"
            return
        fi
    done
    while usage::_read; do
        if ((samples == 1 || samples % 15 == 0)); then usage::_write; fi
        case $samples in
        [1-3]) usage::_pause 0.1 || break ;;
        [4-6]) usage::_pause 0.3 || break ;;
        *) usage::_pause 1 || break ;;
        esac
    done
    usage::_read || :
    usage::_write
    container::await_client "${memory_file%/*}"
}

# Where the engine puts containers, under either version of cgroups.
usage::_find() {
    local folder root=$cgroup_root
    for folder in ${engine_cgroups[@]+"${engine_cgroups[@]}"} ${cgroup_path:+"${cgroup_path#/}/$container_id"}; do
        usage::_is_in "$root/memory/$folder" "$root/cpuacct/$folder" && return
        if usage::_is_in "$root/$folder" "$root/$folder"; then
            printf '0::/%s\n' "$folder" >"$facts/container-cgroup.txt"
            return
        fi
    done
    return 1
}

# Elsewhere: the kernel says where the container's first process is. It is seen from outside, for within a namespace of its own it
# is at the root. The OCI runtime may move it once more before it starts the program.
usage::_ask() {
    local process line text='' own='' memory_path='' cpu_path='' root=$cgroup_root
    process=$(engine::process "$container_id") || return
    if [[ ! $process =~ ^[1-9] ]]; then return 1; fi
    while IFS= read -r line; do
        text+=$line$'\n'
        case $line in
        0::*) own=${line#0::} ;;
        *:memory:*) memory_path=${line#*:memory:} ;;
        *:cpuacct:* | *:cpuacct,cpu:* | *:cpu,cpuacct:*) cpu_path=${line#*:*:} ;;
        esac
    done <"$proc_root/$process/cgroup"
    printf %s "$text" >"$facts/container-cgroup.txt"
    if [[ $own == *"$container_id"* ]] && usage::_is_in "$root$own" "$root$own"; then return; fi
    if [[ -z $memory_path && $own == /?* && ! -s $facts/container/program-started-at.txt ]]; then return 1; fi # it is on its way
    if [[ $memory_path != *"$container_id"* || $cpu_path != *"$container_id"* ]]; then # / would be the whole node's use
        printf 'exit 1\nthe container has no cgroup of its own for memory and CPU time\n' >"$facts/container-usage.txt.error"
        return 1
    fi
    usage::_is_in "$root/memory$memory_path" "$root/cpuacct$cpu_path"
}

usage::_is_in() {
    local name
    for name in memory.max_usage_in_bytes memory.peak memory.current; do # the peak itself; last what must be watched for it
        if [[ -r $1/$name ]]; then memory_file=$1/$name memory_source=$name; break; fi
    done
    for name in cpuacct.usage cpu.stat; do
        if [[ -r $2/$name ]]; then cpu_file=$2/$name cpu_source=$name; break; fi
    done
    [[ -n $memory_file && -n $cpu_file ]]
}

usage::_read() {
    local value key
    IFS= read -r value <"$memory_file" || return
    if ((value > memory)); then memory=$value; fi
    if [[ $cpu_source == cpuacct.usage ]]; then
        IFS= read -r value <"$cpu_file" || return
        cpu=$((value / 1000))
    else
        while read -r key value; do
            if [[ $key == usage_usec ]]; then cpu=$value; fi
        done <"$cpu_file"
    fi
    time::now
    seen_at=$now
    samples=$((samples + 1))
}

usage::_write() {
    if ((samples == 0)); then return; fi
    node::_write "$facts/container-usage.txt" "memory_peak_bytes $memory
memory_source $memory_source
cpu_usage_usec $cpu
cpu_source $cpu_source
seen_at $seen_at
samples $samples"
}

# One row for each of the task's GPUs: after 5 s, then every 15 s; after an hour half as often, and so on.
usage::_watch_gpus() {
    local answer line uuid seconds rows pause=15
    local -i samples=0
    local file=$facts/gpu-usage.csv
    if ! type -P nvidia-smi; then return; fi
    usage::_pause 5 || return
    while kill -0 "$client"; do
        answer=$(timeout --kill-after=1 10 nvidia-smi --format=csv,noheader,nounits \
            --query-gpu=uuid,utilization.gpu,memory.used,power.draw) || answer=''
        printf -v seconds '%(%s)T' -1
        rows=''
        while IFS= read -r line; do
            uuid=${line%%,*}
            if [[ " ${gpu_ids[*]} " == *" $uuid "* ]]; then rows+="$seconds, $line"$'\n'; fi
        done <<<"$answer"
        if ((samples == 0)); then rows="seconds, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]"$'\n'$rows; fi
        printf %s "$rows" >>"$file"
        libcuda::look
        samples+=1
        if ((samples % 240 == 0)); then pause=$((pause * 2)); fi
        usage::_pause "$pause" || return
    done
}
