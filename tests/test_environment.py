"""The environment of a job is Slurm's, the site's and the plan's: what the submitting shell has steers nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.node_side import packed
from tests.test_render import plan, rendered
from tfslurm.errors import Completed, SubmitRejected, command_line
from tfslurm.host.local import LocalHost
from tfslurm.remote_programs import program
from tfslurm.render import BY_OPTION, slurm_variables

INPUTS = json.loads((Path(__file__).parent / "slurm_output" / "input_variables.json").read_text("utf-8"))
MANUALS = sorted({*INPUTS["sbatch"]["manual"], *INPUTS["srun"]["manual"]})
PROGRAMS = sorted({*INPUTS["sbatch"]["program"], *INPUTS["srun"]["program"]})
SITE = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_SOCKET", "BASH_FUNC_module%%", "BASH_FUNC_ml%%")
# What Slurm sets in every job, whatever its options: the batch role tells srun the layout itself.
EVERY_JOB = {
    *("SLURM_CONF", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES", "SLURM_NNODES"),
    *("SLURM_NPROCS", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_UMASK"),
}
SHELL = {
    "POSIXLY_CORRECT": "1",
    "SHELLOPTS": "braceexpand:noclobber:noglob:nounset:physical:posix",
    "BASHOPTS": "failglob:nocasematch:nullglob:xpg_echo",
    "BASH_ENV": "/nowhere",
    "ENV": "/nowhere",
    "BASH_COMPAT": "3.2",
    "BASH_FUNC_which%%": "() { echo no; }",
    "BASH_FUNC_docker%%": "() { echo no; }",
    "CDPATH": "/tmp",
    "GLOBIGNORE": "*",
    "TMOUT": "1",
    "FUNCNEST": "2",
    "TAR_OPTIONS": "--no-such",
    "GREP_OPTIONS": "--no-such",
    "BLOCK_SIZE": "1",
    "DU_BLOCK_SIZE": "1",
    "LD_PRELOAD": "/nowhere.so",
}
ENGINE = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_DEFAULT_PLATFORM", "DOCKER_API_VERSION"),
    *(
        "DOCKER_TLS_VERIFY",
        "DOCKER_CONTENT_TRUST",
        "DOCKER_BUILDKIT",
        "BUILDKIT_HOST",
        "PODMAN_USERNS",
        "CONTAINER_HOST",
    ),
    *("CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("STORAGE_DRIVER", "REGISTRY_AUTH_FILE", "_CONTAINERS_USERNS_CONFIGURED", "BUILDAH_ISOLATION"),
)
OTHERS = (
    *(
        "PMI_RANK",
        "PMIX_RANK",
        "_SLURM_SPANK_OPTION_x_y",
        "SPANK_X",
        "SALLOC_ACCOUNT",
        "SLURM_CPU_BIND_LIST",
        "SRUN_DEBUG",
    ),
    *("SLURM_MEM_BIND_TYPE", "SLURM_NTASKS_PER_TRES", "SLURM_HET_SIZE", "SLURM_JOB_ID_HET_GROUP_0", "SLURM_STEP_ID"),
)
OWN = {"PATH": os.environ["PATH"], "HOME": "/h", "SCRATCH": "/s", "http_proxy": "http://p", "MODULEPATH": "/m"}


def names_after(argv: Iterable[str], environment: Mapping[str, str]) -> set[str]:
    """The variables that a command prints, which prints its environment with NULs."""
    done = subprocess.run([*argv], env=dict(environment), capture_output=True, text=True, check=True)
    return {pair.partition("=")[0] for pair in done.stdout.split("\0") if pair}


@pytest.mark.parametrize("shell", ["dash", "bash"])  # what sh is; dash hands no functions of bash on
def test_sbatch_and_srun_are_called_without_what_would_steer_them_or_the_job(shell: str) -> None:
    steering = {*MANUALS, *PROGRAMS, *SHELL, *ENGINE, *OTHERS} - {*SITE, "SLURM_SPANK_"}
    dirty = {**dict.fromkeys(steering, "x"), **SHELL, **dict.fromkeys(SITE, "() { :; }"), **OWN, "TWO": "a\nSLURM_X=b"}
    dirty["SHELLOPTS"], dirty["BASHOPTS"] = "posix", "failglob"
    left = names_after((shell, *program("without-steering", "env", "-0")[1:]), dirty)
    kept = {name for name in (*SITE, *OWN, "TWO") if shell == "bash" or not name.startswith("BASH_FUNC")}
    assert (left & steering, kept - left) == (set(), set())


def test_the_site_s_shell_functions_alone_arrive(tmp_path: Path) -> None:
    script = tmp_path / "show"
    script.write_text("#!/bin/bash\nmodule load x; printf '%s\\n' here\n")
    script.chmod(0o755)
    dirty = {
        **OWN,
        **SHELL,
        "BASH_FUNC_module%%": '() { echo module "$@"; }',
        "SHELLOPTS": "posix",
        "BASHOPTS": "failglob",
        "LD_PRELOAD": "",
    }
    done = subprocess.run(
        ("bash", *program("without-steering", str(script))[1:]), env=dirty, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("module load x\nhere\n", "")


# --- the batch role, for whoever types `sbatch job.sbatch`


def after_own(environment: Mapping[str, str], variables: Iterable[str] = (), **more: str) -> dict[str, str]:
    """The environment that srun gets from the batch role."""
    script = f"source {packed()}/node.sh; slurm_variables=({' '.join(variables)}); environment::own; exec env -0"
    done = subprocess.run(
        ["bash", "-c", script], env={**OWN, **environment, **more}, capture_output=True, text=True, check=True
    )
    pairs = (pair.partition("=") for pair in done.stdout.split("\0") if pair)
    return {name: text for name, _, text in pairs}


def test_srun_in_the_job_gets_none_of_its_input_variables_but_those_of_every_job() -> None:
    inputs = {*MANUALS, *OTHERS, *ENGINE} - {"SLURM_STEP_ID", "_SLURM_SPANK_OPTION_x_y", "SPANK_X"}
    inputs = {name for name in inputs if not name.startswith("SLURM_ARRAY_")}
    assert inputs > EVERY_JOB
    left = after_own(dict.fromkeys(inputs, "1"))
    assert inputs & set(left) == EVERY_JOB
    assert set(OWN) <= set(left)


ARRAY = {
    f"SLURM_ARRAY_{name}": "7" for name in ("JOB_ID", "TASK_ID", "TASK_COUNT", "TASK_MIN", "TASK_MAX", "TASK_STEP")
}


@pytest.mark.parametrize(
    ("said", "more", "stay"),
    [
        ("JobId=9 ArrayJobId=7 ArrayTaskId=7 JobName=x", {}, True),  # `sbatch --array`
        ("JobId=9 ArrayJobId=77 ArrayTaskId=7 JobName=x", {}, False),
        ("JobId=9 JobName=x", {}, False),  # typed in a task of an array
        ("", {}, True),  # Slurm does not answer
        ("JobId=9 ArrayJobId=7 ArrayTaskId=7 JobName=x", {"TFSLURM_LOCAL_JOB_ID": "1"}, False),
    ],
)
def test_a_task_of_an_array_keeps_its_own_and_another_array_s_is_gone(
    said: str, more: dict[str, str], stay: bool, tmp_path: Path
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\n[ "$*" = "show job 9" ] && [ -n "{said}" ] && echo "{said}"\n')
    scontrol.chmod(0o755)
    found = after_own({**ARRAY, "SLURM_JOB_ID": "9", "PATH": f"{tmp_path}:{OWN['PATH']}"}, **more)
    assert {name for name in found if name in ARRAY} == (set(ARRAY) if stay else set())


@pytest.mark.slow
@pytest.mark.parametrize("option", BY_OPTION)
def test_what_an_option_of_the_plan_sets_stays_for_srun(option: str) -> None:
    names = slurm_variables([option])
    assert names and all(name.startswith("SLURM_") for name in names)
    assert set(names) <= set(after_own(dict.fromkeys(names, "1"), names))
    assert f"    {names[0]}\n" in rendered(plan(options={option: "1"}))


@pytest.mark.parametrize(
    ("option", "left"), [("mem", ["SLURM_MEM_PER_NODE"]), ("mem-per-cpu", ["SLURM_MEM_PER_CPU"]), ("hint", [])]
)
def test_of_two_ways_to_ask_for_memory_the_plan_s_stays(option: str, left: list[str]) -> None:
    both = {"SLURM_MEM_PER_NODE": "1", "SLURM_MEM_PER_CPU": "1", "SLURM_MEM_PER_GPU": "1"}
    found = after_own(both, slurm_variables([option]))
    assert [name for name in found if name.startswith("SLURM_MEM")] == left
    alone = after_own({"SLURM_MEM_PER_CPU": "7"})  # the default of a partition
    assert alone["SLURM_MEM_PER_CPU"] == "7"


def test_functions_that_bash_has_from_the_environment_are_gone_but_for_the_site_s() -> None:
    functions = {f"BASH_FUNC_{name}%%": "() { :; }" for name in ("mkdir", "docker", "_module_raw", "module", "ml")}
    assert {name for name in after_own(functions) if name.startswith("BASH_FUNC")} == {
        *("BASH_FUNC__module_raw%%", "BASH_FUNC_module%%", "BASH_FUNC_ml%%")
    }


def test_a_local_run_keeps_the_place_of_this_machine_s_engine() -> None:
    found = after_own(dict.fromkeys(ENGINE, "x"), TFSLURM_LOCAL_JOB_ID="1")
    assert {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST", "CONTAINERS_CONF"} <= set(found)
    assert not {"DOCKER_DEFAULT_PLATFORM", "DOCKER_API_VERSION", "PODMAN_USERNS", "DOCKER_BUILDKIT"} & set(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"POSIXLY_CORRECT": "1"},
        {"SHELLOPTS": "posix"},
        {"SHELLOPTS": "noglob:noclobber:keyword:physical:errexit:nounset:verbose:xtrace"},
        {"BASHOPTS": "failglob:nullglob:nocasematch:nocaseglob:xpg_echo:dotglob"},
        {"BASHOPTS": "localvar_inherit:extdebug:lastpipe:inherit_errexit:globstar"},
        {"BASH_COMPAT": "3.2"},
        {"CDPATH": "/tmp", "GLOBIGNORE": "*", "TMOUT": "1", "FUNCNEST": "1", "EXECIGNORE": "*"},
        {name: text for name, text in SHELL.items() if not name.startswith(("BASH_FUNC", "LD_", "BASH_ENV"))},
    ],
)
def test_the_script_sets_the_options_that_it_needs(options: Mapping[str, str], tmp_path: Path) -> None:
    """Up to the first setting of the script, then what bash says of itself and hands to other shells."""
    head = rendered(plan()).partition("\nplan_id=")[0]
    show = (
        "set +o; shopt; for name in ${!POSIX@} CDPATH TMOUT; do [[ -v $name ]] && echo $name; done; bash -c 'echo $-'"
    )
    script = tmp_path / "job.sbatch"
    script.write_text(f"{head}\n{{ {show}; }} 2>&1\n")
    said = [
        subprocess.run(["bash", script], env={"PATH": OWN["PATH"], **more}, capture_output=True, text=True)
        for more in ({}, options)
    ]
    plain, steered = (done.stdout for done in said)
    assert "set -o pipefail" in plain and "set +o posix" in plain
    assert steered == plain


def test_programs_here_have_no_options_of_shells_nor_what_tfslurm_sets_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dropped = {name: "1" for name in SHELL if name not in ("BLOCK_SIZE", "DU_BLOCK_SIZE", "LD_PRELOAD")}
    for name in (*dropped, "PYDANTIC_DISABLE_PLUGINS", "SCRATCH"):
        monkeypatch.setenv(name, "1")
    found = {pair.partition("=")[0] for pair in LocalHost().run(["env", "-0"], timeout_s=20).stdout.split("\0")}
    assert (found & {*dropped, "PYDANTIC_DISABLE_PLUGINS"}, "SCRATCH" in found) == (set(), True)


def test_the_settings_of_the_cluster_s_engine_reach_its_programs() -> None:
    asked = plan(engine_environment={"DOCKER_HOST": "unix:///run/user/1000/docker.sock"})
    assert "engine_environment=(\n    DOCKER_HOST=unix:///run/user/1000/docker.sock\n)" in rendered(asked)
    settings = "engine_environment=('DOCKER_HOST=a b'); run_dir=/r; points=0; own_dir=/r"
    script = f"set -u; source {packed()}/node.sh; {settings}; node::_job; env"
    environment = {**OWN, "SLURM_JOB_ID": "7", "DOCKER_HOST": "other"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "DOCKER_HOST=a b\n" in done.stdout


@pytest.mark.parametrize(("variables", "context"), [({}, "default"), ({"DOCKER_CONTEXT": "site"}, "site")])
def test_in_a_job_the_context_of_the_user_s_settings_says_nothing(variables: dict[str, str], context: str) -> None:
    script = f"source {packed()}/node.sh; source {packed()}/task.sh; echo ${{DOCKER_CONTEXT-none}}"
    for job, wanted in ({"SLURM_JOB_ID": "7"}, context), ({}, variables.get("DOCKER_CONTEXT", "none")):
        done = subprocess.run(["bash", "-c", script], env={**OWN, **variables, **job}, capture_output=True, text=True)
        assert done.stdout.strip() == wanted, done.stderr


# --- this machine's own shells, and what is said


def test_commands_on_this_machine_have_none_of_a_shell_s_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**SHELL, "BASH_FUNC_module%%": "() { :; }"}.items():
        monkeypatch.setenv(name, text) if name != "LD_PRELOAD" else None
    found = {pair.partition("=")[0] for pair in LocalHost().run(("env", "-0")).stdout.split("\0")}
    kept = {"BASH_FUNC_module%%", "LD_PRELOAD", "BLOCK_SIZE", "DU_BLOCK_SIZE"}
    assert (found & set(SHELL)) - kept == set() and "BASH_FUNC_module%%" in found


def test_a_message_says_how_many_variables_were_removed_and_of_which_kinds() -> None:
    argv = ("env", "-u", "SQUEUE_USERS", "-u", "SLURM_CLUSTERS", "-u", "SQUEUE_SORT", "TZ=UTC0", "squeue", "--all")
    assert command_line(argv) == "env TZ=UTC0 squeue --all  (3 SQUEUE_/SLURM_ variables of your shell removed)"
    refused = SubmitRejected(
        Completed(("sbatch", "--parsable", "/r/job.sbatch"), 1, "", "no"), what="sbatch refused the job"
    )
    assert "sbatch --parsable /r/job.sbatch  (SBATCH_/SLURM_ variables of your shell removed)" in str(refused)
