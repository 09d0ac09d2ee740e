# shellcheck shell=bash disable=SC2034,SC2154
#
# Which libcuda the program has loaded: an image may bring one that is newer than the node's driver (forward compatibility).

# Looks into the maps of the container's processes, as the kernel shows them on the node, until one has loaded it; by builtins
# alone. What runs in another namespace of processes than this script is the container's.
libcuda::look() {
    local process line
    local -a maps
    local -i left=64
    if [[ -s $facts/libcuda.txt ]]; then return 0; fi
    if [[ -z ${libcuda_processes-} ]]; then libcuda::_find_processes; fi
    while ((left-- > 0)) && read -r process; do
        if [[ $proc_root/$process/ns/pid -ef $proc_root/self/ns/pid ]]; then continue; fi
        mapfile -t maps <"$proc_root/$process/maps" # read line by line, the kernel would write it anew for each
        for line in ${maps[@]+"${maps[@]}"}; do
            if [[ $line != */libcuda.so* ]]; then continue; fi
            rm --force "$facts/libcuda.txt.error"
            node::_write "$facts/libcuda.txt" "/${line#*/}"
            return 0
        done
    done <"${libcuda_processes:-/dev/null}"
    printf 'no process of the container had loaded it when this was last looked at\n' >"$facts/libcuda.txt.error"
}

# In libcuda_processes the file in which the kernel lists the processes of the container's cgroup.
libcuda::_find_processes() {
    local process line
    process=$(engine::process "$container_id") || return 0
    if [[ ! $process =~ ^[1-9][0-9]*$ ]]; then return 0; fi
    while IFS= read -r line; do
        case $line in
        0::/?*) libcuda_processes=$cgroup_root${line#0::}/cgroup.procs ;;
        *:memory:*)
            libcuda_processes=$cgroup_root/memory${line#*:memory:}/cgroup.procs
            break ;;
        esac
    done <"$proc_root/$process/cgroup"
}
