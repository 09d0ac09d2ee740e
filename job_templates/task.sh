# shellcheck shell=bash
# What only the prepare, task and sweep roles need; node.sh comes before it. Both engines are told the same in the same
# words; where they differ stands under `engine`.
#
# shellcheck disable=SC2034,SC2154  # see node.sh

readonly DIFF_PATIENCE_S=8 # how long docker may look for what was written outside every mount, and removes nothing meanwhile
readonly OPEN_PATIENCE_S=30 # how long the opening of a file that is mounted may take
readonly PROBE_PATIENCE_S=120 # how long a finished program's task waits for the probe of its image
readonly ENGINE_PATIENCE_S=60 # how long a task waits for an engine's daemon that went away under its container

# ----------------------------------------------------------------------------------------------------------- task role

# One container: everything that must hold is looked at before it starts, everything that can wait while it runs.
node::task() {
    node::_job
    node::_task
    trap task::_left EXIT
    trap 'task::_told_to_stop' TERM INT HUP
    lifetime::watch "$facts/lost.txt"
    checkpoint::listen
    event task-began "step $step"
    engine::look
    image::look
    gpu::look
    driver::look
    report::make
    facts::environment
    node::_user
    cgroup::choose
    mount::check
    code::look
    secrets::check
    image::ensure
    gpu::resolve
    driver::check
    tensorflow::look
    code::check
    container::create
    container::run
    container::end
    container::tell
    task::_finish "$exit_code"
}

node::_task() {
    attempt=${TFSLURM_ATTEMPT:-$((${SLURM_RESTART_COUNT:-0} + 1))}
    attempt_dir=$job_dir/attempt-$attempt
    rank=${SLURM_PROCID:-0}
    task::_places
    grace_s=3 # between SIGTERM and SIGKILL for the program: less than Slurm's own, or nobody is left to write the end
    if [[ -n ${TFSLURM_KILL_WAIT-} ]]; then
        if ((TFSLURM_KILL_WAIT > 8)); then grace_s=$((TFSLURM_KILL_WAIT - 5)); fi
        if ((TFSLURM_KILL_WAIT < 7)); then grace_s=2; fi # what follows the program's end takes its time on a busy node
    fi
    if [[ $engine == podman ]] && ((grace_s > 2)); then grace_s=$((grace_s - 1)); fi # its commands take longer
    if [[ -n $is_local ]]; then grace_s=10; fi
    warned='' told_first=''
    mount_wrong='' container_id='' started='' stopped='' client='' waited_for='' exit_code='' slow_facts='' probe=''
    step=${SLURM_STEP_ID:-0}
    if [[ -s $attempt_dir/shared-folders ]] && images::folder; then # kept open, as the run folder is
        exec {images_file}<"$images_dir/."
        images_dir=/proc/$$/fd/$images_file/.
    fi
    container_name=tfslurm-$cluster-$job-${SLURM_STEP_ID:-$plan_id}-$rank-$attempt # local ids are each tracker's own
    if [[ -n $read_group ]]; then umask g=rx,o=; fi
    # shellcheck disable=SC2174  # those above them are named before them
    mkdir --parents --mode=0700 "$facts/container" "${home_dir%/*}" "${program_dir%/*}" "$home_dir" "$program_dir"
    if [[ -n $read_group ]]; then chmod g=rx "$facts/container"; fi
}

# Where a task of this rank leaves what: rank 0's logs have the plain names.
task::_places() {
    local of_rank=.$rank
    if [[ $rank == 0 ]]; then of_rank=''; fi
    facts=$attempt_dir/facts/task-$rank
    home_dir=$attempt_dir/home/$rank
    program_dir=$attempt_dir/program/$rank # what the program may write beside its outputs: nothing there is believed
    stdout_log=$attempt_dir/stdout$of_rank.log stderr_log=$attempt_dir/stderr$of_rank.log
}

# SIGTERM: scancel, the time limit, preemption. A second one changes nothing.
task::_told_to_stop() {
    interrupted=yes
    if [[ -n $stopped ]]; then return 0; fi # a bare `return` in a trap gives the status of what the signal interrupted
    stopped=TERM stopped_at=$SECONDS
    event told-to-stop SIGTERM
    if [[ -n $client ]]; then
        checkpoint::tell_first
        container::_stop &
    elif [[ -n $waited_for ]]; then # a pull, or a lock
        kill -s TERM "$waited_for" 2>/dev/null || :
    fi
}

# Before anything slow begins: is there still a reason to begin it?
task::_stop_if_told() {
    checkpoint::refuse_if_told
    if [[ -z $stopped ]]; then return; fi
    printf 'tfslurm: %s: stopped before the program started\n' "$where" >&2
    exit 143
}

# The one way to say no. What it names is the link; the program has not started. $5 is the cause, as batch::_exit_json has it.
task::refuse() {
    local what=$1 why=$2 fix=${3-} code=${4:-$EX_CONFIG} cause=${5:-refused}
    local line="tfslurm: $where: $what: $why${fix:+; $fix}"
    if [[ -n ${own_dir-} && $own_dir != "$run_dir" ]]; then line=${line//$own_dir/$run_dir}; fi
    line=${line//[$'\n\r\t']/ }
    # a full file system does not change the code
    if [[ ! -s $facts/cause ]]; then { printf '%s\n' "$cause" >"$facts/cause"; } 2>/dev/null || :; fi
    { printf '%s\n' "$line" >"$facts/refused.txt"; } 2>/dev/null || :
    printf '%s\n' "$line" >&2 || :
    event refused "$what: $why"
    exit "$code"
}

task::engine_failed() {
    task::refuse "$engine" "$1" "${2:-ask the administrator of $where, or exclude the node: --exclude=$where}" "$EX_TEMPFAIL" engine
}

task::_finish() {
    facts::wait
    lifetime::unwatch
    event task-ended "$1"
    trap - EXIT
    exit "$1"
}

# Whatever went wrong: no container stays, the node is still described, and the end is written.
task::_left() {
    local code=$?
    trap - EXIT
    set +e
    if [[ -n $container_id ]]; then container::end; fi
    facts::slow
    if [[ ! -e $facts/exit.json ]]; then task::_exit_json "$code" false '' '' || code=$EX_TEMPFAIL; fi
    facts::wait
    lifetime::unwatch
    event task-ended "$code"
    exit "$code"
}

task::_exit_json() {
    local code=$1 oom=$2 began=$3 ended=$4
    time::now
    json::signal "$code"
    json::object exit_code n "$code" oom_killed n "$oom" started_at o "$began" ended_at s "${ended:-$now}" signal n "$signal"
    node::_write "$facts/exit.json" "$json"
}

# -------------------------------------------------------------------------------------------------------- prepare role

# What must be so before any task of several starts. On success only the last line is left to see; what is refused here is
# written down as a task's refusal.
node::prepare() {
    if [[ -n $checkpoint_signal ]]; then trap '' "$checkpoint_signal"; fi # no program is there yet to be told
    node::_job
    node::_user
    if [[ $prepull == true && ${SLURM_LOCALID:-0} == 0 ]]; then
        node::_task
        trap task::_left EXIT
        trap 'task::_told_to_stop' TERM INT HUP
        event prepare-began "step $step"
        if [[ $engine != docker ]]; then engine::look; fi
        image::ensure
        trap - EXIT
    fi
    local port=-
    if [[ $network == host ]]; then peers::port; fi
    printf 'tfslurm-task %s %s %s\n' "${SLURM_PROCID:-0}" "$where" "$port"
}

# ---------------------------------------------------------------------------------------------------------- sweep role

node::sweep() {
    node::_job
    attempt=${TFSLURM_ATTEMPT:?} attempt_dir=$job_dir/attempt-$TFSLURM_ATTEMPT
    local left
    rank=sweep stopped='' warned='' client='' facts=$(mktemp --directory)
    node::_user
    engine::look
    rm --recursive "$facts"
    rm --force -- "$images_dir"/*.json."$job".*.tmp # what a probe had begun to write
    while read -r left rank; do
        task::_places
        grace_s=3 started=yes stopped='' client='' told_first='' mount_wrong=''
        if [[ ! -d $facts ]]; then continue; fi
        if probe::_sweep "$left"; then continue; fi
        container_id=$left
        event swept "$left"
        if [[ -n ${TFSLURM_TASK_CODE-} ]] && ! grep --quiet told-to-stop "$facts/events.tsv" 2>/dev/null; then
            lifetime::blame "$facts/lost.txt" lost "the task's script" "it ended with $TFSLURM_TASK_CODE before its container did"
        fi
        container::end
    done < <("$engine" ps --all --quiet --no-trunc --filter "label=tfslurm.uid=$EUID" --filter "label=tfslurm.cluster=$cluster" \
        --filter "label=tfslurm.job_id=$job" --filter "label=tfslurm.attempt=$attempt" |
        xargs --no-run-if-empty "$engine" container inspect --format '{{.Id}} {{index .Config.Labels "tfslurm.rank"}}')
}

# ---------------------------------------------------------------------------------------------------------------- GPUs

# Asks for what this task may see, beside everything else that must be asked.
gpu::look() {
    gpu_look=''
    if ((gpus == 0)); then return; fi
    if ! type -P nvidia-smi >/dev/null; then
        printf 'exit 127\nnvidia-smi is not in PATH\n' >"$facts/nvidia-smi-L.txt.error"
        return
    fi
    facts::keep nvidia-smi-L.txt nvidia-smi -L &
    gpu_look=$!
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

# `nvidia-smi -L` as UUIDs in its order; a GPU that is cut into MIG devices counts as those.
gpu::_listed() {
    local line uuid parent=''
    listed=() has_mig=''
    if [[ ! -r $facts/nvidia-smi-L.txt ]]; then return; fi
    while IFS= read -r line; do
        if [[ ! $line =~ \(UUID:\ ([^\)]+)\) ]]; then continue; fi
        uuid=${BASH_REMATCH[1]}
        if [[ $uuid == MIG-* && -n $parent ]]; then
            unset "listed[$parent]"
            listed=(${listed[@]+"${listed[@]}"})
            parent='' has_mig=yes
        elif [[ $uuid != MIG-* ]]; then
            parent=${#listed[@]}
        fi
        listed+=("$uuid")
    done <"$facts/nvidia-smi-L.txt"
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
    if ((${#listed[@]} == want)); then
        gpu_ids=("${listed[@]}") gpu_source=cgroup
        if [[ -n $is_local ]]; then gpu_source=whole-machine; fi
    elif ((${#listed[@]} > want)); then
        for word in ${granted[@]+"${granted[@]}"}; do
            if [[ $has_mig || ! $word =~ ^[0-9]+$ || -z ${listed[word]-} ]]; then
                task::refuse gpus "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES cannot be told apart among ${#listed[@]} visible devices" \
                    "ask the site to set ConstrainDevices=yes in cgroup.conf"
            fi
            gpu_ids+=("${listed[word]}")
        done
        gpu_source=index-unconstrained
    fi
}

gpu::_check() {
    local id seen=' '
    if ((${#listed[@]} < want)) || ((${#gpu_ids[@]} != want)); then
        task::refuse gpus "nvidia-smi lists ${#listed[@]} GPUs to this task, Slurm granted $want" \
            "see $facts/nvidia-smi-L.txt; exclude the node: --exclude=$where"
    fi
    for id in "${gpu_ids[@]}"; do
        # An empty or odd id would be read by docker as no GPU at all, and the program would train on the CPU.
        if [[ ! $id =~ ^(GPU|MIG)-[0-9A-Za-z/-]+$ || $seen == *" $id "* ]]; then
            task::refuse gpus "${id:-an empty word} is not the UUID of one more GPU" "see $facts/nvidia-smi-L.txt"
        fi
        if [[ " ${listed[*]-} " != *" $id "* ]]; then
            task::refuse gpus "$id was granted and nvidia-smi does not list it to this task" "see $facts/nvidia-smi-L.txt"
        fi
        seen+="$id "
    done
}

# -------------------------------------------------------------------------------------------------------------- driver

# Asks for the driver's version: the kernel module tells it for nothing, nvidia-smi beside everything else.
driver::look() {
    driver_look='' driver_version='' driver_asked=''
    if ((gpus == 0)); then return; fi
    if [[ -r /sys/module/nvidia/version ]]; then
        IFS= read -r driver_version </sys/module/nvidia/version || :
    elif type -P nvidia-smi >/dev/null; then
        driver::_query &
        driver_look=$! driver_asked=yes
    fi
}

driver::_query() {
    facts::keep nvidia-smi-query.csv nvidia-smi --format=csv,nounits \
        --query-gpu=index,uuid,name,memory.total,driver_version,pci.bus_id
}

# The plan names the oldest driver that can run the image's CUDA (minimum_driver; empty: it says none). The hook would
# refuse an older one too, in its own words and as if the engine had failed.
driver::check() {
    local row=''
    if [[ -n $driver_look ]]; then
        node::_wait "$driver_look" node::_is_stopped
        driver_look=''
        if [[ -r $facts/nvidia-smi-query.csv ]]; then { read -r && IFS= read -r row; } <"$facts/nvidia-smi-query.csv" || :; fi
        IFS=, read -r _ _ _ _ driver_version _ <<<"$row"
        driver_version=${driver_version// /}
    fi
    if [[ ! $driver_version =~ ^[0-9]+(\.[0-9]+)+$ ]]; then driver_version=''; fi
    if [[ -n $minimum_driver && -n $driver_version ]] && driver::_is_older "$driver_version" "$minimum_driver"; then
        task::refuse driver "too old: driver $driver_version is older than $minimum_driver, the oldest that the image ($minimum_driver_for) admits" \
            "use an image with an older CUDA, or a node with a newer driver"
    fi
}

# Did the hook stop the container because of NVIDIA_REQUIRE_CUDA, of which the plan's oldest driver is only one bound?
driver::_is_refused() { [[ ${state_error-} == *'unsatisfied condition'* ]]; }

# Part by part, as numbers; absent parts are 0.
driver::_is_older() {
    local -i at
    local -a have want
    IFS=. read -r -a have <<<"$1"
    IFS=. read -r -a want <<<"$2"
    for ((at = 0; at < ${#want[@]}; at++)); do
        if ((10#${have[at]:-0} != 10#${want[at]})); then return $((10#${have[at]:-0} > 10#${want[at]})); fi
    done
    return 1
}

# ---------------------------------------------------------------------------------------------------------- TensorFlow

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

# -------------------------------------------------------------------------------------------------------------- engine

cdi_folders=(/etc/cdi /var/run/cdi) # CDI's own. Source: CDI specification, "CDI JSON Specification"

# Asks podman what it can do, for that is the user's own setting. Docker is asked only where the answer decides something,
# beside everything else that must be asked.
engine::look() {
    engine_info='' engine_look=''
    engine::_ask_groups
    if [[ $engine == docker ]]; then
        if ((gpus > 0)) && engine::_has_cdi_folder; then
            engine::_info &
            engine_look=$!
        fi
        return
    fi
    if [[ $engine != podman ]]; then task::refuse engine "$engine is neither docker nor podman" 'set engine: docker'; fi
    engine::_info
    if [[ -s $facts/engine-info.json.error && $(<"$facts/engine-info.json.error") == *'podman system migrate'* ]]; then
        lock::take podman-migrate # it stops what runs; podman says this only where nothing of the user's is alive
        engine::_info
        if [[ -s $facts/engine-info.json.error ]]; then podman system migrate >/dev/null 2>&1 || :; fi
        lock::drop
        engine::_info
        event podman-migrated 'no process kept the namespace of its containers'
    fi
    if [[ ! -s $facts/engine-info.json ]]; then
        task::engine_failed "podman info: $(<"$facts/engine-info.json.error")" "\`podman info\` must work for $user on $where"
    fi
    engine_info=$(<"$facts/engine-info.json")
}

# The engine's command, again where it may have failed because a signal ended it: where Slurm signals every process of a step,
# SIGTERM reaches this one too, whether it is ignored here or not.
engine::insist() {
    local -i left=3 code
    while :; do
        code=0
        "$engine" "$@" || code=$?
        if ((code == 0 || --left == 0)) || [[ -z $stopped && $code -lt 128 ]]; then return "$code"; fi
    done
}

engine::_info() { facts::keep engine-info.json "$engine" info --format '{{json .}}'; }

engine::_ask_info() {
    if [[ -n $engine_info ]]; then return; fi
    if [[ -n $engine_look ]]; then node::_wait "$engine_look" node::_is_stopped; else engine::_info; fi
    if [[ -s $facts/engine-info.json ]]; then engine_info=$(<"$facts/engine-info.json"); fi
}

engine::_is_rootless() { [[ $engine == podman && $engine_info =~ \"rootless\":\ *true ]]; }

# Can the engine hold a container to a limit of this cgroup controller? Podman without root only to those that were delegated.
# On cgroup v1 none is; there it would warn and go on without. Source: podman-create(1), --memory.
engine::_can_limit() {
    if ! engine::_is_rootless; then return 0; fi
    [[ $engine_info =~ \"cgroupControllers\":\ *\[([^]]*)\] && ${BASH_REMATCH[1]} == *"\"$1\""* ]]
}

# Is the image known under this name? Docker leaves `docker.io/` and `docker.io/library/` out of the names that it shows,
# podman the `sha256:` of ids.
engine::_is_among() {
    local short=${2#docker.io/}
    [[ " $1 " == *" $2 "* || " $1 " == *" ${short#library/} "* || " $1 " == *" ${2#sha256:} "* ]]
}

# By CDI where the engine has it: podman knows no other way, and docker where a description on this node names every GPU.
# The quotes inside are docker's: without them `device=a,b` is read as device a and a second option b.
engine::_gpus() {
    local id
    if ((${#gpu_ids[@]} == 0)); then return; fi
    if engine::_has_cdi; then
        for id in "${gpu_ids[@]}"; do create+=(--device "nvidia.com/gpu=$id"); done
        create+=(--env NVIDIA_VISIBLE_DEVICES=void) # the image says `all`, which an NVIDIA runtime would obey as well
    else
        local IFS=,
        create+=(--gpus "\"device=${gpu_ids[*]}\"")
    fi
}

# Docker lists the folders in its info only if it reads CDI at all. Source: Docker Engine API, GET /info, CDISpecDirs.
engine::_has_cdi() {
    local id
    if [[ $engine == podman ]]; then return 0; fi
    if ! engine::_has_cdi_folder; then return 1; fi
    engine::_ask_info
    if [[ ! $engine_info =~ \"CDISpecDirs\":\ *\[\ *\" ]]; then return 1; fi
    for id in "${gpu_ids[@]}"; do
        grep --quiet --no-messages --recursive --fixed-strings -- "$id" "${cdi_folders[@]}" || return 1
    done
}

engine::_has_cdi_folder() { [[ -d ${cdi_folders[0]} || -d ${cdi_folders[1]-} ]]; }

# The user himself, with no way to more, and no word of the image's in when something runs or how it is stopped. Without root,
# podman maps the uid to another one unless told to keep it.
engine::_identity() {
    create+=(--user "$EUID:$own_group" --security-opt no-new-privileges --cap-drop ALL --no-healthcheck --stop-signal SIGTERM)
    if engine::_is_rootless; then create+=(--userns keep-id); fi
}

# In a namespace of the user's own no other group can be named; crun can keep those that the task has, runc cannot.
engine::_groups() {
    local group dropped=''
    if ! engine::_is_rootless; then
        for group in "${GROUPS[@]:1}"; do
            if [[ $group != "$own_group" && $withheld != *" $group "* ]]; then create+=(--group-add "$group"); fi
        done
        return
    fi
    for group in "${GROUPS[@]}"; do if [[ $withheld == *" $group "* ]]; then dropped=yes; fi; done
    if [[ -z $dropped && $engine_info =~ \"ociRuntime\":\ *\{[^}]*\"name\":\ *\"crun\" ]]; then
        create+=(--group-add keep-groups)
    elif ((${#GROUPS[@]} > 1)); then
        event groups-dropped "${GROUPS[*]:1}"
    fi
}

# The sockets of engines, each of which is root on the node, or this user: those that are here, in engine_sockets.
engine::sockets() {
    local socket own=${XDG_RUNTIME_DIR:-/run/user/$EUID}
    engine_sockets=()
    for socket in "${DOCKER_HOST-}" "${CONTAINER_HOST-}" {/run,/var/run,"$own"}/{docker.sock,docker/docker.sock,podman/podman.sock} \
        {/run,/var/run,"$own"}/{containerd/containerd.sock,crio/crio.sock,buildkit/buildkitd.sock} \
        /var/lib/{lxd,incus}/unix.socket /var/snap/lxd/common/lxd/unix.socket /run/libvirt/libvirt-sock; do
        if [[ -S ${socket#unix://} ]]; then engine_sockets+=("${socket#unix://}"); fi
    done
}

# Asks for their groups, beside everything else that must be asked.
engine::_ask_groups() {
    socket_groups=''
    engine::sockets
    if ((${#engine_sockets[@]})); then
        exec {socket_groups}< <(stat --dereference --format=%g -- "${engine_sockets[@]}" 2>/dev/null)
    fi
}

# The groups that the program does not get, in withheld: root's, and whoever may speak to an engine is in theirs. The one that
# it has first is then own_group.
engine::_withhold() {
    local group
    withheld=' 0 ' own_group=''
    if [[ -n $socket_groups ]]; then
        while read -r group; do withheld+="$group "; done <&"$socket_groups"
        exec {socket_groups}<&-
    fi
    for group in "${GROUPS[@]}"; do
        if [[ -z $own_group && $withheld != *" $group "* ]]; then own_group=$group; fi
    done
    own_group=${own_group:-65534} # nobody's
}

# Not even entry.sh has run. Docker's init ends with 126 or 127 for that, podman's (catatonit) with 1.
engine::_found_no_shell() {
    [[ $report_end == nothing* && ($state_code == 12[67] || ($engine == podman && $state_code == 1)) ]]
}

# Podman without root has no bridge of its own: what it has instead (slirp4netns, pasta) the site's containers.conf says.
engine::_network() {
    if [[ $network != bridge ]] || ! engine::_is_rootless; then create+=(--network "$network"); fi
}

# -------------------------------------------------------------------------------------------------------------- cgroup

# Afterwards cgroup_path is the cgroup of Slurm's that holds this step, if the engine can put the container below it. That
# works on cgroup v2 with the cgroupfs driver alone: systemd's wants a slice, and on v1 the start fails where devices are
# confined. What was chosen, and why, is in cgroup-parent.txt.
cgroup::choose() {
    local why=''
    cgroup_path=''
    if [[ $cgroup_parent == off ]]; then
        why='the cluster file says off'
    elif [[ $engine == podman ]]; then
        why="podman starts the container from the task, in the task's own cgroup"
    elif [[ ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
        why='the node has cgroup v1'
    else
        engine::_ask_info
        cgroup::_of_step "$(</proc/self/cgroup)"
        if [[ ! $engine_info =~ \"CgroupDriver\":\ *\"cgroupfs\" ]]; then
            why="docker's cgroup driver is not cgroupfs" cgroup_path=''
        elif [[ -z $cgroup_path ]]; then
            why="the task is in no cgroup of Slurm's"
        fi
    fi
    if [[ $cgroup_parent == require && -n $why && $engine == docker ]]; then
        task::refuse cgroup_parent "$why, so the container cannot be put below the job's cgroup" \
            "write \`cgroup_parent: auto\` in the cluster file, and the container is given the job's limits one by one"
    fi
    printf '%s\n' "${cgroup_path:-none: $why}" >"$facts/cgroup-parent.txt"
}

# 0::/system.slice/slurmstepd.scope/job_5/step_0/user/task_0 -> …/step_0/user: a cgroup with processes of its own, as task_0
# is, can have none below it. Never made from the job's id: from Slurm 26.05 on the folders have other names.
cgroup::_of_step() {
    cgroup_path=''
    if [[ $1 =~ (^|$'\n')0::(/[^$'\n']*slurm[^$'\n']*/user)(/|$'\n'|$) ]]; then cgroup_path=${BASH_REMATCH[2]}; fi
}

# --------------------------------------------------------------------------------------------------------------- image

# Afterwards image_source is a name@digest (or an image id) that this node's daemon has, looked at and compared.
image::ensure() {
    local pulled=present
    if ! image::_find; then
        if [[ $pin_kind == image-id ]]; then
            task::refuse image "$image_digest is not on this node" "load it here: $engine load < IMAGE.tar"
        fi
        image::_fetch
        pulled="pulled from $pulled_from"
    fi
    image::_compare
    printf '%s\n' "$image_source" >"$facts/image-source.txt"
    # What `prepare` pulled for this very task is present by now.
    if [[ $pulled != present || ! -e $facts/image-pulled.txt ]]; then printf '%s\n' "$pulled" >"$facts/image-pulled.txt"; fi
    printf '[%s]\n' "$image_json" >"$facts/image-inspect.json"
    event image "$image_source $pulled"
}

# One question for all the names, beside everything else that must be asked: the engine answers for those it has and
# complains of the others.
image::look() {
    # shellcheck disable=SC2016  # the engine reads it
    "$engine" image inspect --format '{{.Id}} {{range .RepoDigests}}{{.}} {{end}}{{println}}{{json .}}{{println}}{{printf "%+q" (printf "%s/%s" .Os .Architecture)}}{{with .Config}}{{println}}{{printf "%+q" .Entrypoint}}{{range .Env}}{{println}}{{printf "%+q" .}}{{end}}{{println}}workdir {{printf "%q" .WorkingDir}}{{range $place, $_ := .Volumes}}{{println}}volume {{printf "%q" $place}}{{end}}{{end}}{{println}}' \
        "${image_sources[@]}" </dev/null >"$facts/image-inspect.stdout" 2>"$facts/image-inspect.stderr" &
    image_look=$!
}

image::_find() {
    local names line complaint='' is_whole
    if [[ -z ${image_look-} ]]; then image::look; fi
    node::_wait "$image_look" node::_is_stopped
    image_look=''
    task::_stop_if_told
    while IFS= read -r names; [[ -n $names ]]; do
        image_has=() image_json='' is_whole=''
        IFS= read -r image_json || :
        while [[ -z $is_whole ]] && IFS= read -r line; do
            if [[ -n $line ]]; then image_has+=("$line"); else is_whole=yes; fi
        done
        if [[ -z $is_whole ]]; then task::engine_failed "what it says of the image is cut off" "look with df whether $facts is on a full file system"; fi
        for image_source in "${image_sources[@]}"; do
            if engine::_is_among "$names" "$image_source"; then return 0; fi
        done
    done <"$facts/image-inspect.stdout"
    while IFS= read -r line; do
        if [[ -n $line && $line != *[Nn]o\ such\ image* && $line != *image\ not\ known* && $line != *level=warning* ]]; then complaint+="$line "; fi
    done <"$facts/image-inspect.stderr"
    if [[ -n $complaint ]]; then task::engine_failed "$complaint"; fi
    return 1
}

# Is the image what the lock file says of it? The digest names its bytes; what stands beside it may be anybody's word, and
# says what is run and which driver will do. In image_has are the platform, the entrypoint, the variables, and the places that
# it has the engine make.
image::_compare() {
    local line key
    local -A has=() # "NAME -> "NAME=value"; of two with one name docker takes the first, podman the last: both stand there
    for line in "${image_has[@]:2}"; do
        key=${line%%=*}
        if [[ ${has[$key]-$line} != "$line" ]]; then line="${has[$key]} and $line"; fi
        has[$key]=$line
    done
    line=${image_has[0]-\"\"} line=${line#\"}
    image::_claim platform "$image_platform" "${line%\"}"
    line=${image_has[1]-[]}
    image::_claim entrypoint "$image_entrypoint" "${line/#'%!q(<nil>)'/[]}"
    for line in ${image_environment[@]+"${image_environment[@]}"}; do
        image::_claim variable "$line" "${has[${line%%=*}]-none such}"
    done
    for line in ${image_missing[@]+"${image_missing[@]}"}; do
        key=\"$line
        image::_claim variable "no $line" "${has[$key]-no $line}"
    done
    image::_refuse_orders
}

# Podman hands an image's annotations to the OCI runtime, which obeys some: crun gives the container all of the task's groups.
image::_refuse_orders() {
    local -r orders='"((run\.oci|org\.(systemd\.property|criu)|module\.wasm|io\.katacontainers|dev\.gvisor|io\.podman|([a-z.]*\.)?cdi\.k8s\.io)[./][^"]*|io\.containers\.trace-syscall)":'
    if [[ $engine == podman && $image_json =~ $orders ]]; then
        task::refuse image "its annotation ${BASH_REMATCH[1]:0:100} is an order to the container's runtime" 'use an image without'
    fi
}

image::_claim() {
    if [[ $2 == "$3" ]]; then return; fi
    task::refuse image "the lock file says $1 ${2:0:300}, the image has ${3:0:300}" \
        'pin it again (tfslurm pin EXP.yaml --update), and ask whoever wrote the lock file'
}

# Pulls under a lock of this node, so that the tasks of an array do not all pull; looks again once it has the lock.
image::_fetch() {
    local lock lock_folder since failed_at why note
    time::now
    since=$now
    lock::take "$image_digest"
    note=$lock_folder/${image_digest//[!a-zA-Z0-9-]/_}.failed
    if image::_find; then
        pulled_from="another task's pull"
    elif IFS=$'\t' read -r failed_at why 2>/dev/null <"$note" && [[ $failed_at > $since ]]; then
        task::refuse image "$why" 'another task of yours tried on this node while this one waited'
    else
        image::_pull
        if ! image::_find; then
            task::refuse image "$pulled_from was pulled and the daemon does not list it under that digest" "report it with $facts"
        fi
    fi
    lock::drop
}

# Every source in order, in rounds ever further apart, and never in step with other nodes; a source whose answer cannot
# change is asked once.
image::_pull() {
    local source round said last=''
    local -i pause=2
    local -A dead=()
    for round in 1 2 3 4; do
        for source in "${image_sources[@]}"; do
            if [[ -n ${dead[$source]-} ]]; then continue; fi
            event pull "$source"
            if task::_in_background "$engine" pull --quiet "$source" >/dev/null 2>"$facts/pull.stderr"; then
                pulled_from=$source
                return
            fi
            task::_stop_if_told
            IFS= read -r -d '' said <"$facts/pull.stderr" || :
            printf 'round %d: %s\n%s\n' "$round" "$source" "$said" >>"$facts/image-pull.log"
            event pull-failed "$source: $said"
            last="$source: ${said%$'\n'}"
            if image::_daemon_is_gone "$said"; then task::engine_failed "$said"; fi
            if ! image::_is_transient "$said"; then dead[$source]=yes; fi
        done
        if ((${#dead[@]} == ${#image_sources[@]})); then break; fi
        if ((round < 4)); then task::_in_background sleep "$((pause + RANDOM % pause)).$((RANDOM % 10))" || :; fi
        pause=$((pause * 2))
        task::_stop_if_told
    done
    last="$image_reference is not obtainable as $image_digest: ${last//[$'\n\r\t']/ }"
    time::now
    if [[ -n $lock_folder ]]; then printf '%s\t%s\n' "$now" "$last" >"$note"; fi # for those that wait: trying it all again, one by one, would take them hours
    task::refuse image "$last" \
        "push it to a registry that the node reaches, under that digest, or see $facts/image-pull.log"
}

image::_is_transient() {
    local said=${1,,} word
    for word in timeout 'timed out' 'connection refused' 'connection reset' eof 'temporary failure' 'try again' \
        'no such host' 'deadline exceeded' toomanyrequests 'too many requests' 'received unexpected http status: 5' \
        '500 internal' '502 bad' '503 service' '504 gateway' 'no route to host' 'network is unreachable'; do
        if [[ $said == *"$word"* ]]; then return 0; fi
    done
    return 1
}

image::_daemon_is_gone() {
    [[ $1 == *'Cannot connect to the Docker daemon'* || $1 == *'permission denied while trying to connect'* ]]
}

# --------------------------------------------------------------------------------------------------- mounts and secrets

# Afterwards mount_sources holds what each mount's source really is, mount_files each of them opened, and code_file the code:
# whoever may write in a folder on the way can put something else there later, which mount::admit notices.
mount::check() {
    mount_sources=() mount_files=() code_file=''
    if [[ -n $code_dir ]]; then
        if [[ -d $code_dir ]]; then { exec {code_file}<"$code_dir/."; } 2>/dev/null || code_file=''; fi
        if [[ -z $code_file ]]; then
            task::refuse code "$code_dir does not exist on this node" "submit again, and see that the file system is mounted"
        fi
    fi
    if ((${#mounts[@]} == 0)); then return; fi
    local -i at
    local -a opened=() own_folders=() allowed=()
    local real root=${run_dir%/*/*} real_root=''
    for ((at = 0; at < ${#mounts[@]}; at += 3)); do
        if [[ ${mounts[at + 1]} == "/home/$user" ]]; then
            task::refuse mounts "/home/$user is the program's home" 'mount it at another target'
        fi
        mount::_open "${mounts[at]}"
        opened+=("/proc/$$/fd/${mount_files[at / 3]}")
    done
    while IFS= read -r -d '' real; do mount_sources+=("$real"); done < <(readlink --zero -- "${opened[@]}")
    mount::_places
    for ((at = 0; at < ${#mount_sources[@]}; at++)); do
        mount::_look "${mounts[at * 3]}" "${mount_sources[at]}" "${mounts[at * 3 + 2]}" "${opened[at]}"
    done
}

# What sources are held against, links followed: in allowed the folders that the cluster's file names; in own_folders what of
# tfslurm's is never mounted, this run's root first, then the user's other roots, the tracker, the cluster files and what is
# remembered on this node; in engine_sockets those.
mount::_places() {
    local -a places=("$root" ${roots[@]+"${roots[@]}"} "${HOME-}/.config/tfslurm" "${HOME-}/.local/share/tfslurm" "/tmp/tfslurm-$EUID")
    local -a real_places=()
    local -i own=${#places[@]} sockets
    local real
    mkdir --mode=0700 "/tmp/tfslurm-$EUID" 2>/dev/null || : # what is remembered there must not be the program's to write
    engine::sockets
    sockets=${#engine_sockets[@]}
    places+=(${engine_sockets[@]+"${engine_sockets[@]}"} ${mounts_allow[@]+"${mounts_allow[@]}"})
    while IFS= read -r -d '' real; do real_places+=("$real"); done < <(realpath --canonicalize-missing --zero -- "${places[@]}")
    if ((${#real_places[@]} != ${#places[@]})); then
        task::refuse mounts "the folders that this cluster allows cannot be found (${mounts_allow[*]-})" 'correct the cluster file'
    fi
    own_folders=("${real_places[@]:0:own}") engine_sockets=("${real_places[@]:own:sockets}")
    allowed=("${real_places[@]:own + sockets}")
    real_root=${own_folders[0]}
}

# Opens a source. What is looked at, and compared later, is the file or folder that was opened, whatever its name means by then.
mount::_open() {
    local source=$1 file='' kind=''
    if [[ -d $source ]]; then kind=folder; fi
    if [[ -e $source && ! -d $source && ! -f $source ]]; then
        task::refuse mounts "$source is a socket, a device or a pipe" 'mount a file, or a folder of data'
    fi
    if [[ -n $kind ]]; then
        { exec {file}<"$source/."; } 2>/dev/null || file=''
    elif [[ -e $source ]]; then
        mount::_open_file
    fi
    if [[ -z $file ]]; then
        task::refuse mounts "$source does not exist on this node, or $user may not read it" \
            "correct \`source\`, or ask for a node that mounts it"
    fi
    mount_files+=("$file")
}

# By now a pipe may stand there, and whoever opens one waits for a writer. So a process of its own opens it first, and this
# one what that has opened, once it is known to be a file.
mount::_open_file() {
    local bell opener number=''
    exec {bell}<> <(:)
    (
        node::_deaf
        { exec {number}<"$source"; } 2>/dev/null || number=''
        printf '%s\n' "$number" >&"$bell"
        exec sleep 60
    ) </dev/null >/dev/null 2>&1 &
    opener=$!
    read -r -t "$OPEN_PATIENCE_S" -u "$bell" number || number=''
    if [[ -n $number && -f /proc/$opener/fd/$number ]]; then { exec {file}<"/proc/$opener/fd/$number"; } 2>/dev/null || file=''; fi
    exec {bell}<&-
    kill -s KILL "$opener" 2>/dev/null || :
    wait "$opener" 2>/dev/null || :
}

# Refuses a source that is not what it may be. What it is, is asked of the file that was opened.
mount::_look() {
    local source=$1 real=$2 mode=$3 file=$4 shown=$1 met=''
    if [[ $source != "$real" ]]; then shown="$source is really $real, which"; fi
    if [[ $mode == run ]]; then
        mount::_is_run_outputs && return
        task::refuse mounts "$shown is not the outputs of a run in $root" 'name the run and a path in its outputs that is no link'
    fi
    mount::_is_allowed
    mount::_is_no_system
    if mount::_meets_own; then
        task::refuse mounts "$shown is, holds or lies in a folder of tfslurm's own ($met)" \
            "mount a folder beside it; the outputs of a run are run:$cluster:JOB/out"
    fi
    for met in ${engine_sockets[@]+"${engine_sockets[@]}"}; do
        if mount::_is_on_the_way "$met"; then
            task::refuse mounts "$shown holds $met, a socket that is root on the node" 'mount a folder of data'
        fi
    done
}

# Under this very root, by the form of its path, and through no link.
mount::_is_run_outputs() {
    local below=${source#"$root"}
    local -r form='^/runs/[a-z0-9][a-z0-9-]*-[0-9a-f]{12}/[0-9]+(_[0-9]+([.][0-9]+)?)?/out(/|$)'
    [[ $real == "$real_root$below" && $source == "$root"/* && $below =~ $form && $below/ != */../* ]]
}

mount::_is_allowed() {
    local folder
    by=''
    for folder in ${allowed[@]+"${allowed[@]}"}; do
        if [[ $real == "$folder" || $folder == / || $real == "$folder"/* ]]; then by=$folder; fi
    done
    if [[ -z $by ]]; then
        task::refuse mounts "$shown is outside what this cluster allows (${allowed[*]-})" 'mount a path under those'
    fi
}

# The node's own folders and what holds one are never mounted; below them only what the site names there.
mount::_is_no_system() {
    local folder
    for folder in /etc /root /dev /proc /sys /boot /run /var/run /var/lib/{docker,containerd,containers,kubelet,lxd,incus} \
        /var/snap/lxd /var/spool/{slurmd,slurm,cron}; do
        if [[ $real == / || $real == "$folder" || $folder == "$real"/* || ($real == "$folder"/* && $by != "$folder"/*) ]]; then
            task::refuse mounts "$shown belongs to the node itself" 'mount a folder of data'
        fi
    done
}

# Is, holds or lies the source in a folder of tfslurm's own, named in met? By what they are, and by what this run has in its
# root: a folder that is mounted twice has two names, and may have two device numbers.
mount::_meets_own() {
    local folder=$file own part name=${run_dir##*/} way=$real
    while :; do
        for own in "${own_folders[@]}"; do
            met=$own
            for part in '' /runs /code /images "/runs/$name"; do
                if [[ ${folder:-/} -ef $own$part ]]; then return 0; fi
            done
        done
        met=${way:-/}
        if [[ -e $folder/runs/$name || -e $folder/$name/node.sh || (-e $folder/node.sh && -e $folder/plan.json) ]]; then return 0; fi
        if [[ -z $way ]]; then break; fi
        way=${way%/*}
        folder=$way
    done
    for met in "${own_folders[@]}"; do
        if mount::_is_on_the_way "$met"; then return 0; fi
    done
    met=$root part=$real_root
    while [[ -n $part ]]; do
        part=${part%/*}
        if [[ -e $file${real_root#"$part"}/runs/$name ]]; then return 0; fi
    done
    return 1
}

# Is the source what the real path $1 names, or a folder that holds it?
mount::_is_on_the_way() {
    local inner=$1
    if [[ ! -e $1 ]]; then return 1; fi
    while :; do
        if [[ $file -ef ${inner:-/} ]]; then return 0; fi
        if [[ -z $inner ]]; then return 1; fi
        inner=${inner%/*}
    done
}

# Have the container wait for mount::admit with this mount: the target, and what must lie there, opened.
mount::_await() {
    admit_targets+=("$1") admit_files+=("$2")
}

# What is mounted below a read-only source comes along, and engines let it be written (docker before 25): each is mounted itself.
mount::_below() {
    local source=${mount_sources[$1]} target=${mounts[$1 * 3 + 1]} place rest of
    local -A added=(["$target"]=yes)
    while read -r _ _ _ _ place rest; do
        mount::_unescape
        rest=${rest#* - }
        if [[ $place != "$source"/* || $rest == autofs\ * ]]; then continue; fi
        place=${place#"$source"}
        mount::_of "$target$place"
        if [[ $of != "$1" || ${mounts[of * 3 + 1]} == "$target$place" || -n ${added["$target$place"]-} ]]; then continue; fi
        added["$target$place"]=yes
        mount::add "$source$place" "$target$place" ro
    done </proc/self/mountinfo
}

# A path of mountinfo, in place: there \040 is a space, and bash wants \0040, for a digit may follow.
mount::_unescape() { printf -v place '%b' "${place//\\0/\\00}"; }

# In of: which of the mounts a path of the container lies in; empty for none.
mount::_of() {
    local -i at longest=0
    of=''
    for ((at = 0; at * 3 < ${#mounts[@]}; at++)); do
        if [[ $1/ == "${mounts[at * 3 + 1]}"/* ]] && ((${#mounts[at * 3 + 1]} > longest)); then
            of=$at longest=${#mounts[at * 3 + 1]}
        fi
    done
}

# The same for a file or folder of the job's own, where others can replace a folder above it.
mount::_await_own() {
    local file=''
    if [[ ! -s $attempt_dir/shared-folders ]]; then return; fi
    { exec {file}<"$1"; } 2>/dev/null || task::refuse mounts "$1 cannot be opened" "see $attempt_dir/shared-folders"
    mount::_await "$2" "$file"
}

# The shell in the container waits for a word before anything else of the image's runs. It gets one when what lies at each
# target is the very file or folder that was looked at: the engine has bound it by its name, which may have meant something
# else by then. mount_wrong says what is not, and mount_fix what to do.
mount::admit() {
    local bell pid=''
    local -i turns=0
    mount_wrong='' mount_fix='see who may write in the folders above the source, then submit again'
    if ((${#admit_targets[@]} == 0)); then return; fi
    exec {bell}<> <(:) # nothing is ever written to it
    until [[ -e $program_dir/waiting ]]; do
        if ! kill -0 "$client" 2>/dev/null; then break; fi
        read -r -t 0.02 -u "$bell" || :
        if ((++turns % 25 == 0)); then mount::_process; fi # a shell that means no good does not say that it waits
        if [[ $pid == [1-9]* ]]; then break; fi
    done
    exec {bell}<&-
    if [[ -e $program_dir/waiting ]]; then
        mount::_process
    elif [[ $pid != [1-9]* ]]; then # it never began: container::tell says why
        return
    fi
    mount::_compare "$pid"
    rm --force -- "$program_dir/waiting" || : # a folder, if the image's shell has its way
    trap '' PIPE # the client may be gone
    if [[ -n $mount_wrong ]]; then
        engine::insist kill --signal=KILL "$container_id" >/dev/null 2>&1 || : # the image's shell may not care what it is told
    else
        echo go 1>&"${LIFELINE[1]}" || :
    fi
    trap - PIPE
    event mounts "${mount_wrong:-are what was looked at}"
}

# In pid: the container's first process; 0 before it has begun.
mount::_process() {
    pid=$("$engine" container inspect --format '{{.State.Pid}}' "$container_id" 2>"$facts/admit.stderr") || pid=''
}

# From outside, through the first process of the container: nothing of the image's takes part. A target that is no mount point
# by that very name lies behind a link of the image's.
mount::_compare() {
    local root place target options rest of own
    local -i at
    local -A there=()
    if [[ ! $1 =~ ^[1-9][0-9]*$ || ! -r /proc/$1/mountinfo || ! -e /proc/$1/root/. ]]; then
        mount_wrong="the container's mounts cannot be looked at: it has no process here that this user may see"
        return
    fi
    while read -r _ _ _ root place options rest; do
        mount::_unescape
        rest=${rest#* - }
        there[$place]=$options
        if [[ $rest == autofs\ * ]]; then there[$place]=ro; fi # nobody can write in it
        if [[ ! $root =~ (^|/)volumes/[0-9a-f]{64}/_data$ ]]; then continue; fi # what both engines make for an image's volume
        mount::_over "$place"
        if [[ -n $own ]]; then
            mount_wrong="a volume of the image's lies at $place, by a link of its own" mount_fix='use another image'
            return
        fi
    done <"/proc/$1/mountinfo"
    for place in "${!there[@]}"; do
        mount::_of "$place"
        if [[ -n $of && ${mounts[of * 3 + 2]} != rw && ${there[$place]} != ro* ]]; then
            mount_wrong="$place can be written, which lies in the read-only ${mounts[of * 3 + 1]}"
            mount_fix='a file system is mounted there: mount it by itself, or a folder without it'
        fi
    done
    for ((at = 0; at < ${#admit_targets[@]}; at++)); do
        target=${admit_targets[at]}
        if [[ -z ${there[$target]-} ]]; then
            mount_wrong="$target is no mount in the container: the image has a link on the way to it" mount_fix='name another target'
        elif ! [[ /proc/$1/root$target -ef /proc/$$/fd/${admit_files[at]} ]]; then
            mount_wrong="$target is not what was looked at: its source was replaced before the container had it"
        fi
    done
}

# ---------------------------------------------------------------------------------------------------------------- code

# Is the tree what was sent? Looked at beside everything else that must be asked; the answer is in code-check.txt.
code::look() {
    code_look=''
    if [[ -z $code_dir ]]; then return; fi
    if [[ -z $code_contents ]]; then
        printf 'unknown: not verified on the node: an older tfslurm made the plan\n' >"$facts/code-check.txt"
        return
    fi
    (
        node::_deaf
        code::_verify
    ) >"$facts/code-check.txt" 2>/dev/null </dev/null &
    code_look=$!
}

code::check() {
    local said=''
    if [[ -z $code_look ]]; then return; fi
    node::_wait "$code_look" node::_is_stopped
    IFS= read -r said <"$facts/code-check.txt" || :
    if [[ -z $said ]]; then task::_stop_if_told; fi
    if [[ $said != ok:* ]]; then
        task::refuse code "${said#failed: }" "remove $code_dir (chmod -R u+w, rm -r), then submit again"
    fi
}

# One line: ok, or failed and why. An earlier look of this user's on this node counts while no file or folder of the tree has
# changed since: every change moves a ctime, which nobody can set.
code::_verify() {
    local state='' sum=''
    export LC_ALL=C
    if ! cd -- "/proc/$$/fd/$code_file/."; then
        printf 'failed: %s cannot be entered\n' "$code_dir"
        return
    fi
    read -r state _ < <(find . -printf '%D %i %s %C@ %m %U %y %p\0' | sha256sum) # all but what is in the files
    if known::is "code-$code_contents" "$state"; then
        printf 'ok: every file is what was sent (known on this node; no file has changed since)\n'
        return
    fi
    sum=$(code::_list | sha256sum) || sum=''
    if [[ ${sum%% *} != "$code_contents" ]]; then
        printf 'failed: %s does not hold what was sent, no file more and none less\n' "$code_dir"
        return
    fi
    printf 'ok: every file is what was sent\n'
    known::keep "code-$code_contents" "$state" .
}

# The list that tfslurm/snapshot/files.py makes of what it sends; what it cannot hold, a name that begins so, makes it another:
# so does what somebody else may change after this look.
code::_list() {
    if sha256sum --zero </dev/null >/dev/null 2>&1; then # coreutils 8.25
        find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero -- || return
    else
        local path sum
        while IFS= read -r -d '' path; do
            sum=$(sha256sum <"$path") || return
            printf '%s  %s\0' "${sum%% *}" "$path"
        done < <(find . -type f -print0 | sort --zero-terminated)
    fi
    find . -type l -printf '%s %p -> %l\0' | sort --zero-terminated || return
    find . -type f -perm -u=x -printf 'x %p\0' | sort --zero-terminated || return
    find . '(' -type d -empty -o ! -type f ! -type l ! -type d -o ! -uid "$EUID" -o ! -type l -perm /022 ')' -printf '? %p\0'
}

# ---------------------------------------------------------------------------------------------------------- mount points

# A mount point that is missing is made by docker, as root. In the program's home and in its outputs the user makes it first;
# in what is mounted it must be there. Neither goes through a link: it may lead anywhere, and an earlier attempt may have left it.
mount::_point() {
    local source=$1 target=$2 place='' folder='' make='' own of
    for own in "/home/$user=$home_dir" "$outputs=$job_dir/out"; do
        if [[ -n ${own%%=*} && $target == "${own%%=*}"/* ]]; then place=${own%%=*} folder=${own#*=} make=yes; fi
    done
    mount::_of "${target%/*}"
    if [[ -n $of ]] && ((${#mounts[of * 3 + 1]} > ${#place})); then
        place=${mounts[of * 3 + 1]} folder=/proc/$$/fd/${mount_files[of]}/. make=''
    fi
    if [[ -z $place ]] || mount::_walk "$folder" "${target#"$place/"}" "$source" "$make" 2>/dev/null; then return; fi
    task::refuse mounts "$target lies in $place, where ${target#"$place/"} is missing, of another kind, or behind a link" \
        'make it there first, or name another target'
}

# From the folder $1 down the path $2, to what can hold a mount of $3. Each step is into a folder whose `..` is the one before.
mount::_walk() (
    local -a parts=()
    local part
    local -i at last=0 up
    IFS=/ read -r -a parts <<<"$2"
    if [[ ! -d $3 ]]; then last=1; fi
    cd -P -- "$1" || exit
    for ((at = 0; at < ${#parts[@]} - last; at++)); do
        part=./${parts[at]}
        exec {up}<.
        if [[ -n $4 && ! -d $part ]]; then mkdir -- "$part"; fi
        [[ ! -L $part ]] && cd -P -- "$part" && [[ .. -ef /proc/self/fd/$up ]] || exit
        exec {up}<&-
    done
    if ((last == 0)); then exit; fi
    part=./${parts[at]}
    if [[ -n $4 && ! -e $part ]]; then (set -o noclobber; : >"$part"); fi
    [[ -f $part && ! -L $part ]]
)

# What the image has the engine make where something is mounted. A volume would lie over it, and what the program writes there
# would be lost; a working folder that is missing is made as root.
mount::image_places() {
    local line place own file='' some=''
    for line in "${image_has[@]}"; do
        if [[ $line != volume\ \"* && ($line != workdir\ \"* || -n $code_dir) ]]; then continue; fi
        place=${line#* \"} place=${place%\"}
        printf -v place '%b' "${place//\\\"/\\042}" # Go has written it
        if [[ -n $place && $place != /* ]]; then place=/$place; fi # runc makes it one
        while [[ $place == ?*/ ]]; do place=${place%/}; done
        if [[ $place/ == *//* || $place/ == */./* || $place/ == */../* ]]; then
            place=$(realpath --canonicalize-missing --no-symlinks -- "$place")
        fi
        if [[ $line == workdir* ]]; then
            mount::_point "$run_dir" "$place"
            continue
        fi
        some=yes
        mount::_over "$place"
        if [[ -n $own && $own != "$place" ]]; then
            task::refuse image "its volume $place lies in $own, and would take what is written there" 'name another target, or use another image'
        fi
        if [[ -z $own ]] && ((layer_mib > 0)); then
            task::refuse image "its volume $place can be written without limit, past limits.layer_mib" 'mount a folder there, or use another image'
        fi
    done
    # One behind a link of the image's is seen once it is mounted: have the container wait for that look.
    if [[ -n $some ]] && ((${#admit_targets[@]} == 0)); then
        { exec {file}<"$home_dir/."; } 2>/dev/null || task::refuse mounts "$home_dir cannot be opened" 'submit again'
        mount::_await "/home/$user" "$file"
    fi
}

# In own: the innermost of the targets that holds the path; empty for none.
mount::_over() {
    local target
    local -i at
    own=''
    for target in "/home/$user" /run/tfslurm "${code_dir:+/workspace}" "$outputs"; do
        if [[ -n $target && $1/ == "$target"/* ]] && ((${#target} > ${#own})); then own=$target; fi
    done
    for ((at = 1; at < ${#mounts[@]}; at += 3)); do
        if [[ $1/ == "${mounts[at]}"/* ]] && ((${#mounts[at]} > ${#own})); then own=${mounts[at]}; fi
    done
}

secrets::check() {
    local name
    for name in ${secrets[@]+"${secrets[@]}"}; do
        if [[ ! -r ${own_dir:-$run_dir}/secrets/$name ]]; then
            task::refuse secrets "$name is not in $run_dir/secrets, or is not readable" 'submit again with the variable set'
        fi
    done
}

# Adds one --mount. Its fields are CSV: one with a comma, a quote or a newline stands in quotes, inner quotes doubled.
mount::add() {
    local source=$1 target=$2 mode=$3 field line=type=bind
    # The engine wants names; mount::_await_own sees to it that they still mean the same.
    if [[ -n ${own_dir-} && $source == "$own_dir"/* ]]; then source=$run_dir${source#"$own_dir"}; fi
    for field in "source=$source" "target=$target"; do
        if [[ $field == *[$',"\n\r']* ]]; then field="\"${field//\"/\"\"}\""; fi
        line+=,$field
    done
    if [[ $mode != rw ]]; then line+=,readonly; fi
    create+=(--mount "$line")
}

# ----------------------------------------------------------------------------------------------------------- container

# The container exists afterwards and nothing of the user's has run: its id, its image and its argv are on disk.
container::create() {
    local said mask
    if ! sent::check; then task::refuse script "$run_dir holds other files than were sent" 'submit again'; fi
    local -a loader_words=() other_words=() entry=()
    create=("$engine" create --name "$container_name" --init --interactive --log-driver none --stop-timeout "$grace_s")
    container::_labels
    engine::_gpus
    container::_user
    container::_limits
    container::_mounts
    mount::image_places
    container::_environment
    engine::_network
    create+=(--entrypoint /bin/sh "$image_source" "${entry[@]}"
        "$grace_s" "$mask" "${admit_targets[0]+wait}" "${gpu_ids[*]-}"
        ${secrets[@]+"${secrets[@]}"} -- ${loader_words[@]+"${loader_words[@]}"} -- ${other_words[@]+"${other_words[@]}"} --
        ${command[@]+"${command[@]}"})
    printf '%s\0' "${create[@]}" >"$facts/container-argv"
    task::_stop_if_told
    if ! container_id=$("${create[@]}" 2>"$facts/create.stderr"); then
        IFS= read -r -d '' said <"$facts/create.stderr" || :
        container_id=''
        container::_refused "$said"
    fi
    printf '%s\n' "$container_id" >"$facts/container-id.txt"
    event created "$container_id"
}

container::_refused() {
    case $1 in
    *'is already in use by'*)
        task::refuse container "$container_name exists on this node already" "\`tfslurm reap $cluster\`, then submit again" "$EX_TEMPFAIL" ;;
    *'bind source path does not exist'* | *'invalid mount config'* | *'statfs '*)
        task::refuse mounts "$1" "$engine must be able to reach the source" ;;
    *) task::engine_failed "$1" ;;
    esac
}

container::_labels() {
    create+=(--label "tfslurm.cluster=$cluster" --label "tfslurm.job_id=$job" --label "tfslurm.user=$user"
        --label "tfslurm.uid=$EUID" --label "tfslurm.plan_id=$plan_id"
        --label "tfslurm.attempt=$attempt" --label "tfslurm.rank=$rank" --label "tfslurm.node=$where")
    # By these an Epilog knows what is left of a job, and `tfslurm reap` which scheduler to ask.
    if [[ -z $is_local ]]; then
        create+=(--label "tfslurm.slurm_job_id=$raw_job_id" --label "tfslurm.slurm_cluster=${SLURM_CLUSTER_NAME-}")
    fi
}

# The user himself: his uid and all his groups, one line of passwd and group instead of the node's, no way to more.
# HOME is a folder of the attempt: a tmpfs would count as memory, and what caches leave there is not lost unseen.
container::_user() {
    local home=/home/$user
    engine::_withhold
    printf '%s:x:%s:%s::%s:/bin/sh\n' "$user" "$EUID" "$own_group" "$home" >"$facts/passwd"
    printf '%s:x:%s:\n' "$user" "$own_group" >"$facts/group"
    engine::_identity
    engine::_groups
    mount::add "$facts/passwd" /etc/passwd ro
    mount::add "$facts/group" /etc/group ro
    mount::add "$home_dir" "$home" rw
    umask >"$facts/umask.txt" # docker sets one of its own; entry.sh sets this one again
    IFS= read -r mask <"$facts/umask.txt"
}

# A container of docker's is dockerd's child, so none of the job's own limits holds for it; these are the same, said to it.
container::_limits() {
    limits::cpus
    limits::memory
    if engine::_can_limit pids; then create+=(--pids-limit "$pids"); fi
    if ((layer_mib > 0)); then create+=(--storage-opt "size=${layer_mib}m"); fi # the engine refuses it where it cannot
    if [[ $engine == docker ]] || (ulimit -S -s 65536) 2>/dev/null; then create+=(--ulimit stack=67108864); fi
    if [[ -n $cgroup_path ]]; then create+=(--cgroup-parent "$cgroup_path"); fi
    # RDMA and pinned buffers need it; a daemon that may not raise the limit (rootless) would refuse the whole container.
    if [[ $(ulimit -H -l) == unlimited ]]; then create+=(--ulimit memlock=-1); fi
    if ((shm_mib > 0)); then create+=(--shm-size "${shm_mib}m"); fi
    limits::core
}

container::_mounts() {
    local -i at
    admit_targets=() admit_files=()
    container::_entry
    mount::add "$facts/report.pipe" /run/tfslurm-report ro
    mount::add "$program_dir" /run/tfslurm rw
    mount::_await_own "$program_dir" /run/tfslurm
    if [[ -s $attempt_dir/shared-folders ]]; then # a pipe is not opened for this: its name begins with the run folder's own file
        mount::_await /run/tfslurm-report "${facts#"/proc/$$/fd/"}/report.pipe"
    fi
    mount::_await_own "$home_dir" "/home/$user"
    mount::_await_own "$facts/passwd" /etc/passwd
    mount::_await_own "$facts/group" /etc/group
    covered=''
    report::covered "$outputs"
    report::covered "${code_dir:+/workspace}"
    for ((at = 1; at < ${#mounts[@]}; at += 3)); do report::covered "${mounts[at]}"; done
    if [[ -n $tensorflow_ask ]]; then
        mount::add "${own_dir:-$run_dir}/gpu_check.py" /run/tfslurm-gpu-check.py ro
        mount::_await_own "${own_dir:-$run_dir}/gpu_check.py" /run/tfslurm-gpu-check.py
    fi
    if ((${#secrets[@]})); then
        mount::add "${own_dir:-$run_dir}/secrets" /run/tfslurm-secrets ro
        mount::_await_own "${own_dir:-$run_dir}/secrets" /run/tfslurm-secrets
    fi
    if [[ -n $code_dir ]]; then
        container::_code
        create+=(--workdir /workspace)
    fi
    if [[ -n $outputs ]]; then
        mount::_point "$job_dir/out" "$outputs"
        mount::add "$job_dir/out" "$outputs" rw
        mount::_await_own "$job_dir/out" "$outputs"
    fi
    for ((at = 0; at < ${#mount_sources[@]}; at++)); do
        mount::_point "${mount_sources[at]}" "${mounts[at * 3 + 1]}"
        mount::add "${mount_sources[at]}" "${mounts[at * 3 + 1]}" "${mounts[at * 3 + 2]}"
        mount::_await "${mounts[at * 3 + 1]}" "${mount_files[at]}"
        if [[ ${mounts[at * 3 + 2]} != rw ]]; then mount::_below "$at"; fi
    done
    if ((${#admit_targets[@]})) && [[ -n $code_dir && $code_writable != true ]]; then mount::_await /workspace "$code_file"; fi
}

# entry.sh, which is what waits: where others can replace a folder above it, its text itself is given to the shell.
container::_entry() {
    entry=(/run/tfslurm-entry.sh)
    if [[ -s $attempt_dir/shared-folders ]]; then
        entry=(-c "$(<"$own_dir/entry.sh")" "${entry[@]}")
    else
        mount::add "$run_dir/entry.sh" /run/tfslurm-entry.sh ro
    fi
}

container::_code() {
    if [[ $code_writable != true ]]; then
        mount::add "$code_dir" /workspace ro
        return
    fi
    local copy=$attempt_dir/workspace/$rank
    (umask 077; mkdir --parents "$copy")
    cp --recursive --preserve=mode,timestamps,links --no-dereference -- "/proc/$$/fd/$code_file/." "$copy"
    chmod --recursive u+w,go-rwx -- "$copy"
    mount::add "$copy" /workspace rw
    mount::_await_own "$copy" /workspace
}

# The experiment's variables stand over tfslurm's, except those that keep the chain. They are words for entry.sh: in the
# container's own environment they would steer its checks. Only what NVIDIA's hook reads must stand there.
container::_environment() {
    local pair key prefix
    local -A own=()
    for pair in ${environment[@]+"${environment[@]}"}; do
        key=${pair%%=*}
        own[$key]=yes
        case $key in
        NVIDIA_VISIBLE_DEVICES | TFSLURM_*)
            task::refuse env "$key is set by tfslurm from what Slurm granted" "drop it from \`env\`" ;;
        NVIDIA_*)
            if [[ $engine == podman && $pair == *$'\r\n'* ]]; then # it reads --env as CSV, whose reader does this
                task::refuse env "$key holds CR LF, of which podman makes LF" 'write LF alone'
            fi
            create+=(--env "$pair")
            continue ;;
        esac
        for prefix in "${loader_variables[@]}"; do
            if [[ $key == "$prefix"* ]]; then
                loader_words+=("$pair")
                continue 2
            fi
        done
        other_words+=("$pair")
    done
    for pair in "HOME=/home/$user" "USER=$user" "LOGNAME=$user" CUDA_DEVICE_ORDER=PCI_BUS_ID; do
        if [[ -z ${own[${pair%%=*}]-} ]]; then create+=(--env "$pair"); fi
    done
    for key in SLURM_{JOB_ID,JOB_NAME,JOB_PARTITION,JOB_NUM_NODES,JOB_NODELIST,CLUSTER_NAME,NODEID,PROCID,LOCALID,NTASKS,NNODES} \
        SLURM_{STEP_ID,STEP_NODELIST,STEP_NUM_NODES,STEP_NUM_TASKS,STEP_TASKS_PER_NODE,TASKS_PER_NODE,NTASKS_PER_NODE} \
        SLURM_{CPUS_PER_TASK,CPUS_ON_NODE,RESTART_COUNT,LAUNCH_NODE_IPADDR} \
        SLURM_ARRAY_{JOB_ID,TASK_ID,TASK_COUNT,TASK_MIN,TASK_MAX,TASK_STEP} SLURMD_NODENAME; do
        if [[ -n ${!key-} && -z ${own[$key]-} ]]; then create+=(--env "$key=${!key}"); fi
    done
    peers::tell
    create+=(--env "TFSLURM_JOB_ID=$job" --env "TFSLURM_CLUSTER=$cluster" --env "TFSLURM_ATTEMPT=$attempt")
    if [[ -n $outputs ]]; then create+=(--env "TFSLURM_OUTPUTS=$outputs"); fi
    if ((${points:-0} > 0)); then create+=(--env "TFSLURM_PARAMS=$point_parameters"); fi
    if [[ -n $checkpoint_signal ]]; then create+=(--env TFSLURM_FINISHED=/run/tfslurm/finished); fi
    # Not `none`: some releases of NVIDIA's toolkit gave every GPU for it.
    if ((${#gpu_ids[@]} == 0)); then create+=(--env NVIDIA_VISIBLE_DEVICES=void); fi
}

# Starts the container and waits. The client's standard input is a pipe that only this shell holds open: when this shell
# or the client is killed, entry.sh in the container reads its end and ends everything there.
container::run() {
    event starting "$container_id"
    # shellcheck disable=SC2034  # nothing is ever written to it
    coproc LIFELINE {
        exec {report}>&- >>"$stdout_log" 2>>"$stderr_log"
        if ((log_mib > 0)); then exec > >(limits::log) 2> >(limits::log >&2); fi
        exec "$engine" start --attach --interactive "$container_id"
    }
    client=$LIFELINE_PID
    started=yes
    facts::slow
    exec {report}>&- # only who reads it has it open now: a report that nobody reads any more cannot be written either
    report=''
    if [[ -n $stopped ]]; then container::_stop & fi
    if [[ -n $warned ]]; then checkpoint::tell & fi
    usage::start
    probe::start
    mount::admit
    node::_wait "$client"
    client_code=$waited_code
    event client-ended "$client_code"
}

# Again until the client has ended: a stop that comes before the start has no effect. -t: --time was renamed in 28.
container::_stop() {
    local patience_s=$grace_s
    node::_deaf
    if [[ -n $told_first ]]; then
        checkpoint::tell & # which waits for the program's start, that may never come
        checkpoint::wait_for_client
        patience_s=1
    fi
    while kill -0 "$client" 2>/dev/null; do
        "$engine" stop -t "$patience_s" "$container_id" >/dev/null 2>&1 || :
        sleep 0.2
    done
}

# Looks at the container's end, writes it down and removes it. exit_code is then the task's.
container::end() {
    local diff='' removal ended_id=$container_id
    set +e # whatever cannot be written any more, the container is removed and the end is told
    usage::ring
    container::_diff
    container::_look
    usage::end
    if [[ -z $looked ]] && lifetime::engine_is_back; then
        container::_diff
        container::_look
    fi
    if [[ $state_running == true ]]; then # the client was lost; the lifeline ends it, this makes sure
        container::_end_without_client
        container::_diff
        container::_look
    fi
    container::_await_end
    if [[ -n $diff ]]; then node::_wait "$diff"; fi
    (
        node::_deaf
        said=$(engine::insist rm --force --volumes "$ended_id" 2>&1 >/dev/null) || event remove-failed "$said"
    ) &
    removal=$!
    container_id=''
    if [[ -n $started ]]; then
        lifetime::cause
        container::_judge # while docker removes it
    fi
    node::_wait "$removal"
}

# What the program left outside every mount; diff is the process that asks, for docker compares whole layers.
container::_diff() {
    if [[ -n $diff ]]; then node::_wait "$diff"; fi
    diff=''
    if [[ -n $stopped && -n ${TFSLURM_KILL_WAIT-} ]] && ((SECONDS - stopped_at + DIFF_PATIENCE_S > TFSLURM_KILL_WAIT)); then
        printf 'not asked: the job was being stopped, and Slurm leaves it %d s\n' "$TFSLURM_KILL_WAIT" >"$facts/container-diff.txt.error"
        return
    fi
    (
        node::_deaf
        engine::insist container diff "$container_id" >"$facts/container-diff.txt" 2>"$facts/container-diff.txt.error"
    ) &
    diff=$!
}

# Where Slurm signals every process of a step, the client was told to stop too; what the program says last is kept.
container::_end_without_client() {
    event client-lost "$container_id"
    if [[ -z $stopped && -n $client ]]; then
        lifetime::blame "$facts/lost.txt" engine "$engine" 'the client that attends the container ended before it'
    fi
    "$engine" attach --no-stdin --sig-proxy=false "$container_id" >>"$stdout_log" 2>>"$stderr_log" &
    local last_words=$!
    engine::insist stop -t "$grace_s" "$container_id" >/dev/null 2>&1 || :
    node::_wait "$last_words"
}

# What an engine writes down a little after a container has ended: podman that it has, docker that it was out of memory.
container::_await_end() {
    local looks=15
    while [[ $engine == podman && -n $looked && $state_running == false && -n $state_began && -z $state_ended ]] && ((looks-- > 0)); do
        sleep 0.2
        container::_look
    done
    if [[ $engine == docker && $state_code == 137 && $state_oom == false && -z $stopped ]]; then
        sleep 0.5
        container::_look
    fi
}

container::_look() {
    local answer first rest errors=$facts/container-inspect.json.error
    { : >"$errors"; } 2>/dev/null || errors=/dev/null
    state_running='' state_code='' state_oom=false state_began='' state_ended='' state_error='' looked=''
    if ! answer=$(node::_deaf; engine::insist container inspect --format '{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}} {{json .State.StartedAt}} {{json .State.FinishedAt}}{{println}}{{json .State.Error}}{{println}}{{json .}}' \
        "$container_id" 2>"$errors"); then
        return
    fi
    first=${answer%%$'\n'*} rest=${answer#*$'\n'} looked=yes
    read -r state_running state_code state_oom state_began state_ended <<<"${first//\"/}"
    state_error=${rest%%$'\n'*}
    if [[ $state_began == 0001-* ]]; then state_began=''; fi
    if [[ $state_ended == 0001-* ]]; then state_ended=''; fi
    { printf '[%s]\n' "${rest#*$'\n'}" >"$facts/container-inspect.json"; } 2>/dev/null
}

# Whose end it was: the engine's (75), a guard's inside (78), or the program's own.
container::_judge() {
    exit_code=$state_code
    report::wait
    if [[ -z $looked ]]; then
        exit_code=$EX_TEMPFAIL state_oom=false
    elif [[ -z $state_began ]]; then
        exit_code=$EX_TEMPFAIL
        if driver::_is_refused; then exit_code=$EX_CONFIG; fi
        if [[ -n $stopped ]]; then exit_code=143; fi
    elif [[ -z $state_ended || $state_code == -1 ]]; then # podman's own watcher was killed with it: nobody saw the code
        exit_code=137
    elif [[ -n $mount_wrong && -z $stopped ]] || engine::_found_no_shell; then
        exit_code=$EX_CONFIG
    fi
    if [[ -s $facts/lost.txt ]]; then exit_code=$EX_TEMPFAIL; fi
    task::_exit_json "$exit_code" "$state_oom" "$state_began" "$state_ended" || exit_code=$EX_TEMPFAIL
    event ended "exit $exit_code, OOM killed: $state_oom"
}

# Says why the program was not started, if it was not.
container::tell() {
    local why=$state_error
    if [[ -z $looked ]]; then
        IFS= read -r -d '' why <"$facts/container-inspect.json.error" || :
        task::engine_failed "the container cannot be looked at any more: $why"
    elif [[ -n $mount_wrong && -z $stopped ]]; then
        task::refuse mounts "$mount_wrong" "$mount_fix"
    elif [[ -z $state_began && -z $stopped ]] && driver::_is_refused; then
        task::refuse driver "too old: NVIDIA's hook refuses driver ${driver_version:-(unknown)}: ${state_error##*requirement error: }" \
            "use an image with an older CUDA, or a node with a newer driver"
    elif [[ -z $state_began && -z $stopped ]]; then
        if [[ $why == '""' ]]; then IFS= read -r -d '' why <"$stderr_log" || :; fi
        task::engine_failed "the container did not start: $why"
    elif engine::_found_no_shell; then
        task::refuse image "$image_source has no /bin/sh, which starts the program" 'use an image with a shell'
    elif [[ $exit_code == "$EX_CONFIG" && $gpu_check == failed:* ]]; then
        task::refuse gpus "inside the container: ${gpu_check#failed: }" "see $facts/container; exclude the node: --exclude=$where"
    elif [[ $exit_code == "$EX_CONFIG" && $report_no == *': '* ]]; then
        task::refuse "${report_no%%: *}" "${report_no#*: }" 'rename it, or use another image'
    fi
    tensorflow::tell
}

# -------------------------------------------------------------------------------------------------------------- report

# What entry.sh saw in the container, before the program ran. It comes through a pipe that the container can only write to:
# whoever can read could take words out, and the image's Python, which runs the experiment's modules, is asked last. After
# the line `end`, or words that entry.sh does not write, nothing is read any more. A report without its end is not believed.
# In report is the open pipe, which nobody can open for reading any more: its mount is read-only, so no chmod helps.
report::make() {
    if ! mkfifo --mode=0600 "$facts/report.pipe" 2>"$facts/report.txt"; then
        local said=''
        IFS= read -r said <"$facts/report.txt" || :
        task::refuse root "${said#mkfifo: }" 'put the root on a file system that has named pipes' "$EX_TEMPFAIL"
    fi
    printf 'nothing was reported\n' >"$facts/report.txt"
    report_next=gpus report_cgroup='' report_list='' report_gpus='' report_no='' report_tensorflow=''
    report_lines=0
    exec {report}<>"$facts/report.pipe"
    chmod 0200 "$facts/report.pipe"
}

# Reads up to a line that begins with $1, or to the end.
report::read() {
    local LC_ALL=C line kind
    while [[ $report_next != nothing ]] && report::_line; do
        if ((report_lines == 1)); then printf 'what was reported has no end\n' >"$facts/report.txt"; fi
        kind=${line%% *} line=${line#* }
        case $report_next,$kind in
        gpus,cgroup) report_cgroup+=$line$'\n' ;;
        gpus,nvidia-smi) report_list+=$line$'\n' ;;
        gpus,gpus) report_gpus=$line report_next=words ;;
        words,no) report_no=$line report_next=end ;;
        words,tensorflow)
            report::_tensorflow "$line"
            report_next=end ;;
        words,end | end,end)
            report::_keep
            report_next=nothing ;;
        *) report_next=nothing ;;
        esac
        if [[ $kind == "$1" && $kind != end ]]; then return; fi
    done
    exec {report}>&-
    report=''
}

# The experiment's modules may have said it: only in the words of gpu_check.py is it an answer.
report::_tensorflow() {
    report_tensorflow="unknown: the check of TensorFlow said what it never says"
    if [[ $1 == unknown:* || $1 =~ ^(ok|failed):\ TensorFlow\ [0-9A-Za-z.+-]+\ lists\ [0-9]+\ of\ [0-9]+\ granted\ GPUs?$ ]]; then
        report_tensorflow=$1
    fi
}

# The next line, in line. Fails when there is none: the container is gone, or has said more than entry.sh does.
report::_line() {
    local part code alive
    line=''
    if ((++report_lines > 400)); then return 1; fi
    while ((${#line} < 1000)); do
        alive='' code=0 part=''
        if kill -0 "$client" 2>/dev/null; then alive=yes; fi
        IFS= read -r -t 0.2 -n 1000 -u "$report" part || code=$?
        line+=${part//[![:print:]]/?}
        if ((code == 0 && ${#part} < 1000)); then return 0; fi
        if [[ -z $alive ]]; then return 1; fi
    done
    return 1
}

# The report is whole: what it says becomes facts.
report::_keep() {
    local folder=$facts/container
    if [[ -n $covered ]]; then report_cgroup=''; fi
    if [[ -n $covered && $report_gpus == ok* ]]; then
        report_list='' report_gpus="unknown: $covered is mounted over what the check consists of"
    fi
    if [[ -n $report_cgroup ]]; then printf %s "$report_cgroup" >"$folder/cgroup.txt"; fi
    if [[ -n $report_list ]]; then printf %s "$report_list" >"$folder/nvidia-smi-L.txt"; fi
    if [[ -n $report_tensorflow ]]; then printf '%s\n' "$report_tensorflow" >"$folder/tensorflow-gpu.txt"; fi
    if [[ -n $report_no ]]; then printf '%s\n' "$report_no" >"$folder/refused.txt"; fi
    printf '%s\n' "$report_gpus" >"$folder/gpu-check.txt"
    time::now
    if [[ "$report_gpus $report_tensorflow" != *failed:* && -z $report_no ]]; then
        printf '%s\n' "$now" >"$folder/program-started-at.txt"
        event program-started
    fi
    printf 'whole\n' >"$facts/report.txt"
}

# For ends that the report explains: in report_end whether it was whole, in gpu_check and report_no what it said.
report::wait() {
    gpu_check='' report_no='' report_end=''
    if [[ $state_code != "$EX_CONFIG" && $state_code != 12[67] && "$engine $state_code" != 'podman 1' ]]; then return; fi
    if [[ -n ${slow_facts-} ]]; then node::_wait "$slow_facts"; fi
    if [[ -r $facts/report.txt ]]; then IFS= read -r report_end <"$facts/report.txt" || :; fi
    if [[ $report_end != whole ]]; then return; fi
    IFS= read -r gpu_check <"$facts/container/gpu-check.txt" || :
    if [[ -r $facts/container/refused.txt ]]; then IFS= read -r report_no <"$facts/container/refused.txt" || :; fi
}

# In covered is a folder of the container that the experiment puts over what entry.sh's checks consist of, if $1 is one: over
# the system's own folders, or over one in which the image's variables have programs and libraries looked for.
report::covered() {
    local place line words
    local -a places=() more
    for line in ${image_has[@]+"${image_has[@]}"}; do
        if [[ $line != \"PATH=* && $line != \"LD_* ]]; then continue; fi
        words=${line#*=}
        IFS=: read -r -a more <<<"${words%\"}:"
        places+=("${more[@]}")
    done
    for place in /bin /sbin /lib /lib32 /lib64 /libx32 /usr /nix /gnu /etc/ld.so.{cache,conf,conf.d,preload} ${places[@]+"${places[@]}"}; do
        if [[ $place != /* ]]; then place=/workspace; fi # what is empty or relative is looked for where the program begins
        if [[ -n $1 && ("$1/" == "$place"/* || "$place/" == "$1"/*) ]]; then covered=$1; fi
    done
}

# -------------------------------------------------------------------------------------------------------------- limits

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
        if engine::_can_limit cpuset; then create+=(--cpuset-cpus "$bound"); fi # else it inherits what the task is bound to
    elif ((count < there || there == 0)) && engine::_can_limit cpu; then
        create+=(--cpus "$count")
    fi
}

# A core holds the secrets, and dockerd's own limit is none: the job's counts. Podman's container inherits it.
limits::core() {
    local kib
    kib=$(ulimit -S -c)
    if [[ $engine == docker && $kib != unlimited ]]; then create+=(--ulimit "core=$((kib * 1024))"); fi
}

# 0-3,8 -> 5
limits::_count() {
    local range
    local -a ranges
    counted=0
    IFS=, read -r -a ranges <<<"$1"
    for range in ${ranges[@]+"${ranges[@]}"}; do counted=$((counted + ${range#*-} - ${range%-*} + 1)); done
}

# Keeps the first log_mib MiB of standard input; the program goes on, and what else it prints is read and dropped.
limits::log() {
    node::_deaf
    head --bytes="${log_mib}M"
    if [[ $(head --bytes=1 | wc --bytes) == 0 ]]; then return; fi
    printf '\ntfslurm: the log ends here: this cluster keeps %d MiB of it (limits.log_mib)\n' "$log_mib"
    cat >/dev/null
}

# The least of what was asked for and what Slurm gave, shared by the node's tasks; swap would hide that it is too little.
limits::memory() {
    local -i limit=0 each
    if ! engine::_can_limit memory; then return; fi
    for each in "$memory_mib" "${SLURM_MEM_PER_NODE:-0}" "$((${SLURM_MEM_PER_CPU:-0} * ${SLURM_CPUS_ON_NODE:-0}))"; do
        if ((each > 0 && (limit == 0 || each < limit))); then limit=each; fi
    done
    if ((limit > 0)); then
        limit=limit/tasks_per_node
        create+=(--memory "${limit}m" --memory-swap "${limit}m")
    fi
}

# --------------------------------------------------------------------------------------------------------------- facts

# One observation: its output under its name; where the command failed, what it said in NAME.error, which is empty otherwise.
facts::keep() {
    local name=$1 code=0 said
    shift
    "$@" >"$facts/$name" 2>"$facts/$name.error" </dev/null || code=$?
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
        if [[ ! -e $facts/engine-info.json ]]; then engine::_info & fi
        if type -P nvidia-smi >/dev/null; then
            if [[ -z ${driver_asked-} ]]; then driver::_query & fi
            if ((gpus == 0)); then facts::keep nvidia-smi-L.txt nvidia-smi -L & fi
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
    local file
    local -a done_with=("$facts"/*.std{err,out} "$facts/report.pipe" "$program_dir/waiting")
    for file in "$facts"/*.error; do
        if [[ ! -s $file ]]; then done_with+=("$file"); fi
    done
    rm --force --dir -- "${done_with[@]}" "$home_dir" "$program_dir" 2>/dev/null || : # the folders, if they are empty
}

# --------------------------------------------------------------------------------------------------------------- usage

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
    local memory_file='' memory_source='' cpu_file='' cpu_source='' memory=0 cpu='' seen_at=''
    local -i samples=0 tries=0
    until usage::_find; do
        usage::_pause 0.05 || return
        tries+=1
        if ((tries % 40 == 20)); then usage::_ask && break; fi
        if [[ -e $facts/container-usage.txt.error ]]; then return; fi
        kill -0 "$client" || return
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
}

# Where docker puts containers: by its cgroupfs driver or by systemd, under either version of cgroups.
usage::_find() {
    local folder root=/sys/fs/cgroup
    for folder in "docker/$container_id" "system.slice/docker-$container_id.scope" ${cgroup_path:+"${cgroup_path#/}/$container_id"}; do
        usage::_is_in "$root/memory/$folder" "$root/cpuacct/$folder" && return
        usage::_is_in "$root/$folder" "$root/$folder" && return
    done
    return 1
}

# Elsewhere: the kernel says where the container's first process is.
usage::_ask() {
    local process line memory_path='' cpu_path='' root=/sys/fs/cgroup
    process=$("$engine" container inspect --format '{{.State.Pid}}' "$container_id") || return
    if [[ ! $process =~ ^[1-9] ]]; then return 1; fi
    while IFS= read -r line; do
        case $line in
        0::*"$container_id"*) usage::_is_in "$root${line#0::}" "$root${line#0::}" && return ;;
        *:memory:*) memory_path=${line#*:memory:} ;;
        *:cpuacct:* | *:cpuacct,cpu:* | *:cpu,cpuacct:*) cpu_path=${line#*:*:} ;;
        esac
    done <"/proc/$process/cgroup"
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
    samples+=1
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
            --query-gpu=uuid,utilization.gpu,memory.used) || answer=''
        printf -v seconds '%(%s)T' -1
        rows=''
        while IFS= read -r line; do
            uuid=${line%%,*}
            if [[ " ${gpu_ids[*]} " == *" $uuid "* ]]; then rows+="$seconds, $line"$'\n'; fi
        done <<<"$answer"
        if ((samples == 0)); then rows="seconds, uuid, utilization.gpu [%], memory.used [MiB]"$'\n'$rows; fi
        printf %s "$rows" >>"$file"
        samples+=1
        if ((samples % 240 == 0)); then pause=$((pause * 2)); fi
        usage::_pause "$pause" || return
    done
}

# --------------------------------------------------------------------------------------------------------------- probe

# What is inside the image, once per digest and cluster, by rank 0, in a container of its own without GPU and network.
probe::start() {
    probe_file=$images_dir/${image_digest#sha256:}.json
    if [[ $rank != 0 || -n $probe ]] || images::has "$probe_file" || ! images::folder; then return; fi
    (
        trap - EXIT
        trap 'exit 143' TERM
        set +e
        lock::take "probe-$image_digest"
        if ! images::has "$probe_file"; then probe::_run; fi
    ) </dev/null >/dev/null 2>&1 &
    probe=$!
}

probe::_run() {
    local temporary=$probe_file.$job.$rank.tmp code=0
    local -a ask=("$engine" create --rm --init --network none --name "$container_name-probe" --log-driver none)
    create=()
    container::_labels
    engine::_identity
    limits::memory
    local -a program=(/run/tfslurm-probe.py)
    if [[ -s $attempt_dir/shared-folders ]]; then
        program=(-c "$(<"$own_dir/probe.py")")
    else
        mount::add "$run_dir/probe.py" /run/tfslurm-probe.py ro
    fi
    rm --force -- "$temporary"
    event probing "$image_source"
    probe_id='' probe_client=''
    trap probe::_stop TERM
    # Two steps, for a client that is told to stop while it creates and starts would leave a container that nobody knows.
    # shellcheck disable=SC2016  # the container's shell reads it
    probe_id=$("${ask[@]}" "${create[@]}" --env NVIDIA_VISIBLE_DEVICES=void --env CUDA_VISIBLE_DEVICES= --env HOME=/tmp --entrypoint /bin/sh "$image_source" \
        -c 'for python in python3 python; do command -v "$python" >/dev/null && exec "$python" -I "$@"; done; exit 127' \
        sh "${program[@]}" 2>"$facts/probe.stderr") || code=$?
    if ((code == 0)); then
        probe::_ask &
        probe_client=$!
        wait "$probe_client" || code=$?
        if ((code != 0)); then "$engine" rm --force --volumes "$probe_id" >/dev/null 2>&1; fi # it may still be printing
    fi
    if ! kill -0 $$ 2>/dev/null; then probe::_stop; fi # whoever killed the task's script may have ended the container too
    if ((code != 0)) || [[ ! -s $temporary ]]; then
        local said
        IFS= read -r -d '' -n 4000 said <"$facts/probe.stderr" || :
        if ((code == 127)); then said="no python in the image: $said"; fi
        json::object schema s tfslurm.image/1 python n null tensorflow n null cuda n null cudnn n null os n null \
            glibc n null packages n null source s 'nothing could be asked in the container' \
            errors l "probe ended with $code: $said"
        printf '%s\n' "$json" >"$temporary"
    fi
    mv --no-target-directory -- "$temporary" "$probe_file"
    rm --force "$temporary" "$facts/probe.stderr"
    event probed "exit $code"
}

# In a process of its own. The image's Python may print without end.
probe::_ask() {
    trap - TERM
    {
        "$engine" start --attach "$probe_id" 2>&1 >&3 3>&- | head --bytes=1M >"$facts/probe.stderr" 3>&-
    } 3>&1 | head --bytes=4M >"$temporary"
}

probe::_stop() {
    if [[ -n $probe_client ]]; then kill "$probe_client" 2>/dev/null; fi
    if [[ -n $probe_id ]]; then "$engine" rm --force --volumes "$probe_id" >/dev/null 2>&1; fi
    rm --force "$temporary"
    exit 143
}

# Is this container the probe of a task that died? It is removed then, and what it has written.
probe::_sweep() {
    if [[ $("$engine" container inspect --format '{{.Name}}' "$1" 2>/dev/null) != *-probe ]]; then return 1; fi
    "$engine" rm --force --volumes "$1" >/dev/null 2>&1 || :
}

probe::wait() {
    if [[ -z $probe ]]; then return; fi
    if [[ -n $stopped ]]; then kill -s TERM "$probe" 2>/dev/null || :; fi
    timer::start "$PROBE_PATIENCE_S" "$probe"
    node::_wait "$probe"
    timer::end
    probe=''
}

# ---------------------------------------------------------------------------------------------------------------- peers

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

# The others, for this task's container: names for SlurmClusterResolver, TF_CONFIG for TFConfigClusterResolver.
peers::tell() {
    local pair workers
    for pair in ${TFSLURM_HOSTS-}; do create+=(--add-host "$pair"); done
    if [[ -z ${TFSLURM_WORKERS-} || -n ${own[TF_CONFIG]-} ]]; then return; fi
    workers=\"${TFSLURM_WORKERS//,/\", \"}\"
    create+=(--env "TF_CONFIG={\"cluster\": {\"worker\": [$workers]}, \"task\": {\"type\": \"worker\", \"index\": $rank}}")
}

# ------------------------------------------------------------------------------------------------------------- lifetime

# Was a container that ended, and that nobody here has stopped, ended by what attends it? Its client tells with the
# container's own code. docker's events tell who sent a signal, and forget what was before the daemon's start.
lifetime::cause() {
    if [[ -z $looked || -z $state_began || -z $client || -n $stopped$mount_wrong || $state_oom == true ]]; then return 0; fi
    if [[ ${client_code:-$state_code} != "$state_code" ]]; then
        lifetime::blame "$facts/lost.txt" engine "$engine" "the client that attends the container ended with $client_code before it"
    elif [[ $engine == docker && ($state_code == 137 || $state_code == 143) ]]; then
        time::now
        local said
        said=$(docker events --since "$state_began" --until "$now" --filter "container=$ended_id" \
            --format '{{.Action}} {{index .Actor.Attributes "signal"}};' 2>&1) || return 0
        event engine-events "$said"
        if [[ $said != *start* || $said == *'kill 15;'* || $said == *'kill 9;'* ]]; then
            lifetime::blame "$facts/lost.txt" engine docker 'its daemon stopped the container, or was restarted under it'
        fi
    fi
}

# Waits for a daemon that does not answer, which without live-restore ends its containers as it goes and as it comes.
# Not for long where Slurm will kill this script soon.
lifetime::engine_is_back() {
    local said
    local -i left=$ENGINE_PATIENCE_S
    said=$(<"$facts/container-inspect.json.error")
    if ! image::_daemon_is_gone "$said"; then return 1; fi
    event engine-gone "$said"
    if [[ -z $stopped ]]; then
        lifetime::blame "$facts/lost.txt" engine "$engine" 'its daemon went away under the container'
    fi
    until "$engine" version >/dev/null 2>&1; do
        if [[ -n $stopped ]] && ((left > grace_s)); then left=grace_s; fi
        if ((left-- <= 0)); then return 1; fi
        task::_in_background sleep 1
    done
    event engine-back
}

# ----------------------------------------------------------------------------------------------------------- checkpoint

# Task role. A signal that somebody sends by hand counts as the warning too, unless it means something else here.
checkpoint::listen() {
    if [[ -z $checkpoint_signal ]]; then return; fi
    trap 'checkpoint::_told' "$WARNING"
    if [[ $checkpoint_signal == USR* ]]; then trap 'checkpoint::_told' "$checkpoint_signal"; fi
}

checkpoint::_told() {
    interrupted=yes
    if [[ -n $warned ]]; then return 0; fi
    checkpoint::_note
    if [[ -n $client ]]; then checkpoint::tell & fi
}

checkpoint::_note() {
    warned=yes
    event told-to-save "SIG$checkpoint_signal"
    printf '%s\n' "$now" >"$attempt_dir/warned"
}

# A program that is to be stopped unwarned gets its signal first and SIGTERM when most of the time is over.
checkpoint::tell_first() {
    if [[ -z $checkpoint_signal || $checkpoint_signal == TERM || -n $warned ]]; then return 0; fi # in a trap, see task::_told_to_stop
    checkpoint::_note
    told_first=yes
}

# Gives the program its signal, once it runs; the one place that does.
checkpoint::tell() {
    while kill -0 "$client" 2>/dev/null; do
        if [[ -s $facts/container/program-started-at.txt ]] &&
            "$engine" kill --signal="$checkpoint_signal" "$container_id" >/dev/null 2>"$facts/kill.stderr"; then
            event signal-delivered "SIG$checkpoint_signal"
            printf '%s\n' "$now" >"$facts/signal-delivered.txt"
            return
        fi
        sleep 0.2
    done
}

checkpoint::wait_for_client() {
    local -i turns=$(((grace_s - 1) * 5))
    while ((turns-- > 0)) && kill -0 "$client" 2>/dev/null; do sleep 0.2; done
}

# A program that is started now would be interrupted before it had begun.
checkpoint::refuse_if_told() {
    if [[ -z $warned ]]; then return; fi
    task::refuse checkpoint 'the warning came before the program was started' \
        'ask for more time, or a shorter before_end' "$EX_TEMPFAIL"
}

# ---------------------------------------------------------------------------------------------------------------- words

# Runs a command that SIGTERM may end.
task::_in_background() {
    "$@" </dev/null &
    waited_for=$!
    node::_wait "$waited_for"
    waited_for=''
    return "${waited_code:-143}"
}

# A lock of this user on this node, which saves the node from doing the same twice at once. Where none can be had, because the
# file system has no locks, the task goes on without.
lock::take() {
    local code=1
    lock::_folder
    if [[ -z $lock_folder ]]; then
        exec {lock}</dev/null
        return
    fi
    exec {lock}>"$lock_folder/${1//[!a-zA-Z0-9-]/_}.lock"
    while ((code == 1)); do # nobody gave it back in that time
        code=0
        flock --exclusive --timeout 2 "$lock" 2>/dev/null || code=$?
        task::_stop_if_told
    done
    if ((code != 0)); then event no-lock "$lock_folder: flock ended with $code"; fi
}

# In lock_folder is the first folder that is ours alone: /tmp is everybody's, and somebody else may have made it there first.
# All of this user's tasks on this node find the same one.
lock::_folder() {
    lock_folder="/tmp/tfslurm-$EUID"
    if folder::is_alone "$lock_folder"; then return; fi
    lock_folder=$images_dir/locks-$where
    if images::folder && folder::is_alone "$lock_folder"; then return; fi
    lock_folder=''
}

# Where answers of earlier jobs are kept, beside the run folders. What somebody else could write in is not used at all.
images::folder() { folder::is_alone "$images_dir"; }

# Has it an answer that this user wrote?
images::has() { [[ ! -L $1 && -O $1 && -f $1 ]]; }

lock::drop() { exec {lock}>&-; }

event() {
    time::now
    local detail=${2-}
    { printf '%s\t%s\t%s\n' "$now" "$1" "${detail//[$'\n\r\t']/ }" >>"$facts/events.tsv"; } 2>/dev/null || :
}
