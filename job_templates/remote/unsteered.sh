# shellcheck shell=sh
# unsteered WORDS…: runs them without what the environment here says to sbatch, srun, the shells of the job and its engine.
# sbatch hands its own environment on to the job, whose script and srun would read it there; inside an allocation srun would make
# a step of that one. What says which Slurm is meant, and who asks, stays; so do the functions of the site's modules.
#
# env takes them away, for a shell cannot: some are read-only in it, and some are no names of variables.

unsteered() {
    set -f
    for name in $(env -0 | tr '\n\0' ' \n' | cut -d= -f1); do
        case $name in
        SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_SACK_* | BASH_FUNC_*module*%% | BASH_FUNC_ml%%) continue ;;
        SLURM_* | SLURMD_* | _SLURM_* | SBATCH_* | SRUN_* | SALLOC_* | SCRUN_* | SPANK_* | PMI_* | PMIX_*) ;;
        BASH_* | SHELLOPTS | BASHOPTS | ENV | POSIXLY_CORRECT | _POSIX2_VERSION | CDPATH | GLOBIGNORE | EXECIGNORE) ;;
        FUNCNEST | TMOUT | PS4 | LD_PRELOAD | LD_AUDIT | LD_DEBUG* | TAR_OPTIONS | GREP_OPTIONS | *BLOCK_SIZE | BLOCKSIZE) ;;
        DOCKER_* | BUILDKIT_* | PODMAN_* | CONTAINER_* | CONTAINERS_* | _CONTAINERS_* | CONTAINERD_* | BUILDAH_*) ;;
        STORAGE_DRIVER | STORAGE_OPTS | REGISTRY_AUTH_FILE | XDG_* | DBUS_SESSION_BUS_ADDRESS) ;;
        *) continue ;;
        esac
        set -- -u "$name" "$@"
    done
    env "$@"
}
