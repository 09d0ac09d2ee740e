#!/bin/bash
# $1 a folder that was mounted: prints the list of its files, whose sha256 a record has as tree_sha256; of a file its own sha256;
# nothing where it is not there. A link in its place is followed, as the mount has followed it.
set -eo pipefail
export LC_ALL=C
if [ -f "$1" ]; then exec sha256sum <"$1"; fi
[ -d "$1" ] || exit 0
cd -- "$1"
find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero --
find . -type l -printf '%s %p -> %l\0' | sort --zero-terminated
find . ! -type f ! -type l '(' ! -type d -o -empty ')' -printf '? %p\0' | sort --zero-terminated
