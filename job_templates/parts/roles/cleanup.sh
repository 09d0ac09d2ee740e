# shellcheck shell=bash disable=SC2034,SC2154
#
# Cleanup role: once per node, only when a task died without an end.

node::cleanup() {
    node::_job
    attempt=${TFSLURM_ATTEMPT:?} attempt_dir=$job_dir/attempt-$TFSLURM_ATTEMPT
    local left named
    rank=cleanup stopped='' warned='' client='' keep_s=0 facts=$(mktemp --directory)
    node::_user
    engine::available
    rm --recursive "$facts"
    rm --force -- "$images_dir"/*.json."$job".*.tmp # what a probe had begun to write
    packages::_forget
    while read -r left named rank; do
        task::_places
        grace_s=3 started=yes stopped='' client='' told_first='' mount_wrong=''
        if [[ ! -d $facts ]]; then continue; fi
        if [[ $named == *-probe || $named == *-packages ]]; then # of a task that died
            engine::remove "$left" >/dev/null 2>&1 || :
            continue
        fi
        event swept "$left"
        if keep::sweep "$left"; then continue; fi
        container_id=$left
        if [[ -n ${TFSLURM_TASK_CODE-} ]] && ! grep --quiet told-to-stop "$facts/events.tsv" 2>/dev/null; then
            supervision::blame "$facts/lost.txt" lost "the task's script" "it ended with $TFSLURM_TASK_CODE before its container did"
        fi
        container::end
        logs::wait
    done < <(engine::list_mine)
}
