#!/bin/bash
# Several commands, each whatever the others gave: for each how many words it has, then these. Out comes for each what it printed,
# then between two group separators its exit code and stderr.
exec 4>&1
while (($#)); do
    said=$("${@:2:$1}" 2>&1 >&4 </dev/null)
    printf '\035%s\037%s\035' "$?" "$said"
    shift "$(($1 + 1))"
done
