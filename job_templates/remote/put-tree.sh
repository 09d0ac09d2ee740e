#!/bin/sh
# A folder of code out of the stream on stdin. $1 parent, $2 name, $3 and $4 guard's GROUP and ACCEPT. Prints how many files are
# there already, and nothing where it wrote them. Times become now, because scratch file systems remove what looks old. Whoever
# loses a race finds the other's folder, which is the same. A folder without w cannot change its parent, so it loses its w last.
# A tree that others could read is closed. The list of its files is kept beside it, to name those that change; nobody relies on it.
. ./folder-permissions.sh
. ./own-tree.sh
guard "$1" "$3" "$4"
set -eu
export LC_ALL=C
umask 077
if [ -d "$1/$2" ]; then
    own_tree "$1/$2"
    count_files "$1/$2"
    exit
fi
mkdir -p -- "$1"
new=$(mktemp -d -- "$1/.$2.XXXXXXXX")
trap 'chmod -R u+w -- "$new"; rm -rf -- "$new"' EXIT
tar --extract --file=- --directory="$new" --touch --no-same-owner --no-same-permissions
[ -f "$new/contents" ] || refuse "the transfer was cut short"
cd -- "$new/tree"
list_files >"$new/arrived"
cmp -s -- "$new/arrived" "$new/contents" || refuse "other bytes arrived than were sent"
chmod -R a-w .
chmod u+w .
cd /
mv --no-target-directory -- "$new/tree" "$1/$2" 2>"$new/said" || [ -d "$1/$2" ] || {
    cat "$new/said" >&2
    exit 1
}
chmod a-w -- "$1/$2"
mv -f -- "$new/contents" "$1/$2.contents"
