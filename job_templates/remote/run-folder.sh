# shellcheck shell=sh disable=SC3067  # dash has -O too
# is_named PARENT NAME: whether these are what ROOT/runs and a run folder in it are called.
# is_mine PARENT NAME: whether it also is a real folder of the caller's. What removes or writes in one asks this where the path
# is what it is at that moment.

is_named() {
    case $1 in /*/runs) ;; *) return 1 ;; esac
    case /$1/ in */../*) return 1 ;; esac
    case $2 in
    [!a-z0-9]* | *[!a-z0-9-]*) return 1 ;;
    ?*-????????????) ;;
    *) return 1 ;;
    esac
    case ${2##*-} in
    *[!0-9a-f]*) return 1 ;;
    ????????????) ;;
    *) return 1 ;;
    esac
}

is_mine() { is_named "$1" "$2" && [ ! -L "$1/$2" ] && [ -d "$1/$2" ] && [ -O "$1/$2" ]; }
