# shellcheck shell=bash disable=SC2034,SC2154
#
# The packages of the experiment: a layer that is installed once from wheels that were sent, and verified before each use.
#
# $packages_dir is ROOT/packages/KEY: wheels/ holds what was sent, layer/ what was installed: site/, which is mounted, and
# layer.json. layer/ appears whole, by one rename; what an installation that was killed leaves has another name.

readonly PACKAGES_TARGET=/opt/tfslurm/packages # entry.sh is told
readonly PACKAGES_PATIENCE_S=3600              # for pip
readonly PACKAGES_MOST_BYTES=$((64 << 30))     # unpacked
readonly PACKAGES_AGAIN='submit again: they are sent again'

# Afterwards packages_file is the layer's site folder, opened, and its every file is being compared beside everything else.
packages::ensure() {
    packages_file='' packages_look=''
    if [[ -z $packages_key ]]; then return; fi
    packages::_enter
    printf 'present\n' >"$facts/packages-installed.txt"
    if ! packages::_open; then packages::_install_once; fi
    (
        node::_deaf
        tree::verify "$packages_file" "$packages_contents" "packages-$packages_contents" "$packages_dir/layer" installed
    ) >"$facts/packages-check.txt" 2>/dev/null </dev/null &
    packages_look=$!
}

packages::check() {
    local said=''
    if [[ -z $packages_look ]]; then return; fi
    node::_wait "$packages_look" node::_is_stopped
    IFS= read -r said <"$facts/packages-check.txt" || :
    if [[ -z $said ]]; then task::_stop_if_told; fi
    if [[ $said != ok:* ]]; then
        task::refuse packages "${said#failed: }" "remove $packages_dir/layer (chmod -R u+w, rm -r), then submit again"
    fi
}

# In packages_own the folder of this key, opened: it and the one above are this user's alone.
packages::_enter() {
    local own=''
    if folder::is_alone "${packages_dir%/*}" && folder::is_alone "$packages_dir"; then
        { exec {own}<"$packages_dir/."; } 2>/dev/null || own=''
    fi
    packages_own=/proc/$$/fd/$own/.
    if [[ -z $own ]] || ! folder::is_alone "$packages_own"; then
        task::refuse packages "$packages_dir is not a folder for you alone" 'move it away, then submit again'
    fi
}

# Opens the layer, if there is a whole one, and reads its layer.json. One that somebody else made is none.
packages::_open() {
    local file=$packages_own/layer/layer.json text=''
    packages_file='' packages_contents=''
    if [[ -L $packages_own/layer || ! -O $packages_own/layer || -L $file || ! -O $file || ! -f $file ]]; then return 1; fi
    if [[ -L $packages_own/layer/site || ! -d $packages_own/layer/site ]]; then return 1; fi
    { exec {packages_file}<"$packages_own/layer/site/."; } 2>/dev/null || return 1
    IFS= read -r -d '' -n 4194304 text <"$file" || :
    if [[ ! $text =~ ^\{\"schema\":\ \"tfslurm.packages/1\",\ \"key\":\ \"$packages_key\",.*\ \"contents_sha256\":\ \"([0-9a-f]{64})\" ]]; then
        return 1
    fi
    packages_contents=${BASH_REMATCH[1]}
    printf %s "$text" >"$facts/packages.json"
}

# Under a lock of this node and one of the folder, which other nodes see where its file system has locks. Whoever comes second
# finds the layer.
packages::_install_once() {
    local since failed_at why note shared=''
    time::now
    since=$now
    lock::take "packages-$packages_key"
    note=$lock_folder/packages-$packages_key.failed
    if ! packages::_open; then
        if IFS=$'\t' read -r failed_at why 2>/dev/null <"$note" && [[ $failed_at > $since ]]; then
            task::refuse packages "$why" 'another task of yours tried on this node while this one waited'
        fi
        packages_lock=''
        { exec {packages_lock}>"$packages_own/lock"; } 2>/dev/null || packages::_is_full
        if lock::await "$packages_lock"; then shared=yes; else event no-lock "$packages_dir: flock ended with $?"; fi
        if ! packages::_open; then packages::_install; fi
        exec {packages_lock}>&-
    fi
    lock::drop
}

# Installs into a folder of its own, which becomes the layer by a rename.
packages::_install() {
    local work=''
    if [[ -n $shared ]]; then packages::_sweep '.install.*'; fi # nobody else is at work: those were killed
    packages::_has_wheels
    { work=$(mktemp --directory -- "$packages_own/.install.$job.$rank.XXXXXXXX") && mkdir --mode=0700 -- "$work/layer" "$work/tmp"; } \
        2>/dev/null || packages::_is_full
    packages::_run
    event packages "installed in $work"
    packages::_seal
    if ! mv --no-target-directory -- "$work/layer" "$packages_own/layer" 2>/dev/null; then
        event packages "another node was first"
    fi
    printf 'installed by this task\n' >"$facts/packages-installed.txt"
    packages::_sweep "${work##*/}"
    if ! packages::_open; then
        task::refuse packages "$packages_dir/layer is there and is no layer" "remove it (chmod -R u+w, rm -r), then submit again"
    fi
}

packages::_has_wheels() {
    local -i at
    local file
    for ((at = 0; at < ${#packages_wheels[@]}; at += 2)); do
        file=wheels/${packages_wheels[at]}
        if [[ -L $packages_own/wheels || -L $packages_own/$file || ! -O $packages_own/$file || ! -f $packages_own/$file ]]; then
            packages::_fail "$packages_dir/$file is not there" "$PACKAGES_AGAIN"
        fi
    done
}

# The installer in a container of the image, without GPU and network: its wheels read-only, one folder that it can write.
packages::_run() {
    local code=0 began id=''
    engine::begin "$container_name-packages"
    engine::add_removal
    engine::add_network none
    container::labels
    groups::withhold
    engine::add_identity
    container::_limits
    local -a program=(/run/tfslurm-install.py)
    if [[ -s $attempt_dir/shared-folders ]]; then
        program=(-c "$(<"$own_dir/install_packages.py")")
    else
        mount::add "$run_dir/install_packages.py" /run/tfslurm-install.py ro
    fi
    mount::add "$packages_dir/wheels" /run/tfslurm-wheels ro
    mount::add "$packages_dir/${work##*/}" /run/tfslurm-packages rw
    engine::add_env NVIDIA_VISIBLE_DEVICES=void CUDA_VISIBLE_DEVICES= HOME=/run/tfslurm-packages/tmp TMPDIR=/run/tfslurm-packages/tmp
    # shellcheck disable=SC2016  # the container's shell reads it
    engine::add_shell "$image_source" \
        -c 'umask 077; for python in python3 python; do command -v "$python" >/dev/null && exec "$python" -I "$@"; done; exit 127' \
        sh "${program[@]}" "$PACKAGES_MOST_BYTES" /run/tfslurm-wheels /run/tfslurm-packages "${packages_wheels[@]}"
    task::_stop_if_told
    began=$SECONDS
    id=$(engine::create "${create[@]}" 2>"$facts/packages-install.log") || code=$?
    if ((code != 0)); then
        engine::mute create "$code" "$began"
        engine::remove_soon "$container_name-packages"
        packages::_clear
        task::_stop_if_told
        if [[ -n $engine_mute ]]; then task::engine_failed "$engine_mute"; fi
        engine::not_created "$(<"$facts/packages-install.log")"
    fi
    packages::_attend
    packages::_judge
}

# Until it ends, this task is told to stop, or its time is up: its exit code is in packages_code. Its client has no lock open,
# which would outlive this script.
packages::_attend() {
    local installer
    (
        node::_deaf
        trap - TERM
        exec {lock}>&- {packages_lock}>&-
        {
            engine::run_alone "$id" 2>&1 >&3 3>&- | head --bytes=1M >"$facts/packages-install.log" 3>&-
        } 3>&1 | head --bytes=4M >"$facts/packages-install.txt"
    ) </dev/null >/dev/null 2>&1 &
    installer=$!
    timer::start "$PACKAGES_PATIENCE_S" "$installer"
    node::_wait "$installer" node::_is_stopped
    packages_code=${waited_code:-143}
    timer::end
    if ((packages_code != 0)) || [[ -n $stopped ]]; then
        engine::remove "$id" >/dev/null 2>&1 || : # it may be going on
    fi
    if [[ -n $stopped ]]; then
        packages::_clear
        task::_stop_if_told
    fi
}

# What the installer said is in packages_said; where it is no list of what is installed, the task ends.
packages::_judge() {
    local said
    packages_said=''
    IFS= read -r packages_said <"$facts/packages-install.txt" || :
    said=$packages_said
    if ((packages_code == 0)) && [[ $said == '{'* ]]; then return; fi
    if ((packages_code == 3)) && [[ $said == no:* ]]; then
        said=${said#no: }
        packages::_fail "${said%; *}" "${said##*; }"
    elif ((packages_code == 127)); then
        packages::_fail "the image has no Python, which installs packages" 'use an image with Python and pip'
    elif ((packages_code == 143 || packages_code == 124)); then
        packages::_fail "they were not installed within $PACKAGES_PATIENCE_S s" "see $facts/packages-install.log"
    fi
    said=$(tail --lines=1 "$facts/packages-install.log")
    packages::_fail "the installer ended with $packages_code: ${said:0:300}" "see $facts/packages-install.log"
}

# What is installed is closed against changes; what it is stands in layer.json.
packages::_seal() {
    local contents='' size
    local -i files=0 bytes=0
    if ! chmod --recursive a-w,go-rwx -- "$work/layer/site" 2>/dev/null; then
        packages::_fail "nothing was installed in $packages_dir" "see $facts/packages-install.log"
    fi
    contents=$(cd -- "$work/layer/site" && LC_ALL=C && tree::list | sha256sum) || packages::_is_full
    while read -r size; do files+=1 bytes+=size; done < <(find "$work/layer/site" -type f -printf '%s\n')
    time::now
    json::object schema s tfslurm.packages/1 key s "$packages_key" image s "$image_digest" files n "$files" bytes n "$bytes" \
        contents_sha256 s "${contents%% *}" installed_at s "$now" installed_by s "$cluster:$job" node s "$where" engine s "$engine" \
        installed n "$packages_said"
    node::_write "$work/layer/layer.json" "$json" || packages::_is_full
}

packages::_is_full() {
    packages::_fail "$packages_dir cannot be written: its file system is full, read-only or gone" 'free space there, then submit again'
}

# For those that wait: to try it all again, one by one, would take them long.
packages::_fail() {
    packages::_clear
    time::now
    if [[ -n $lock_folder ]]; then printf '%s\t%s\n' "$now" "$1" 2>/dev/null >"$note" || :; fi
    task::refuse packages "$1" "$2"
}

packages::_clear() {
    if [[ -n ${work-} ]]; then packages::_sweep "${work##*/}"; fi
}

# Removes what this pattern names in the folder of this key.
packages::_sweep() {
    find "$packages_own" -mindepth 1 -maxdepth 1 -name "$1" -type d \
        -exec chmod --recursive u+w -- '{}' + -exec rm --recursive --force -- '{}' + 2>/dev/null || :
}

# What this job's tasks had begun to install when they died.
packages::_forget() {
    if [[ -z $packages_key || ! -O $packages_dir ]]; then return 0; fi
    packages_own=$packages_dir
    packages::_sweep ".install.$job.*"
}
