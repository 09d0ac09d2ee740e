# shellcheck shell=bash
# last_attempt FOLDER: the number of a job's last attempt, in last; 0 where there is none. FOLDER/latest names it. One that is a
# link, no regular file or not that one line, or that names no folder, is not believed, and older node scripts wrote none: then
# the folders say it. No program is started, because there may be many jobs, and no link is followed.

last_attempt() {
    local -r one_line=$'^attempt-([1-9][0-9]{0,5})\n$'
    local said='' folder number
    last=0
    if [[ -f $1/latest && ! -L $1/latest ]]; then
        { IFS= read -r -d '' -n 16 said <"$1/latest"; } 2>/dev/null || :
    fi
    if [[ $said =~ $one_line ]]; then
        number=${BASH_REMATCH[1]}
        if [[ -d $1/attempt-$number && ! -L $1/attempt-$number ]]; then
            last=$number
            return
        fi
    fi
    for folder in "$1"/attempt-*; do
        number=${folder##*/attempt-}
        case $number in '' | *[!0-9]* | ???????*) continue ;; esac
        [ -L "$folder" ] || [ "$number" -le "$last" ] || last=$number
    done
}
