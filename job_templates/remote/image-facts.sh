#!/bin/bash
# What is inside an image, as one JSON document on stdout: the probe on stdin runs in a container of it, without a network.
# $1 the engine, $2 "pull" or "here" (an image that is not here is not fetched), then the image's names, tried in turn.
engine=$1 pull=$2 found=''
shift 2
for image; do
    if "$engine" image inspect -- "$image" >/dev/null 2>&1; then found=$image; break; fi
done
if [[ -z $found && $pull == here ]]; then echo "the image is not here" >&2; exit 66; fi
for image; do
    if [[ -n $found ]]; then break; fi
    if "$engine" pull --quiet -- "$image" >/dev/null; then found=$image; fi
done
if [[ -z $found ]]; then echo "no place served the image" >&2; exit 69; fi
# shellcheck disable=SC2016  # the container's shell reads it
exec "$engine" run --rm --interactive --network=none --memory=4g --env=NVIDIA_VISIBLE_DEVICES=void --env=CUDA_VISIBLE_DEVICES= \
    --env=HOME=/tmp --entrypoint=sh "$found" \
    -c 'for python in python3 python; do command -v "$python" >/dev/null && exec "$python" -I -; done; exit 127'
