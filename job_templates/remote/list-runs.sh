#!/bin/bash
# $1 ROOT/runs, $2 the most bytes of the answer. Out come the caller's uid, then for each file that may be wanted, and each folder
# of a run or of a job, find's letter for its kind, its owner's uid, its size and its path; NUL after each.
export LC_ALL=C
[ -d "$1" ] || exit 0
cd -- "$1" || exit
too_deep=('(' -type d '('
    -path './*/*/*/*'
    -o -path './*/*/*' ! -name 'attempt-*'
    -o -path './*/*' ! -path './*/*/*' ! -name '[0-9]*'
    -o -path './.*' ! -path './*/*'
    ')' -prune ')')
wanted=('('
    ! -path './*/*' ! -path './.*'
    -o -path './*/*/*/*' -name exit.json
    -o -path './*/*' ! -path './*/*/*' '(' -name plan.json -o -name points.jsonl -o -name sbatch.answer -o -name '[0-9]*' ')'
    ')')
{
    printf '%s\0' "$(id -u)"
    find . -mindepth 1 -maxdepth 4 -ignore_readdir_race "${too_deep[@]}" , "${wanted[@]}" -printf '%y %U %s %P\0'
} | head -c "$2"
