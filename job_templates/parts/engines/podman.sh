# shellcheck shell=bash disable=SC2034,SC2154
#
# Podman: no daemon; a container is the task's child, in its cgroup. Mostly without root. See engines/docker_cli.

# Asks what it can do, for that is the user's own setting, and corrects what it says of its namespace.
engine::available() {
    export PODMAN_IGNORE_CGROUPSV1_WARNING=1 # podman 5 would warn on the program's standard error
    engine_info='' engine_look=''
    engine::info
    if [[ -s $facts/engine-info.json.error && $(<"$facts/engine-info.json.error") == *'podman system migrate'* ]]; then
        lock::take podman-migrate # it stops what runs; podman says this only where nothing of the user's is alive
        engine::info
        if [[ -s $facts/engine-info.json.error ]]; then engine::_ask system migrate >/dev/null 2>&1 || :; fi
        lock::drop
        engine::info
        event podman-migrated 'no process kept the namespace of its containers'
    fi
    if [[ ! -s $facts/engine-info.json ]]; then
        task::engine_failed "podman info: $(<"$facts/engine-info.json.error")" "\`podman info\` must work for $user on $where"
    fi
    engine_info=$(<"$facts/engine-info.json")
}

# Its words are its own.
engine::refuse_words() { return 0; }

# It was asked.
engine::ask_ahead() { return 0; }

# There is no daemon.
engine::address() { return 0; }

# Each user has a folder of his own, of which nothing is asked.
engine::images_folder() { return 0; }

# In grace_s: of $1 seconds those that are left for the program; its own commands take longer than docker's.
engine::grace() { grace_s=$(($1 > 2 ? $1 - 1 : $1)); }

# Does a container get the task's own limits and cgroup because it is its child?
engine::inherits() { return 0; }

# Its cgroup manager decides: systemd's takes the container out of the task's cgroup. What came of it is in container-cgroup.txt.
engine::cgroup() { cgroup_why="podman's own cgroup manager puts the container into a cgroup"; }

engine::_is_rootless() { [[ $engine_info =~ \"rootless\":\ *true ]]; }

# Can it hold a container to a limit of this cgroup controller? Without root only to those that were delegated. On cgroup v1
# none is; there it would warn and go on without. Source: podman-create(1), --memory.
engine::can_limit() {
    if ! engine::_is_rootless; then return 0; fi
    [[ $engine_info =~ \"cgroupControllers\":\ *\[([^]]*)\] && ${BASH_REMATCH[1]} == *"\"$1\""* ]]
}

# Does this variable reach the program as it is? Podman reads --env as CSV, whose reader makes LF of CR LF.
engine::can_pass() { [[ $1 != *$'\r\n'* ]]; }

# It computes the digest of what it loads.
engine::loaded_name() { image_loaded_name=''; }

# Podman hands an image's annotations to the OCI runtime, which obeys some: crun gives the container all of the task's groups.
engine::refuse_image() {
    local -r orders='"((run\.oci|org\.(systemd\.property|criu)|module\.wasm|io\.katacontainers|dev\.gvisor|io\.podman|([a-z.]*\.)?cdi\.k8s\.io)[./][^"]*|io\.containers\.trace-syscall)":'
    if [[ $image_json =~ $orders ]]; then
        task::refuse image "its annotation ${BASH_REMATCH[1]:0:100} is an order to the container's runtime" 'use an image without'
    fi
}

# Without root, podman maps the uid to another one unless told to keep it.
engine::add_identity() {
    engine::_add_user
    if engine::_is_rootless; then create+=(--userns keep-id); fi
}

# In a namespace of the user's own no other group can be named; crun can keep those that the task has, runc cannot.
engine::add_groups() {
    local group dropped=''
    if ! engine::_is_rootless; then
        engine::_add_each_group
        return 0
    fi
    for group in "${GROUPS[@]}"; do if [[ $withheld == *" $group "* ]]; then dropped=yes; fi; done
    if [[ -z $dropped && $engine_info =~ \"ociRuntime\":\ *\{[^}]*\"name\":\ *\"crun\" ]]; then
        create+=(--group-add keep-groups)
    elif ((${#GROUPS[@]} > 1)); then
        event groups-dropped "${GROUPS[*]:1}"
    fi
}

# Without root it has no bridge of its own: what it has instead (slirp4netns, pasta) the site's containers.conf says. A proxy of
# the submitting shell is for the pull, not for the program.
engine::add_network() {
    create+=(--http-proxy=false)
    if [[ $1 != bridge ]] || ! engine::_is_rootless; then create+=(--network "$1"); fi
}

# It knows no other way than CDI.
engine::add_gpus() {
    if ((${#gpu_ids[@]})); then engine::_add_gpus_by_cdi; fi
}

# In engine_cgroups the folders where it may have put the container: none by rule, the kernel is asked.
engine::cgroup_folders() { engine_cgroups=(); }

# Has a container ended that it calls running, because its own watcher (conmon) was killed with it? stop, attach and await_end
# would wait for an end that nobody writes any more. A watcher that is dead may not have been reaped yet.
engine::ended_unseen() {
    local said first watcher stat=''
    said=$(engine::_ask container inspect --format '{{.State.Pid}} {{.State.ConmonPid}}' "$1" 2>/dev/null) || return 1
    read -r first watcher <<<"$said"
    if [[ $first != [1-9]* || $watcher != [1-9]* || -e /proc/$first ]]; then return 1; fi
    { IFS= read -r stat <"/proc/$watcher/stat"; } 2>/dev/null || :
    [[ -z $stat || ${stat##*) } == Z* ]]
}

# It writes a little after a container has ended that it has.
engine::await_end() {
    local looks=15
    while [[ -n $looked && $state_running == false && -n $state_began && -z $state_ended ]] && ((looks-- > 0)); do
        sleep 0.2
        container::look
    done
}

# May a container that ends with this code not even have begun entry.sh? Docker's init ends with 126 or 127 for that, podman's
# (catatonit) with 1.
engine::init_failed() { [[ $1 == 12[67] || $1 == 1 ]]; }

# There is no daemon that could have ended a container.
engine::ended_by_daemon() { return 1; }
