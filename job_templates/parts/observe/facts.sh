# shellcheck shell=bash disable=SC2034,SC2154
#
# What describes the node and the task: one file for each observation, and a line for each event.

# One observation: its output under its name; where the command failed, what it said in NAME.error, which is empty otherwise.
facts::keep() {
    local code=0
    "${@:2}" >"$facts/$1" 2>"$facts/$1.error" </dev/null || code=$?
    facts::settle "$1" "$code"
}

# What came of the command that wrote NAME and NAME.error: its exit code says which of them counts.
facts::settle() {
    local name=$1 code=$2 said
    if ((code == 0)); then
        : >"$facts/$name.error"
        return
    fi
    said=$(<"$facts/$name.error")
    printf 'exit %d\n%s\n' "$code" "$said$(<"$facts/$name")" >"$facts/$name.error"
    rm --force "$facts/$name"
}

# Slurm's variables, but for what lets one speak to Slurm as this user (SLURM_JWT): facts are read by others.
facts::environment() {
    local name
    for name in "${!SLURM@}" CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL; do
        if [[ $name == *@(JWT|TOKEN|SECRET|PASSW|KEY)* ]]; then continue; fi
        if [[ -n ${!name+set} ]]; then printf '%s=%s\0' "$name" "${!name}"; fi
    done >"$facts/slurm.env"
}

# What describes the node but guards nothing; it is gathered while the program runs.
facts::slow() {
    if [[ -n $slow_facts ]]; then return; fi
    (
        node::_deaf
        # Nothing is gathered while the container is being started: that would take the processor from it.
        facts::_report
        trap - TERM INT HUP
        if [[ ! -e $facts/engine-info.json ]]; then engine::info & fi
        if type -P nvidia-smi >/dev/null; then
            if [[ -z ${driver_asked-} ]]; then driver::_query & fi
            if ((gpus == 0)); then gpu::keep nvidia-smi-L.txt -L & else gpu::keep nvidia-smi-driver.txt -q -d COMPUTE & fi
        fi
        facts::keep uname.txt uname -srmn
        printf '%s\n' "${HOSTNAME-}" >"$facts/hostname"
        facts::_copy os-release /etc/os-release
        facts::_copy meminfo.txt /proc/meminfo
        facts::_copy nvidia-driver-proc.txt /proc/driver/nvidia/version
        facts::_copy nvidia-driver-module.txt /sys/module/nvidia/version
        facts::_cpu >"$facts/cpuinfo.txt"
        facts::_report
        wait
        tensorflow::keep
    ) </dev/null >/dev/null 2>&1 &
    slow_facts=$!
}

# Reads what the container reports; the first time only what comes before TensorFlow, where that is asked. A task that was
# refused before has no container.
facts::_report() {
    if [[ -z ${report-} || -z $client ]]; then return; fi
    if [[ $report_next == gpus && -n $tensorflow_ask ]]; then report::read gpus; else report::read end; fi
}

facts::_copy() {
    local text=''
    if [[ ! -r $2 ]]; then return; fi
    IFS= read -r -d '' text <"$2"
    printf %s "$text" >"$facts/$1"
}

# The first processor as the kernel describes it, and how many there are.
facts::_cpu() {
    local line first=yes
    local -i processors=0
    while IFS= read -r line; do
        if [[ $line == processor* ]]; then processors+=1; fi
        if [[ -z $line ]]; then first=''; fi
        if [[ -n $first ]]; then printf '%s\n' "$line"; fi
    done </proc/cpuinfo
    printf 'processors\t: %d\n' "$processors"
}

facts::wait() {
    if [[ -n $slow_facts ]]; then node::_wait "$slow_facts" node::_is_stopped; fi
    if [[ -n ${driver_look-} ]]; then node::_wait "$driver_look" node::_is_stopped; fi
    probe::wait
    logs::wait
    local file
    local -a done_with=("$facts"/*.std{err,out} "$facts/report.pipe" "$program_dir/waiting")
    for file in "$facts"/*.error; do
        if [[ ! -s $file ]]; then done_with+=("$file"); fi
    done
    rm --force --dir -- "${done_with[@]}" "$home_dir" "$program_dir" 2>/dev/null || : # the folders, if they are empty
}

event() {
    time::now
    local detail=${2-}
    { printf '%s\t%s\t%s\n' "$now" "$1" "${detail//[$'\n\r\t']/ }" >>"$facts/events.tsv"; } 2>/dev/null || :
}
