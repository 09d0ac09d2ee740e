#!/bin/sh
# An image's archive out of the stream on stdin. $1 parent, $2 the sha256 of its bytes, of which its name is made, $3 and $4
# guard's GROUP and ACCEPT. One that is there already is hashed again: a purge of old files may have cut it.
. ./folder-permissions.sh
guard "$1" "$3" "$4"
set -eu
umask 077
holds() { [ "$(sha256sum <"$1")" = "$2  -" ]; }
if [ -f "$1/$2.tar" ] && [ ! -L "$1/$2.tar" ] && holds "$1/$2.tar" "$2"; then exit; fi
new=$(mktemp -- "$1/.$2.XXXXXXXX")
trap 'rm -f -- "$new"' EXIT
cat >"$new"
holds "$new" "$2" || refuse "other bytes arrived than were sent"
mv --no-target-directory -- "$new" "$1/$2.tar"
