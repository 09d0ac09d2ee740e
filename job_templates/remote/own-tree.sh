# shellcheck shell=sh disable=SC3067  # dash has -O too
# own_tree FOLDER: a tree of code that is there is the user's own, whatever it holds: another user could change it after it was
# looked at. It is closed to others.
# count_files FOLDER: how many files and links it has.
# list_files: what the current folder holds, as the client's list of a snapshot has it (snapshot/files.py, contents).

. ./refuse.sh

own_tree() {
    if [ -L "$1" ] || [ ! -O "$1" ]; then refuse "$1 is a link, or another user's; move it away"; fi
    chmod go-rwx -- "$1"
}

count_files() {
    dots=$(find "$1" '(' -type f -o -type l ')' -printf .)
    echo "${#dots}"
}

list_files() {
    find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero
    find . -type l -printf '%s %p -> %l\0' | sort --zero-terminated
    find . -type f -perm -u=x -printf 'x %p\0' | sort --zero-terminated
}
