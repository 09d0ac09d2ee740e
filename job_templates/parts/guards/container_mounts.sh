# shellcheck shell=bash disable=SC2034,SC2154
#
# What is mounted in the container, held against what was opened, before anything of the image's runs.

# Have the container wait for mount::admit with this mount: the target, and what must lie there, opened.
mount::_await() {
    admit_targets+=("$1") admit_files+=("$2")
}

# The same for a file or folder of the job's own, where others can replace a folder above it.
mount::_await_own() {
    local file=''
    if [[ ! -s $attempt_dir/shared-folders ]]; then return; fi
    { exec {file}<"$1"; } 2>/dev/null || task::refuse mounts "$1 cannot be opened" "see $attempt_dir/shared-folders"
    mount::_await "$2" "$file"
}

# The shell in the container waits for a word before anything else of the image's runs. It gets one when what lies at each
# target is the very file or folder that was looked at: the engine has bound it by its name, which may have meant something
# else by then. mount_wrong says what is not, and mount_fix what to do.
mount::admit() {
    local bell
    local -i turns=0
    container_pid='' mount_wrong='' mount_fix='see who may write in the folders above the source, then submit again'
    if ((${#admit_targets[@]} == 0)); then return; fi
    exec {bell}<> <(:) # nothing is ever written to it
    until [[ -e $program_dir/waiting ]]; do
        if ! kill -0 "$client" 2>/dev/null; then break; fi
        read -r -t 0.02 -u "$bell" || :
        if ((++turns % 25 == 0)); then mount::_process; fi # a shell that means no good does not say that it waits
        # until it has become the image's program, it is the runtime's, and nobody may look at it
        if [[ $container_pid == [1-9]* ]] && { mount::_is_visible "$container_pid" || ((turns > 500)); }; then break; fi
    done
    exec {bell}<&-
    if [[ -e $program_dir/waiting ]]; then
        mount::_process
    elif [[ $container_pid != [1-9]* ]]; then # it never began: container::tell says why
        return
    fi
    mount::_compare "$container_pid"
    rm --force -- "$program_dir/waiting" || : # a folder, if the image's shell has its way
    trap '' PIPE # the client may be gone
    if [[ -n $mount_wrong ]]; then
        task::insist engine::signal KILL "$container_id" >/dev/null 2>&1 || : # the image's shell may not care what it is told
    else
        echo go 1>&"${LIFELINE[1]--}" 2>/dev/null || : # closed, where there is no client any more
    fi
    trap - PIPE
    event mounts "${mount_wrong:-are what was looked at}"
}

mount::_is_visible() {
    [[ -r /proc/$1/mountinfo && -e /proc/$1/root/. ]]
}

# In container_pid: the container's first process; 0 before it has begun.
mount::_process() {
    container_pid=$(engine::process "$container_id" 2>"$facts/admit.stderr") || container_pid=''
}

# From outside, through the first process of the container: nothing of the image's takes part. A target that is no mount point
# by that very name lies behind a link of the image's.
mount::_compare() {
    local root place target options rest
    local -i at
    local -A there=()
    if [[ ! $1 =~ ^[1-9][0-9]*$ ]] || ! mount::_is_visible "$1"; then
        mount_wrong="the container's mounts cannot be looked at: it has no process here that this user may see"
        return
    fi
    while read -r _ _ _ root place options rest; do
        mount::_unescape "$place"
        place=$unescaped
        rest=${rest#* - }
        there[$place]=$options
        if [[ $rest == autofs\ * ]]; then there[$place]=ro; fi # nobody can write in it
        if [[ ! $root =~ (^|/)volumes/[0-9a-f]{64}/_data$ ]]; then continue; fi # what both engines make for an image's volume
        mount::_over "$place"
        if [[ -n $mount_over ]]; then
            mount_wrong="a volume of the image's lies at $place, by a link of its own" mount_fix='use another image'
            return
        fi
    done <"/proc/$1/mountinfo"
    for place in "${!there[@]}"; do
        mount::_of "$place"
        if [[ -n $mount_of && ${mounts[mount_of * 3 + 2]} != rw && ${there[$place]} != ro* ]]; then
            mount_wrong="$place can be written, which lies in the read-only ${mounts[mount_of * 3 + 1]}"
            mount_fix='a file system is mounted there: mount it by itself, or a folder without it'
        fi
    done
    for ((at = 0; at < ${#admit_targets[@]}; at++)); do
        target=${admit_targets[at]}
        if [[ -z ${there[$target]-} ]]; then
            mount_wrong="$target is no mount in the container: the image has a link on the way to it" mount_fix='name another target'
        elif ! [[ /proc/$1/root$target -ef /proc/$$/fd/${admit_files[at]} ]]; then
            mount_wrong="$target is not what was looked at: its source was replaced before the container had it"
        fi
    done
}
