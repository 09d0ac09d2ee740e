#!/usr/bin/env bash
# shellcheck disable=SC1090,SC2034,SC2154
#
# The node side's own functions on this machine, without a job: what it would observe, choose and refuse.
#
#   observe.sh NODE_SH TASK_SH FACTS GPUS look|slurm      prints `key value` lines
#   observe.sh NODE_SH TASK_SH FACTS GPUS use UUID PROGRAM [ARGUMENT …]     prints what the program prints
#
# GPUS is how many are wanted. CUDA_VISIBLE_DEVICES says which, as Slurm or a user would.
set -euo pipefail

# What a job's script and its roles have set before these functions are called.
observe::settings() {
    where=$(uname -n) job=gpu-check rank=0 cluster=gpu-check user=$(id -un)
    run_dir=$1 own_dir=$1 facts=$1 gpus=$2 gpus_per_task=0 tasks_per_node=1
    is_local='' stopped='' waited_for='' minimum_driver='' minimum_driver_for='' report='' client=''
    slow_facts='' tensorflow_ask='' engine_info='' driver_asked=''
    mkdir --parents "$facts/container"
}

# The GPUs and the driver: $1 is `look` for the whole machine, `slurm` as within a job.
observe::look() {
    if [[ $1 == look ]]; then is_local=yes; fi
    gpu::look
    driver::look
    driver::_query
    facts::_copy nvidia-driver-proc.txt /proc/driver/nvidia/version
    facts::_copy nvidia-driver-module.txt /sys/module/nvidia/version
    facts::_cpu >"$facts/cpuinfo.txt"
    printf 'module %s\n' "$driver_version"
    gpu::resolve
    printf 'source %s\n' "$gpu_source"
    printf 'gpu %s\n' ${gpu_ids[@]+"${gpu_ids[@]}"}
    driver_version=''
    if [[ -r $facts/nvidia-smi-query.csv ]]; then driver::_read <"$facts/nvidia-smi-query.csv"; fi
    printf 'driver %s\n' "$driver_version"
    tensorflow::_kinds
    printf 'kinds %s\n' "$kinds"
    if driver::_is_older "$driver_version" 100.0; then printf 'older than 100.0\n'; fi
    if ! driver::_is_older "$driver_version" 9999.0; then printf 'newer than 9999.0\n'; fi
}

# A program that uses the GPU, watched as a container is: gpu-usage.csv; and each second what is of interest to a reader.
observe::use() {
    gpu_ids=("$1")
    shift
    "$@" &
    client=$!
    exec {usage_bell}<> <(:)
    usage::_watch_gpus >/dev/null 2>&1 &
    while kill -0 "$client" 2>/dev/null; do
        nvidia-smi --format=csv,noheader --id="${gpu_ids[0]}" \
            --query-gpu=timestamp,uuid,utilization.gpu,utilization.memory,memory.used,power.draw,clocks.sm,temperature.gpu \
            >>"$facts/each-second.csv" || :
        read -r -t 1 -u "$usage_bell" || :
    done
    kill -s KILL %2 2>/dev/null || :
    wait "$client"
}

main() {
    source "$1"
    source "$2"
    observe::settings "$3" "$4"
    case $5 in
    look | slurm) observe::look "$5" ;;
    use) observe::use "${@:6}" ;;
    esac
}

main "$@"
