# shellcheck shell=bash disable=SC2034,SC2154
#
# The cgroup that the container is put below, and what the kernel has counted in the job's.

cgroup_root=/sys/fs/cgroup proc_root=/proc # the kernel's own

# Afterwards cgroup_path is the cgroup of Slurm's that holds this step, if the engine can put the container below it. What was
# chosen, and why, is in cgroup-parent.txt.
cgroup::choose() {
    cgroup_path='' cgroup_why=''
    if [[ $cgroup_parent == off ]]; then cgroup_why='the cluster file says off'; else engine::cgroup; fi
    if [[ $cgroup_parent == require && -n $cgroup_why ]] && ! engine::inherits; then
        task::refuse cgroup_parent "$cgroup_why, so the container cannot be put below the job's cgroup" \
            "write \`cgroup_parent: auto\` in the cluster file, and the container is given the job's limits one by one"
    fi
    printf '%s\n' "${cgroup_path:-none: $cgroup_why}" >"$facts/cgroup-parent.txt"
}

# 0::/system.slice/slurmstepd.scope/job_5/step_0/user/task_0 -> …/step_0/user: a cgroup with processes of its own, as task_0
# is, can have none below it. Never made from the job's id: from Slurm 26.05 on the folders have other names.
cgroup::of_step() {
    cgroup_path=''
    if [[ $1 =~ (^|$'\n')0::(/[^$'\n']*slurm[^$'\n']*/user)(/|$'\n'|$) ]]; then cgroup_path=${BASH_REMATCH[2]}; fi
}

# In cgroup_oom: how many processes of this job the kernel has killed because its memory was used up, in the cgroup of this script
# or one of the job's above it. On v1 a kill counts only where the process was. Source: cgroups(7), memory.events, memory.oom_control.
cgroup::count_oom() {
    local line path root file
    cgroup_oom=0
    while IFS= read -r line; do
        case $line in
        0::*) root=$cgroup_root file=memory.events ;;
        *:memory:*) root=$cgroup_root/memory file=memory.oom_control ;;
        *) continue ;;
        esac
        path=${line#*:*:}
        while [[ $path == *slurmstepd.scope/?* || $path == */job_[0-9]* ]]; do
            cgroup::_read_oom "$root$path/$file"
            path=${path%/*}
        done
    done <"$proc_root/self/cgroup"
}

cgroup::_read_oom() {
    local key value
    if [[ ! -r $1 ]]; then return; fi
    while read -r key value; do
        if [[ $key == oom_kill ]] && ((value > cgroup_oom)); then cgroup_oom=$value; fi
    done <"$1"
}
