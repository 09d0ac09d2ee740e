# shellcheck shell=bash disable=SC2034,SC2154
#
# Does TensorFlow in the image see the GPUs? Asked in the container, unless it is known on this node.

# Whether entry.sh has to ask TensorFlow for its GPUs (tensorflow_ask), or the answer to the same question is known here:
# same image, node, driver, kinds and number of GPUs, and same variables and mounts that could change what it finds.
tensorflow::look() {
    tensorflow_ask=''
    if ((${#gpu_ids[@]} == 0)); then return; fi
    if [[ $tensorflow_check == off ]]; then
        printf 'unknown: not checked: gpu_check is off\n' >"$facts/container/tensorflow-gpu.txt"
        return
    fi
    tensorflow::_kinds
    tensorflow_key="$where, driver ${driver_version:-unknown}, $kinds"
    tensorflow_cache=$images_dir/${image_digest#sha256:}.gpus/${tensorflow_key//[!a-zA-Z0-9.-]/_}
    tensorflow_cache=${tensorflow_cache:0:$((${#images_dir} + 240))}-$tensorflow_check_key
    if [[ $tensorflow_check != cached ]] || ! tensorflow::_is_known; then tensorflow_ask=yes; fi
}

# `2 x NVIDIA A100-SXM4-40GB`; a MIG device is named after its GPU and its size.
tensorflow::_kinds() {
    local line name gpu=''
    local -A counts=()
    while IFS= read -r line; do
        if [[ $line =~ ^GPU\ [0-9]+:\ (.*)\ \(UUID:\ ([^\)]+)\) ]]; then
            gpu=${BASH_REMATCH[1]} name=${BASH_REMATCH[1]}
        elif [[ $line =~ ^\ +MIG\ ([^\ ]+)\ .*\(UUID:\ ([^\)]+)\) ]]; then
            name="$gpu MIG ${BASH_REMATCH[1]}"
        else
            continue
        fi
        if [[ " ${gpu_ids[*]} " == *" ${BASH_REMATCH[2]} "* ]]; then counts[$name]=$((${counts[$name]:-0} + 1)); fi
    done <"$facts/nvidia-smi-L.txt"
    kinds=''
    for name in "${!counts[@]}"; do kinds+="${kinds:+, }${counts[$name]} x $name"; done
}

# The cache has three lines: the answer, the question, and when and by which job it was asked.
tensorflow::_is_known() {
    local answer question observed LC_ALL=C
    if [[ -z $driver_version || ! -f $tensorflow_cache ]]; then return 1; fi
    if ! tensorflow::_is_ours || ! images::has "$tensorflow_cache"; then return 1; fi
    { IFS= read -r -n 1000 answer && IFS= read -r -n 1000 question && IFS= read -r -n 1000 observed; } <"$tensorflow_cache" || return 1
    if [[ $question != "$tensorflow_key" || $answer != [ou]* || "$answer$question$observed" == *[![:print:]]* ]]; then return 1; fi
    printf '%s (cached: observed %s, %s)\n' "$answer" "$observed" "$question" >"$facts/container/tensorflow-gpu.txt"
}

# Was it this user who made the folders of the cache, and are they no links?
tensorflow::_is_ours() {
    local folder=${tensorflow_cache%/*}
    [[ ! -L $images_dir && -O $images_dir && ! -L $folder && -O $folder ]]
}

# Keeps a fresh answer for later jobs. One that says no is never kept: the node may be repaired.
tensorflow::keep() {
    local answer=''
    if [[ -z ${tensorflow_ask-} || -z $driver_version || ! -r $facts/container/tensorflow-gpu.txt ]]; then return; fi
    IFS= read -r answer <"$facts/container/tensorflow-gpu.txt"
    if [[ $answer != ok* && $answer != 'unknown: TensorFlow is not in the image'* ]]; then return; fi
    if ! images::folder; then return; fi
    mkdir --mode=0700 "${tensorflow_cache%/*}" 2>/dev/null || :
    if ! tensorflow::_is_ours; then return; fi
    time::now
    rm --force -- "$tensorflow_cache.$job.$rank.tmp"
    (set -o noclobber; printf '%s\n' "$answer" "$tensorflow_key" "$now by job $job" >"$tensorflow_cache.$job.$rank.tmp") &&
        mv --no-target-directory -- "$tensorflow_cache.$job.$rank.tmp" "$tensorflow_cache"
}

# entry.sh said no: TensorFlow does not list what was granted.
tensorflow::tell() {
    local answer=''
    if [[ -z ${tensorflow_ask-} || $exit_code != "$EX_CONFIG" || ! -r $facts/container/tensorflow-gpu.txt ]]; then return; fi
    IFS= read -r answer <"$facts/container/tensorflow-gpu.txt" || :
    if [[ $answer == failed:* ]]; then
        task::refuse tensorflow "${answer#failed: }; it would compute without" \
            "$program_dir/tensorflow-gpu.log says why (often: the image lacks the CUDA libraries of its TensorFlow); gpu_check: \"off\" runs it all the same"
    fi
}
