# shellcheck shell=bash disable=SC2034,SC2154
#
# The sources of mounts: opened, and held against what the cluster allows. The secrets are there.

readonly OPEN_PATIENCE_S=30 # how long the opening of a file that is mounted may take

# Afterwards mount_sources holds what each mount's source really is, mount_files each of them opened, and code_file the code:
# whoever may write in a folder on the way can put something else there later, which mount::admit notices.
mount::check() {
    mount_sources=() mount_files=() code_file=''
    if [[ -n $code_dir ]]; then
        if [[ -d $code_dir ]]; then { exec {code_file}<"$code_dir/."; } 2>/dev/null || code_file=''; fi
        if [[ -z $code_file ]]; then
            task::refuse code "$code_dir does not exist on this node" "submit again, and see that the file system is mounted"
        fi
    fi
    if ((${#mounts[@]} == 0)); then return; fi
    local -i at
    local -a opened=()
    local real
    root=${run_dir%/*/*}
    for ((at = 0; at < ${#mounts[@]}; at += 3)); do
        if [[ ${mounts[at + 1]} == "/home/$user" ]]; then
            task::refuse mounts "/home/$user is the program's home" 'mount it at another target'
        fi
        mount::_open "${mounts[at]}"
        opened+=("/proc/$$/fd/${mount_files[at / 3]}")
    done
    while IFS= read -r -d '' real; do mount_sources+=("$real"); done < <(readlink --zero -- "${opened[@]}")
    mount::_places
    for ((at = 0; at < ${#mount_sources[@]}; at++)); do
        mount::_look "${mounts[at * 3]}" "${mount_sources[at]}" "${mounts[at * 3 + 2]}" "${opened[at]}"
    done
}

# What sources are held against, links followed: in allowed the folders that the cluster's file names; in own_folders what of
# tfslurm's is never mounted, this run's root first, then the user's other roots, the tracker, the cluster files and what is
# remembered on this node; in engine_sockets those.
mount::_places() {
    local -a places=("$root" ${roots[@]+"${roots[@]}"} "${HOME-}/.config/tfslurm" "${HOME-}/.local/share/tfslurm" "/tmp/tfslurm-$EUID")
    local -a real_places=()
    local -i own=${#places[@]} sockets
    local real
    mkdir --mode=0700 "/tmp/tfslurm-$EUID" 2>/dev/null || : # what is remembered there must not be the program's to write
    groups::sockets
    sockets=${#engine_sockets[@]}
    places+=(${engine_sockets[@]+"${engine_sockets[@]}"} ${mounts_allow[@]+"${mounts_allow[@]}"})
    while IFS= read -r -d '' real; do real_places+=("$real"); done < <(realpath --canonicalize-missing --zero -- "${places[@]}")
    if ((${#real_places[@]} != ${#places[@]})); then
        task::refuse mounts "the folders that this cluster allows cannot be found (${mounts_allow[*]-})" 'correct the cluster file'
    fi
    own_folders=("${real_places[@]:0:own}") engine_sockets=("${real_places[@]:own:sockets}")
    allowed=("${real_places[@]:own + sockets}")
    real_root=${own_folders[0]}
}

# Opens a source. What is looked at, and compared later, is the file or folder that was opened, whatever its name means by then.
mount::_open() {
    local source=$1 file='' kind=''
    if [[ -d $source ]]; then kind=folder; fi
    if [[ -e $source && ! -d $source && ! -f $source ]]; then
        task::refuse mounts "$source is a socket, a device or a pipe" 'mount a file, or a folder of data'
    fi
    if [[ -n $kind ]]; then
        { exec {file}<"$source/."; } 2>/dev/null || file=''
    elif [[ -e $source ]]; then
        mount::_open_file "$source"
        file=$opened_file
    fi
    if [[ -z $file ]]; then
        task::refuse mounts "$source does not exist on this node, or $user may not read it" \
            "correct \`source\`, or ask for a node that mounts it"
    fi
    mount_files+=("$file")
}

# By now a pipe may stand there, and whoever opens one waits for a writer. So a process of its own opens it first, and this
# one what that has opened, in opened_file, once it is known to be a file.
mount::_open_file() {
    local bell opener number=''
    opened_file=''
    exec {bell}<> <(:)
    (
        node::_deaf
        { exec {number}<"$1"; } 2>/dev/null || number=''
        printf '%s\n' "$number" >&"$bell"
        exec sleep 60
    ) </dev/null >/dev/null 2>&1 &
    opener=$!
    read -r -t "$OPEN_PATIENCE_S" -u "$bell" number || number=''
    if [[ -n $number && -f /proc/$opener/fd/$number ]]; then { exec {opened_file}<"/proc/$opener/fd/$number"; } 2>/dev/null || opened_file=''; fi
    exec {bell}<&-
    kill -s KILL "$opener" 2>/dev/null || :
    wait "$opener" 2>/dev/null || :
}

# Refuses a source that is not what it may be. What it is, is asked of the file that was opened.
mount::_look() {
    local source=$1 real=$2 mode=$3 file=$4 shown=$1 each
    if [[ $source != "$real" ]]; then shown="$source is really $real, which"; fi
    if [[ $mode == run ]]; then
        mount::_is_run_outputs && return
        task::refuse mounts "$shown is not the outputs of a run in $root" 'name the run and a path in its outputs that is no link'
    fi
    mount::_is_allowed
    mount::_is_no_system
    if mount::_meets_own; then
        task::refuse mounts "$shown is, holds or lies in a folder of tfslurm's own ($met)" \
            "mount a folder beside it; the outputs of a run are run:$cluster:JOB/out"
    fi
    for each in ${engine_sockets[@]+"${engine_sockets[@]}"}; do
        if mount::_is_on_the_way "$each"; then
            task::refuse mounts "$shown holds $each, a socket that is root on the node" 'mount a folder of data'
        fi
    done
}

# Under this very root, by the form of its path, and through no link.
mount::_is_run_outputs() {
    local below=${source#"$root"}
    local -r form='^/runs/[a-z0-9][a-z0-9-]*-[0-9a-f]{12}/[0-9]+(_[0-9]+([.][0-9]+)?)?/out(/|$)'
    [[ $real == "$real_root$below" && $source == "$root"/* && $below =~ $form && $below/ != */../* ]]
}

mount::_is_allowed() {
    local folder
    by=''
    for folder in ${allowed[@]+"${allowed[@]}"}; do
        if [[ $real == "$folder" || $folder == / || $real == "$folder"/* ]]; then by=$folder; fi
    done
    if [[ -z $by ]]; then
        task::refuse mounts "$shown is outside what this cluster allows (${allowed[*]-})" 'mount a path under those'
    fi
}

# The node's own folders and what holds one are never mounted; below them only what the site names there.
mount::_is_no_system() {
    local folder
    for folder in /etc /root /dev /proc /sys /boot /run /var/run /var/lib/{docker,containerd,containers,kubelet,lxd,incus} \
        /var/snap/lxd /var/spool/{slurmd,slurm,cron}; do
        if [[ $real == / || $real == "$folder" || $folder == "$real"/* || ($real == "$folder"/* && $by != "$folder"/*) ]]; then
            task::refuse mounts "$shown belongs to the node itself" 'mount a folder of data'
        fi
    done
}

# Is, holds or lies the source in a folder of tfslurm's own, named in met? By what they are, and by what this run has in its
# root: a folder that is mounted twice has two names, and may have two device numbers.
mount::_meets_own() {
    local folder=$file own part name=${run_dir##*/} way=$real
    while :; do
        for own in "${own_folders[@]}"; do
            met=$own
            for part in '' /runs /code /images /inputs /packages "/runs/$name"; do
                if [[ ${folder:-/} -ef $own$part ]]; then return 0; fi
            done
        done
        met=${way:-/}
        if [[ -e $folder/runs/$name || -e $folder/$name/node.sh || (-e $folder/node.sh && -e $folder/plan.json) ]]; then return 0; fi
        if [[ -z $way ]]; then break; fi
        way=${way%/*}
        folder=$way
    done
    for met in "${own_folders[@]}"; do
        if mount::_is_on_the_way "$met"; then return 0; fi
    done
    met=$root part=$real_root
    while [[ -n $part ]]; do
        part=${part%/*}
        if [[ -e $file${real_root#"$part"}/runs/$name ]]; then return 0; fi
    done
    return 1
}

# Is the source what the real path $1 names, or a folder that holds it?
mount::_is_on_the_way() {
    local inner=$1
    if [[ ! -e $1 ]]; then return 1; fi
    while :; do
        if [[ $file -ef ${inner:-/} ]]; then return 0; fi
        if [[ -z $inner ]]; then return 1; fi
        inner=${inner%/*}
    done
}

secrets::check() {
    local name
    for name in ${secrets[@]+"${secrets[@]}"}; do
        if [[ ! -r $own_dir/secrets/$name ]]; then
            task::refuse secrets "$name is not in $run_dir/secrets, or is not readable" 'submit again with the variable set'
        fi
    done
}
