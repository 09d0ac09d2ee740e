# shellcheck shell=bash disable=SC2034,SC2154
#
# The container's making: who it runs as, its limits, mounts, variables and command.

# The container exists afterwards and nothing of the user's has run: its id, its image and its argv are on disk.
container::create() {
    if ! sent::check; then task::refuse script "$run_dir holds other files than were sent" 'submit again'; fi
    engine::begin "$container_name"
    engine::add_input "$grace_s"
    container::labels
    engine::add_gpus
    container::_user
    container::_limits
    container::_mounts
    mount::image_places
    container::_environment
    engine::add_network "$network"
    engine::add_shell "$image_source" "${entry[@]}" \
        "$grace_s" "$mask" "${admit_targets[0]+wait}" "${gpu_ids[*]-}" "${packages_key:+$PACKAGES_TARGET}" \
        ${secrets[@]+"${secrets[@]}"} -- ${loader_words[@]+"${loader_words[@]}"} -- ${other_words[@]+"${other_words[@]}"} -- \
        ${command[@]+"${command[@]}"}
    engine::create_argv "${create[@]}" >"$facts/container-argv"
    task::_stop_if_told
    container::_ask_for_it
    printf '%s\n' "$container_id" >"$facts/container-id.txt"
    event created "$container_id"
}

# A client that is told to stop while it creates would leave a container that nobody knows: it has as long as a program would.
container::_ask_for_it() {
    local said creating began=$SECONDS
    engine::create "${create[@]}" </dev/null >"$facts/create.stdout" 2>"$facts/create.stderr" &
    creating=$!
    node::_wait "$creating" node::_is_stopped
    if [[ -n $stopped ]]; then
        timer::start "$grace_s" "$creating"
        node::_wait "$creating"
        timer::end
    fi
    while IFS= read -r container_id && [[ ! $container_id =~ ^[0-9a-f]{12,64}$ ]]; do :; done <"$facts/create.stdout" # a notice may come first
    if [[ $waited_code == 0 && -n $container_id ]]; then return; fi
    container_id=''
    engine::mute create "$waited_code" "$began"
    if [[ -n $stopped$engine_mute ]]; then # it may be there all the same
        engine::remove_soon "$container_name"
    fi
    task::_stop_if_told
    if [[ -n $engine_mute ]]; then task::engine_failed "$engine_mute"; fi
    IFS= read -r -d '' said <"$facts/create.stderr" || :
    engine::not_created "${said:-create: exit $waited_code, and no id of a container}"
}

container::labels() {
    engine::add_labels "tfslurm.cluster=$cluster" "tfslurm.job_id=$job" "tfslurm.user=$user" "tfslurm.uid=$EUID" \
        "tfslurm.plan_id=$plan_id" "tfslurm.attempt=$attempt" "tfslurm.rank=$rank" "tfslurm.node=$where"
    # By these an Epilog knows what is left of a job, and `tfslurm reap` which scheduler to ask.
    if [[ -z $is_local ]]; then
        engine::add_labels "tfslurm.slurm_job_id=$raw_job_id" "tfslurm.slurm_cluster=${SLURM_CLUSTER_NAME-}"
    fi
}

# The user himself: his uid and all his groups, one line of passwd and group instead of the node's, no way to more.
# HOME is a folder of the attempt: a tmpfs would count as memory, and what caches leave there is not lost unseen.
container::_user() {
    local home=/home/$user
    groups::withhold
    printf '%s:x:%s:%s::%s:/bin/sh\n' "$user" "$EUID" "$own_group" "$home" >"$facts/passwd"
    printf '%s:x:%s:\n' "$user" "$own_group" >"$facts/group"
    engine::add_identity
    engine::add_groups
    mount::add "$facts/passwd" /etc/passwd ro
    mount::add "$facts/group" /etc/group ro
    mount::add "$home_dir" "$home" rw
    umask >"$facts/umask.txt" # docker sets one of its own; entry.sh sets this one again
    IFS= read -r mask <"$facts/umask.txt"
}

# None of the job's own limits holds for a daemon's child; these are the same, said to it.
container::_limits() {
    limits::cpus
    limits::memory
    engine::add_limit pids "$pids"
    if ((layer_mib > 0)); then engine::add_limit layer "$layer_mib"; fi # the engine refuses it where it cannot
    if ! engine::inherits || (ulimit -S -s 65536) 2>/dev/null; then engine::add_limit stack 67108864; fi
    if [[ -n $cgroup_path ]]; then engine::add_cgroup "$cgroup_path"; fi
    # RDMA and pinned buffers need it; a daemon that may not raise the limit (rootless) would refuse the whole container.
    if [[ $(ulimit -H -l) == unlimited ]]; then engine::add_limit memlock -1; fi
    if ((shm_mib > 0)); then engine::add_limit shm "$shm_mib"; fi
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
        mount::add "$own_dir/gpu_check.py" /run/tfslurm-gpu-check.py ro
        mount::_await_own "$own_dir/gpu_check.py" /run/tfslurm-gpu-check.py
    fi
    container::_service
    if ((${#secrets[@]})); then
        mount::add "$own_dir/secrets" /run/tfslurm-secrets ro
        mount::_await_own "$own_dir/secrets" /run/tfslurm-secrets
    fi
    if [[ -n $code_dir ]]; then
        container::_code
        engine::add_workdir /workspace
    fi
    if [[ -n $packages_key ]]; then mount::add "$packages_dir/layer/site" "$PACKAGES_TARGET" ro; fi
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
    if ((${#admit_targets[@]})); then
        if [[ -n $code_dir && $code_writable != true ]]; then mount::_await /workspace "$code_file"; fi
        if [[ -n $packages_key ]]; then mount::_await "$PACKAGES_TARGET" "$packages_file"; fi
    fi
}

# The programs of a service, for a job whose program is one: its words name the first. It is told which network is the node's.
container::_service() {
    local name
    if [[ " ${command[*]-} " != *' /run/tfslurm-service.py '* ]]; then return 0; fi
    readlink -- /proc/self/ns/net >"$program_dir/node-network" 2>/dev/null || :
    for name in service relay door board model_server served_model; do
        mount::add "$own_dir/$name.py" "/run/tfslurm-$name.py" ro
        mount::_await_own "$own_dir/$name.py" "/run/tfslurm-$name.py"
    done
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
    loader_words=() other_words=()
    for pair in ${environment[@]+"${environment[@]}"}; do
        key=${pair%%=*}
        own[$key]=yes
        case $key in
        PYTHONUNBUFFERED | TFSLURM_PARAMS) # one changes when words are seen; the plan of a single job has the other
            other_words+=("$pair")
            continue ;;
        NVIDIA_VISIBLE_DEVICES | TFSLURM_*)
            task::refuse env "$key is set by tfslurm from what Slurm granted" "drop it from \`env\`" ;;
        NVIDIA_*)
            if ! engine::can_pass "$pair"; then
                task::refuse env "$key holds CR LF, of which $engine makes LF" 'write LF alone'
            fi
            engine::add_env "$pair"
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
        if [[ -z ${own[${pair%%=*}]-} ]]; then engine::add_env "$pair"; fi
    done
    for key in SLURM_{JOB_ID,JOB_NAME,JOB_PARTITION,JOB_NUM_NODES,JOB_NODELIST,CLUSTER_NAME,NODEID,PROCID,LOCALID,NTASKS,NNODES} \
        SLURM_{STEP_ID,STEP_NODELIST,STEP_NUM_NODES,STEP_NUM_TASKS,STEP_TASKS_PER_NODE,TASKS_PER_NODE,NTASKS_PER_NODE} \
        SLURM_{CPUS_PER_TASK,CPUS_ON_NODE,RESTART_COUNT,LAUNCH_NODE_IPADDR} \
        SLURM_ARRAY_{JOB_ID,TASK_ID,TASK_COUNT,TASK_MIN,TASK_MAX,TASK_STEP} SLURMD_NODENAME; do
        if [[ -n ${!key-} && -z ${own[$key]-} ]]; then engine::add_env "$key=${!key}"; fi
    done
    container::_peers
    engine::add_env "TFSLURM_JOB_ID=$job" "TFSLURM_CLUSTER=$cluster" "TFSLURM_ATTEMPT=$attempt"
    if [[ -n $outputs ]]; then engine::add_env "TFSLURM_OUTPUTS=$outputs"; fi
    if ((${points:-0} > 0)); then engine::add_env "TFSLURM_PARAMS=$point_parameters"; fi
    if [[ -n $checkpoint_signal ]]; then engine::add_env TFSLURM_FINISHED=/run/tfslurm/finished; fi
    # Not `none`: some releases of NVIDIA's toolkit gave every GPU for it.
    if ((${#gpu_ids[@]} == 0)); then engine::add_env NVIDIA_VISIBLE_DEVICES=void; fi
}

# The others, for this task's container: names for SlurmClusterResolver, TF_CONFIG for TFConfigClusterResolver.
container::_peers() {
    local pair workers
    for pair in ${TFSLURM_HOSTS-}; do engine::add_host "$pair"; done
    if [[ -z ${TFSLURM_WORKERS-} || -n ${own[TF_CONFIG]-} ]]; then return; fi
    workers=\"${TFSLURM_WORKERS//,/\", \"}\"
    engine::add_env "TF_CONFIG={\"cluster\": {\"worker\": [$workers]}, \"task\": {\"type\": \"worker\", \"index\": $rank}}"
}
