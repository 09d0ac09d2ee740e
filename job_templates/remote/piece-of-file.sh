#!/bin/bash
# $1 folder, $2 bytes before the first, $3 how many, $4 and its words: through what they come (gzip -1 for a file with holes), if
# anything; the name on stdin.
cd -- "$1" || exit
IFS= read -r -d '' name || exit
[ -f "./$name" ] && [ ! -L "./$name" ] || exit 0
piece=(dd if="./$name" bs=1M "iflag=skip_bytes,count_bytes,fullblock" skip="$2" count="$3" status=none)
if [ $# -gt 3 ]; then "${piece[@]}" | "${@:4}"; else "${piece[@]}" || exit 0; fi # nothing says that it cannot be read
