# shellcheck shell=bash disable=SC2034,SC2154
#
# What `tfslurm image pull` runs on a node, as a job of its own: the image is there afterwards, pulled by digest and compared with
# the lock file, by the parts that pull it for a job.
#
#   FOLDER IMAGES_DIR ENGINE PIN_KIND DIGEST CONFIG_DIGEST REFERENCE PLATFORM ENTRYPOINT {N WORD…} x 4
#
# The words are the sources, the variables that it must have, those that it must not have, and the engine's own variables. The
# parts come before it in the same file. What becomes of it stands in FOLDER/NODE.said: a state, seconds, and words, a tab between.

pull::settings() {
    folder=$1 images_dir=$2 engine=$3 pin_kind=$4 image_digest=$5 image_config_digest=$6 image_reference=$7
    image_platform=$8 image_entrypoint=$9
    shift 9
    image_sources=("${@:2:$1}")
    shift "$(($1 + 1))"
    image_environment=("${@:2:$1}")
    shift "$(($1 + 1))"
    image_missing=("${@:2:$1}")
    shift "$(($1 + 1))"
    engine_environment=("${@:2:$1}")
    image_archive='' checkpoint_signal='' gpus=0 network=none is_local=''
    where=${SLURMD_NODENAME:-${HOSTNAME-}}
    stopped='' interrupted='' client='' waited_for='' told_first='' warned=''
    pull_began=$SECONDS
}

pull::say() { node::_write "$folder/$where.said" "$1"$'\t'"$((SECONDS - pull_began))"$'\t'"${2//[$'\n\r\t']/ }"; }

# Of all that happens, the beginning of a pull is told.
event() {
    if [[ $1 == pull ]]; then pull::say pulling "$2"; fi
}

pull::_left() {
    local code=$? why=''
    trap - EXIT
    set +e
    if ((code != 0)); then
        if [[ -s $facts/refused.txt ]]; then IFS= read -r why <"$facts/refused.txt"; fi
        why=${why#"tfslurm: $where: "}
        why=${why%, or see "$facts"/*}
        if [[ -n $stopped ]]; then why="it was stopped, by its time limit or by somebody, before the image was there"; fi
        pull::say failed "${why:-it ended with $code}"
    fi
    rm -rf -- "$facts"
    exit "$code"
}

pull::run() {
    pull::settings "$@"
    if ((${#engine_environment[@]})); then export -- "${engine_environment[@]}"; fi
    facts=$(mktemp --directory)
    own_dir=$facts run_dir=$facts
    trap pull::_left EXIT
    trap 'task::_told_to_stop' TERM INT HUP
    pull::say looking ''
    engine::available
    image::ensure
    local how
    how=$(<"$facts/image-pulled.txt")
    if [[ $how == present ]]; then pull::say present ''; else pull::say pulled "${how#pulled from }"; fi
}

set -euo pipefail
export LC_ALL=C
pull::run "$@"
