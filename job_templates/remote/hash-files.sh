#!/bin/bash
# $1 folder; on stdin how many bytes and a name, both ended by NUL, as often as wanted. One line each: a sha256 or `-`.
cd -- "$1" || exit
while IFS= read -r -d '' n && IFS= read -r -d '' name; do
    sum=-
    [ -f "./$name" ] && [ ! -L "./$name" ] && [ -r "./$name" ] && sum=$(head -c "$n" -- "./$name" | sha256sum)
    echo "${sum%% *}"
done
