#!/bin/sh
# Runs its words as `unsteered` does.
. ./unsteered.sh
unsteered "$@"
