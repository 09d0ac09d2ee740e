#!/bin/bash
# $1 folder, $2 first byte from 1, $3 how many, $4 and its words: through what they come (gzip -1 for a file with holes); the name
# on stdin.
cd -- "$1" || exit
IFS= read -r -d '' name || exit
[ -f "./$name" ] && [ ! -L "./$name" ] || exit 0
tail -c "+$2" -- "./$name" | head -c "$3" | "${@:4}"
