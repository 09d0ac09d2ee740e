# shellcheck shell=bash disable=SC2034,SC2154
#
# The environment of the job is Slurm's, the site's and the plan's. sbatch hands on what the submitting shell had, which
# remote/unsteered.sh has cleared where `tfslurm submit` called it; whoever types `sbatch job.sbatch` has it all. What the site
# sets in tasks (TaskProlog, SPANK) comes after this.

# Drops, in the batch role, what srun, this script and the engine would take for options. Of srun's, those stay that Slurm sets
# in every job, and those of this job's own options. A local run keeps the places of this machine's engine.
environment::own() {
    local pair name kept=" ${slurm_variables[*]-} "
    while IFS= read -r -d '' pair; do
        name=${pair%%=*}
        case $name in
        BASH_FUNC_*module*%% | BASH_FUNC_ml%%) continue ;; # the site's
        BASH_FUNC_*%%)
            name=${name#BASH_FUNC_}
            unset -f "${name%'%%'}" 2>/dev/null || :
            continue
            ;;
        BASH_* | ENV | LD_PRELOAD | LD_AUDIT | LD_DEBUG* | TAR_OPTIONS | GREP_OPTIONS | *BLOCK_SIZE | BLOCKSIZE) ;;
        SRUN_* | SALLOC_* | SBATCH_* | SCRUN_* | PMI_* | PMIX_* | SLURMD_DEBUG) ;;
        SLURM_ARRAY_*) continue ;; # environment::_array
        SLURM_*) if ! environment::_is_input "${name#SLURM_}" || [[ $kept == *" $name "* ]]; then continue; fi ;;
        DOCKER_HOST | DOCKER_CONTEXT | DOCKER_CONFIG | DOCKER_TLS* | DOCKER_CERT_PATH | CONTAINER_* | CONTAINERS_*)
            if [[ -n ${TFSLURM_LOCAL_JOB_ID-} ]]; then continue; fi ;;
        REGISTRY_AUTH_FILE | STORAGE_DRIVER | STORAGE_OPTS | XDG_* | DBUS_SESSION_BUS_ADDRESS)
            if [[ -n ${TFSLURM_LOCAL_JOB_ID-} ]]; then continue; fi ;;
        DOCKER_* | BUILDKIT_* | PODMAN_* | _CONTAINERS_* | CONTAINERD_* | BUILDAH_*) ;;
        *) continue ;;
        esac
        unset -v "$name" 2>/dev/null || :
    done </proc/self/environ
    environment::_memory "$kept"
    environment::_array
}

# Drops what another array has left: the job was submitted in one of its tasks. Slurm knows which array a job is of; without an
# answer of Slurm's they stay, for they are this job's own nearly always.
environment::_array() {
    local said
    if [[ -z ${!SLURM_ARRAY_*} ]] || ((points > 0)); then return; fi
    if [[ -z ${TFSLURM_LOCAL_JOB_ID-} ]]; then
        said=$(scontrol show job "${SLURM_JOB_ID-}" 2>/dev/null </dev/null) || return 0
        if [[ $said != JobId=* || $said == *" ArrayJobId=${SLURM_ARRAY_JOB_ID-} "* ]]; then return; fi
    fi
    unset -v "${!SLURM_ARRAY_@}"
}

# Slurm sets one of these two in every job, maybe by its partition's default; srun refuses both.
environment::_memory() {
    if [[ $1 == *' SLURM_MEM_PER_NODE '* ]]; then
        unset -v SLURM_MEM_PER_CPU
    elif [[ $1 == *' SLURM_MEM_PER_CPU '* ]]; then
        unset -v SLURM_MEM_PER_NODE
    elif [[ -n ${SLURM_MEM_PER_NODE-} && -n ${SLURM_MEM_PER_CPU-} ]]; then
        unset -v SLURM_MEM_PER_NODE SLURM_MEM_PER_CPU
    fi
}

# Does srun read it (without its SLURM_) as an option? Those that Slurm sets in every job do not count (JOB_ID, JOB_NODELIST,
# NTASKS, …): batch::_runner says the layout itself. Source: srun(1) of 20.11 to 26.05, INPUT ENVIRONMENT VARIABLES, and the
# names in its program.
environment::_is_input() {
    case $1 in
    ACCOUNT | ACCTG_FREQ | ARBITRARY_NODELIST | BCAST* | BURST_BUFFER | CLUSTER_CONSTRAINT | CLUSTERS | COMPRESS | CONSTRAINT) ;;
    CONSOLIDATE_SEGMENTS | CONTAINER* | CORE_SPEC | CPU_BIND* | CPU_FREQ_REQ | CPUS_PER_GPU | DEBUG* | DELAY_BOOT | DEPENDENCY) ;;
    DISABLE_STATUS | DIST_* | DISTRIBUTION | EPILOG | EXACT | EXCLUSIVE | EXIT_* | EXPORT_ENV | EXTERNAL_LAUNCHER | GPU_*) ;;
    GPUS | GPUS_PER_* | GRES | GRES_FLAGS | HET_* | *_HET_GROUP_* | HINT | HOSTFILE | IMMEDIATE | KILL_BAD_EXIT | LABELIO) ;;
    MEM_BIND* | MEM_PER_GPU | MPI_TYPE | NCORES_PER_SOCKET | NETWORK | NO_KILL | NSOCKETS_PER_NODE | NTASKS_PER_*) ;;
    OOM_KILL_STEP | OOMKILLSTEP | OPEN_MODE | OVERCOMMIT | OVERLAP | PARTITION | PMI* | POWER | PROFILE | PROLOG | QOS) ;;
    REMOTE_CWD | REQ_SWITCH | RESERVATION | RESV_PORTS | SEND_LIBS | SIGNAL | SPREAD_* | SRUN_* | STDERRMODE) ;;
    STDINMODE | STDOUTMODE | STEP_GRES | STEP_KILLED_MSG_NODE_ID | TASK_EPILOG | TASK_PROLOG | TEST_EXEC | THREAD_SPEC) ;;
    THREADS | THREADS_PER_CORE | TIMELIMIT | TRES_BIND | TRES_PER_TASK | UNBUFFEREDIO | USE_MIN_NODES | WAIT*) ;;
    WCKEY | WHOLE | WORKING_DIR) ;;
    *) return 1 ;;
    esac
}
