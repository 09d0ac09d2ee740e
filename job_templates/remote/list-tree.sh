#!/bin/sh
# $1 a folder of code. Prints the list of what it holds; nothing where it is not there.
. ./own-tree.sh
export LC_ALL=C
[ -d "$1" ] || exit 0
own_tree "$1"
cd -- "$1" || exit 1
list_files
