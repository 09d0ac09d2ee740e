#!/bin/sh
# $1 ROOT/runs, $2 the run folder's name, $3 the line of its points.jsonl; a link is not followed, a pipe not waited for.
. ./refuse.sh
. ./run-folder.sh
is_mine "$1" "$2" || refuse "is in no run folder of yours"
file="$1/$2/points.jsonl"
if [ ! -f "$file" ] || [ -L "$file" ]; then refuse "is no regular file"; fi
sed -n "$3{p;q}" "$file" | head -c 1048576
