# shellcheck shell=bash disable=SC2034,SC2154
#
# The cgroup that the container is put below.

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
