#!/bin/bash
# For administrators: removes what a job of tfslurm's left on a node, once the job is over there. slurm.conf:
#
#   Epilog=/etc/slurm/epilog.d/tfslurm.sh        (or Epilog=/etc/slurm/epilog.d/*, where it is one of several)
#
# slurmd runs it as root on each node at the end of each job. A container is removed when its labels name this very job: Slurm's
# own id of it, this cluster, this user. Ordinary ends leave none; what is left is of jobs whose script was killed with SIGKILL.
# It always ends with 0, for another code would drain the node, and within 45 s. It logs to syslog, or to stderr without `logger`.
# DOCKER_HOST, or ENGINE=podman for rootful podman, may be set here. It alone asks the engine itself instead of by the parts in
# parts/engines: it is copied as it stands, and root's administrator reads all of it.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # slurmd gives an Epilog none
engine=${ENGINE:-docker}

log() {
    logger --tag tfslurm-epilog -- "$1" 2>/dev/null || printf 'tfslurm-epilog: %s\n' "$1" >&2
}

remove_left() {
    local -a left=()
    local id answer
    if ! answer=$(timeout --kill-after=1 10 "$engine" ps --all --quiet --no-trunc \
        --filter "label=tfslurm.slurm_job_id=$SLURM_JOB_ID" --filter "label=tfslurm.slurm_cluster=$SLURM_CLUSTER_NAME" \
        --filter "label=tfslurm.uid=$SLURM_JOB_UID" --filter "label=tfslurm.node=$SLURMD_NODENAME" 2>&1 </dev/null); then
        log "job $SLURM_JOB_ID: $engine ps failed: ${answer:-no answer in 10 s}; what it left is still there"
        return
    fi
    while IFS= read -r id; do
        if [[ $id =~ ^[0-9a-f]{64}$ ]]; then left+=("$id"); fi
    done <<<"$answer"
    if ((${#left[@]} == 0)); then return; fi
    if answer=$(timeout --kill-after=1 30 "$engine" rm --force --volumes "${left[@]}" 2>&1 </dev/null); then
        log "job $SLURM_JOB_ID of uid $SLURM_JOB_UID: removed ${left[*]}"
    else
        log "job $SLURM_JOB_ID of uid $SLURM_JOB_UID: not removed: ${left[*]}: ${answer//$'\n'/ }"
    fi
}

# Without one of these it cannot be said whose a container is: nothing is done.
if [[ -n ${SLURM_JOB_ID-} && -n ${SLURM_CLUSTER_NAME-} && -n ${SLURM_JOB_UID-} && -n ${SLURMD_NODENAME-} ]]; then
    if type -P "$engine" >/dev/null; then remove_left; fi
else
    log 'SLURM_JOB_ID, SLURM_CLUSTER_NAME, SLURM_JOB_UID or SLURMD_NODENAME is not set: nothing was looked at'
fi
exit 0
