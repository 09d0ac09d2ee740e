#!/bin/bash
# $1 folder; names on stdin. tar ends with 1 where a file changed meanwhile, with 2 where one could not be read.
cd -- "$1" || exit
tar --create --file=- --format=gnu --hard-dereference --no-recursion --null --files-from=-
code=$?
[ "$code" -gt 2 ] || exit 0
exit "$code"
