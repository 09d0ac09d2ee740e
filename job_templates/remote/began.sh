#!/bin/bash
# How far the first task of a job is: $1 the job's folder. `held` where its container waits for a terminal, or has begun a service,
# and the task's last event, a line each; nothing where there is none yet.
. ./last-attempt.sh
[[ -d $1 && ! -L $1 && -O $1 ]] || exit 0
last_attempt "$1"
attempt=$1/attempt-$last events=$1/attempt-$last/facts/task-0/events.tsv
[[ ! -p $attempt/program/0/hold && ! -f $attempt/program/0/service.json ]] || echo held
[[ ! -f $events || -L $events ]] || tail -n 1 -- "$events" | head -c 400
