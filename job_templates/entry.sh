#!/bin/sh
# The first program in the container, run by the user himself: watches the lifeline, checks the GPUs and, where
# gpu_check.py is mounted, TensorFlow's own view of them, exports the secrets, becomes the program.
#
#   entry.sh GRACE_S 'GPU-UUID …' 'SECRET …' WAIT PROGRAM [ARGUMENT …]
#
# POSIX sh: the image's shell may be any. Every name here has a prefix: an exported variable of the same name would
# otherwise reach the program changed. Ends with 78 where the program must not start.
tfslurm_grace=$1 tfslurm_expected=$2 tfslurm_secrets=$3 tfslurm_wait=$4
shift 4
tfslurm_notes=/run/tfslurm

tfslurm_say_no() {
    printf 'tfslurm: %s\n' "$1" >&2
    exit 78
}

# Where WAIT is not empty, the node looks at what was mounted before anything else happens here, and says `go`.
if [ -n "$tfslurm_wait" ]; then
    : >"$tfslurm_notes/waiting"
    read -r tfslurm_line || tfslurm_line=''
    [ "$tfslurm_line" = go ] || tfslurm_say_no 'mounts: what was mounted is not what was looked at'
fi

# Standard input is the lifeline: nothing more is ever written there, and its end means that nobody is left outside to end
# this container. The watcher is started by a child that ends at once, so that it is no child of the program.
exec 3<&0 </dev/null
tfslurm_watch() {
    trap '' TERM
    while read -r tfslurm_line <&3; do :; done
    kill -TERM -1
    sleep "$tfslurm_grace"
    kill -KILL -1
}
(tfslurm_watch >/dev/null 2>&1 &)
exec 3<&-

# Writes gpu-check.txt: ok, failed: … or unknown: …
tfslurm_check_gpus() {
    tfslurm_seen='' tfslurm_wrong=''
    if ! command -v nvidia-smi >/dev/null 2>&1; then
        for tfslurm_line in /dev/nvidia[0-9]*; do
            if [ -z "$tfslurm_expected" ] && [ -e "$tfslurm_line" ]; then
                tfslurm_verdict="failed: $tfslurm_line is here and no GPU was granted"
                return
            fi
        done
        tfslurm_verdict='ok'
        if [ -n "$tfslurm_expected" ]; then tfslurm_verdict='unknown: nvidia-smi is not in the container'; fi
        return
    fi
    tfslurm_code=0
    tfslurm_list=$(nvidia-smi -L 2>&1) || tfslurm_code=$?
    printf '%s\n' "$tfslurm_list" >"$tfslurm_notes/nvidia-smi-L.txt"
    while read -r tfslurm_line; do
        case $tfslurm_line in
        *'(UUID: '*)
            tfslurm_line=${tfslurm_line##*'(UUID: '}
            tfslurm_seen="$tfslurm_seen ${tfslurm_line%%')'*}" ;;
        esac
    done <"$tfslurm_notes/nvidia-smi-L.txt"
    for tfslurm_line in $tfslurm_expected; do
        case " $tfslurm_seen " in
        *" $tfslurm_line "*) ;;
        *) tfslurm_wrong="$tfslurm_wrong $tfslurm_line is granted and not visible," ;;
        esac
    done
    for tfslurm_line in $tfslurm_seen; do
        case "$tfslurm_line $tfslurm_expected" in
        GPU-*' MIG-'*) continue ;; # the parent of a MIG device
        esac
        case " $tfslurm_expected " in
        *" $tfslurm_line "*) ;;
        *) tfslurm_wrong="$tfslurm_wrong $tfslurm_line is visible and not granted," ;;
        esac
    done
    tfslurm_verdict='ok'
    if [ -n "$tfslurm_wrong" ]; then
        tfslurm_verdict="failed:${tfslurm_wrong%,}"
        if [ "$tfslurm_code" != 0 ]; then tfslurm_verdict="$tfslurm_verdict (nvidia-smi: exit $tfslurm_code)"; fi
    fi
}

# Writes tensorflow-gpu.txt: ok, failed: … or unknown: … What TensorFlow prints meanwhile is kept beside it.
tfslurm_check_tensorflow() {
    tfslurm_verdict='unknown: TensorFlow is not in the image: there is neither python3 nor python'
    for tfslurm_line in python3 python; do
        command -v "$tfslurm_line" >/dev/null 2>&1 || continue
        tfslurm_code=0
        # shellcheck disable=SC2086  # one word each
        "$tfslurm_line" /run/tfslurm-gpu-check.py "$(set -- $tfslurm_expected && echo $#)" \
            "$tfslurm_notes/tensorflow-gpu.txt" >"$tfslurm_notes/tensorflow-gpu.log" 2>&1 || tfslurm_code=$?
        case $tfslurm_code in
        0) read -r tfslurm_verdict <"$tfslurm_notes/tensorflow-gpu.txt" && return ;;
        3) tfslurm_verdict='unknown: TensorFlow is not in the image' ;;
        *) tfslurm_verdict="unknown: the check of TensorFlow ended with $tfslurm_code" ;;
        esac
        if [ "$tfslurm_code" != 3 ]; then break; fi
    done
    printf '%s\n' "$tfslurm_verdict" >"$tfslurm_notes/tensorflow-gpu.txt"
}

# Byte for byte: `$( )` drops the newlines at a value's end, so one more letter stands there meanwhile.
tfslurm_export() {
    tfslurm_value=$(cat "/run/tfslurm-secrets/$1" && printf x) || tfslurm_say_no "secrets: $1 cannot be read in the container"
    export "$1=${tfslurm_value%x}"
}

while read -r tfslurm_line; do printf '%s\n' "$tfslurm_line"; done 2>/dev/null >"$tfslurm_notes/cgroup.txt" </proc/self/cgroup
tfslurm_check_gpus
printf '%s\n' "$tfslurm_verdict" >"$tfslurm_notes/gpu-check.txt"
case $tfslurm_verdict in
failed:*) tfslurm_say_no "gpus: $tfslurm_verdict" ;;
esac
if [ -e /run/tfslurm-gpu-check.py ]; then
    tfslurm_check_tensorflow
    case $tfslurm_verdict in
    failed:*) tfslurm_say_no "tensorflow: $tfslurm_verdict" ;;
    esac
fi
for tfslurm_line in $tfslurm_secrets; do tfslurm_export "$tfslurm_line"; done
# The user's own, as the job has it; docker's is 0022.
if read -r tfslurm_line <"$tfslurm_notes/umask.txt"; then umask "$tfslurm_line"; fi
date -u +%Y-%m-%dT%H:%M:%SZ >"$tfslurm_notes/program-started-at.txt"
exec "$@"
