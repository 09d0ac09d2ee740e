#!/bin/sh
# What a submission that was cut off left; after this no sbatch of it can begin. $1 parent, $2 name of the run folder. Prints one
# word (absent, busy, answer, doubt), and behind the last two what is there.
#
# Over NFS a folder goes only when nobody has a file of it open. What is there and is no folder of the caller's is not touched,
# and a file of it that is none (a link, a pipe) is not opened.
. ./refuse.sh
. ./run-folder.sh
set -u
export LC_ALL=C
run="$1/$2"
is_named "$1" "$2" || refuse "is not the name of a run folder"
rm -rf -- "$1/.$2."????????
if [ ! -d "$run" ] && [ ! -L "$run" ]; then
    (umask 077 && mkdir -p -- "$1")
    new=$(mktemp -d -- "$1/.$2.XXXXXXXX") || exit 1
    if : >"$new/abandoned" && mv --no-target-directory -- "$new" "$run" 2>/dev/null; then
        echo absent
        exit 0
    fi
    rm -rf -- "$new"
    [ -d "$run" ] || exit 1
fi
is_mine "$1" "$2" || refuse "is no folder of yours; nothing was changed"
if [ -e "$run/abandoned" ]; then
    echo absent
    exit 0
fi
for one in submit.lock sbatch.answer sbatch.began; do
    if [ -L "$run/$one" ] || { [ -e "$run/$one" ] && [ ! -f "$run/$one" ]; }; then refuse "its $one is no regular file"; fi
done
exec 9>>"$run/submit.lock" || exit 1
flock --wait 20 --conflict-exit-code 75 9
[ "$?" -ne 75 ] || {
    echo busy
    exit 0
}
if [ -s "$run/sbatch.answer" ]; then
    echo answer
    head -c 65536 -- "$run/sbatch.answer"
elif [ -e "$run/sbatch.began" ]; then
    echo doubt
    # shellcheck disable=SC2012  # the names of jobs' folders
    ls -- "$run" | head -c 65536
else
    rm -rf -- "$run" 2>/dev/null || {
        exec 9>&-
        rm -rf -- "$run"
    } && echo absent
fi
