#!/bin/bash
# shellcheck disable=SC1091,SC2034,SC2154
#
# A job as `tfslurm run` starts one, of the real node.sh, task.sh and entry.sh; its settings are those of job.sbatch.j2, which a
# test compares. GPU_CHECK_… names what differs: RUN is the run folder, IMAGE an image id that the engine has.
set -euo pipefail

plan_id=0123456789ab name=gpu-check cluster=gpu-check
run_dir=$GPU_CHECK_RUN own_dir=$GPU_CHECK_RUN images_dir=$GPU_CHECK_RUN/images inputs_dir=$GPU_CHECK_RUN/inputs
code_dir='' code_contents='' code_writable=false packages_dir='' packages_key='' packages_wheels=()
engine=$GPU_CHECK_ENGINE cgroup_parent=auto network=none prepull=false
image_reference=gpu-check image_digest=$GPU_CHECK_IMAGE image_digest_kind=config pin_kind=image-id
image_sources=("$GPU_CHECK_IMAGE") image_archive='' image_config_digest=''
image_platform=$GPU_CHECK_PLATFORM image_entrypoint='[]' image_environment=()
image_missing=(CUDA_VERSION NVIDIA_REQUIRE_CUDA NVIDIA_DISABLE_REQUIRE)
points=0
command=()
IFS=$'\t' read -r -a command <<<"$GPU_CHECK_COMMAND"
environment=() mounts=() mounts_hashed=() mounts_allow=() roots=() shared_parents='' read_group='' outputs=/out secrets=()
gpus=1 cpus=2 memory_mib=0 shm_mib=0 pids=4096 log_mib=16 layer_mib=0 gpus_per_task=0
tensorflow_check=off tensorflow_check_key=none loader_variables=(CUDA_ LD_ NVIDIA_ PATH PYTHON TF_ XLA_)
minimum_driver='' minimum_driver_for='' nodes=1 tasks_per_node=1 slurm_variables=() engine_environment=()
checkpoint_signal='' checkpoint_requeue=false checkpoint_max_requeues=0 keep_s=0
script_sha256=none

# Nothing was sent: the files are this checkout's.
sent::check() { return 0; }

source "$run_dir/node.sh"
case "${1-}" in
prepare | task | cleanup)
    source "$run_dir/task.sh"
    "node::$1"
    ;;
*)
    node::begin
    node::batch
    exit "$job_exit_code"
    ;;
esac
