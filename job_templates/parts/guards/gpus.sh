# shellcheck shell=bash disable=SC2034,SC2154
#
# The GPUs that this task's container gets, by UUID, held against what Slurm granted.

# Asks for what this task may see, beside everything else that must be asked.
gpu::look() {
    gpu_look=''
    if ((gpus == 0)); then return; fi
    if ! type -P nvidia-smi >/dev/null; then
        printf 'exit 127\nnvidia-smi is not in PATH\n' >"$facts/nvidia-smi-L.txt.error"
        return
    fi
    gpu::keep nvidia-smi-L.txt -L &
    gpu_look=$!
}

# An answer of nvidia-smi to these options, under its name. It names every GPU that works and ends with 14 or 15 where another is
# broken: the answer counts if it names one, and what nvidia-smi complained of is in it. Source: nvidia-smi(1), "Return Value".
gpu::keep() {
    local file=$facts/$1 code=0
    nvidia-smi "${@:2}" >"$file" 2>"$file.error" </dev/null || code=$?
    if ((code)) && [[ $(<"$file") == *@(GPU|MIG)-* ]]; then
        printf '%s\nnvidia-smi ended with %d\n' "$(<"$file.error")" "$code" >>"$file"
        code=0
    fi
    facts::settle "$1" "$code"
}

# The UUIDs that the container gets, in gpu_ids, and how they were found, in gpu_source. No variable of Slurm's names a
# GPU in a way docker understands (positions in gres.conf, or in the cgroup); what this task may see does.
gpu::resolve() {
    gpu_ids=() gpu_source=none
    if [[ -n $gpu_look ]]; then node::_wait "$gpu_look" node::_is_stopped; fi
    if ((gpus > 0)); then
        gpu::_listed
        gpu::_granted
        gpu::_choose
        gpu::_check
    fi
    : >"$facts/gpus.txt"
    if ((${#gpu_ids[@]})); then printf '%s\n' "${gpu_ids[@]}" >"$facts/gpus.txt"; fi
    printf '%s\n' "$gpu_source" >"$facts/gpu-source.txt"
    event gpus "$gpu_source ${gpu_ids[*]-}"
}

# `nvidia-smi -L` as UUIDs in its order; a GPU that is cut into MIG devices counts as those. numbered has each GPU under the
# number that its line carries: one that is lost has no line, and the others keep theirs. complaint is the last other line, and
# the code with which nvidia-smi ended.
gpu::_listed() {
    local line uuid parent='' ended=''
    listed=() numbered=() has_mig='' complaint=''
    gpu_file=$facts/nvidia-smi-L.txt
    if [[ ! -r $gpu_file ]]; then gpu_file+=.error; fi
    if [[ ! -r $gpu_file ]]; then return; fi
    while IFS= read -r line; do
        if [[ $line =~ ^(exit|nvidia-smi\ ended\ with)\ ([0-9]+)$ ]]; then
            ended=${BASH_REMATCH[2]}
            continue
        elif [[ ! $line =~ \(UUID:\ ([^\)]+)\) ]]; then
            complaint=${line:-$complaint}
            continue
        fi
        uuid=${BASH_REMATCH[1]}
        if [[ $line =~ ^GPU\ ([0-9]{1,4}): ]]; then numbered[10#${BASH_REMATCH[1]}]=$uuid; fi
        if [[ $uuid == MIG-* && -n $parent ]]; then
            unset "listed[$parent]"
            listed=(${listed[@]+"${listed[@]}"})
            parent='' has_mig=yes
        elif [[ $uuid != MIG-* ]]; then
            parent=${#listed[@]}
        fi
        listed+=("$uuid")
    done <"$gpu_file"
    if [[ $ended ]]; then complaint+="${complaint:+ }(nvidia-smi ended with $ended)"; fi
}

# What the scheduler (or, without one, the user) gave this task: entries of CUDA_VISIBLE_DEVICES, else a bare count.
gpu::_granted() {
    granted=() want=0
    if [[ -n ${CUDA_VISIBLE_DEVICES-} && $CUDA_VISIBLE_DEVICES != NoDevFiles ]]; then
        IFS=, read -r -a granted <<<"$CUDA_VISIBLE_DEVICES"
        want=${#granted[@]}
    elif [[ -z $is_local ]]; then
        want=${SLURM_GPUS_ON_NODE:-0}
    elif ((${#listed[@]} > gpus)); then
        task::refuse gpus "${#listed[@]} GPUs are here and $gpus are wanted, which ones is not said" \
            "set CUDA_VISIBLE_DEVICES to the UUIDs of $gpus of them (nvidia-smi -L lists them)"
    else
        want=${#listed[@]}
    fi
    if ((want * tasks_per_node < gpus)) || [[ -n $is_local && $want -ne $gpus ]]; then
        task::refuse gpus "$want granted to this task, $gpus asked for per node" "see SLURM_* in $facts/slurm.env"
    fi
    if [[ -z $is_local ]] && ((gpus_per_task > 0 && want != gpus_per_task)); then
        task::refuse gpus "$want granted to this task, whose share is $gpus_per_task of the node's $gpus" \
            "see SLURM_* in $facts/slurm.env; \`slurm: {gpu-bind: none}\` gives every task all of them"
    fi
}

gpu::_choose() {
    local word
    if [[ ${granted[0]-} == GPU-* || ${granted[0]-} == MIG-* ]]; then
        gpu_ids=("${granted[@]}") gpu_source=slurm-uuid
        if [[ -n $is_local ]]; then gpu_source=index-unconstrained; fi
        return
    fi
    if ((${#listed[@]} == want)) && gpu::_are_its_own; then
        gpu_ids=("${listed[@]}") gpu_source=cgroup
        if [[ -n $is_local ]]; then gpu_source='whole-machine'; fi
    elif ((${#listed[@]} >= want)); then
        for word in ${granted[@]+"${granted[@]}"}; do
            if [[ $has_mig || ! $word =~ ^[0-9]{1,4}$ ]]; then
                task::refuse gpus "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES cannot be told apart among ${#listed[@]} visible devices" \
                    "ask the site to set ConstrainDevices=yes in cgroup.conf"
            fi
            if [[ -z ${numbered[10#$word]-} ]]; then
                task::refuse gpus "Slurm granted GPU $word, and nvidia-smi lists no GPU of that number${complaint:+: $complaint}" \
                    "see $gpu_file; exclude the node: --exclude=$where"
            fi
            gpu_ids+=("${numbered[10#$word]}")
        done
        gpu_source=index-unconstrained
    fi
}

# Whether as many GPUs as were granted are the granted ones. Where Slurm confines the task, both count from 0. Without that a
# lost GPU leaves a gap, and another job's stands in its place.
gpu::_are_its_own() {
    local word
    local -i number
    if [[ $has_mig ]]; then return; fi
    for word in ${granted[@]+"${granted[@]}"}; do
        if [[ ! $word =~ ^[0-9]{1,4}$ || -n ${numbered[10#$word]-} ]]; then continue; fi
        if [[ $complaint ]]; then return 1; fi
        for ((number = 0; number < ${#listed[@]}; number++)); do
            if [[ -z ${numbered[number]-} ]]; then return 1; fi
        done
    done
}

gpu::_check() {
    local id seen=' '
    if ((${#listed[@]} < want)) || ((${#gpu_ids[@]} != want)); then
        task::refuse gpus "nvidia-smi lists ${#listed[@]} GPUs to this task, Slurm granted $want${complaint:+: $complaint}" \
            "see $gpu_file; exclude the node: --exclude=$where"
    fi
    for id in "${gpu_ids[@]}"; do
        # An empty or odd id would be read by docker as no GPU at all, and the program would train on the CPU.
        if [[ ! $id =~ ^(GPU|MIG)-[0-9A-Za-z/-]+$ || $seen == *" $id "* ]]; then
            task::refuse gpus "${id:-an empty word} is not the UUID of one more GPU" "see $gpu_file"
        fi
        if [[ " ${listed[*]-} " != *" $id "* ]]; then
            task::refuse gpus "$id was granted and nvidia-smi does not list it to this task" "see $gpu_file"
        fi
        seen+="$id "
    done
}
