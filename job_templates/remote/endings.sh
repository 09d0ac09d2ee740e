#!/bin/bash
# What jobs that have ended left for a reader. On stdin, for each job, ROOT/runs, the run folder's name, the job's folder in it and
# the batch script's output, each ended by NUL. Out comes for each a line and what it announces: which file told last (err, out,
# script, or none), how many bytes of that file's end follow it, at most $1, how many bytes of the list of files that are gone with
# the container follow those, at most $2, and 1 where the outputs hold something. No link is followed.
#
# Of several tasks the first one tells that failed by itself. stdout tells where stderr is empty, and the batch script where the
# program was not started.
. ./run-folder.sh
. ./last-attempt.sh
export LC_ALL=C

# In rank: the first task that ended with another code than 0 and was not told to; 0 where there is none.
failed_rank() {
    local end events
    for ((rank = 0; rank < 4096; rank++)); do
        [ -d "$1/facts/task-$rank" ] || break
        end='' events=''
        [ -L "$1/facts/task-$rank/exit.json" ] || IFS= read -r -d '' -n 1024 end 2>/dev/null <"$1/facts/task-$rank/exit.json"
        [ -L "$1/facts/task-$rank/events.tsv" ] || IFS= read -r -d '' -n 65536 events 2>/dev/null <"$1/facts/task-$rank/events.tsv"
        [[ ! $end =~ \"exit_code\":\ [1-9] || $events == *$'\t'@(told-to-stop|swept)$'\t'* ]] || return
    done
    rank=0
}

# In size: how many bytes a file has, at most $2.
size_of() {
    size=0
    [ ! -f "$1" ] || [ -L "$1" ] || size=$(wc -c <"$1")
    [ "$size" -le "$2" ] || size=$2
}

shopt -s nullglob dotglob extglob
while IFS= read -r -d '' runs && IFS= read -r -d '' name && IFS= read -r -d '' job && IFS= read -r -d '' log; do
    run=$runs/$name last=0
    if ! is_mine "$runs" "$name"; then
        echo none 0 0 0
        continue
    fi
    [ -L "$run/$job" ] || last_attempt "$run/$job"
    attempt=$run/$job/attempt-$last
    failed_rank "$attempt"
    facts=$attempt/facts/task-$rank mark=.$rank
    [ "$rank" != 0 ] || mark=''
    stream=script file=$run/$log
    if [ -s "$facts/container-id.txt" ] && [ ! -s "$facts/refused.txt" ]; then
        stream=err file=$attempt/stderr$mark.log
        [ -s "$file" ] || stream=out file=$attempt/stdout$mark.log
    fi
    size_of "$file" "$1"
    tail=$size
    size_of "$facts/container-diff.txt" "$2"
    outputs=("$run/$job/out"/*)
    echo "$stream $tail $size $((${#outputs[@]} > 0))"
    [ "$tail" = 0 ] || tail -c "$tail" "$file"
    [ "$size" = 0 ] || head -c "$size" "$facts/container-diff.txt"
done
