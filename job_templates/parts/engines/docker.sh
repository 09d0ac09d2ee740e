# shellcheck shell=bash disable=SC2034,SC2154
#
# Docker: a container is the daemon's child, none of the job's own limits holds for it by itself. See engines/docker_cli.

# In a job, the context of the user's own settings does not say where the daemon is; DOCKER_HOST overrides this one.
if [[ -n ${SLURM_JOB_ID-} ]]; then export DOCKER_CONTEXT=${DOCKER_CONTEXT:-default}; fi

# It is not asked: the question for the image shows whether its daemon answers. But podman-docker's `docker` is podman, whose
# words and files are others: a script that calls it, or a link to it.
engine::available() {
    local head='' LC_ALL=C
    engine_info='' engine_look=''
    hash podman 2>/dev/null || :
    if ! hash "$engine" 2>/dev/null; then return 0; fi
    if [[ ${BASH_CMDS[$engine]} -ef ${BASH_CMDS[podman]-} ]]; then engine::_is_podman; fi
    IFS= read -r -N 4096 head 2>/dev/null <"${BASH_CMDS[$engine]}" || :
    if [[ $head == '#!'* ]] && engine::_runs_podman "$head"; then engine::_is_podman; fi
}

# Does this script run podman for docker? Its remarks do not count, nor does one that hands its words to a docker as well: what
# comes of that, the answers show.
engine::_runs_podman() {
    local line found=1
    while read -r line; do
        if [[ $line == '#'* ]]; then continue; fi
        if [[ $line =~ docker[^\;\&\|]*\"\$@\" ]]; then return 1; fi
        if [[ $line == *podman* ]]; then found=0; fi
    done <<<"$1"
    return "$found"
}

engine::_is_podman() { task::refuse "$engine" "\`docker\` on $where is podman" "write \`engine: podman\` in the cluster file"; }

# Refuses what speaks in the words of another engine: no daemon of docker's says this.
engine::refuse_words() {
    if [[ $1 == *'Emulate Docker CLI using podman'* || $1 == *'image not known'* || $1 == *'podman system'* ]]; then
        engine::_is_podman
    fi
}

# Begins to ask for its info where the answer decides something, beside everything else that must be asked.
engine::ask_ahead() {
    if ((gpus > 0)) && engine::_has_cdi_folder; then
        engine::info &
        engine_look=$!
    fi
}

# Prints where its daemon listens.
engine::address() { printf '%s\n' "${DOCKER_HOST:-unix:///var/run/docker.sock}"; }

# Prints the folder where it keeps images.
engine::images_folder() { engine::_ask info --format '{{.DockerRootDir}}'; }

# In grace_s: of $1 seconds those that are left for the program; its own commands take no time that counts.
engine::grace() { grace_s=$1; }

# Does a container get the task's own limits and cgroup because it is its child?
engine::inherits() { return 1; }

# In cgroup_path the cgroup of Slurm's below which it can put the container; where it cannot, why in cgroup_why. That works
# on cgroup v2 with the cgroupfs driver alone: systemd's wants a slice, and on v1 the start fails where devices are confined.
engine::cgroup() {
    if [[ ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
        cgroup_why='the node has cgroup v1'
        return 0
    fi
    engine::ask_info
    cgroup::of_step "$(</proc/self/cgroup)"
    if [[ ! $engine_info =~ \"CgroupDriver\":\ *\"cgroupfs\" ]]; then
        cgroup_why="docker's cgroup driver is not cgroupfs" cgroup_path=''
    elif [[ -z $cgroup_path ]]; then
        cgroup_why="the task is in no cgroup of Slurm's"
    fi
}

# Can it hold a container to a limit of this cgroup controller?
engine::can_limit() { return 0; }

# Does this variable reach the program as it is?
engine::can_pass() { return 0; }

# In image_loaded_name: the name of a loaded image beside name@digest. Docker computes a digest again only in containerd's store;
# in its own it knows the image by its config's digest, and holds every layer against that config as it loads it.
# Source: github.com/moby/moby, image/tarexport/load.go.
engine::loaded_name() { image_loaded_name=$image_config_digest; }

# Refuses an image that the engine would obey.
engine::refuse_image() { return 0; }

engine::add_identity() { engine::_add_user; }

engine::add_groups() { engine::_add_each_group; }

engine::add_network() { create+=(--network "$1"); }

# By CDI where a description on this node names every GPU. The quotes inside are docker's: without them `device=a,b` is read
# as device a and a second option b.
engine::add_gpus() {
    if ((${#gpu_ids[@]} == 0)); then return 0; fi
    if engine::_has_cdi; then
        engine::_add_gpus_by_cdi
    else
        local IFS=,
        create+=(--gpus "\"device=${gpu_ids[*]}\"")
    fi
}

# Docker lists the folders in its info only if it reads CDI at all. Source: Docker Engine API, GET /info, CDISpecDirs.
engine::_has_cdi() {
    local id
    if ! engine::_has_cdi_folder; then return 1; fi
    engine::ask_info
    if [[ ! $engine_info =~ \"CDISpecDirs\":\ *\[\ *\" ]]; then return 1; fi
    for id in "${gpu_ids[@]}"; do
        grep --quiet --no-messages --recursive --fixed-strings -- "$id" "${cdi_folders[@]}" || return 1
    done
}

engine::_has_cdi_folder() { [[ -d ${cdi_folders[0]} || -d ${cdi_folders[1]-} ]]; }

# In engine_cgroups the folders where it may have put the container: by its cgroupfs driver, or by systemd.
engine::cgroup_folders() { engine_cgroups=("docker/$1" "system.slice/docker-$1.scope"); }

# Its daemon sees every end.
engine::ended_unseen() { return 1; }

# It writes a little after a container has ended that it was out of memory.
engine::await_end() {
    if [[ $state_code == 137 && $state_oom == false && -z $stopped ]]; then
        sleep 0.5
        container::look
    fi
}

# May a container that ends with this code not even have begun entry.sh? Source: docker-init (tini).
engine::init_failed() { [[ $1 == 12[67] ]]; }

# Was a container that nobody here has stopped ended by the daemon? Its events tell who sent a signal, and forget what was
# before the daemon's start.
engine::ended_by_daemon() {
    local said
    if [[ $state_code != 137 && $state_code != 143 ]]; then return 1; fi
    time::now
    said=$(engine::_ask events --since "$state_began" --until "$now" --filter "container=$1" \
        --format '{{.Action}} {{index .Actor.Attributes "signal"}};' 2>&1) || return 1
    event engine-events "$said"
    [[ $said != *start* || $said == *'kill 15;'* || $said == *'kill 9;'* ]]
}
