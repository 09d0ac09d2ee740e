#!/bin/bash
# $1 the job's folder. Out comes what is in its outputs, then the sums that its last attempt wrote. What find says that it cannot
# look into comes last: on stderr there may be a login's words.
. ./last-attempt.sh
export LC_ALL=C
if [[ -L $1 || -L ${1%/*} || ! -O $1 ]] || ! cd -- "$1" 2>/dev/null; then
    printf 'no folder\0'
    exit
fi
if [[ ! -d out || -L out ]]; then
    printf 'no outputs\0'
    exit
fi
last_attempt .
{
    said=$(find out -mindepth 1 -ignore_readdir_race '(' -type f -printf 'f %s %b %m %T@ %P\0' ')' \
        -o '(' -type l -printf 'l %P\0%l\0' ')' -o '(' -type d -empty -printf 'd %m %P\0' ')' \
        -o '(' -type d -printf 'D %m %P\0' ')' -o -printf 'o %P\0' 2>&1 >&3)
    code=$?
} 3>&1
printf 'recorded\0'
sums=attempt-$last/outputs.sha256
[ ! -f "$sums" ] || [ -L "$sums" ] || head -c 268435456 -- "$sums"
printf '\0unread\0%s' "$said"
exit "$code"
