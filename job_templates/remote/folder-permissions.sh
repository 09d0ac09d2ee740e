# shellcheck shell=sh
# Who can replace the folders that hold run folders and code.
#
# above ROOT prints mode, owner's uid, gid and name of each folder on the way to it in which somebody else can replace what lies
# there: it belongs to another user than root, or others may write in it and it has no sticky bit. A group of the user's own name
# without another member is the user. Links on the way are followed one by one.
#
# guard PARENT GROUP ACCEPT: afterwards PARENT (ROOT/runs or ROOT/code) is there, and it, runs, code, images, inputs and packages
# are real folders that the user alone may enter; GROUP may read runs. Others cannot replace them, unless that is accepted. One stat asks for all.
#
# open_run FOLDER: GROUP may read in it what is there for a reader, never the secrets.

. ./refuse.sh

me=$(id -u)

# Mode, owner's uid, gid, identity and name: of each folder on the way to $root, and of the words.
rows() {
    way=$root
    hops=0
    set -- "$root" "$@"
    while :; do
        p=$way
        link=
        while [ -n "$p" ]; do
            if [ -L "$p" ]; then link=$p; fi
            p=${p%/*}
            set -- "$@" "${p:-/}"
        done
        if [ -z "$link" ] || [ "$hops" -ge 40 ]; then break; fi
        hops=$((hops + 1))
        to=$(readlink -- "$link")
        stat --format='0 %u %g link %n' -- "$link"
        case $to in /*) ;; *) to=${link%/*}/$to ;; esac
        way=$to${way#"$link"}
        set -- "$@" "$way"
    done
    stat --dereference --format='%a %u %g %d.%i %n' -- "$@"
}

# Calls its words for each row, once for each folder.
each() {
    same=
    while read -r mode owner gid id name; do
        [ "$name" != "$root" ] || narrow
        [ "$id" != "$same" ] || continue
        "$@" || exit 1
    done
}

# Whether nobody but the user is in the group.
alone() {
    row=$(getent group "$gid" 2>/dev/null) && own=$(id -un) && [ "${row%%:*}" = "$own" ] || return 1
    [ -z "${row##*:}" ] || [ "${row##*:}" = "$own" ] || return 1
    # shellcheck disable=SC2012  # of one folder, for the mark of an ACL
    case $(LC_ALL=C ls -Lld -- "$name") in ??????????+*) return 1 ;; esac
}

shared() {
    [ "$owner" = "$me" ] || [ "$owner" = 0 ] || return 0
    case $mode in
    [1357]???) return 1 ;;
    *[2367]) return 0 ;;
    *[2367]?) ! alone ;;
    *) return 1 ;;
    esac
}

narrow() {
    [ "$owner" = "$me" ] || return 0
    case $mode in
    [1357]???) ;;
    *[2367] | *[2367]?)
        chmod go-w -- "$name"
        same=$id ;;
    esac
}

tell() { ! shared || printf '%s %s %s %s\n' "$mode" "$owner" "$gid" "$name"; }

above() {
    root=$1
    rows | each tell | sort -u
}

judge() {
    case $name in
    "$top" | "$root/runs" | "$root/code" | "$root/images" | "$root/inputs" | "$root/packages")
        if [ ! -d "$name" ] || [ "$owner" != "$me" ]; then
            refuse "$name is not a folder that you own; move it away, or name another root"
        fi
        case $name:$mode in *00 | "$open":*) ;; *) chmod go-rwx -- "$name" ;; esac
        return ;;
    esac
    [ -z "$accept" ] || return 0
    ! shared || refuse "$name (mode $mode) is on the way to $root, and others can replace what lies there; chmod go-w or +t it, or name another root, or write shared_parents: accept in the cluster file"
}

guard() {
    top=$1
    root=${1%/*}
    group=$2
    accept=$3
    open=
    set -- "$top"
    [ -d "$top" ] || [ -L "$top" ] || (umask 077 && mkdir -p -- "$top") || exit 1
    [ -z "$group" ] || open=$root/runs
    for own in "$root/runs" "$root/code" "$root/images" "$root/inputs" "$root/packages"; do
        if [ "$own" != "$top" ] && [ -e "$own" ]; then set -- "$@" "$own"; fi
        [ ! -L "$own" ] || refuse "$own is a link; move it away, or name another root"
    done
    rows "$@" | each judge || exit 1
    [ -z "$group" ] || open_to "$root" "$open"
}

open_to() {
    for one in "$@"; do
        [ -d "$one" ] || continue
        { chgrp -- "$group" "$one" && chmod g=rxs,o= -- "$one"; } ||
            refuse "read_group: $one cannot be given to $group; name a group of yours in the cluster file"
    done
}

open_run() {
    [ -n "$group" ] || return 0
    open_to "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name secrets -exec chgrp -- "$group" '{}' + -exec chmod g=rX,o= -- '{}' +
}
