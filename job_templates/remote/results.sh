#!/bin/bash
# What the points of a sweep measured, and where. On stdin, for each job, its folder ended by NUL. Out comes for each how many
# files of its outputs fit the glob $3, at most $2 and one, then their names and texts, then each of the files ($6 …) of its last
# attempt's first task, all of them ended by NUL. At most $1 bytes of one text, $4 of all names and texts of a job, and $5 of one
# of the last files. No program is started: there may be many jobs. No link is followed, for they may lead anywhere.
. ./last-attempt.sh
export LC_ALL=C
most=$1 files=$2 glob=$3 room=$4 facts=$5
shift 5
shopt -s globstar nullglob

# Whether FOLDER and a path below it are no links, down to a regular file.
is_real() {
    local path=$1 rest=${2#./}
    [ ! -L "$path" ] || return 1
    while [ -n "$rest" ]; do
        path=$path/${rest%%/*}
        [ ! -L "$path" ] || return 1
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    done
    [ -f "$path" ]
}

# give FOLDER PATH BYTES
give() {
    text=
    [ "$3" -le 0 ] || ! is_real "$1" "$2" || IFS= read -r -d '' -n "$3" text <"$1/$2" || :
    printf '%s\0' "$text"
}

while IFS= read -r -d '' job; do
    [ ! -L "$job" ] && [ ! -L "${job%/*}" ] && [ -O "$job" ] || job=/dev/null
    last_attempt "$job"
    found=() left=$room
    if [ -d "$job/out" ] && [ ! -L "$job/out" ] && cd -- "$job/out"; then
        IFS=
        # shellcheck disable=SC2086  # it is a glob, and no word of it is split
        for file in ./$glob; do
            [ ! -f "$file" ] || [ "${#found[@]}" -gt "$files" ] || [ "$((left -= ${#file} + 2))" -le 0 ] || found+=("$file")
        done
    fi
    printf '%s\0' "${#found[@]}"
    for file in "${found[@]}"; do
        printf '%s\0' "${file#./}"
        give "$job/out" "$file" "$((left < most ? left : most))"
        left=$((left - ${#text}))
    done
    for name; do give "$job/attempt-$last" "facts/task-0/$name" "$facts"; done
done
