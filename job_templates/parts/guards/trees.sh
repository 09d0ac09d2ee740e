# shellcheck shell=bash disable=SC2034,SC2154
#
# A folder whose every file is known by a list of SHA-256, held against that list.

# One line: ok, or failed and why. $1 is the folder, opened; $2 the list's sha256; $3 the name under which an earlier look of this
# user's on this node is remembered, which counts while no file or folder of the tree has changed since: every change moves a
# ctime, which nobody can set. $4 is how the folder is called, $5 what was done with the files: sent, installed.
tree::verify() {
    local state='' sum=''
    export LC_ALL=C
    if ! cd -- "/proc/$$/fd/$1/."; then
        printf 'failed: %s cannot be entered\n' "$4"
        return
    fi
    read -r state _ < <(find . -printf '%D %i %s %C@ %m %U %y %p\0' | sha256sum) # all but what is in the files
    if known::is "$3" "$state"; then
        printf 'ok: every file is what was %s (known on this node; no file has changed since)\n' "$5"
        return
    fi
    sum=$(tree::list | sha256sum) || sum=''
    if [[ ${sum%% *} != "$2" ]]; then
        printf 'failed: %s does not hold what was %s, no file more and none less\n' "$4" "$5"
        return
    fi
    printf 'ok: every file is what was %s\n' "$5"
    known::keep "$3" "$state" .
}

# The list of the current folder that tfslurm/snapshot/files.py makes of what it sends; what it cannot hold, a name that begins
# so, makes it another: so does what somebody else may change after this look.
tree::list() {
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
