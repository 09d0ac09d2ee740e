#!/bin/sh
# The run folder, then sbatch. $1 to $4 as receive has them; $5 the code's folder or '', $6 its files; $7 and $8 guard's GROUP
# and ACCEPT; $9 how many words follow that ask why the new job waits, then these, then sbatch and its words. Exit 77: the code
# is not there.
#
# The answer is kept in the folder before it is told, because the line may be gone by then. Of an answer without end the first
# 64 KiB are read: sbatch dies of SIGPIPE then, with an exit code above 128. A group that may read writes in none of these files,
# nor in the job's, which has this umask.
. ./folder-permissions.sh
. ./own-tree.sh
. ./receive.sh
. ./unsteered.sh
if [ -n "$5" ]; then
    [ -d "$5" ] || exit 77
    own_tree "$5"
    there=$(count_files "$5")
    [ "$there" -eq "$6" ] ||
        refuse "$5 holds $there of its $6 files; was it cleaned up? Remove it there (chmod -R u+w, rm -r), then try again"
fi
# ask_why ID N WORDS…: runs the first N of the words, and says which job is meant.
ask_why() {
    new=$1 count=$2 others=$(($# - 2 - $2))
    shift 2
    while [ "$count" -gt 0 ]; do
        set -- "$@" "$1"
        shift
        count=$((count - 1))
    done
    shift "$others"
    "$@" "--jobs=$new"
}
guard "$1" "$7" "$8"
set -eu
export LC_ALL=C
receive "$1" "$2" "$3" "$4"
run="$1/$2"
open_run "$run"
[ -z "$7" ] || umask g=rx,o=
asks=$9
shift 9
exec 9>>"$run/submit.lock"
flock 9 || :
[ -f "$run/job.sbatch" ] || refuse "another command gave it up before that"
: >"$run/sbatch.began"
code=0
answer=$({ (shift "$asks" && unsteered "$@") || echo "$?" >"$run/sbatch.failed"; } | head -c 65536)
[ ! -s "$run/sbatch.failed" ] || code=$(cat -- "$run/sbatch.failed")
[ "$code" -ne 0 ] || printf '%s\n' "$answer" >"$run/sbatch.answer" || :
printf '%s\ntfslurm: sbatch ended with %s\n' "$answer" "$code"
set -f
for word in $answer; do
    case ${word%%;*} in '' | *[!0-9]*) ;; *) new=${word%%;*} ;; esac
done
[ "$asks" -eq 0 ] || [ "$code" -ne 0 ] || [ -z "${new:-}" ] || ask_why "$new" "$asks" "$@" 2>/dev/null 9>&- | head -c 4096
