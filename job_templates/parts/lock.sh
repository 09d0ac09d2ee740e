# shellcheck shell=bash disable=SC2034,SC2154
#
# Locks of this user's on a node.

# A lock of this user on this node, which saves the node from doing the same twice at once. Where none can be had, because the
# file system has no locks, the task goes on without.
lock::take() {
    lock::_folder
    if [[ -z $lock_folder ]]; then
        exec {lock}</dev/null
        return
    fi
    exec {lock}>"$lock_folder/${1//[!a-zA-Z0-9-]/_}.lock"
    lock::await "$lock" || event no-lock "$lock_folder: flock ended with $?"
}

# Waits for the lock of an open file; fails where the file system has none.
lock::await() {
    local code=1
    while ((code == 1)); do # nobody gave it back in that time
        code=0
        flock --exclusive --timeout 2 "$1" 2>/dev/null || code=$?
        task::_stop_if_told
    done
    return "$code"
}

# In lock_folder is the first folder that is ours alone: /tmp is everybody's, and somebody else may have made it there first.
# All of this user's tasks on this node find the same one.
lock::_folder() {
    lock_folder="/tmp/tfslurm-$EUID"
    if folder::is_alone "$lock_folder"; then return; fi
    lock_folder=$images_dir/locks-$where
    if images::folder && folder::is_alone "$lock_folder"; then return; fi
    lock_folder=''
}

lock::drop() { exec {lock}>&-; }
