# shellcheck shell=bash disable=SC2034,SC2154
#
# Where mounts go in the container, what lies below them, and what the image puts there.

# What is mounted below a read-only source comes along, and engines let it be written (docker before 25): each is mounted itself.
mount::_below() {
    local source=${mount_sources[$1]} target=${mounts[$1 * 3 + 1]} place rest
    local -A added=(["$target"]=yes)
    while read -r _ _ _ _ place rest; do
        mount::_unescape "$place"
        place=$unescaped
        rest=${rest#* - }
        if [[ $place != "$source"/* || $rest == autofs\ * ]]; then continue; fi
        place=${place#"$source"}
        mount::_of "$target$place"
        if [[ $mount_of != "$1" || ${mounts[mount_of * 3 + 1]} == "$target$place" || -n ${added["$target$place"]-} ]]; then continue; fi
        added["$target$place"]=yes
        mount::add "$source$place" "$target$place" ro
    done </proc/self/mountinfo
}

# A path of mountinfo, in unescaped: there \040 is a space, and bash wants \0040, for a digit may follow.
mount::_unescape() { printf -v unescaped '%b' "${1//\\0/\\00}"; }

# In mount_of: which of the mounts a path of the container lies in; empty for none.
mount::_of() {
    local -i at longest=0
    mount_of=''
    for ((at = 0; at * 3 < ${#mounts[@]}; at++)); do
        if [[ $1/ == "${mounts[at * 3 + 1]}"/* ]] && ((${#mounts[at * 3 + 1]} > longest)); then
            mount_of=$at longest=${#mounts[at * 3 + 1]}
        fi
    done
}

# A mount point that is missing is made by docker, as root. In the program's home and in its outputs the user makes it first;
# in what is mounted it must be there. Neither goes through a link: it may lead anywhere, and an earlier attempt may have left it.
mount::_point() {
    local source=$1 target=$2 place='' folder='' make='' own
    for own in "/home/$user=$home_dir" "$outputs=$job_dir/out"; do
        if [[ -n ${own%%=*} && $target == "${own%%=*}"/* ]]; then place=${own%%=*} folder=${own#*=} make=yes; fi
    done
    mount::_of "${target%/*}"
    if [[ -n $mount_of ]] && ((${#mounts[mount_of * 3 + 1]} > ${#place})); then
        place=${mounts[mount_of * 3 + 1]} folder=/proc/$$/fd/${mount_files[mount_of]}/. make=''
    fi
    if [[ -z $place ]] || mount::_walk "$folder" "${target#"$place/"}" "$source" "$make" 2>/dev/null; then return; fi
    task::refuse mounts "$target lies in $place, where ${target#"$place/"} is missing, of another kind, or behind a link" \
        'make it there first, or name another target'
}

# From the folder $1 down the path $2, to what can hold a mount of $3. Each step is into a folder whose `..` is the one before.
mount::_walk() (
    local -a parts=()
    local part
    local -i at last=0 up
    IFS=/ read -r -a parts <<<"$2"
    if [[ ! -d $3 ]]; then last=1; fi
    cd -P -- "$1" || exit
    for ((at = 0; at < ${#parts[@]} - last; at++)); do
        part=./${parts[at]}
        exec {up}<.
        if [[ -n $4 && ! -d $part ]]; then mkdir -- "$part"; fi
        [[ ! -L $part ]] && cd -P -- "$part" && [[ .. -ef /proc/self/fd/$up ]] || exit
        exec {up}<&-
    done
    if ((last == 0)); then exit; fi
    part=./${parts[at]}
    if [[ -n $4 && ! -e $part ]]; then (set -o noclobber; : >"$part"); fi
    [[ -f $part && ! -L $part ]]
)

# What the image has the engine make where something is mounted. A volume would lie over it, and what the program writes there
# would be lost; a working folder that is missing is made as root.
mount::image_places() {
    local line place file='' some=''
    for line in "${image_has[@]}"; do
        if [[ $line != volume\ \"* && ($line != workdir\ \"* || -n $code_dir) ]]; then continue; fi
        place=${line#* \"} place=${place%\"}
        printf -v place '%b' "${place//\\\"/\\042}" # Go has written it
        if [[ -n $place && $place != /* ]]; then place=/$place; fi # runc makes it one
        while [[ $place == ?*/ ]]; do place=${place%/}; done
        if [[ $place/ == *//* || $place/ == */./* || $place/ == */../* ]]; then
            place=$(realpath --canonicalize-missing --no-symlinks -- "$place")
        fi
        if [[ $line == workdir* ]]; then
            mount::_point "$run_dir" "$place"
            continue
        fi
        some=yes
        mount::_over "$place"
        if [[ -n $mount_over && $mount_over != "$place" ]]; then
            task::refuse image "its volume $place lies in $mount_over, and would take what is written there" 'name another target, or use another image'
        fi
        if [[ -z $mount_over ]] && ((layer_mib > 0)); then
            task::refuse image "its volume $place can be written without limit, past limits.layer_mib" 'mount a folder there, or use another image'
        fi
    done
    # One behind a link of the image's is seen once it is mounted: have the container wait for that look.
    if [[ -n $some ]] && ((${#admit_targets[@]} == 0)); then
        { exec {file}<"$home_dir/."; } 2>/dev/null || task::refuse mounts "$home_dir cannot be opened" 'submit again'
        mount::_await "/home/$user" "$file"
    fi
}

# In mount_over: the innermost of the targets that holds the path; empty for none.
mount::_over() {
    local target
    local -i at
    mount_over=''
    for target in "/home/$user" /run/tfslurm "${code_dir:+/workspace}" "${packages_key:+$PACKAGES_TARGET}" "$outputs"; do
        if [[ -n $target && $1/ == "$target"/* ]] && ((${#target} > ${#mount_over})); then mount_over=$target; fi
    done
    for ((at = 1; at < ${#mounts[@]}; at += 3)); do
        if [[ $1/ == "${mounts[at]}"/* ]] && ((${#mounts[at]} > ${#mount_over})); then mount_over=${mounts[at]}; fi
    done
}

# The engine wants names; mount::_await_own sees to it that they still mean the same.
mount::add() {
    local source=$1
    if [[ $source == "$own_dir"/* ]]; then source=$run_dir${source#"$own_dir"}; fi
    engine::add_mount "$source" "$2" "$3"
}
