#!/bin/bash
# What a cluster has free. $1 how many words the first command has, then it, and the second. Out comes what the first printed and
# all that the second said, a group separator after each, and the time now.
. ./unsteered.sh
"${@:2:$1}" </dev/null
printf '\035'
unsteered "${@:$1+2}" 2>&1 </dev/null
printf '\035'
date +%s
