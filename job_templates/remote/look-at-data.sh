#!/bin/bash
# On stdin paths, each ended by NUL. Out comes a line for each: `f` a file and its size, `d` a folder and the size of all its files,
# `-` nothing is there, `?` it cannot be looked at. A link is followed, as a mount follows it. A size that takes too long is -.
export LC_ALL=C
is_gone() {
    local above=$1
    while [ ! -e "$above" ] && [ "$above" != / ]; do above=$(dirname -- "$above"); done
    [ ! -d "$above" ] || [ -x "$above" ]
}
all_sizes() {
    local -i sum=0 size
    while read -r size; do sum+=$size; done
    echo "$sum"
}
while IFS= read -r -d '' path; do
    kind='?' bytes=-
    if [ -f "$path" ]; then
        kind=f
        bytes=$(stat --dereference --format=%s -- "$path") || bytes=-
    elif [ -d "$path" ]; then
        kind=d
        if [ -x "$path" ] && [ -r "$path" ]; then
            bytes=$(set -o pipefail && timeout 15 find -H "$path" -type f -printf '%s\n' 2>/dev/null | all_sizes) || bytes=-
        else
            kind='?'
        fi
    elif [ ! -e "$path" ] && is_gone "$path"; then
        kind=-
    fi
    printf '%s %s\n' "$kind" "$bytes"
done
