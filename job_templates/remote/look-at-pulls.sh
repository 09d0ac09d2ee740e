#!/bin/bash
# What the nodes say of a pull. $1 the folder, then a command that lists the jobs. Out comes the name and the end of each file
# that a node wrote, a unit separator between them and a record separator after them; a group separator; and what the command printed.
export LC_ALL=C
[ -O "$1" ] && [ ! -L "$1" ] && cd -- "$1" || exit
for file in *.said *.log; do
    if [ -f "$file" ] && [ ! -L "$file" ] && [ -O "$file" ]; then
        printf '%s\037%s\036' "$file" "$(tail -c 1000 -- "$file" | tr '\0\035\036' '   ')"
    fi
done
printf '\035'
"${@:2}" </dev/null
