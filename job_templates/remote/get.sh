#!/bin/bash
# $1 folder, $2 most bytes of one file, $3 most bytes of all, $4 most files, then find's words that leave some out. On stdin the
# folders in it that are wanted, ended by NUL; none: all of it. One that is a link or another user's is left out. The small
# files come first, so that one that is too large takes no other's place. Out come size and path of those that are left out, NUL
# after each, one more NUL, and the others as tar, which ends with 1 where a file changed meanwhile, and with 2 where one has
# gone since, which is no error, or may not be read.
. ./refuse.sh
export LC_ALL=C
[ -d "$1" ] || {
    printf '\0'
    exit 0
}
if [[ -L $1 || -L ${1%/*} ]]; then refuse "is a link, or in one, which is not followed"; fi
[ -O "$1" ] || refuse "is another user's"
cd -- "$1" || exit
each=$2 most=$3 files=$4
shift 4
wanted=() taken=() total=0 left=0
while IFS= read -r -d '' one; do
    one=./$one
    if [ ! -d "$one" ]; then one=; elif [ -L "$one" ] || [ -L "${one%/*}" ] || [ ! -O "$one" ]; then one=; fi
    wanted+=("${one:-/dev/null}")
done
[ "${#wanted[@]}" -gt 0 ] || wanted=(.)
while IFS= read -r -d '' path; do
    size=${path%% *} path=${path#* ./}
    if [ "$size" -le "$each" ] && [ "$((total + size))" -le "$most" ] && [ "${#taken[@]}" -lt "$files" ]; then
        taken+=("./$path")
        total=$((total + size))
    elif [ "$((left += 1))" -le 100 ]; then
        printf '%s %s\0' "$size" "$path"
    fi
done < <(find "${wanted[@]}" -mindepth 1 -ignore_readdir_race "$@" -type f -printf '%s %p\0' | sort --zero-terminated --numeric-sort)
printf '\0'
[ "${#taken[@]}" -gt 0 ] || exit 0
printf '%s\0' "${taken[@]}" |
    tar --create --file=- --format=gnu --hard-dereference --no-recursion --null --files-from=-
code=$?
[ "$code" -le 2 ] || exit "$code"
[ "$code" -lt 2 ] || for one in "${taken[@]}"; do
    [ ! -e "$one" ] || [ -r "$one" ] || exit 2
done
