#!/bin/bash
# $1 a folder, then names of files in it; on stdin names of folders in it, a NUL after each. Out comes what these are and hold, as
# list-outputs.sh says it, `recorded`, and the sums of the small files. What a program has as its home, its private copy of the
# code and its scratch folder is left out.
. ./refuse.sh
export LC_ALL=C
[ -d "$1" ] || exit 0
if [[ -L $1 || -L ${1%/*} ]]; then refuse "is a link, or in one, which is not followed"; fi
[ -O "$1" ] || refuse "is another user's"
cd -- "$1" || exit
shift
starts=()
for name; do
    if [ -f "./$name" ] && [ ! -L "./$name" ]; then starts+=("./$name"); fi
done
while IFS= read -r -d '' name; do
    if [ -d "./$name" ] && [ ! -L "./$name" ]; then starts+=("./$name"); fi
done
own=(-regextype posix-extended -regex '\./[0-9_.]+/attempt-[0-9]+/(home|program|workspace)' -prune -o)
for ((at = 0; at < ${#starts[@]}; at += 1000)); do
    find "${starts[@]:at:1000}" -ignore_readdir_race "${own[@]}" \
        -type f -printf 'f %s %b %m %T@ %p\0' -o -type l -printf 'l %p\0%l\0' -o ! -type d -printf 'o %p\0' || exit
done
printf 'recorded\0'
for ((at = 0; at < ${#starts[@]}; at += 1000)); do
    find "${starts[@]:at:1000}" -ignore_readdir_race "${own[@]}" -type f -size -2049 -print0 |
        xargs --null --no-run-if-empty sha256sum --zero --
done
exit 0
