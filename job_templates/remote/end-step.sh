#!/bin/bash
# Ends the step of the name $2 of the job $1, where it still runs.
. ./unsteered.sh
unset -v "${!SQUEUE_@}" "${!SCANCEL_@}" # a user's own would change what is asked
while read -r step name; do
    if [[ $name == "$2" && $step =~ ^[0-9_]+\.[0-9]+$ ]]; then unsteered scancel --signal=TERM "$step"; fi
done < <(unsteered squeue --steps --noheader --jobs="$1" --format='%i %j')
