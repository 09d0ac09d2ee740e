#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154
#
# What is inside an image, as one JSON document on standard output: inside/probe.py runs in a container of it, without a network.
#
#   bash -s -- ENGINE PROGRAM pull|here IMAGE...
#
# The parts of that engine come before it on standard input. PROGRAM is probe.py, its backslashes and line ends escaped.
# Of the IMAGEs, which are names of one image, the first that is here is taken; with `pull` else the first that can be fetched.
# Ends with 66 where it is not here, with 69 where no place has it, with 127 where the image has no Python.
set -uo pipefail # no -e: that an image is not here is an answer
export LC_ALL=C

main() {
    local program=$2 how=$3 image='' name id code=0
    engine=$1
    shift 3
    for name; do
        if (engine::has_image "$name") >/dev/null 2>&1 </dev/null; then image=$name && break; fi
    done
    if [[ -z $image && $how == here ]]; then exit 66; fi
    for name; do
        if [[ -n $image ]]; then break; fi
        if (engine::pull "$name") >/dev/null </dev/null; then image=$name; fi
    done
    if [[ -z $image ]]; then exit 69; fi
    engine::begin "tfslurm-look-$EUID-$$-$RANDOM"
    engine::add_removal
    engine::add_network none
    engine::add_env NVIDIA_VISIBLE_DEVICES=void CUDA_VISIBLE_DEVICES= HOME=/tmp
    # shellcheck disable=SC2016  # the container's shell reads it
    engine::add_shell "$image" \
        -c 'for python in python3 python; do command -v "$python" >/dev/null && exec "$python" -I -c "$1"; done; exit 127' \
        sh "$(printf %b "$program")"
    id=$(engine::create "${create[@]}" </dev/null) || exit
    (engine::run_alone "$id") </dev/null || code=$?
    if ((code != 0)); then engine::remove "$id" >/dev/null 2>&1; fi
    exit "$code"
}

main "$@"
