#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154
#
# What `tfslurm check` looks at on a compute node: it observes, changes nothing, and judges nothing.
#
#   bash -s -- ENGINE ROOT TOKEN [HOST PORT]... [-- IMAGE...]
#
# The parts of that engine come before it on standard input.
# Prints `probe.key<TAB>value` lines between `probe.begin` and `probe.end`; a key may come more than once. What could not
# be observed is `key.error<TAB>why`. Lines that a site's prolog prints around them do no harm.
set -uo pipefail # no -e: a command that fails is an observation too
export LC_ALL=C

patience_s=10
engine_patience_s=$patience_s

# One line of the answer; what would break the line becomes a blank.
fact::say() {
    printf 'probe.%s\t%s\n' "$1" "${2//[$'\t\r\n']/ }"
}

# The lines that a program prints, each under the key; its last words where it fails or hangs.
fact::ask() {
    local key=$1
    shift
    fact::keep "$key" timeout --kill-after=1 "$patience_s" "$@"
}

# The same of a command that bounds its time itself.
fact::keep() {
    local key=$1 out err=0 line
    shift
    out=$("$@" 2>&1 </dev/null) || err=$?
    if ((err)); then
        ((err == 124)) && out="no answer in $patience_s s"
        fact::say "$key.error" "exit $err: $(grep --invert-match '^{' <<<"$out" | tail --lines=3)"
        return 0
    fi
    while IFS= read -r line; do
        fact::say "$key" "$line"
    done <<<"$out"
}

# As fact::ask for the first line only, and without the words on stderr.
fact::head() {
    local key=$1 out
    shift
    out=$(timeout --kill-after=1 "$patience_s" "$@" 2>/dev/null </dev/null | head --lines=1)
    fact::say "$key" "$out"
}

# Where a program is; nothing where there is none.
fact::which() {
    local path
    path=$(type -P "$2") || path=''
    fact::say "$1" "$path"
}

node::look() {
    fact::say node "${SLURMD_NODENAME:-$(uname -n)}"
    fact::say kernel "$(uname -srm)"
    fact::say user "$(id --user --name 2>/dev/null || id --user)"
    fact::say groups "$(id --groups --name 2>/dev/null)"
}

# What it has; `cpus-schedulable` are those that this process may run on.
node::look_at_hardware() {
    local key value
    fact::head architecture uname -m
    fact::head cpus env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc --all
    fact::head cpus-schedulable env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc
    while IFS=: read -r key value; do
        if [[ $key == MemTotal ]]; then fact::say memory-kib "${value//[^0-9]/}"; fi
    done </proc/meminfo
    fact::head cpu-info grep --max-count=1 --extended-regexp '^(model name|cpu|Model|Hardware)[[:space:]]*:' /proc/cpuinfo
}

node::look_at_tools() {
    local name
    fact::say bash "$BASH_VERSION"
    for name in flock timeout sha256sum find xargs realpath scontrol; do
        fact::which "tool-$name" "$name"
    done
    fact::head flock flock --version
}

# Does Slurm make a step beside one that runs? tfslurm's own way into a container is one. Without the words that steer srun here:
# it would take this step's for those of the other.
steps::try() {
    local job=${SLURM_JOB_ID-} node=${SLURMD_NODENAME-} name
    local -a without=()
    if [[ -z $job || -z $node ]]; then return 0; fi
    if [[ -z $(type -P srun) ]]; then
        fact::say overlap.error 'no srun in PATH on the node'
        return 0
    fi
    for name in "${!SLURM_@}" "${!SRUN_@}" "${!PMI_@}"; do
        if [[ $name != SLURM_CONF ]]; then without+=(--unset="$name"); fi
    done
    fact::ask overlap env "${without[@]}" srun --jobid="$job" --overlap --nodes=1 --ntasks=1 --nodelist="$node" --chdir=/ \
        --quiet --quiet printf 'a step\n'
}

# Is ROOT the folder that the login node sees? TOKEN is a file that was written there a moment ago.
root::look() {
    local root=$1 token=$2
    fact::ask token cat -- "$root/$token"
    fact::ask root-type stat --file-system --format=%T -- "$root"
    fact::say root-writable "$([[ -w $root && -x $root ]] && echo yes || echo no)"
}

gpu::look() {
    fact::say granted "${CUDA_VISIBLE_DEVICES-}"
    fact::say granted-count "${SLURM_GPUS_ON_NODE-}"
    fact::say devices "$(shopt -s nullglob && set -- /dev/nvidia[0-9]* && echo "$#")"
    fact::which nvidia-smi nvidia-smi
    [[ -n $(type -P nvidia-smi) ]] || return 0
    fact::ask gpu nvidia-smi -L
    fact::ask gpu-row nvidia-smi --query-gpu=driver_version,name,memory.total --format=csv,noheader
    [[ -r /proc/driver/nvidia/version ]] && fact::head driver-kernel cat /proc/driver/nvidia/version
    [[ -r /sys/module/nvidia/version ]] && fact::head driver-module cat /sys/module/nvidia/version
    return 0
}

node::look_at_engine() {
    local address folder
    fact::which engine "$engine"
    [[ -n $(type -P "$engine") ]] || return 0
    fact::keep engine-version engine::version
    fact::keep engine-info engine::describe
    address=$(engine::address)
    [[ -n $address ]] && fact::say engine-address "$address"
    [[ $address == unix://* ]] && fact::ask engine-socket stat --dereference --format='%A %U %G' -- "${address#unix://}"
    folder=$(engine::images_folder 2>/dev/null </dev/null) || folder=''
    [[ -n $folder ]] && fact::ask images-free df --block-size=1M --output=avail,target -- "$folder"
    return 0
}

# What a user can see of the two ways by which an engine hands out GPUs.
gpu::look_for_hooks() {
    local file name
    for name in nvidia-container-runtime-hook nvidia-cdi-hook nvidia-ctk; do
        fact::which "tool-$name" "$name"
    done
    for file in "${cdi_folders[0]}"/* "${cdi_folders[1]}"/*; do
        [[ -r $file ]] && grep --quiet 'nvidia.com/gpu' -- "$file" 2>/dev/null && fact::say cdi "$file"
    done
    return 0
}

# Can a TCP connection be opened? It says nothing about TLS, a login, or the daemon's own proxy.
registry::knock() {
    local host=$1 port=$2 err=0 words
    # shellcheck disable=SC2016 # the inner bash expands its own arguments
    words=$(timeout --kill-after=1 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' knock "$host" "$port" 2>&1 </dev/null) || err=$?
    case $err in
    0) fact::say registry "$host:$port open" ;;
    124) fact::say registry "$host:$port no answer in 5 s" ;;
    *)
        words=${words%%$'\n'*} # the first complaint is the cause
        fact::say registry "$host:$port ${words##*: }"
        ;;
    esac
}

# Has the engine, if it answers, an image by this name? The names that it has are printed.
engine::look_for() {
    local name
    for name in "$@"; do
        if (engine::has_image "$name") >/dev/null 2>&1 </dev/null; then fact::say image "$name"; fi
    done
}

main() {
    engine=$1
    local root=$2 token=$3
    shift 3
    echo # whatever was printed before may not have ended its line
    fact::say begin 1
    exec {steps}< <(steps::try)
    node::look
    node::look_at_hardware
    node::look_at_tools
    [[ -n $token ]] && root::look "$root" "$token"
    gpu::look
    node::look_at_engine
    gpu::look_for_hooks
    while (($# >= 2)) && [[ $1 != -- ]]; do
        registry::knock "$1" "$2"
        shift 2
    done
    if [[ ${1-} == -- && -n $(type -P "$engine") ]] && engine::answers; then engine::look_for "${@:2}"; fi
    cat <&"$steps"
    fact::say end 1
}

main "$@"
