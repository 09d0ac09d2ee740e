#!/bin/bash
# Builds an image on a node, and saves it as an archive. $1 the engine, $2 the archive, $3 the image's name while it is here,
# $4 a label of all that the build leaves, $5 the network ('': the engine's own), $6 SOURCE_DATE_EPOCH, $7 the base as the
# Dockerfile has it, then the names that it may be pulled by. stdin: the context as a tar. Prints the engine with its version.
# What the builder says is kept in a file; its last lines are repeated where it fails. Nothing of the build is left here.
engine=$1 archive=$2 tag=$3 label=$4 network=$5 epoch=$6 base=$7
shift 7
umask 077
here=$(mktemp -d) || exit 1
builder=''
clear_up() {
    if [[ -n $builder ]]; then
        pkill -TERM -P "$builder" -f buildah-oci-runtime || kill -TERM "$builder"
        wait "$builder"
    fi 2>/dev/null
    "$engine" image rm --force "$tag" >/dev/null 2>&1
    for wait_s in 0.2 0.4 0.8 1.6 3.2; do # docker's daemon ends an interrupted step, and keeps its image, after the client has gone
        if [[ $engine == docker ]]; then
            "$engine" ps --all --quiet --filter "label=$label" | xargs --no-run-if-empty "$engine" rm --force >/dev/null 2>&1
        fi
        "$engine" image prune --force --filter "label=$label" >/dev/null 2>&1
        if [[ -z $("$engine" images --all --quiet --filter "label=$label" 2>/dev/null) ]]; then break; fi
        sleep "$wait_s"
    done
    chmod -R u+w -- "$here" 2>/dev/null
    rm -rf -- "$here"
    if [[ -n $1 ]]; then rm -f -- "$archive"; fi
}
stop() {
    clear_up failed
    exit 143
}
run() {
    "$engine" "$@" >>"$here/log" 2>&1 &
    builder=$!
    wait "$builder"
    code=$?
    builder=''
    return "$code"
}
fail() {
    tail -n 12 -- "$here/log" | cut -c 1-400 >&2
    clear_up failed
    exit 1
}
trap stop TERM INT HUP
mkdir -- "$here/context" || fail
tar --extract --file=- --directory="$here/context" --no-same-owner --same-permissions >>"$here/log" 2>&1 || fail
dockerfile="$here/context/.tfslurm-build/Dockerfile"
found=''
for image; do
    if run image inspect -- "$image"; then found=$image; break; fi
done
for image; do
    if [[ -n $found ]]; then break; fi
    if run pull --quiet -- "$image"; then found=$image; fi
done
if [[ -z $found ]]; then fail; fi
sed --in-place "s|$base|$found|" -- "$dockerfile" || fail
words=(--no-cache --force-rm --file "$dockerfile" --tag "$tag" --build-arg "SOURCE_DATE_EPOCH=$epoch")
if [[ -n $network ]]; then words+=(--network "$network"); fi
if [[ $engine == docker ]] && ! docker buildx version >/dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi
run build "${words[@]}" "$here/context" || fail
form=()
if [[ $engine == podman ]]; then form=(--format docker-archive); fi
mkdir -p -- "${archive%/*}"
run save "${form[@]}" --output "$archive" "$tag" || fail
part=Client
if [[ $engine == docker ]]; then part=Server; fi
version=$("$engine" version --format "{{.$part.Version}}")
clear_up ''
printf '%s %s\n' "$engine" "$version"
