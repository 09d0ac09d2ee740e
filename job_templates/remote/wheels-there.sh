#!/bin/sh
# Which wheels of a layer are there. $1 its folder; on stdin for each wheel a line: its sha256, its bytes, its name. Out comes
# `installed` where the layer is made and no wheel is needed; else a line for each: how many of its first bytes are there.
. ./packages-folder.sh
export LC_ALL=C
[ -d "$1" ] || [ -L "$1" ] || exit 0
own_packages "$1"
cd -- "$1" || exit 1
if [ -f layer/layer.json ] && [ -d layer/site ]; then
    echo installed
    exit
fi
[ -d wheels ] || exit 0
cd wheels || exit 1
while read -r sum bytes file; do
    refuse_name "$file"
    if holds "$file" "$sum"; then
        echo "$bytes"
    elif [ -f ".$file.part" ] && [ ! -L ".$file.part" ]; then
        size_of ".$file.part" "$bytes"
    else
        echo 0
    fi
done
