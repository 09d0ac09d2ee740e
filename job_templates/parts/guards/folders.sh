# shellcheck shell=bash disable=SC2034,SC2154
#
# Batch role: is the run folder this user's alone, and who else can replace it or a folder above?

# Batch role: the run folder must be this user's, and nobody else may write in it. Who can replace it, or a folder above, is
# then in shared_folders: mode, owner and name of each folder on the way that belongs to another user than root, or in which
# others may write and no sticky bit keeps them from what is not theirs. Links on the way are followed one by one.
folders::own() {
    local part link='' target way=$run_dir mode owner group name own=''
    local -i hops=0
    local -a above=() links=()
    shared_folders=()
    while :; do
        part=$way link=''
        while [[ -n $part ]]; do
            if [[ -L $part ]]; then link=$part; fi
            if [[ $part != "$run_dir" ]]; then above+=("$part"); fi
            part=${part%/*}
        done
        if [[ -z $link ]] || ((hops++ >= 40)); then break; fi
        links+=("$link")
        target=$(readlink -- "$link")
        if [[ $target != /* ]]; then target=${link%/*}/$target; fi
        way=$target${way#"$link"}
    done
    while read -r mode owner group name; do
        if [[ $name == "$run_dir" ]]; then
            own="$mode $owner"
        elif folders::_is_shared "$mode" "$owner" "$group" "$name"; then
            shared_folders+=("$mode $owner $name")
        fi
    done < <(
        if ((${#links[@]})); then stat --format='0 %u %g %n' -- "${links[@]}"; fi
        exec stat --dereference --format='%a %u %g %n' -- / "${above[@]}" "$run_dir"
    )
    if [[ -L $run_dir || ! -d $run_dir || ! $own =~ ^[0-7]*[0145][0145]\ $EUID$ ]]; then
        printf 'tfslurm: job.sbatch: %s: is not a folder in which this user alone may write (%s); submit again\n' "$run_dir" "$own" >&2
        exit "$EX_CONFIG"
    fi
}

# A group of the user's own name without another member is the user, unless there is an ACL: the group's bits are then the
# most that anybody named there may do, and ls marks it with a plus.
folders::_is_shared() {
    local mode=$1 row
    if [[ $2 != 0 && $2 != "$EUID" ]]; then return 0; fi
    if [[ $mode =~ ^[1357]...$ || ! $mode =~ [2367].?$ ]]; then return 1; fi
    if [[ $mode =~ [2367]$ ]]; then return 0; fi
    row=$(getent group "$3") || return 0
    node::_user
    [[ ${row%%:*} != "$user" || (-n ${row##*:} && ${row##*:} != "$user") || $(LC_ALL=C ls -Lld -- "$4") == ??????????+* ]]
}

# A folder of the run's, for the user alone, or for the group that may read.
folders::make() {
    if [[ -n $read_group ]]; then umask g=rx,o=; fi
    # shellcheck disable=SC2174  # the run folder is there
    mkdir --parents --mode=0750 -- "$1"
}

# Keeps them for the record, and refuses them unless the cluster's file accepts them.
folders::tell() {
    local first why
    printf '%s\n' ${shared_folders[@]+"${shared_folders[@]}"} >"$attempt_dir/shared-folders"
    if ((${#shared_folders[@]} == 0)); then
        : >"$attempt_dir/shared-folders"
        return
    fi
    if [[ $shared_parents == accept ]]; then return; fi
    first=${shared_folders[0]}
    why="folders: ${first#* * } (mode ${first%% *}) is on the way to the run folder, and others can replace what lies there"
    printf 'tfslurm: %s: %s; chmod go-w or +t it, or write shared_parents: accept in the cluster file\n' "$where" "$why" |
        tee "$attempt_dir/refused.txt" >&2
    secrets::forget
    batch::_exit_json "$EX_CONFIG" refused "$why"
    exit "$EX_CONFIG"
}
