# shellcheck shell=sh
# receive PARENT NAME MODE FILES: the tar stream on stdin as a new folder, whole or not at all. tar takes a stream that ends
# between two members for a whole one, so its files are counted. What arrives is the user's alone from its first moment; sbatch,
# which may come after, gives the job the user's umask.

. ./refuse.sh

receive() {
    mask=$(umask)
    umask 077
    [ ! -e "$1/$2" ] || refuse "it exists already"
    [ -d "$1" ] || mkdir -p -- "$1"
    new=$(mktemp -d -- "$1/.$2.XXXXXXXX")
    trap 'rm -rf -- "$new"' EXIT
    tar --extract --file=- --directory="$new" --touch --no-same-owner --same-permissions
    files=$(find "$new" -type f -printf .)
    [ "${#files}" -eq "$4" ] || refuse "the transfer was cut short"
    [ "$3" = 700 ] || chmod -- "$3" "$new"
    mv --no-target-directory -- "$new" "$1/$2"
    trap - EXIT
    umask "$mask"
}
