#!/usr/bin/env bash
# The points of a sweep on a node: reads one of them by its place in the file that tfslurm/sweep/table.py writes.
#
# shellcheck disable=SC2034  # what is set here is read by who sources it
#
# Sourced. Needs bash 4.2 and coreutils; neither Python nor jq. Two seeks and two short reads, however long the file is.

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
