#!/bin/sh
# Installs packages by the base's own apt-get while an image is built, and leaves behind no list, cache or log of it.
# Arguments: the packages. What was there before and after is written beside this file, and ends up in no layer.
set -eu
here=/.tfslurm-build
if ! command -v apt-get >/dev/null; then
    echo "tfslurm: the base has no apt-get: \`apt\` is for images of Debian and Ubuntu" >&2
    exit 1
fi
installed() {
    # shellcheck disable=SC2016  # of dpkg-query, not of the shell
    dpkg-query --show --showformat='${Package}\t${Version}\t${Architecture}\n'
}
installed >"$here/apt.before"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends -- "$@"
installed >"$here/apt.after"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
    /var/cache/ldconfig/aux-cache
