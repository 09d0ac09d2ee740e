#!/bin/bash
# What jobs wrote about their own ends. On stdin, for each job, ROOT/runs, the run folder's name, the job's folder in it, and 1
# where its secrets are to go, each ended by NUL. Out comes for each `=` and the end that its last attempt wrote ({}: none yet),
# nothing where there is no attempt, or `gone` where there is no run folder, and NUL. At most $1 bytes of each. No program is
# started for one: there may be many. No link is followed.
. ./run-folder.sh
. ./last-attempt.sh
export LC_ALL=C
while IFS= read -r -d '' runs && IFS= read -r -d '' name && IFS= read -r -d '' job && IFS= read -r -d '' forget; do
    run=$runs/$name
    if [ ! -e "$run" ]; then
        printf 'gone\0'
        continue
    fi
    last=0
    if is_mine "$runs" "$name" && [ ! -L "$run/$job" ]; then
        [ "$forget" = 0 ] || rm -rf -- "$run/secrets"
        last_attempt "$run/$job"
    fi
    if [ "$last" = 0 ]; then
        printf '\0'
        continue
    fi
    end='{}' file=$run/$job/attempt-$last/exit.json
    [ ! -f "$file" ] || [ -L "$file" ] || IFS= read -r -d '' -n "$1" end <"$file" || :
    printf '=%s\0' "$end"
done
