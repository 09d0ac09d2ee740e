#!/bin/sh
# $1 a root: it is there, and where it was not, for the user alone.
umask 077
exec mkdir -p -- "$1"
