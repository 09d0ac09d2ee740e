# shellcheck shell=bash disable=SC2034,SC2154
#
# The code folder, held against what was sent.

# Is the tree what was sent? Looked at beside everything else that must be asked; the answer is in code-check.txt.
code::look() {
    code_look=''
    if [[ -z $code_dir ]]; then return; fi
    if [[ -z $code_contents ]]; then
        printf 'unknown: not verified on the node: an older tfslurm made the plan\n' >"$facts/code-check.txt"
        return
    fi
    (
        node::_deaf
        code::_verify
    ) >"$facts/code-check.txt" 2>/dev/null </dev/null &
    code_look=$!
}

code::check() {
    local said=''
    if [[ -z $code_look ]]; then return; fi
    node::_wait "$code_look" node::_is_stopped
    IFS= read -r said <"$facts/code-check.txt" || :
    if [[ -z $said ]]; then task::_stop_if_told; fi
    if [[ $said != ok:* ]]; then
        task::refuse code "${said#failed: }" "remove $code_dir (chmod -R u+w, rm -r), then submit again"
    fi
}

# One line: ok, or failed and why. An earlier look of this user's on this node counts while no file or folder of the tree has
# changed since: every change moves a ctime, which nobody can set.
code::_verify() {
    local state='' sum=''
    export LC_ALL=C
    if ! cd -- "/proc/$$/fd/$code_file/."; then
        printf 'failed: %s cannot be entered\n' "$code_dir"
        return
    fi
    read -r state _ < <(find . -printf '%D %i %s %C@ %m %U %y %p\0' | sha256sum) # all but what is in the files
    if known::is "code-$code_contents" "$state"; then
        printf 'ok: every file is what was sent (known on this node; no file has changed since)\n'
        return
    fi
    sum=$(code::_list | sha256sum) || sum=''
    if [[ ${sum%% *} != "$code_contents" ]]; then
        printf 'failed: %s does not hold what was sent, no file more and none less\n' "$code_dir"
        return
    fi
    printf 'ok: every file is what was sent\n'
    known::keep "code-$code_contents" "$state" .
}

# The list that tfslurm/snapshot/files.py makes of what it sends; what it cannot hold, a name that begins so, makes it another:
# so does what somebody else may change after this look.
code::_list() {
    if sha256sum --zero </dev/null >/dev/null 2>&1; then # coreutils 8.25
        find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero -- || return
    else
        local path sum
        while IFS= read -r -d '' path; do
            sum=$(sha256sum <"$path") || return
            printf '%s  %s\0' "${sum%% *}" "$path"
        done < <(find . -type f -print0 | sort --zero-terminated)
    fi
    find . -type l -printf '%s %p -> %l\0' | sort --zero-terminated || return
    find . -type f -perm -u=x -printf 'x %p\0' | sort --zero-terminated || return
    find . '(' -type d -empty -o ! -type f ! -type l ! -type d -o ! -uid "$EUID" -o ! -type l -perm /022 ')' -printf '? %p\0'
}
