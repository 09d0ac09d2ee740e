# shellcheck shell=bash disable=SC2034,SC2154
#
# The container engine.

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
