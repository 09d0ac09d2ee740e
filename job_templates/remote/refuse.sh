# shellcheck shell=sh
# refuse WHY: ends the program; its caller puts what it was about before the words.

refuse() {
    echo "$1" >&2
    exit 1
}
