# shellcheck shell=bash disable=SC2034,SC2154
#
# What every role uses: who and what this is, time, JSON, files written whole, and what is remembered on a node.
#
# The parts are packed into two files that are sent beside job.sbatch, which has set the settings and `set -euo pipefail`:
# node.sh, which every role reads, and task.sh, which those read too that the batch role starts on the nodes.
#
#   batch   node::begin, node::batch   once per attempt, on the first node: starts one task per srun task, keeps the end
#   prepare node::prepare              before several tasks, once per task: has the image pulled, says where it can be reached
#   task    node::task                 once per task, on its node: observe, guard, run one container, observe again
#   cleanup node::cleanup              once per node, only when a task died without an end: ends and removes its container
#   exec    node::exec                 when somebody asks: a command in the container of a task that runs
#
# They observe, guard, run and write what they saw to files, one per observation; nothing here reads meaning into them.
# A link that does not hold ends the task with 78 before the program starts, an engine that fails with 75; there is no
# falling back. Needs bash 4.2, coreutils, findutils, flock and docker or podman; nvidia-smi where there are GPUs.

readonly EX_TEMPFAIL=75 EX_CONFIG=78
readonly WARNING=URG # see lifecycle/checkpoint

# Who and what this is, from Slurm or from the caller that runs without it.
node::_job() {
    if ((${#engine_environment[@]})); then export -- "${engine_environment[@]}"; fi
    is_local='' interrupted=''
    if [[ -n ${TFSLURM_LOCAL_JOB_ID-} ]]; then is_local=yes; fi
    raw_job_id=${TFSLURM_LOCAL_JOB_ID:-${SLURM_JOB_ID:-}}
    where=${SLURMD_NODENAME:-${HOSTNAME-}}
    if [[ -z $raw_job_id ]]; then
        printf 'tfslurm: job.sbatch: this is not a job: SLURM_JOB_ID is not set; submit it: sbatch %s/job.sbatch\n' "$run_dir" >&2
        exit "$EX_CONFIG"
    fi
    job=$raw_job_id
    if [[ -z $is_local && -n ${SLURM_ARRAY_JOB_ID-} ]]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
    if ((${points:-0} > 0)); then node::_point; fi
    job_dir=$own_dir/$job
}

node::_user() {
    user=${SLURM_JOB_USER:-${USER-}}
    if [[ -z $user ]]; then user=$(id --user --name 2>/dev/null) || user=$EUID; fi
}

# RFC 3339 in UTC, in now; with milliseconds where bash knows them (5.0).
time::now() {
    local TZ=UTC0 fraction=''
    if [[ -n ${EPOCHREALTIME-} ]]; then
        fraction=${EPOCHREALTIME##*[.,]}
        fraction=.${fraction:0:3}
        printf -v now '%(%Y-%m-%dT%H:%M:%S)T%sZ' "${EPOCHREALTIME%%[.,]*}" "$fraction"
    else
        printf -v now '%(%Y-%m-%dT%H:%M:%S)TZ' -1
    fi
}

# Whole or not at all. Where it fails, the reason is on standard error, which may be on the same file system: an end that
# cannot be written is told by the exit code too.
node::_write() {
    if { printf '%s\n' "$2" >"$1.tmp" && mv --no-target-directory -- "$1.tmp" "$1"; } 2>/dev/null; then return 0; fi # see task::_told_to_stop
    printf 'tfslurm: %s: root: %s cannot be written: the file system is full, read-only or gone; free space there, then submit again\n' \
        "$where" "$1" >&2 || :
    return 1
}

# json::object KEY KIND VALUE …  -> json. Kinds: s text, o text or null when empty, n as it stands, l a list of one text.
json::object() {
    json='{'
    while (($#)); do
        if [[ $json != '{' ]]; then json+=', '; fi
        json::string "$3"
        case $2 in
        n) json_text=$3 ;;
        o) if [[ -z $3 ]]; then json_text=null; fi ;;
        l) json_text="[$json_text]" ;;
        esac
        json+="\"$1\": $json_text"
        shift 3
    done
    json+='}'
}

# Any bytes -> a JSON string in json_text; what is not UTF-8 becomes U+FFFD, byte by byte.
json::string() {
    local LC_ALL=C rest=$1 char escape
    local -r utf8=$'^([\x01-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf][\x80-\xbf]|[\xf1-\xf3][\x80-\xbf][\x80-\xbf][\x80-\xbf]|\xf4[\x80-\x8f][\x80-\xbf][\x80-\xbf])'
    json_text=''
    while [[ -n $rest ]]; do
        char=${rest%%[!\ !#-\[\]-~]*} # the longest run that needs nothing
        json_text+=$char
        rest=${rest:${#char}}
        if [[ -z $rest ]]; then break; fi
        char=${rest:0:1}
        if [[ $rest =~ $utf8 ]]; then char=${BASH_REMATCH[1]}; fi
        case $char in
        \" | \\) json_text+=\\$char ;;
        [$'\x01'-$'\x1f'$'\x7f'])
            printf -v escape '\\u%04x' "'$char"
            json_text+=$escape ;;
        [$'\x80'-$'\xff']) json_text+='\ufffd' ;;
        *) json_text+=$char ;;
        esac
        rest=${rest:${#char}}
    done
    json_text="\"$json_text\""
}

# The signal behind an exit code as shells and docker write it, in signal; null where there is none.
json::signal() {
    signal=null
    if (($1 > 128 && $1 <= 192)); then signal=$(($1 - 128)); fi
}

# What was hashed on this node, and what its inodes were like then, in a folder that only this user can write in. A missing
# one, or another's, means that it is hashed again.
known::is() {
    local folder=/tmp/tfslurm-$EUID was=''
    if [[ -z $2 || -L $folder || ! -O $folder || -L $folder/$1 || ! -O $folder/$1 || ! -f $folder/$1 ]]; then return 1; fi
    IFS= read -r was <"$folder/$1"
    [[ $was == "$2" ]]
}

# Not while a change could still have the ctime that was seen: clocks have a grain.
known::keep() {
    local folder=/tmp/tfslurm-$EUID
    if [[ -z $2 ]] || ! folder::is_alone "$folder"; then return 0; fi
    if [[ -n $(find -H "$3" -newerct '3 seconds ago' -print -quit) ]]; then return 0; fi
    printf '%s\n' "$2" >"$folder/$1.$BASHPID" && mv -- "$folder/$1.$BASHPID" "$folder/$1"
}

# Makes a folder if need be, for this user alone, whatever the umask and the folder above say. Fails where it is not.
folder::is_alone() {
    if [[ ! -d $1 ]]; then mkdir --mode=0700 "$1" 2>/dev/null || :; fi
    [[ $(stat --format='%a %u %F' "$1" 2>/dev/null) =~ ^[2-7]?700\ $EUID\ directory$ ]]
}

# Where answers of earlier jobs are kept, beside the run folders. What somebody else could write in is not used at all.
images::folder() { folder::is_alone "$images_dir"; }

# Has it an answer that this user wrote?
images::has() { [[ ! -L $1 && -O $1 && -f $1 ]]; }
