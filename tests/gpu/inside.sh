#!/bin/sh
# The real entry.sh where no container engine is: in namespaces of its own over this machine's root file system. It ends
# everything that it sees, so without a process namespace it is not started.
#
#   unshare --mount --pid --fork --mount-proc inside.sh REPORT ENTRY 'UUID …' PROGRAM [ARGUMENT …]
set -eu

report=$1 entry=$2 granted=$3
shift 3
if [ "$$" != 1 ]; then
    echo 'inside.sh: not in a process namespace of its own' >&2
    exit 75
fi
text=$(cat "$entry")
mount -t tmpfs tmpfs /run
mkdir /run/tfslurm
: >/run/tfslurm-report
mount --bind "$report" /run/tfslurm-report
mkfifo /run/lifeline
exec 0<>/run/lifeline # nothing is ever written to it, and it has no end
exec sh -c "$text" entry.sh 1 0022 '' "$granted" -- -- -- "$@"
