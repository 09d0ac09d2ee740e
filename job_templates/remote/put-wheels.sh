#!/bin/sh
# Wheels of a layer. $1 parent, $2 the layer's key, $3 and $4 guard's GROUP and ACCEPT. On stdin for each wheel a line: its
# sha256, its bytes, its name, from which byte on it comes; an empty line; then these bytes of each. What arrives stands in
# .NAME.part until it is whole, and an interrupted one is continued. One submission writes at a time, where the file system
# has locks; whoever comes second drops what is there by then.
. ./folder-permissions.sh
. ./packages-folder.sh
guard "$1" "$3" "$4"
set -eu
export LC_ALL=C
umask 077
own_packages "$1/$2"
mkdir -p -- "$1/$2/wheels"
cd -- "$1/$2/wheels"
exec 3<&0 9>>../wheels.lock
flock 9 || :
listed=''
while read -r line && [ -n "$line" ]; do
    listed="$listed$line
"
done
printf %s "$listed" | while read -r sum bytes file from; do
    refuse_name "$file"
    part=.$file.part
    if holds "$file" "$sum"; then
        head -c "$((bytes - from))" <&3 >/dev/null
        continue
    fi
    [ ! -L "$part" ] || refuse "$part is a link; remove it"
    : >>"$part"
    [ "$(size_of "$part" "$bytes")" -ge "$from" ] || refuse "$file was changed meanwhile; try again"
    truncate --size="$from" -- "$part"
    { head -c "$((bytes - from))" <&3 >>"$part"; } 2>/dev/null ||
        refuse "its file system is full, or cannot be written; free some space there, then submit again: it goes on from there"
    [ "$(size_of "$part" "$bytes")" -eq "$bytes" ] || refuse "the transfer was cut short; the next one goes on from there"
    holds "$part" "$sum" || {
        rm -f -- "$part"
        refuse "$file: other bytes arrived than were sent; try again"
    }
    mv -f --no-target-directory -- "$part" "$file"
done
