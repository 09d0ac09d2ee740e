# shellcheck shell=bash disable=SC2034,SC2154
#
# Batch role: what the program left in its outputs, and what there belongs to somebody else.

# What the program left in `outputs`: sizes first, for they are cheap, then the sha256 of every file. It may be any number of
# files of any size, so this script waits for it as for everything else: SIGTERM can come.
outputs::list() {
    local sums why='a file could not be read, or its path is too long; see the output of the job'
    if [[ -z $outputs ]]; then return; fi
    outputs::_look &
    sums=$!
    if [[ -z $stopped ]]; then node::_wait "$sums" node::_is_stopped; fi
    if [[ -n $stopped ]]; then # SIGKILL is near: what cannot be read in time is left out whole
        local -i left_s=${kill_wait:-5}/2
        why='the job was being stopped'
        timer::start "$left_s" "$sums"
        node::_wait "$sums"
        timer::end
    fi
    if [[ -e $attempt_dir/outputs.sha256 ]]; then return; fi
    printf 'not hashed: %s\n' "$why" >"$attempt_dir/outputs.sha256.error"
    rm --force "$attempt_dir/outputs.sha256.tmp"
}

# The group reads outputs once no program writes there any more: one that a program leaves with the bit for it runs as this
# user, whoever starts it. Where find may not look, nobody else may either.
outputs::open() {
    local folder
    for folder in "$attempt_dir"/facts/task-*/; do
        if [[ -d $folder && ! -e $folder/exit.json ]]; then return 0; fi
    done
    find "$job_dir/out" '(' -type f -perm /6022 -exec chmod ug-s,go-w -- {} + ')' \
        -o '(' -type d -perm /022 -exec chmod go-w -- {} + ')' && chmod g=rX -- "$job_dir/out"
}

# In a process of its own.
outputs::_look() {
    cd "$job_dir/out" || exit
    find . -type f -printf '%s %P\0' >"$attempt_dir/outputs.sizes.tmp" || exit
    mv -- "$attempt_dir/outputs.sizes.tmp" "$attempt_dir/outputs.sizes"
    if [[ -s $attempt_dir/outputs.sizes ]]; then outputs::_sums; else : >"$attempt_dir/outputs.sha256"; fi
}

# What in the job's folder belongs to somebody else: the user may be unable to remove it. There should be nothing.
foreign::look() {
    local found=$attempt_dir/foreign-files patience_s=20 first
    if [[ -n $stopped ]]; then patience_s=2; fi # SIGKILL is near
    first=$(timeout "$patience_s" find "$job_dir" ! -uid "$EUID" -print -quit 2>/dev/null </dev/null) || :
    if [[ -z $first ]]; then return 0; fi
    if [[ -z $stopped ]]; then sleep 1; fi # what vanishes while it is looked at does not count
    timeout "$patience_s" find "$job_dir" ! -uid "$EUID" -printf '%U %P\0' >"$found" 2>/dev/null </dev/null || :
    if [[ ! -s $found ]]; then
        rm --force "$found"
        return 0
    fi
    printf 'tfslurm: %s: %s: holds files that do not belong to %s, see %s\n' "$job" "$job_dir" "$user" "$found" >&2
}

# What reads the files is ended with this process: `timeout` passes a signal on to all that it started.
outputs::_sums() {
    local reader
    trap 'kill -s TERM "$reader"; exit 143' TERM
    # shellcheck disable=SC2016  # the inner bash reads it
    timeout 0 bash -c 'set -o pipefail
        find . -type f -print0 | sort --zero-terminated |
            if sha256sum --zero </dev/null >/dev/null 2>&1; then # coreutils 8.25
                xargs --null --no-run-if-empty sha256sum --zero --
            else
                while IFS= read -r -d "" path; do
                    sum=$(sha256sum <"$path") && printf "%s  %s\0" "${sum%% *}" "$path"
                done
            fi' >"$attempt_dir/outputs.sha256.tmp" &
    reader=$!
    wait "$reader" && mv -- "$attempt_dir/outputs.sha256.tmp" "$attempt_dir/outputs.sha256"
}
