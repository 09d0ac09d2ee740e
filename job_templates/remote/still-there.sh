#!/bin/bash
# On stdin paths, each ended by NUL. Out comes a letter for each: f a file, d a folder, - neither, or a link. No program is
# started, because there may be many.
export LC_ALL=C
while IFS= read -r -d '' path; do
    kind=-
    if [ ! -L "$path" ]; then
        if [ -f "$path" ]; then kind=f; elif [ -d "$path" ]; then kind=d; fi
    fi
    printf %s "$kind"
done
