# shellcheck shell=bash disable=SC2034,SC2154
#
# What docker's command line and podman's, which imitates it, are asked in the same words. Where they differ stands in
# engines/docker and engines/podman, which define the same functions. No other part calls an engine or asks which one it is:
#
#   before   available ask_ahead ask_info info grace inherits cgroup can_limit can_pass
#   image    has_image is_named is_absence is_gone refuse_image pull
#   making   add_identity add_groups add_gpus add_network create_argv create not_created
#   running  run run_alone attach signal stop process cgroup_folders answers
#   end      end_state await_end init_failed ended_by_daemon unsaved_files remove list_mine
#
# run, run_alone, attach, create, has_image and pull become the engine's program: they are called in processes of their own.

cdi_folders=(/etc/cdi /var/run/cdi) # CDI's own. Source: CDI specification, "CDI JSON Specification"

# What the engine says of itself, as a fact.
engine::info() { facts::keep engine-info.json "$engine" info --format '{{json .}}'; }

# The same in engine_info, asked for only once.
engine::ask_info() {
    if [[ -n $engine_info ]]; then return; fi
    if [[ -n $engine_look ]]; then node::_wait "$engine_look" node::_is_stopped; else engine::info; fi
    if [[ -s $facts/engine-info.json ]]; then engine_info=$(<"$facts/engine-info.json"); fi
}

engine::answers() { "$engine" version >/dev/null 2>&1; }

# Prints what the engine has of these images, a block for each: its id and names, the engine's own JSON, and what Go has
# quoted: the platform, the entrypoint, each variable, the working folder, each volume; then an empty line.
engine::has_image() {
    # shellcheck disable=SC2016  # the engine reads it
    exec "$engine" image inspect --format '{{.Id}} {{range .RepoDigests}}{{.}} {{end}}{{println}}{{json .}}{{println}}{{printf "%+q" (printf "%s/%s" .Os .Architecture)}}{{with .Config}}{{println}}{{printf "%+q" .Entrypoint}}{{range .Env}}{{println}}{{printf "%+q" .}}{{end}}{{println}}workdir {{printf "%q" .WorkingDir}}{{range $place, $_ := .Volumes}}{{println}}volume {{printf "%q" $place}}{{end}}{{end}}{{println}}' "$@"
}

# Is the image known under this name? Docker leaves `docker.io/` and `docker.io/library/` out of the names that it shows,
# podman the `sha256:` of ids.
engine::is_named() {
    local short=${2#docker.io/}
    [[ " $1 " == *" $2 "* || " $1 " == *" ${short#library/} "* || " $1 " == *" ${2#sha256:} "* ]]
}

# Does this line of has_image complain of nothing but an image that is not there?
engine::is_absence() { [[ $1 == *[Nn]o\ such\ image* || $1 == *image\ not\ known* || $1 == *level=warning* ]]; }

# Do these words say that the engine's daemon does not answer?
engine::is_gone() {
    [[ $1 == *'Cannot connect to the Docker daemon'* || $1 == *'permission denied while trying to connect'* ]]
}

engine::pull() { exec "$engine" pull --quiet "$1"; }

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
engine::create() { exec "$engine" create "$@"; }

# Prints the words with which that is done, a NUL after each.
engine::create_argv() { printf '%s\0' "$engine" create "$@"; }

# Says why there is no container, from the engine's words.
engine::not_created() {
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

# Prints what a container that runs still prints.
engine::attach() { exec "$engine" attach --no-stdin --sig-proxy=false "$1"; }

engine::signal() { "$engine" kill --signal="$1" "$2"; }

# SIGTERM, and after $1 seconds SIGKILL. -t: --time was renamed in 28.
engine::stop() { "$engine" stop -t "$1" "$2"; }

# Prints the number of a container's first process on the node; 0 where it has none.
engine::process() { "$engine" container inspect --format '{{.State.Pid}}' "$1"; }

# Prints how a container is: `RUNNING CODE OOM-KILLED "BEGAN" "ENDED"`, the engine's error as JSON, and all that the engine
# says of it as JSON, a line each.
engine::end_state() {
    "$engine" container inspect --format '{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}} {{json .State.StartedAt}} {{json .State.FinishedAt}}{{println}}{{json .State.Error}}{{println}}{{json .}}' "$1"
}

# Prints each path that differs from the image: `A /tmp/x`.
engine::unsaved_files() { "$engine" container diff "$1"; }

# Whether it runs or not, and with the image's volumes.
engine::remove() { "$engine" rm --force --volumes "$1"; }

# Prints `ID NAME RANK` of each container that this attempt has on this node.
engine::list_mine() {
    "$engine" ps --all --quiet --no-trunc --filter "label=tfslurm.uid=$EUID" --filter "label=tfslurm.cluster=$cluster" \
        --filter "label=tfslurm.job_id=$job" --filter "label=tfslurm.attempt=$attempt" |
        xargs --no-run-if-empty "$engine" container inspect --format '{{.Id}} {{.Name}} {{index .Config.Labels "tfslurm.rank"}}'
}
