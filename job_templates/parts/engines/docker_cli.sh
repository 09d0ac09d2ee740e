# shellcheck shell=bash disable=SC2034,SC2154
#
# What docker's command line and podman's, which imitates it, are asked in the same words. Where they differ stands in
# engines/docker and engines/podman, which define the same functions. No other part calls an engine or asks which one it is:
#
#   before   available ask_ahead ask_info info grace inherits cgroup can_limit can_pass
#   image    has_image is_named is_absence is_gone reason refuse_words refuse_image pull load loaded_name
#   making   begin add_input add_removal add_labels add_identity add_groups add_gpus add_limit add_cgroup add_mount add_workdir
#            add_env add_host add_network add_shell create_argv shell_words create not_created
#   running  run run_alone exec attach signal stop process cgroup_folders answers
#   end      end_state ended_unseen await_end init_failed ended_by_daemon unsaved_files remove remove_soon list list_mine
#   probes   version describe address images_folder describe_containers is_no_container is_client
#
# begin and add_… write the words for create into `create`. run, run_alone, exec, attach, create, has_image, pull and load become the
# engine's program: they are called in processes of their own.
#
# An engine may never answer. Every call of it has a patience, after which it ends with 124: by its first word in
# engine_patience, ENGINE_PATIENCE_S else, and engine_patience_s for all of them where that is set. run, run_alone, exec and
# attach last as long as the container does: who calls them ends them.

cdi_folders=(/etc/cdi /var/run/cdi) # CDI's own. Source: CDI specification, "CDI JSON Specification"

readonly ENGINE_PATIENCE_S=120
# Without root podman may copy the whole image for create. A pull says nothing until it is over: a large image on a slow line.
declare -A engine_patience=([create]=600 [start]=600 [pull]=3600 [load]=3600)

# In within_s: the seconds for a call by its first word; of a job that is being stopped no more than Slurm leaves to write
# down its end.
engine::_patience() {
    local -i left
    within_s=${engine_patience_s:-${engine_patience[$1]:-$ENGINE_PATIENCE_S}}
    if [[ -n ${engine_patience_s-} || -z ${stopped-} || -z ${TFSLURM_KILL_WAIT-} || -z ${stopped_at-} ]]; then return 0; fi # in a trap too
    left=$((TFSLURM_KILL_WAIT - (SECONDS - stopped_at) - 2))
    if ((within_s > left)); then within_s=$((left > 1 ? left : 1)); fi
}

# Becomes the engine's program, which ends with 124, or is killed, when its patience is over.
engine::_become() {
    engine::_patience "$1"
    exec timeout --kill-after=1 "$within_s" "$engine" "$@"
}

# In engine_mute: that a call in the words $1, which ended with $2 and began at second $3, got no answer; '' where it did.
engine::mute() {
    engine_mute=''
    engine::_patience "${1%% *}"
    if [[ $2 == 124 ]] || [[ $2 == 137 && $((SECONDS - $3)) -ge $within_s ]]; then
        engine_mute="$1: no answer in $((SECONDS - $3)) s"
    fi
}

engine::_ask() {
    local code=0 words=$1 began=$SECONDS
    if [[ $1 == @(container|image|system) ]]; then words+=" $2"; fi
    engine::_patience "$1"
    timeout --kill-after=1 "$within_s" "$engine" "$@" || code=$?
    if ((code == 0)); then return 0; fi # without its 0, what a trap interrupted would be returned
    engine::mute "$words" "$code" "$began"
    if [[ -n $engine_mute ]]; then
        printf '%s %s\n' "$engine" "$engine_mute" >&2
        code=124
    fi
    return "$code"
}

# Prints what the engine says of itself, as JSON of its own.
engine::describe() { engine::_ask info --format '{{json .}}'; }

# Prints its version likewise.
engine::version() { engine::_ask version --format '{{json .}}'; }

# What it says of itself, as a fact.
engine::info() { facts::keep engine-info.json engine::describe; }

# The same in engine_info, asked for only once.
engine::ask_info() {
    if [[ -n $engine_info ]]; then return 0; fi
    if [[ -n $engine_look ]]; then node::_wait "$engine_look" node::_is_stopped; else engine::info; fi
    if [[ -s $facts/engine-info.json ]]; then engine_info=$(<"$facts/engine-info.json"); fi
}

engine::answers() {
    local engine_patience_s=5
    engine::_ask version >/dev/null 2>&1
}

# Prints what the engine has of these images, a block for each: its id and names, the engine's own JSON, and what Go has
# quoted: the platform, the entrypoint, each variable, the working folder, each volume; then an empty line.
engine::has_image() {
    # shellcheck disable=SC2016  # the engine reads it
    engine::_become image inspect --format '{{.Id}} {{range .RepoDigests}}{{.}} {{end}}{{println}}{{json .}}{{println}}{{printf "%+q" (printf "%s/%s" .Os .Architecture)}}{{with .Config}}{{println}}{{printf "%+q" .Entrypoint}}{{range .Env}}{{println}}{{printf "%+q" .}}{{end}}{{println}}workdir {{printf "%q" .WorkingDir}}{{range $place, $_ := .Volumes}}{{println}}volume {{printf "%q" $place}}{{end}}{{end}}{{println}}' "$@"
}

# Is the image known under this name? Docker leaves `docker.io/` and `docker.io/library/` out of the names that it shows,
# podman the `sha256:` of ids.
engine::is_named() {
    local short=${2#docker.io/}
    [[ " $1 " == *" $2 "* || " $1 " == *" ${short#library/} "* || " $1 " == *" ${2#sha256:} "* ]]
}

# Does this line of has_image complain of nothing but an image that is not there?
engine::is_absence() { [[ $1 == *[Nn]o\ such\ image* || $1 == *image\ not\ known* || $1 == *level=warning* ]]; }

# In words: what the engine said on its standard error without its notices, which are never the reason why a command failed.
engine::reason() {
    local line
    words=''
    while IFS= read -r line || [[ -n $line ]]; do
        case $line in
        '' | 'Emulate Docker CLI '* | [Ww][Aa][Rr][Nn][Ii][Nn][Gg]:* | WARN\[* | INFO\[* | DEPRECATED* | [Nn]ote:* | [Nn]otice:*) ;;
        time=*level=warning* | time=*level=info* | time=*level=debug* | "What's next:"* | *'ld.so: object '*' cannot be preloaded'*) ;;
        *) if [[ " $words" != *" $line" ]]; then words+="${words:+ }$line"; fi ;; # one image after the other may meet the same
        esac
    done <<<"$1"
}

# Do these words say that the engine's daemon does not answer? It may go away while it is asked: `error during connect: … EOF`.
engine::is_gone() {
    [[ $1 == *'Cannot connect to the Docker daemon'* || $1 == *'permission denied while trying to connect'* ||
        $1 == *'error during connect: '* ]]
}

engine::pull() { engine::_become pull --quiet "$1"; }

# Loads an image's archive.
engine::load() { engine::_become load --quiet --input "$1"; }

# A container of this name, whose first process is an init, and whose output its client alone gets.
engine::begin() { create=(--name "$1" --init --log-driver none); }

# It reads what its client is sent, and is given these seconds between SIGTERM and SIGKILL.
engine::add_input() { create+=(--interactive --stop-timeout "$1"); }

# It is removed as it ends.
engine::add_removal() { create+=(--rm); }

engine::add_labels() {
    local label
    for label; do create+=(--label "$label"); done
}

# Holds it to this much, where the engine can hold a container to it: of cpuset 0-3,8; of cpu their number; of memory, layer
# (what is written outside every mount) and shm MiB; of pids their number; of stack, memlock and core bytes, -1 for no end.
engine::add_limit() {
    case $1 in
    cpuset | cpu | memory | pids) if ! engine::can_limit "$1"; then return 0; fi ;;
    esac
    case $1 in
    cpuset) create+=(--cpuset-cpus "$2") ;;
    cpu) create+=(--cpus "$2") ;;
    memory) create+=(--memory "${2}m" --memory-swap "${2}m") ;;
    pids) create+=(--pids-limit "$2") ;;
    layer) create+=(--storage-opt "size=${2}m") ;;
    shm) create+=(--shm-size "${2}m") ;;
    *) create+=(--ulimit "$1=$2") ;;
    esac
}

engine::add_cgroup() { create+=(--cgroup-parent "$1"); }

# Adds a mount: source, target, and rw where it can be written. Its fields are CSV: one with a comma, a quote or a newline stands
# in quotes, inner quotes doubled.
engine::add_mount() {
    local field line=type=bind
    for field in "source=$1" "target=$2"; do
        if [[ $field == *[$',"\n\r']* ]]; then field="\"${field//\"/\"\"}\""; fi
        line+=,$field
    done
    if [[ $3 != rw ]]; then line+=,readonly; fi
    create+=(--mount "$line")
}

engine::add_workdir() { create+=(--workdir "$1"); }

# NAME=VALUE …, which stand in the container's own environment.
engine::add_env() {
    local pair
    for pair; do create+=(--env "$pair"); done
}

# A name that it resolves: NAME:ADDRESS.
engine::add_host() { create+=(--add-host "$1"); }

# The last that is added: the image, and the words with which its /bin/sh runs.
engine::add_shell() { create+=(--entrypoint /bin/sh "$@"); }

# The user himself, with no way to more, and no word of the image's in when something runs or how it is stopped.
engine::_add_user() {
    create+=(--user "$EUID:$own_group" --security-opt no-new-privileges --cap-drop ALL --no-healthcheck --stop-signal SIGTERM)
}

engine::_add_each_group() {
    local group
    for group in "${GROUPS[@]:1}"; do
        if [[ $group != "$own_group" && $withheld != *" $group "* ]]; then create+=(--group-add "$group"); fi
    done
}

# By CDI. The image says `all`, which an NVIDIA runtime would obey as well.
engine::_add_gpus_by_cdi() {
    local id
    for id in "${gpu_ids[@]}"; do create+=(--device "nvidia.com/gpu=$id"); done
    create+=(--env NVIDIA_VISIBLE_DEVICES=void)
}

# Makes a container and prints its id.
engine::create() { engine::_become create "$@"; }

# Prints the words with which that is done, a NUL after each.
engine::create_argv() { printf '%s\0' "$engine" create "$@"; }

# In shell_words: the image, and the words for its /bin/sh, from a file that create_argv wrote; none where it is not whole.
engine::shell_words() {
    local word before=''
    local -i began=0
    shell_words=()
    while IFS= read -r -d '' word; do
        if ((began)); then shell_words+=("$word"); fi
        if [[ $before == --entrypoint && $word == /bin/sh ]]; then began=1; fi
        before=$word
    done <"$1"
}

# Says why there is no container, from the engine's words.
engine::not_created() {
    engine::refuse_words "$1"
    engine::reason "$1"
    set -- "${words:-$1}"
    case $1 in
    *'is already in use by'*)
        task::refuse container "$container_name exists on this node already" "\`tfslurm reap $cluster\`, then submit again" "$EX_TEMPFAIL" ;;
    *'bind source path does not exist'* | *'invalid mount config'* | *'statfs '*)
        task::refuse mounts "$1" "$engine must be able to reach the source" ;;
    *) task::engine_failed "$1" ;;
    esac
}

# Starts a container and stays attached to it, with its standard input.
engine::run() { exec "$engine" start --attach --interactive "$1"; }

# The same without its input.
engine::run_alone() { exec "$engine" start --attach "$1"; }

# Runs words by /bin/sh in a container that runs, with a terminal ($2) or without. The image may not know an unusual one.
engine::exec() {
    local id=$1
    local -a how=(--interactive)
    if [[ -n $2 ]]; then
        how+=(--tty --env)
        case ${TERM-} in xterm | xterm-256color | screen | screen-256color | linux | vt100 | dumb) how+=("TERM=$TERM") ;; *) how+=(TERM=xterm) ;; esac
    fi
    shift 2
    exec "$engine" exec "${how[@]}" "$id" /bin/sh "$@"
}

# Prints what a container that runs still prints.
engine::attach() { exec "$engine" attach --no-stdin --sig-proxy=false "$1"; }

engine::signal() { engine::_ask kill --signal="$1" "$2"; }

# SIGTERM, and after $1 seconds SIGKILL. -t: --time was renamed in 28.
engine::stop() {
    local engine_patience_s=$(($1 + ENGINE_PATIENCE_S))
    if [[ -n $stopped && -n ${TFSLURM_KILL_WAIT-} ]]; then # a slow one may still come to its SIGKILL
        engine_patience_s=$((TFSLURM_KILL_WAIT - (SECONDS - stopped_at) - 2))
        if engine::inherits; then engine_patience_s=$((engine_patience_s + 1)); fi
        if ((engine_patience_s <= $1)); then engine_patience_s=$(($1 + 1)); fi
    elif [[ -n $stopped ]]; then
        engine_patience_s=$(($1 + 10))
    fi
    engine::_ask stop -t "$1" "$2"
}

# Prints the number of a container's first process on the node; 0 where it has none.
engine::process() { engine::_ask container inspect --format '{{.State.Pid}}' "$1"; }

# Prints how a container is: `RUNNING CODE OOM-KILLED "BEGAN" "ENDED"`, the engine's error as JSON, and all that the engine
# says of it as JSON, a line each.
engine::end_state() {
    engine::_ask container inspect --format '{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}} {{json .State.StartedAt}} {{json .State.FinishedAt}}{{println}}{{json .State.Error}}{{println}}{{json .}}' "$1"
}

# Prints each path that differs from the image: `A /tmp/x`.
engine::unsaved_files() { engine::_ask container diff "$1"; }

# Removes containers, whether they run or not, with the image's volumes.
engine::remove() { engine::_ask rm --force --volumes "$@"; }

# The same of one that need not be there, by an engine that may not answer.
engine::remove_soon() {
    local engine_patience_s=5
    engine::remove "$1" >/dev/null 2>&1 || :
}

# Prints the id of each container on this node that has all of these labels.
engine::list() {
    local label
    local -a filters=()
    for label; do filters+=(--filter "label=$label"); done
    engine::_ask ps --all --quiet --no-trunc "${filters[@]}"
}

# Prints `ID NAME RANK` of each container that this attempt has on this node.
engine::list_mine() {
    local -a mine
    mapfile -t mine < <(engine::list "tfslurm.uid=$EUID" "tfslurm.cluster=$cluster" "tfslurm.job_id=$job" "tfslurm.attempt=$attempt")
    if ((${#mine[@]} == 0)); then return 0; fi
    engine::_ask container inspect --format '{{.Id}} {{.Name}} {{index .Config.Labels "tfslurm.rank"}}' "${mine[@]}"
}

# Prints for each of these containers its id, name, state, user, when it was made, and then tfslurm's labels that $1 names
# between blanks: 0x1f after each, a line each.
engine::describe_containers() {
    local name names=$1 format=''
    shift
    for name in .Id .Name .State.Status .Config.User .Created; do format+="{{$name}}{{\"\\x1f\"}}"; done
    for name in $names; do format+="{{with index .Config.Labels \"tfslurm.$name\"}}{{.}}{{end}}{{\"\\x1f\"}}"; done
    engine::_ask container inspect --format "$format" "$@"
}

# Do these words of describe_containers complain of nothing but a container that is not there, or is half removed?
engine::is_no_container() { [[ ${1,,} == *'no such'* || $1 == *'container not known'* ]]; }

# Is a process a client that is attached to this container? $2 is its program, $3 all of its words, 0x1f before and after each.
engine::is_client() { [[ ${2##*/} == "$engine" && $3 == *$'\x1f'"$1"$'\x1f'* ]]; }
