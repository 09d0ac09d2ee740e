# shellcheck shell=bash disable=SC2034,SC2154
#
# The groups that the program does not get: through them it could speak to an engine, which is root on the node.

# The sockets of engines, each of which is root on the node, or this user: those that are here, in engine_sockets.
groups::sockets() {
    local socket own=${XDG_RUNTIME_DIR:-/run/user/$EUID}
    engine_sockets=()
    for socket in "${DOCKER_HOST-}" "${CONTAINER_HOST-}" {/run,/var/run,"$own"}/{docker.sock,docker/docker.sock,podman/podman.sock} \
        {/run,/var/run,"$own"}/{containerd/containerd.sock,crio/crio.sock,buildkit/buildkitd.sock} \
        /var/lib/{lxd,incus}/unix.socket /var/snap/lxd/common/lxd/unix.socket /run/libvirt/libvirt-sock; do
        if [[ -S ${socket#unix://} ]]; then engine_sockets+=("${socket#unix://}"); fi
    done
}

# Asks for their groups, beside everything else that must be asked.
groups::look() {
    socket_groups=''
    groups::sockets
    if ((${#engine_sockets[@]})); then
        exec {socket_groups}< <(stat --dereference --format=%g -- "${engine_sockets[@]}" 2>/dev/null)
    fi
}

# The groups that the program does not get, in withheld: root's, and whoever may speak to an engine is in theirs. The one that
# it has first is then own_group.
groups::withhold() {
    local group
    if [[ -n ${own_group-} ]]; then return; fi # asked for before
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
