#!/bin/bash
# Has an image pulled on nodes, a job for each. The node's script comes on stdin. $1 ROOT/images, $2 the folder to make in it, $3
# and $4 guard's GROUP and ACCEPT, $5 how many nodes follow, then these; how many options of sbatch follow, then these; then the
# script's own words. Out comes for each node its name, sbatch's exit code and its answer, a unit separator after each of the
# first two, and a NUL after the last.
. ./folder-permissions.sh
. ./unsteered.sh
guard "$1" "$3" "$4"
set -eu
umask 077
folder=$1/$2
# what a client left that was killed
find "$1" -mindepth 1 -maxdepth 1 -type d -name 'pull-*' -mtime +1 -exec rm -rf -- '{}' +
mkdir -- "$folder"
cat >"$folder/pull.sh"
shift 4
nodes=("${@:2:$1}")
shift "$(($1 + 1))"
options=("${@:2:$1}")
shift "$(($1 + 1))"
for node in "${nodes[@]}"; do
    words=("${options[@]}" "--nodelist=$node" "--output=$folder/$node.log" "$folder/pull.sh" "$folder" "$@")
    code=0
    answer=$(unsteered sbatch "${words[@]}" 2>&1 </dev/null) || code=$?
    printf '%s\037%s\037%s\0' "$node" "$code" "${answer:0:2000}"
done
