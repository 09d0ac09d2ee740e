#!/bin/sh
# Installs the locked wheels while an image is built: each by its hash, from the files beside this one, and no other.
set -eu
here=/.tfslurm-build
python=$(command -v python3 || command -v python || true)
if [ -z "$python" ]; then
    echo "tfslurm: the base has no python: \`pip\` needs one" >&2
    exit 1
fi
export PIP_CONFIG_FILE=/dev/null PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pip install --no-input --disable-pip-version-check --no-cache-dir --no-compile --no-deps --no-index \
    --require-hashes --find-links "$here/wheels" --requirement "$here/requirements.txt"
