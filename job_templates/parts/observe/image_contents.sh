# shellcheck shell=bash disable=SC2034,SC2154
#
# What is inside the image, once per digest and cluster.

readonly PROBE_PATIENCE_S=120 # how long a finished program's task waits for the probe of its image

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
    engine::begin "$container_name-probe"
    engine::add_removal
    engine::add_network none
    container::labels
    engine::add_identity
    limits::memory
    local -a program=(/run/tfslurm-probe.py)
    if [[ -s $attempt_dir/shared-folders ]]; then
        program=(-c "$(<"$own_dir/probe.py")")
    else
        mount::add "$run_dir/probe.py" /run/tfslurm-probe.py ro
    fi
    engine::add_env NVIDIA_VISIBLE_DEVICES=void CUDA_VISIBLE_DEVICES= HOME=/tmp
    rm --force -- "$temporary"
    event probing "$image_source"
    probe_id='' probe_client=''
    trap probe::_stop TERM
    # Two steps, for a client that is told to stop while it creates and starts would leave a container that nobody knows.
    # shellcheck disable=SC2016  # the container's shell reads it
    engine::add_shell "$image_source" \
        -c 'for python in python3 python; do command -v "$python" >/dev/null && exec "$python" -I "$@"; done; exit 127' \
        sh "${program[@]}"
    probe_id=$(engine::create "${create[@]}" 2>"$facts/probe.stderr") || code=$?
    if ((code == 0)); then
        probe::_ask &
        probe_client=$!
        wait "$probe_client" || code=$?
        if ((code != 0)); then engine::remove "$probe_id" >/dev/null 2>&1; fi # it may still be printing
    fi
    if ! kill -0 $$ 2>/dev/null; then probe::_stop; fi # whoever killed the task's script may have ended the container too
    if ((code != 0)) || [[ ! -s $temporary ]]; then
        local said
        IFS= read -r -d '' -n 4000 said <"$facts/probe.stderr" || :
        if ((code == 127)); then said="no python in the image: $said"; fi
        json::object schema s tfslurm.image/1 python n null tensorflow n null cuda n null cudnn n null os n null \
            glibc n null packages n null cuda_present n null cudnn_present n null \
            source s 'nothing could be asked in the container' \
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
        engine::run_alone "$probe_id" 2>&1 >&3 3>&- | head --bytes=1M >"$facts/probe.stderr" 3>&-
    } 3>&1 | head --bytes=4M >"$temporary"
}

probe::_stop() {
    if [[ -n $probe_client ]]; then kill "$probe_client" 2>/dev/null; fi
    if [[ -n $probe_id ]]; then engine::remove "$probe_id" >/dev/null 2>&1; fi
    rm --force "$temporary"
    exit 143
}

probe::wait() {
    if [[ -z $probe ]]; then return; fi
    if [[ -n $stopped ]]; then kill -s TERM "$probe" 2>/dev/null || :; fi
    timer::start "$PROBE_PATIENCE_S" "$probe"
    node::_wait "$probe"
    timer::end
    probe=''
}
