# shellcheck shell=bash disable=SC2034,SC2154
#
# The image: pulled by digest where the node lacks it, and held against what the lock file says of it.

# Afterwards image_source is a name@digest (or an image id) that this node's daemon has, looked at and compared.
image::ensure() {
    local pulled=present
    if ! image::_find; then
        if [[ $pin_kind == image-id ]]; then
            task::refuse image "$image_digest is not on this node" 'load it there; if it was loaded, its id is another one in that image store: push it to a registry and pin that'
        fi
        image::_fetch
        pulled="pulled from $pulled_from"
    fi
    image::_compare
    printf '%s\n' "$image_source" >"$facts/image-source.txt"
    # What `prepare` pulled for this very task is present by now.
    if [[ $pulled != present || ! -e $facts/image-pulled.txt ]]; then printf '%s\n' "$pulled" >"$facts/image-pulled.txt"; fi
    printf '[%s]\n' "$image_json" >"$facts/image-inspect.json"
    event image "$image_source $pulled"
}

# One question for all the names, beside everything else that must be asked: the engine answers for those it has and
# complains of the others.
image::look() {
    image_look_at=$SECONDS
    if [[ -n $image_archive && -z ${image_loaded_name-} ]]; then
        engine::loaded_name
        image_sources+=(${image_loaded_name:+"$image_loaded_name"})
    fi
    engine::has_image "${image_sources[@]}" </dev/null >"$facts/image-inspect.stdout" 2>"$facts/image-inspect.stderr" &
    image_look=$!
}

image::_find() {
    local names line complaint='' is_whole
    if [[ -z ${image_look-} ]]; then image::look; fi
    node::_wait "$image_look" node::_is_stopped
    image_look=''
    task::_stop_if_told
    engine::mute 'image inspect' "$waited_code" "$image_look_at"
    if [[ -n $engine_mute ]]; then task::engine_failed "$engine_mute"; fi
    while IFS= read -r names; [[ -n $names ]]; do
        image_has=() image_json='' is_whole=''
        IFS= read -r image_json || :
        while [[ -z $is_whole ]] && IFS= read -r line; do
            if [[ -n $line ]]; then image_has+=("$line"); else is_whole=yes; fi
        done
        if [[ -z $is_whole ]]; then task::engine_failed "what it says of the image is cut off" "look with df whether $facts is on a full file system"; fi
        for image_source in "${image_sources[@]}"; do
            if engine::is_named "$names" "$image_source"; then return 0; fi
        done
    done <"$facts/image-inspect.stdout"
    while IFS= read -r line; do
        engine::refuse_words "$line"
        if [[ -n $line ]] && ! engine::is_absence "$line"; then complaint+=$line$'\n'; fi
    done <"$facts/image-inspect.stderr"
    engine::reason "$complaint"
    if [[ -n $words ]]; then task::engine_failed "$words"; fi
    return 1
}

# Is the image what the lock file says of it? The digest names its bytes; what stands beside it may be anybody's word, and
# says what is run and which driver will do. In image_has are the platform, the entrypoint, the variables, and the places that
# it has the engine make.
image::_compare() {
    local line key
    local -A has=() # "NAME -> "NAME=value"; of two with one name docker takes the first, podman the last: both stand there
    for line in "${image_has[@]:2}"; do
        key=${line%%=*}
        if [[ ${has[$key]-$line} != "$line" ]]; then line="${has[$key]} and $line"; fi
        has[$key]=$line
    done
    line=${image_has[0]-\"\"} line=${line#\"}
    image::_claim platform "$image_platform" "${line%\"}"
    line=${image_has[1]-[]}
    image::_claim entrypoint "$image_entrypoint" "${line/#'%!q(<nil>)'/[]}"
    for line in ${image_environment[@]+"${image_environment[@]}"}; do
        image::_claim variable "$line" "${has[${line%%=*}]-none such}"
    done
    for line in ${image_missing[@]+"${image_missing[@]}"}; do
        key=\"$line
        image::_claim variable "no $line" "${has[$key]-no $line}"
    done
    engine::refuse_image
}

image::_claim() {
    if [[ $2 == "$3" ]]; then return; fi
    task::refuse image "the lock file says $1 ${2:0:300}, the image has ${3:0:300}" \
        'pin it again (tfslurm pin EXP.yaml --update), and ask whoever wrote the lock file'
}

# Pulls under a lock of this node, so that the tasks of an array do not all pull; looks again once it has the lock.
image::_fetch() {
    local since failed_at why
    time::now
    since=$now
    lock::take "$image_digest"
    pull_note=$lock_folder/${image_digest//[!a-zA-Z0-9-]/_}.failed
    if image::_find; then
        pulled_from="another task's pull"
    elif IFS=$'\t' read -r failed_at why 2>/dev/null <"$pull_note" && [[ $failed_at > $since ]]; then
        task::refuse image "$why" 'another task of yours tried on this node while this one waited'
    else
        if [[ -n $image_archive ]]; then image::_load; else image::_pull; fi
        if ! image::_find; then
            task::refuse image "$pulled_from was pulled and the daemon does not list it under that digest" "report it with $facts"
        fi
    fi
    lock::drop
}

# Every source in order, in rounds ever further apart, and never in step with other nodes; a source whose answer cannot
# change is asked once.
image::_pull() {
    local source round said last='' began code fix='push it to a registry that the node reaches, under that digest'
    local -i pause=2
    local -A dead=()
    for round in 1 2 3 4; do
        for source in "${image_sources[@]}"; do
            if [[ -n ${dead[$source]-} ]]; then continue; fi
            event pull "$source"
            code=0 began=$SECONDS
            task::_in_background engine::pull "$source" >/dev/null 2>"$facts/pull.stderr" || code=$?
            if ((code == 0)); then
                pulled_from=$source
                return
            fi
            task::_stop_if_told
            engine::mute pull "$code" "$began"
            if [[ -n $engine_mute ]]; then image::_give_up "$engine_mute: $source"; fi
            IFS= read -r -d '' said <"$facts/pull.stderr" || :
            printf 'round %d: %s\n%s\n' "$round" "$source" "$said" >>"$facts/image-pull.log"
            event pull-failed "$source: $said"
            engine::refuse_words "$said"
            engine::reason "$said"
            last="$source: ${words:-${said%$'\n'}}"
            if engine::is_gone "$said"; then task::engine_failed "$said"; fi
            if ! image::_is_transient "$said"; then dead[$source]=yes; fi
        done
        if ((${#dead[@]} == ${#image_sources[@]})); then break; fi
        if ((round < 4)); then task::_in_background sleep "$((pause + RANDOM % pause)).$((RANDOM % 10))" || :; fi
        pause=$((pause * 2))
        task::_stop_if_told
    done
    last=${last//@"$image_digest"/}
    last="$image_reference is not obtainable as $image_digest: ${last//[$'\n\r\t']/ }"
    if [[ -n $is_local ]]; then fix="name a registry that has it in \`mirrors\` of local.yaml"; fi
    image::_note "$last"
    task::refuse image "$last" "$fix, or see $facts/image-pull.log"
}

# What was sent with the job, by a client that has compared each of its blobs with the pinned digest. It must still be that, or
# nothing of it reaches the engine.
image::_load() {
    local archive=$images_dir/$image_archive.tar sum='' said code=0 began
    local -r again='give the same command again: it is sent again'
    pulled_from="the archive sha256:$image_archive"
    event load "$archive"
    if ! images::folder || ! images::has "$archive"; then task::refuse image "$archive is not there" "$again"; fi
    task::_in_background sha256sum -- "$archive" >"$facts/image-archive.stdout" 2>"$facts/pull.stderr" || :
    task::_stop_if_told
    read -r sum _ <"$facts/image-archive.stdout" || :
    if [[ ${sum#\\} != "$image_archive" ]]; then task::refuse image "$archive was changed after it was sent" "$again"; fi
    began=$SECONDS
    task::_in_background engine::load "$archive" >/dev/null 2>"$facts/pull.stderr" || code=$?
    if ((code == 0)); then return; fi
    task::_stop_if_told
    engine::mute load "$code" "$began"
    if [[ -n $engine_mute ]]; then image::_give_up "$engine_mute: $pulled_from"; fi
    IFS= read -r -d '' said <"$facts/pull.stderr" || :
    engine::refuse_words "$said"
    engine::reason "$said"
    if engine::is_gone "$said"; then task::engine_failed "$said"; fi
    task::refuse image "$engine does not load $archive: ${words:-$said}" "see whether there is room for it on $where"
}

# For those that wait: trying it all again, one by one, would take them hours.
image::_note() {
    time::now
    if [[ -n $lock_folder ]]; then printf '%s\t%s\n' "$now" "$1" >"$pull_note"; fi
}

image::_give_up() {
    image::_note "$1"
    task::engine_failed "$1"
}

image::_is_transient() {
    local said=${1,,} word
    for word in timeout 'timed out' 'connection refused' 'connection reset' eof 'temporary failure' 'try again' \
        'no such host' 'deadline exceeded' toomanyrequests 'too many requests' 'received unexpected http status: 5' \
        '500 internal' '502 bad' '503 service' '504 gateway' 'no route to host' 'network is unreachable'; do
        if [[ $said == *"$word"* ]]; then return 0; fi
    done
    return 1
}
