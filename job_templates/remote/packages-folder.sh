# shellcheck shell=sh disable=SC3067  # dash has -O too
# own_packages FOLDER: what is there under a layer's name is the user's own, or nothing of it is used.
# refuse_name FILE: a wheel's name is one, and no path.
# holds FILE SHA256: whether the file here is this one.
# size_of FILE MOST: how many bytes of a wheel have arrived; 0 for more than it has.

. ./refuse.sh

own_packages() {
    for own in "$1" "$1/wheels" "$1/layer"; do
        [ -e "$own" ] || [ -L "$own" ] || continue
        if [ -L "$own" ] || [ ! -d "$own" ] || [ ! -O "$own" ]; then refuse "$own is a link, or another user's; move it away"; fi
    done
}

refuse_name() {
    case $1 in
    *[!A-Za-z0-9._!+-]* | .* | -* | '') refuse "$1 is not the name of a wheel" ;;
    *.whl) ;;
    *) refuse "$1 is not the name of a wheel" ;;
    esac
}

holds() {
    [ -f "$1" ] && [ ! -L "$1" ] || return 1
    case $(sha256sum <"$1") in "$2 "*) ;; *) return 1 ;; esac
}

size_of() {
    here=$(stat --format=%s -- "$1")
    [ "$here" -le "$2" ] || here=0
    echo "$here"
}
