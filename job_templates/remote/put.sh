#!/bin/sh
# A new run folder out of the stream on stdin. $1 to $4 as receive has them, $5 and $6 are guard's GROUP and ACCEPT.
. ./folder-permissions.sh
. ./receive.sh
guard "$1" "$5" "$6"
set -eu
export LC_ALL=C
receive "$1" "$2" "$3" "$4"
open_run "$1/$2"
