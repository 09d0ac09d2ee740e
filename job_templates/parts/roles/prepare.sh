# shellcheck shell=bash disable=SC2034,SC2154
#
# Prepare role: before several tasks, once per task.

# What must be so before any task of several starts. On success only the last line is left to see; what is refused here is
# written down as a task's refusal.
node::prepare() {
    if [[ -n $checkpoint_signal ]]; then trap '' "$checkpoint_signal"; fi # no program is there yet to be told
    local pulls='' hashes=''
    node::_job
    node::_user
    if [[ $prepull == true && ${SLURM_LOCALID:-0} == 0 ]]; then pulls=yes; fi
    if ((${#mounts_hashed[@]})) && [[ ${SLURM_PROCID:-0} == 0 ]]; then hashes=yes; fi
    if [[ -n $pulls$hashes ]]; then
        node::_task
        trap task::_left EXIT
        trap 'task::_told_to_stop' TERM INT HUP
        event prepare-began "step $step"
        engine::available
        if [[ -n $pulls ]]; then image::ensure; fi
        if [[ -n $hashes ]]; then
            mount::check
            inputs::hash
        fi
        trap - EXIT
    fi
    port=-
    if [[ $network == host ]]; then peers::port; fi
    printf 'tfslurm-task %s %s %s\n' "${SLURM_PROCID:-0}" "$where" "$port"
}
