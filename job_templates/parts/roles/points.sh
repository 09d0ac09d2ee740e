# shellcheck shell=bash disable=SC2034,SC2154
#
# The points of a sweep, for an array only: reads one of them by its place in the file that tfslurm/sweeps/points_file.py
# writes, and runs several one after another in one task of an array.
#
# Neither Python nor jq. Two seeks and two short reads, however long the file is.

# The point of a sweep that this task of an array runs, or that it runs now: its command, and what it has more of variables.
node::_point() {
    local place=${SLURM_ARRAY_TASK_ID-}
    if ((points_per_job > 1)); then
        place=${TFSLURM_POINT-}
        job+=.$place
    fi
    node::_points
    if ! point::read "/proc/$$/fd/$points_file" "$points" "$place"; then
        printf 'tfslurm: job.sbatch: %s: %s\n' "$run_dir/points" "${point_error#"/proc/$$/fd/$points_file: "}" >&2
        exit "$EX_CONFIG"
    fi
    exec {points_file}<&-
    command=("${point_argv[@]}")
    environment+=(${point_env[@]+"${point_env[@]}"})
}

# The file of points must be the one that was sent: opened here, in points_file, it is looked at and then read, whatever its name
# means by then. Another user could change his own after the look.
node::_points() {
    local state='' sum=''
    { exec {points_file}<"$own_dir/points"; } 2>/dev/null || points_file=''
    if [[ -n $points_file && -O /proc/$$/fd/$points_file ]]; then
        state=$(stat --dereference --format='%d %i %s %Z %Y %a %u' -- "/proc/$$/fd/$points_file") || state=''
        if known::is "points-$points_sha256" "$state"; then return; fi
        sum=$(sha256sum <"/proc/$$/fd/$points_file") || sum=''
    fi
    if [[ ${sum%% *} != "$points_sha256" ]]; then
        printf 'tfslurm: job.sbatch: %s: is not the file that was sent; submit again\n' "$run_dir/points" >&2
        exit "$EX_CONFIG"
    fi
    known::keep "points-$points_sha256" "$state" "/proc/$$/fd/$points_file"
}

# point::read FILE COUNT PLACE: sets point_id, point_parameters (JSON), point_env (NAME=VALUE each) and point_argv, byte for
# byte. Fails, with the reason in point_error, where the file does not hold that point whole.
point::read() {
    local file=$1 count=$2 place=$3 line='' word number
    local -a words=()
    local LC_ALL=C
    point_id='' point_parameters='' point_env=() point_argv=() point_error=''
    if ! [[ $place =~ ^(0|[1-9][0-9]{0,8})$ && $place -lt $count ]]; then
        point_error="there is no point $place among $count"
        return 1
    fi
    line=$(dd if="$file" bs=27 skip="$place" count=1 status=none 2>&1) || :
    if ! [[ $line =~ ^([0-9]{16})\ ([0-9]{9})$ ]]; then
        point_error="$file: cannot be read at point $place: $line"
        return 1
    fi
    while IFS= read -r -d '' word; do words+=("$word"); done < <(
        dd if="$file" bs=64K iflag=fullblock,skip_bytes,count_bytes status=none \
            skip="$((10#${BASH_REMATCH[1]}))" count="$((10#${BASH_REMATCH[2]}))" 2>/dev/null
    )
    number=${words[3]-}
    if [[ ${words[0]-} != "$place" || ! $number =~ ^(0|[1-9][0-9]{0,5})$ ||
        ${words[4 + number]-} != "$((${#words[@]} - number - 5))" ]]; then
        point_error="$file: point $place is not whole"
        return 1
    fi
    point_id=${words[1]} point_parameters=${words[2]}
    point_env=("${words[@]:4:number}")
    point_argv=("${words[@]:5 + number}")
}

# Batch role of a task that runs several points. Each runs by this very script as if it had no other, with the words
# `point PLACE`, for which this comes back at once; without words it runs all of them and exits, with the first code that
# is not 0. A point that came to an end of its own before the job was queued again is left alone; one that comes to none,
# because the job is stopped or queued again, or its script was killed, is the last.
point::in_turn() {
    if [[ ${1-} == point ]]; then
        export TFSLURM_POINT=$2
        return
    fi
    local -i place first=$((${SLURM_ARRAY_TASK_ID:?} * points_per_job)) highest
    local code=0
    highest=$((first + points_per_job < points ? first + points_per_job - 1 : points - 1))
    stopped='' waited_for='' interrupted=''
    point::_watch </dev/null >/dev/null 2>&1 &
    point_watch=$!
    trap 'kill -s KILL "$point_watch" 2>/dev/null || :' EXIT
    # Slurm tells this script, or all of its processes; for a point that hears it twice the second time is harmless.
    trap 'node::_batch_told TERM' TERM INT HUP
    if [[ -n $checkpoint_signal ]]; then trap 'node::_batch_told "$WARNING"' "$WARNING"; fi
    for ((place = first; place <= highest; place++)); do
        job=${SLURM_ARRAY_JOB_ID:?}_$SLURM_ARRAY_TASK_ID.$place
        if ! point::_has_ended; then
            point::_run
            point::_has_ended || exit "$waited_code" # with this script Slurm ends what a point may have left
        fi
        if ((code == 0)); then code=$waited_code; fi
        if [[ -n $stopped ]]; then break; fi
    done
    exit "$code"
}

# Where the slurmstepd of this script was lost, nobody but this script would know: it goes, which its point notices.
point::_watch() {
    local stat bell
    node::_deaf
    exec {bell}<> <(:) # nothing is ever written to it
    while read -r -t 1 -u "$bell" || IFS= read -r stat <"/proc/$$/stat"; do
        if supervision::_is_attended "$stat"; then continue; fi
        kill -s KILL $$
        return
    done
}

# Its exit code is in waited_code.
point::_run() {
    bash "$0" point "$place" >>"$own_dir/slurm-$job.out" 2>&1 </dev/null &
    waited_for=$!
    if [[ -n $stopped ]]; then kill -s TERM "$waited_for" 2>/dev/null || :; fi # it came before there was anybody to tell
    node::_wait "$waited_for"
    waited_for=''
    waited_code=${waited_code:-1} # bash forgot it; what the point wrote itself is asked next
}

# Did the last attempt of this point come to an end of its own, rather than to none or by what befell the job? The code that
# it wrote down is in waited_code.
point::_has_ended() {
    local latest end folder=$own_dir/$job
    if [[ ! -r $folder/latest ]]; then return 1; fi
    IFS= read -r latest <"$folder/latest" || return 1
    if [[ ! -r $folder/$latest/exit.json ]]; then return 1; fi
    end=$(<"$folder/$latest/exit.json")
    [[ $end =~ \"exit_code\":\ ([0-9]+) ]] || return 1
    waited_code=${BASH_REMATCH[1]}
    case $end in *'"cause": "requeued"'* | *'"cause": "stopped"'*) return 1 ;; esac
}
