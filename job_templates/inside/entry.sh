#!/bin/sh
# The first program in the container, run by the user himself: watches the lifeline, checks the GPUs and, where
# gpu_check.py is mounted, TensorFlow's own view of them, exports the secrets and variables, becomes the program.
#
#   entry.sh GRACE_S UMASK WAIT 'GPU-UUID …' PACKAGES [SECRET …] -- [NAME=VALUE …] -- [NAME=VALUE …] -- PROGRAM [ARGUMENT …]
#   entry.sh exec UMASK LIFELINE PACKAGES [SECRET …] -- [NAME=VALUE …] -- [NAME=VALUE …] -- COMMAND [ARGUMENT …]
#
# The second is a command beside the program, in the same variables; it ends when nobody holds its lifeline open any more.
#
# It reports what it finds through a pipe that node.sh reads up to the line `end`, which comes before the program, and no
# further. The experiment's variables come as words, because in the environment they would steer this shell and its
# checks: first those that TensorFlow's check sees too, then the others. They are exported last, by lines that use none.
#
# POSIX sh: the image's shell may be any. Every name here has a prefix: an exported variable of the same name would
# otherwise reach the program changed. Ends with 78 where the program must not start.

# PACKAGES is the folder with the experiment's packages, or empty. Python finds them before the image's, and behind what
# the experiment itself has in PYTHONPATH; their programs come last in PATH. Called with the word `image` before those of
# the experiment's variables are exported that could say so, and with `experiment` after.
tfslurm_find_packages() {
    [ -n "$tfslurm_packages" ] || return 0
    if [ "$1" = image ]; then
        export PYTHONPATH="$tfslurm_packages${PYTHONPATH:+:$PYTHONPATH}"
        return
    fi
    case ${PYTHONPATH-} in
    "$tfslurm_packages" | "$tfslurm_packages":*) ;;
    *) export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$tfslurm_packages" ;;
    esac
    export PATH="${PATH:+$PATH:}$tfslurm_packages/bin"
}

# Byte for byte: `$( )` drops the newlines at a value's end, so one more letter stands there meanwhile.
tfslurm_export() {
    tfslurm_value=$(cat "/run/tfslurm-secrets/$1" && printf x)
    export "$1=${tfslurm_value%x}"
}

# In place of a program, holds the container for a terminal that somebody opens in it (`tfslurm shell`), and ends with the code
# that this one leaves in the pipe: 129 where it leaves none, because its line was lost, and 124 where nobody comes in time.
tfslurm_hold() {
    mkfifo -m 600 /run/tfslurm/hold || exit 78
    (exec </dev/null >/dev/null 2>&1 && sleep 600 && [ ! -e /run/tfslurm/held ] && echo 124 >/run/tfslurm/hold &)
    read -r tfslurm_value </run/tfslurm/hold || tfslurm_value=129
    exit "$tfslurm_value"
}

tfslurm_lacks_python() {
    echo 'tfslurm: the image has no python3, with which services run; name an image with Python 3.6 or later in exp.yaml' >&2
    exit 78
}

# Is there such a command? Otherwise says so, and fails as a shell does: with 127, or with 126 where it is there and cannot be
# run. In a process of its own, for every variable is the command's by now.
tfslurm_find() (
    tfslurm_code=127
    case $1 in
    */*)
        if [ -f "$1" ] && [ -x "$1" ]; then return 0; fi
        if [ -e "$1" ]; then tfslurm_code=126; fi ;;
    *)
        if [ -z "${PATH-}" ]; then return 0; fi # the shell looks in places of its own
        set -f
        IFS=:
        for tfslurm_line in $PATH; do
            tfslurm_line=${tfslurm_line:-.}/$1
            if [ ! -f "$tfslurm_line" ]; then continue; fi
            if [ -x "$tfslurm_line" ]; then return 0; fi
            tfslurm_code=126
        done
        # a busybox may have more than its files
        if [ "$tfslurm_code" = 127 ] && command -v "$1" >/dev/null 2>&1; then return 0; fi ;;
    esac
    if [ "$tfslurm_code" = 126 ]; then
        printf 'tfslurm: %s: cannot be executed in the container\n' "$1" >&2
    else
        printf 'tfslurm: %s: not found in the container\n' "$1" >&2
    fi
    return "$tfslurm_code"
)

# Exports the secrets and then the variables, and becomes the program.
tfslurm_become() {
    while [ "$1" != -- ]; do
        tfslurm_export "${1?}"
        shift
    done
    shift
    echo end >&4
    exec 4>&-
    tfslurm_find_packages image
    while [ "$1" != -- ]; do
        export "${1?}"
        shift
    done
    tfslurm_find_packages experiment
    shift
    while [ "$1" != -- ]; do
        export "${1?}"
        shift
    done
    shift
    case $* in # no name of ours may change any more: the program has it
    */run/tfslurm-service.py*) command -v python3 >/dev/null 2>&1 || tfslurm_lacks_python ;;
    esac
    if [ -n "${tfslurm_beside-}" ]; then tfslurm_find "$1" || exit; fi
    exec "$@"
}

# It is in the command's process group, which it outlives: the group's number is not given out again before.
tfslurm_watch_exec() {
    trap '' HUP TERM INT
    read -r tfslurm_line <&3
    kill -HUP "-$$"
    sleep 1
    kill -KILL "-$$"
}

if [ "$1" = exec ]; then
    umask "$2"
    exec 3<"/run/tfslurm/$3" # before the command begins: whoever opens a pipe that nobody holds open any more waits without end
    (exec </dev/null >/dev/null 2>&1 && tfslurm_watch_exec &) # with a copy of its output open, the engine would wait for it
    exec 3<&- 4>/dev/null
    tfslurm_packages=$4 tfslurm_beside=yes
    shift 4
    tfslurm_become "$@"
fi

tfslurm_grace=$1 tfslurm_umask=$2 tfslurm_wait=$3 tfslurm_expected=$4 tfslurm_packages=$5 tfslurm_path=${PATH-}
shift 5

# Where WAIT is not empty, the node looks at what was mounted before anything else happens here, and says `go`.
if [ -n "$tfslurm_wait" ]; then
    : >/run/tfslurm/waiting
    read -r tfslurm_line || tfslurm_line=''
    if [ "$tfslurm_line" != go ]; then
        echo 'tfslurm: mounts: what was mounted is not what was looked at' >&2
        exit 78
    fi
fi

# The program has failed, and its container was started again for who wants to look (`submit --keep-on-failure`): it waits until
# nobody holds its lifeline open any more. At a first start the node has made the folder behind /run/tfslurm anew.
if [ -d /run/tfslurm/keep ]; then
    : >/run/tfslurm/holding
    while read -r tfslurm_line; do :; done
    exit 0
fi

# Standard input is the lifeline: nothing more is ever written there, and its end means that nobody is left outside to end
# this container. The watcher is started by a child that ends at once, so that it is no child of the program.
exec 3<&0 </dev/null
tfslurm_watch() {
    trap '' TERM
    trap tfslurm_end EXIT # a shell ends where it can start no process any more, not even sleep
    while read -r tfslurm_line <&3; do :; done
    kill -TERM -1
    sleep "$tfslurm_grace"
}

tfslurm_end() {
    kill -KILL -1
}
(tfslurm_watch >/dev/null 2>&1 &)
exec 3<&- 4>/run/tfslurm-report

# One line of the report: what it is about, and never more words than node.sh reads.
tfslurm_report() { printf '%s %.700s\n' "$1" "$2" >&4; }

# The end of the report and of this shell, with the reason for a reader of the log.
tfslurm_say_no() {
    echo end >&4
    printf 'tfslurm: %s\n' "$1" >&2
    exit 78
}

tfslurm_refuse() {
    tfslurm_report no "$1"
    tfslurm_say_no "$1"
}

# The verdict is in tfslurm_verdict: ok, failed: … or unknown: …
tfslurm_check_gpus() {
    tfslurm_seen=''
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
    tfslurm_code=0 tfslurm_count=0
    tfslurm_list=$(nvidia-smi -L 2>&1 4>&-) || tfslurm_code=$?
    set -f
    IFS='
'
    for tfslurm_line in $tfslurm_list; do
        tfslurm_count=$((tfslurm_count + 1))
        if [ "$tfslurm_count" -gt 256 ]; then break; fi
        tfslurm_report nvidia-smi "$tfslurm_line"
        case $tfslurm_line in
        *'(UUID: '*)
            tfslurm_line=${tfslurm_line##*'(UUID: '}
            tfslurm_seen="$tfslurm_seen ${tfslurm_line%%')'*}" ;;
        esac
    done
    unset IFS
    set +f
    tfslurm_compare_gpus
}

tfslurm_compare_gpus() {
    tfslurm_wrong=''
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

# Can the secrets be read, and can this shell set the variables? bash keeps some, such as UID, for itself.
tfslurm_check_words() (
    while [ "$1" != -- ]; do
        if [ ! -r "/run/tfslurm-secrets/$1" ]; then
            tfslurm_refuse "secrets: $1 cannot be read in the container"
        fi
        shift
    done
    for tfslurm_line in 1 2; do
        shift
        while [ "$1" != -- ]; do
            if ! command export "$1" 2>/dev/null; then
                tfslurm_refuse "env: ${1%%=*} cannot be set, because the image's shell keeps it for itself"
            fi
            shift
        done
    done
)

# TensorFlow's own verdict, on standard output, from the first words on. It loads the experiment's modules where variables
# say so; where none does, it runs outside of the code, in which an empty part of the image's library path would look.
tfslurm_check_tensorflow() (
    while [ "$1" != -- ]; do shift; done
    shift
    if [ "$1" = -- ]; then cd /; fi
    tfslurm_find_packages image
    while [ "$1" != -- ]; do
        export "${1?}"
        shift
    done
    tfslurm_find_packages experiment
    tfslurm_answer='unknown: TensorFlow is not in the image: there is neither python3 nor python'
    for tfslurm_line in python3 python; do
        command -v "$tfslurm_line" >/dev/null 2>&1 || continue
        tfslurm_code=0
        # shellcheck disable=SC2086  # one word each
        tfslurm_said=$("$tfslurm_line" /run/tfslurm-gpu-check.py "$(set -- $tfslurm_expected && echo $#)" \
            2>/run/tfslurm/tensorflow-gpu.log 4>&-) || tfslurm_code=$?
        case $tfslurm_code in
        0) tfslurm_answer=$tfslurm_said ;;
        3) tfslurm_answer='unknown: TensorFlow is not in the image' ;;
        *) tfslurm_answer="unknown: the check of TensorFlow ended with $tfslurm_code" ;;
        esac
        if [ "$tfslurm_code" != 3 ]; then break; fi
    done
    printf '%s\n' "$tfslurm_answer"
)

while read -r tfslurm_line; do tfslurm_report cgroup "$tfslurm_line"; done 2>/dev/null </proc/self/cgroup
while read -r tfslurm_line tfslurm_value; do
    if [ "$tfslurm_line" = Cpus_allowed_list: ]; then tfslurm_report cpus "$tfslurm_value"; fi
done 2>/dev/null </proc/self/status
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
tfslurm_check_gpus
PATH=$tfslurm_path
tfslurm_report gpus "$tfslurm_verdict"
case $tfslurm_verdict in
failed:*) tfslurm_say_no "gpus: $tfslurm_verdict" ;;
esac
tfslurm_check_words "$@" || exit 78
if [ -e /run/tfslurm-gpu-check.py ]; then
    tfslurm_verdict=$(tfslurm_check_tensorflow "$@")
    tfslurm_report tensorflow "${tfslurm_verdict%%
*}"
    case $tfslurm_verdict in
    failed:*) tfslurm_say_no "tensorflow: $tfslurm_verdict" ;;
    esac
fi
umask "$tfslurm_umask" # the user's own, as the job has it; docker's is 0022
for tfslurm_line; do
    if [ "$tfslurm_line" = tfslurm-hold ]; then # no name of a secret, and no variable
        echo end >&4
        exec 4>&-
        tfslurm_hold
    fi
done
tfslurm_become "$@"
