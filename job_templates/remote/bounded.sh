#!/bin/sh
# Runs $2 … with $1 KiB at most for its data (on Linux; elsewhere the limit may be none).
# shellcheck disable=SC3045  # dash has -d too
ulimit -d "$1" 2>/dev/null
shift
exec "$@"
