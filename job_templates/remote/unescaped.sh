#!/bin/sh
# Runs its words, whose line breaks and backslashes are escaped. One line, as in marked.sh.
for w; do shift; w=$(printf '%b.' "$w"); set -- "$@" "${w%.}"; done; "$@"
