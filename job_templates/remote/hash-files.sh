#!/bin/bash
# $1 folder; on stdin how many bytes and a name, both ended by NUL, as often as wanted. One line each: the sha256 of so many bytes
# from its beginning, and the size of all of it, or `- -`. No link is followed. One stat and one sha256sum see many files: a
# shell of its own for each thousand gets them as words, because to read a word from a pipe takes it a call for each byte.
export LC_ALL=C
cd -- "$1" || exit

# hash_some COUNT NAME …
# shellcheck disable=SC2207  # the words are split at line ends alone, and hold no patterns
hash_some() {
    local args=("$@") files=() whole=() sizes=() sums=() at bytes found said='' file=0 sum=0
    set -f
    IFS=$'\n'
    for ((at = 1; at < $#; at += 2)); do
        args[at]=./${args[at]}
        if [ -f "${args[at]}" ] && [ ! -L "${args[at]}" ] && [ -r "${args[at]}" ]; then files+=("${args[at]}"); else args[at]=; fi
    done
    [ "${#files[@]}" -eq 0 ] || sizes=($(stat --printf='%s\n' -- "${files[@]}" 2>/dev/null))
    for ((at = 1; at < $#; at += 2)); do
        if [ -z "${args[at]}" ]; then continue; fi
        if [ "${sizes[file]:-0}" -le "${args[at - 1]}" ]; then whole+=("${args[at]}"); fi
        file=$((file + 1))
    done
    [ "${#whole[@]}" -eq 0 ] || sums=($(sha256sum -- "${whole[@]}" 2>/dev/null))
    if [ "${#sizes[@]}" -ne "${#files[@]}" ] || [ "${#sums[@]}" -ne "${#whole[@]}" ]; then # one went away, or could not be read
        if [ "$#" -eq 2 ]; then echo '- -'; fi
        for ((at = 1; at < $# && $# > 2; at += 2)); do hash_some "${@:at:2}"; done
        return
    fi
    file=0
    for ((at = 1; at < $#; at += 2)); do
        bytes=- found=-
        if [ -n "${args[at]}" ]; then
            bytes=${sizes[file]} file=$((file + 1))
            if [ "$bytes" -le "${args[at - 1]}" ]; then
                found=${sums[sum]#\\} sum=$((sum + 1)) # it escapes odd names, and says so in front
            else
                found=$(head -c "${args[at - 1]}" -- "${args[at]}" | sha256sum)
            fi
        fi
        said+="${found%% *} $bytes"$'\n'
    done
    printf %s "$said"
}
xargs --null --max-args=2000 bash --norc -p -c "$(declare -f hash_some)"'; [ "$#" -eq 0 ] || hash_some "$@"' hash-files
