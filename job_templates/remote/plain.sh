#!/bin/sh
# Runs $2 … with $1 before PATH where it is not ''. One line, as in marked.sh.
if [ -n "$1" ]; then PATH=$1${PATH:+:$PATH}; export PATH; fi;
shift; exec "$@"
