#!/bin/sh
# $1 ROOT. Prints what `above` does.
. ./guard.sh
above "$1"
