#!/bin/sh
# $1 a folder of code. Prints how many files it has; nothing where it is not there.
. ./own-tree.sh
[ -d "$1" ] || exit 0
own_tree "$1"
count_files "$1"
