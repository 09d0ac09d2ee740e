#!/bin/sh
# $1 parent, $2 name of a run folder: it goes, if it is one and the caller's.
. ./refuse.sh
. ./run-folder.sh
! is_named "$1" "$2" || [ -e "$1/$2" ] || [ -L "$1/$2" ] || exit 0
is_mine "$1" "$2" || refuse "is no run folder of yours; nothing was removed"
# shellcheck disable=SC2115  # is_mine has looked
rm -rf -- "$1/$2"
