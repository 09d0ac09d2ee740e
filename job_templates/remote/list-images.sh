#!/bin/sh
# $1 ROOT/images, $2 the most bytes of the answer. Out come the size and the name of each file there that tells of an image or
# is an image's archive; NUL after each. Links are not followed, and nothing is said of a folder that is another user's.
. ./refuse.sh
export LC_ALL=C
[ -d "$1" ] || exit 0
# shellcheck disable=SC3067  # dash has -O too
if [ -L "$1" ] || [ ! -O "$1" ]; then refuse "is a link, or another user's"; fi
cd -- "$1" || exit 1
find . -maxdepth 1 -ignore_readdir_race -type f '(' -name '*.json' -o -name '*.tar' ')' -printf '%s %f\0' | head -c "$2"
