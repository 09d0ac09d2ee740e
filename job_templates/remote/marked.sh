#!/bin/sh
# Runs $4 … between two marks, $1 and $2 with the exit code and >, and with $3 before PATH where it is not ''. It stands on one
# line in a login shell of any kind, so each line of it ends in what lets the next one follow.
begin=$1; end=$2;
if [ -n "$3" ]; then PATH=$3${PATH:+:$PATH}; export PATH; fi;
shift 3;
printf %s "$begin"; "$@"; s=$?; printf '%s%s>' "$end" "$s"; exit $s
