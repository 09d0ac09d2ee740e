# shellcheck shell=bash disable=SC2034,SC2154
#
# What the read-only mounts hold before the program starts: the size of a file; with `hash: true` the sha256 of every file.
#
# ROOT/inputs/known/DEVICE-INODE   of one source: the sha256 of what follows; the sum of all inodes, the hash and the size of the
#                                  whole; then what each file's inode was like when it was hashed, and its sha256
# ROOT/inputs/lists/SUM            the list of one folder's files; SUM is its own sha256
# ATTEMPT/inputs.json              what the record says of each mount; ATTEMPT/inputs/N.list, the list of mount N where it is short
#
# The steps are files of lines in input_work, of which each names a file of the source: a NUL stands there for a line break
# in a name. They are `INODE/PATH` before a file is hashed, `INODE/SHA256  ./PATH` afterwards; INODE holds no slash.

readonly INPUT_INODE='%D:%i:%s:%T@:%C@' # as find prints it; whoever changes a file changes one of these
readonly INPUT_GRAIN_S=2                # what changed so shortly before it was read is not remembered: clocks have a grain
readonly INPUT_MOST_FILES=1000000       # of one mount
readonly INPUT_MOST_KIB=524288          # of one of find's lists
readonly INPUT_SHORT_BYTES=1048576      # a longer list is in the root alone
readonly INPUT_FILE_WEIGHT=65536        # what opening a file costs, in bytes hashed
readonly INPUT_LEAST_BATCH=33554432
readonly INPUT_STRIDE=200 # so many small files are put into a batch at once
readonly INPUT_TELL_BYTES=1073741824 # to read more than this is told in the job's own output

# Reads a batch, $1: a file of paths. A sha256sum before coreutils 8.25 has no --zero.
# shellcheck disable=SC2016  # that bash reads it
readonly INPUT_BATCH='set -o pipefail
tr "\n\0" "\0\n" <"$1" | xargs --null bash -c '\''
    if sha256sum --zero </dev/null >/dev/null 2>&1; then exec sha256sum --zero -- "${@/#/./}"; fi
    for path; do
        sum=$(sha256sum <"./$path") || exit
        printf "%s  ./%s\0" "${sum%% *}" "$path"
    done'\'' - >"$1.sums"'

# Once for all tasks, by rank 0: before several tasks in a step of its own, else in the task.
inputs::hash() {
    local at code=0 reads=''
    for at in ${mount_files[@]+"${!mount_files[@]}"}; do
        if [[ ${mounts[at * 3 + 2]} != rw ]]; then reads=yes; fi
    done
    if [[ $rank != 0 || -z $reads || -e $attempt_dir/inputs.json ]]; then return; fi
    exec {input_told}>&2
    task::_in_background inputs::_all 2>"$attempt_dir/inputs.json.error" || code=$?
    exec {input_told}>&-
    task::_stop_if_told
    if ((code == 0)) && [[ ! -s $attempt_dir/inputs.json.error ]]; then rm --force -- "$attempt_dir/inputs.json.error"; fi
}

# In a process of its own, which SIGTERM ends.
inputs::_all() {
    local -i at
    local objects=''
    set +e
    export LC_ALL=C
    input_work=$attempt_dir/inputs/tmp input_reader=''
    trap inputs::_stop TERM
    if ! mkdir --parents "$input_work"; then return 1; fi
    export TMPDIR=$input_work
    mapfile -t input_sizes < <(stat --dereference --format=%s -- "${mount_files[@]/#//proc/$$/fd/}")
    for ((at = 0; at < ${#mount_files[@]}; at++)); do
        if [[ ${mounts[at * 3 + 2]} == rw ]]; then continue; fi
        inputs::_one "$at"
        json::object mount n "$at" bytes n "${input_bytes:-null}" sha256 o "$input_sha256" tree_sha256 o "$input_tree" \
            hashed s "$input_hashed" why s "$input_why"
        objects+=${objects:+, }$json
    done
    cd / && rm --recursive --force -- "$input_work"
    rmdir --ignore-fail-on-non-empty -- "$attempt_dir/inputs"
    node::_write "$attempt_dir/inputs.json" "[$objects]"
}

inputs::_stop() {
    if [[ -n $input_reader ]]; then kill -s TERM "$input_reader" 2>/dev/null; fi
    cd / && rm --recursive --force -- "$attempt_dir/inputs"
    exit 143
}

# One mount: input_bytes, input_sha256 of a file or input_tree of a folder, input_hashed as the record has it, input_why not.
inputs::_one() {
    local source=${mounts[$1 * 3]} file=/proc/$$/fd/${mount_files[$1]}
    input_bytes='' input_sha256='' input_tree='' input_hashed=no input_why=''
    if [[ ! -d $file ]]; then input_bytes=${input_sizes[$1]-}; fi
    if [[ " ${mounts_hashed[*]-} " != *" $1 "* ]]; then
        # shellcheck disable=SC2016  # a key of exp.yaml
        input_why='it was not asked for: write `hash: true`'
        return
    fi
    if inputs::_is_unchangeable "$1"; then inputs::_source "$file" "$1"; fi
    if [[ -z $input_sha256$input_tree$input_why ]]; then
        input_why="hashing it failed: see $attempt_dir/inputs.json.error, and with df whether a file system is full"
    fi
    if [[ -n $input_why ]]; then
        input_hashed=no input_sha256='' input_tree=''
        if [[ -d $file ]]; then input_bytes=''; fi
        { printf 'tfslurm: %s: inputs: %q was not hashed: %s\n' "$where" "$source" "$input_why" >&"$input_told"; } 2>/dev/null
    fi
    event inputs "$source: ${input_why:-$input_hashed, $input_bytes bytes}"
}

# Is there no other mount through which the program could change what was hashed?
inputs::_is_unchangeable() {
    local -i other
    local real=${mount_sources[$1]} its
    for ((other = 0; other < ${#mount_sources[@]}; other++)); do
        its=${mount_sources[other]}
        if [[ ${mounts[other * 3 + 2]} == rw && ($real == "$its" || $real == "$its"/* || $its == "$real"/*) ]]; then
            input_why="the program can change it at ${mounts[other * 3 + 1]}, where it is mounted writable"
            return 1
        fi
    done
}

# The source that is open as $1, the mount of place $2. One source is hashed once on a node at a time: who waits finds it known.
inputs::_source() {
    input_known='' input_lists='' input_follow=-P
    rm --recursive --force -- "$input_work" && mkdir "$input_work" && cd -- "$input_work" || return
    if [[ -d $1 ]]; then
        cd -- "$1/." || return
    else
        mkdir file && ln --symbolic -- "$1" file/data && cd file || return
        input_follow=-L
    fi
    inputs::_folder "$1"
    inputs::_inodes now || return
    input_hashed=cached
    inputs::_recall
    if inputs::_is_as_it_was "$1" "$2"; then return; fi
    inputs::_in_order now && inputs::_match || return
    if [[ -s $input_work/missing ]]; then
        lock::take "inputs-$input_id"
        inputs::_anew && inputs::_sum "$1" "$2" && [[ $input_hashed == full ]] && inputs::_keep
        lock::drop
    else
        inputs::_sum "$1" "$2"
    fi
}

# Is nothing of the whole another inode than when it was hashed?
inputs::_is_as_it_was() {
    local state tree bytes list
    input_state=$(cat -- "$input_work"/now.{files,links,others} | sha256sum)
    read -r state tree bytes <"$input_work/known.whole" || return
    if [[ ${input_state%% *} != "$state" ]]; then return 1; fi
    if [[ ! -d $1 ]]; then
        input_sha256=$tree
    else
        list=$input_lists/$tree
        if ! images::has "$list"; then return 1; fi
        if (($(stat --format=%s -- "$list") <= INPUT_SHORT_BYTES)); then cp -- "$list" "$attempt_dir/inputs/$2.list"; fi
        input_tree=$tree
    fi
    input_bytes=$bytes
}

inputs::_not() {
    input_why=$1
    return 1
}

# Where what is known is kept; in an unsafe folder it is not.
inputs::_folder() {
    local at=$inputs_dir
    input_id=$(stat --dereference --format=%d-%i -- "$1")
    if ! folder::is_alone "$at"; then return; fi
    if [[ -s $attempt_dir/shared-folders ]]; then # kept open, as the run folder is
        if [[ -z ${inputs_file-} ]]; then exec {inputs_file}<"$at/."; fi
        at=/proc/$BASHPID/fd/$inputs_file/.
    fi
    if folder::is_alone "$at/known" && folder::is_alone "$at/lists"; then
        input_known=$at/known/$input_id input_lists=$at/lists
    fi
}

# Looks at every inode of the current folder: the files in $input_work/$1, the rest of its list in $1.rest.
inputs::_inodes() {
    local -i code=0
    local work=$input_work
    rm --force -- "$work/unreadable" "$work/young"
    input_began=$(printf '%(%s)T' -1)
    (
        ulimit -S -f "$INPUT_MOST_KIB"
        exec timeout 0 find "$input_follow" . \
            -type f -fprintf "$work/$1.files" "$INPUT_INODE/%P\0" \
            '(' ! -readable -fprintf "$work/unreadable" '%p\n' -o -true ')' \
            '(' -newermt "@$((input_began - INPUT_GRAIN_S))" -o -newerct "@$((input_began - INPUT_GRAIN_S))" ')' \
            -fprintf "$work/young" "$INPUT_INODE\n" \
            -o -type f -o -type l -fprintf "$work/$1.links" '%s %p -> %l\0' \
            -o '(' ! -type d -o -empty ')' -fprintf "$work/$1.others" '? %p\0'
    ) 2>"$work/errors" &
    input_reader=$!
    wait "$input_reader" 2>/dev/null || code=$?
    input_reader=''
    if ((code > 128)) || (($(tr --complement --delete '\0' <"$work/$1.files" | wc --bytes) > INPUT_MOST_FILES)); then
        inputs::_not "it holds more than $INPUT_MOST_FILES files, or their names are too long; pack them (tar), or mount a part"
    elif ((code != 0)); then
        inputs::_failed
    elif [[ -s $work/unreadable ]]; then
        inputs::_not "$(inputs::_shown <"$work/unreadable") cannot be read; let $user read it (chmod), or mount a folder without it"
    fi
}

# A long list is sorted on the disk: the memory is the job's.
inputs::_sort() { sort --buffer-size=64M "$@"; }

# Sorts what was found.
inputs::_in_order() {
    local work=$input_work
    tr '\0\n' '\n\0' <"$work/$1.files" | inputs::_sort --field-separator=/ --key=1,1 >"$work/$1" || return
    { inputs::_sort --zero-terminated "$work/$1.links" && inputs::_sort --zero-terminated "$work/$1.others"; } >"$work/$1.rest"
}

# The first line on standard input, harmless wherever it is shown.
inputs::_shown() {
    local line
    IFS= read -r -d '' -n 400 line || :
    printf '%q' "${line%%$'\n'*}"
}

inputs::_failed() {
    local said
    IFS= read -r -d '' -n 400 said <"$input_work/errors"
    said=${said%%$'\n'*}
    inputs::_not "it cannot be read: ${said//[![:print:]]/?}; let $user read it, or mount a folder without it"
}

# What is known of the source: in known.whole of the whole, in `known` of each file.
inputs::_recall() {
    local sum='' work=$input_work
    : >"$work/known"
    : >"$work/known.whole"
    if [[ -z $input_known ]] || ! images::has "$input_known"; then return; fi
    { IFS= read -r sum; cat >"$work/known.all"; } <"$input_known"
    if [[ $(sha256sum <"$work/known.all") != "$sum  -" ]]; then return; fi
    { IFS= read -r sum && printf '%s\n' "$sum" >"$work/known.whole" && cat >"$work/known"; } <"$work/known.all"
}

# Which files have the inode that they had when they were hashed: those in `have`, the others in `missing`.
inputs::_match() {
    local work=$input_work
    join -t / "$work/known" "$work/now" >"$work/have" && join -t / -v 2 "$work/known" "$work/now" >"$work/missing" && return
    : >"$work/have"
    cp -- "$work/now" "$work/missing"
}

# Hashes what is not known, with the lock.
inputs::_anew() {
    local work=$input_work
    inputs::_recall # another task may have hashed it since
    inputs::_match || return
    if [[ ! -s $work/missing ]]; then return 0; fi
    input_hashed=full
    mv -- "$work/young" "$work/young.now" 2>/dev/null || : >"$work/young.now"
    inputs::_read || return
    inputs::_inodes after && inputs::_in_order after || return
    if ! cmp --silent "$work/now" "$work/after" || ! cmp --silent "$work/now.rest" "$work/after.rest"; then
        inputs::_not "it was changed while it was read: $(inputs::_changed); submit again when nobody writes there"
    fi
}

inputs::_changed() {
    local work=$input_work
    {
        comm -3 --nocheck-order "$work/now" "$work/after" | cut --delimiter=/ --fields=2-
        comm -3 --nocheck-order "$work/now.rest" "$work/after.rest"
    } 2>/dev/null | tr '\0' '?' | inputs::_shown
}

# Hashes what is missing, by as many processes as the job has processors here; `have` is then all files.
inputs::_read() {
    local -i count workers=$cpus code=0
    local work=$input_work
    local -a sizes
    inputs::_sort --field-separator=: --key=3,3nr "$work/missing" >"$work/by-size" || inputs::_failed || return
    mapfile -t sizes < <(cut --delimiter=: --fields=3 "$work/by-size")
    unset -v OMP_NUM_THREADS OMP_THREAD_LIMIT # nproc obeys them
    count=$(nproc)
    if ((count < workers)); then workers=count; fi
    inputs::_add "$work/by-size"
    event inputs-began "${#sizes[@]} files, $input_total bytes, $workers processes"
    if ((input_total > INPUT_TELL_BYTES)); then
        printf 'tfslurm: %s: inputs: hashes %d MB (files: %d) before the program starts\n' "$where" \
            "$((input_total / 1000000))" "${#sizes[@]}" >&"$input_told"
    fi
    mkdir "$work/batches" && inputs::_batches "$workers" || inputs::_failed || return
    printf '%s\0' "$work"/batches/* |
        timeout 0 xargs --null --max-procs="$workers" --max-args=1 bash -c "$INPUT_BATCH" - 2>"$work/errors" &
    input_reader=$!
    wait "$input_reader" 2>/dev/null || code=$?
    input_reader=''
    if ((code != 0)); then inputs::_failed; else inputs::_together; fi
}

# The sum of the sizes of the files that are named in $1, in input_total.
inputs::_add() {
    input_total=$(($(cut --delimiter=: --fields=3 "$1" | paste --serial --delimiters=+)))
}

# Cuts `by-size`, of which `sizes` has the sizes, into batches for $1 processes, the largest files first: each is a part of what is
# left, so that all processes end at once.
inputs::_batches() {
    local -i left at=0 all=${#sizes[@]} weight=0 count=0 number=1000000 step
    left=$((input_total + all * INPUT_FILE_WEIGHT))
    while ((at < all)); do
        step=$((sizes[at] < INPUT_FILE_WEIGHT ? INPUT_STRIDE : 1))
        if ((at + step > all)); then step=$((all - at)); fi
        weight=$((weight + step * (sizes[at] + INPUT_FILE_WEIGHT)))
        count=$((count + step)) at=$((at + step))
        if ((weight < left / (4 * $1) || weight < INPUT_LEAST_BATCH)) && ((at < all)); then continue; fi
        head --lines="$count" | cut --delimiter=/ --fields=2- >"$input_work/batches/$number" || return
        left=$((left - weight)) number=$((number + 1))
        weight=0 count=0
    done <"$input_work/by-size"
}

# Adds what was hashed to `have`, if it is what was missing: no file more and none less.
inputs::_together() {
    local work=$input_work
    printf '%s\0' "$work"/batches/*.sums | xargs --null cat -- | tr '\0\n' '\n\0' |
        inputs::_sort --field-separator=/ --key=2 >"$work/sums"
    inputs::_sort --field-separator=/ --key=2 "$work/missing" >"$work/by-path"
    if ! cmp --silent <(cut --delimiter=/ --fields=2- "$work/sums") <(cut --delimiter=/ --fields=2- "$work/by-path"); then
        inputs::_failed
        return
    fi
    cut --delimiter=/ --fields=1 "$work/by-path" | paste --delimiters=/ - "$work/sums" >>"$work/have" || inputs::_failed
}

# The hash of the whole, of the source $1 and the mount $2, and how large it is.
inputs::_sum() {
    local work=$input_work list=$input_work/list tree file
    inputs::_add "$work/now"
    input_bytes=$input_total
    cut --delimiter=/ --fields=2- "$work/have" | tr '\n\0' '\0\n' |
        inputs::_sort --zero-terminated --field-separator=/ --key=2 >"$list" || return
    if [[ ! -d $1 ]]; then
        IFS= read -r -d '' -n 64 input_sha256 <"$list"
        return
    fi
    cat -- "$work/now.rest" >>"$list" && tree=$(sha256sum <"$list") || return
    input_tree=${tree%% *}
    if [[ -n $input_lists ]] && ! images::has "$input_lists/$input_tree"; then
        file=$input_lists/$input_tree.$job.$BASHPID.tmp
        { cp -- "$list" "$file" && mv --no-target-directory -- "$file" "$input_lists/$input_tree" 2>/dev/null; } || rm --force -- "$file"
    fi
    if (($(stat --format=%s -- "$list") <= INPUT_SHORT_BYTES)); then mv -- "$list" "$attempt_dir/inputs/$2.list" || return; fi
}

# Remembers every file but those that changed just before they were read, and the whole if there are none.
inputs::_keep() {
    local work=$input_work file=$input_known.$job.$BASHPID.tmp whole=-
    if [[ -z $input_known ]]; then return; fi
    if [[ ! -s $work/young.now ]]; then whole="${input_state%% *} $input_tree$input_sha256 $input_bytes"; fi
    inputs::_sort --unique "$work/young.now" >"$work/young"
    {
        printf '%s\n' "$whole"
        cut --delimiter=/ --fields=1,2 "$work/have" | inputs::_sort --field-separator=/ --key=1,1 --unique | join -t / -v 1 - "$work/young"
    } >"$work/known.all" &&
        { sha256sum <"$work/known.all" | cut --characters=1-64 && cat -- "$work/known.all"; } >"$file" &&
        mv --no-target-directory -- "$file" "$input_known" 2>/dev/null && return
    rm --force -- "$file"
}
