#!/bin/sh
# $1 ROOT. Prints what `above` does.
. ./folder-permissions.sh
above "$1"
