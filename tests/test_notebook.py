"""A notebook in the environment of a run: the experiment that is made of the run's plan. Slurm is a stand-in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import PIN, plan
from tests.typed import Type
from tfslurm.errors import InputError, RecordError, TfslurmError
from tfslurm.image import PackageLock, Wheel, read_lock
from tfslurm.image.packages import package_lock
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.holding import Service
from tfslurm.monitoring.lookup import find_job, job_dir, plan_of
from tfslurm.reruns.notebook import OfRun, experiment, free_place, job_named, notebook_of, write_template
from tfslurm.services.service import serving
from tfslurm.spec import Experiment
from tfslurm.submission.once import prepared_for
from tfslurm.submission.packages import asked_packages
from tfslurm.workspace.session import Session

EVERYTHING: dict[str, Any] = {
    "code": {"path": "code", "exclude": ["*.log"]},
    "outputs": "/results",
    "env": {"TF_SEED": "{{ lr }}", "BRACES": 'a {{ "{{" }} b'},
    "parameters": {"lr": 0.1},
    "resources": {"gpus": 1, "cpus": 2, "memory": "3G", "time": "01:02:03", "shm": "1G"},
    "network": "none",
    "slurm": {"partition": "gpu", "begin": "now"},
    "checkpoint": {"signal": "USR1", "before_end": 60},
    "gpu_check": "always",
}


def begun(laptop: Laptop, typed: Type, *words: str, **keys: Any) -> str:
    """A job whose outputs are there."""
    done = typed("submit", laptop.experiment(**keys), "--again", *words)
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[0]
    job = find_job(laptop.tracker, f"{name}_0" if "sweep" in keys else name)
    Path(job_dir(plan_of(job, laptop.tracker), job.job_id) / "out").mkdir(parents=True)
    return job.key


def notebook(laptop: Laptop, name: str, *sets: str) -> tuple[JobPlan, list[str]]:
    """The plan of the notebook, and what was said."""
    said: list[str] = []
    with Session(said.append) as session:
        asked, known = notebook_of(session, find_job(laptop.tracker, name), sets)
        (prepared,) = prepared_for(session, serving(asked, Service("jupyter", 60)), [known])
    return prepared.plan, said


def test_it_has_all_that_the_run_had_and_the_runs_outputs(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, **EVERYTHING)
    (laptop.folder / "code" / "train.py").write_text("print('changed since')\n")
    plan, said = notebook(laptop, job, "resources.gpus=0")
    run = plan_of(find_job(laptop.tracker, job), laptop.tracker)
    assert said == [f"{job}: its outputs are at /job/out, read-only; yours are in /results"]
    for each in ("pin", "env", "outputs", "secrets", "network", "gpu_check", "packages", "parameters", "engine"):
        assert getattr(plan, each) == getattr(run, each), each
    assert plan.code and run.code and plan.code.tree == run.code.tree
    assert plan.env["BRACES"] == "a {{ b" and plan.env["TF_SEED"] == "0.1"
    assert (plan.resources.gpus, plan.resources.memory_mib, plan.resources.time_s) == (0, 3072, 3723)
    assert plan.resources.shm_mib == run.resources.shm_mib == 1024
    assert (plan.options["partition"], "begin" in plan.options, plan.checkpoint) == ("gpu", False, None)
    assert [(each.run, each.target, each.read_only) for each in plan.mounts] == [(f"run:{job}/out", "/job/out", True)]
    assert (plan.name, plan.derived_from) == ("jupyter", None)


@pytest.mark.slow
def test_a_point_of_a_sweep_has_its_own_values(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, **EVERYTHING, sweep={"grid": {"lr": [0.5, 0.7]}})
    plan, _ = notebook(laptop, job)
    assert (plan.env["TF_SEED"], plan.parameters, plan.points) == ("0.5", {"lr": 0.5}, None)


def test_code_that_is_gone_from_the_cluster_comes_from_nowhere_else(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, outputs="/out", code="code")
    (tree,) = (path.parent for path in (laptop.root / "code").glob("*/train.py"))
    (tree / "train.py").chmod(0o600)
    (tree / "train.py").write_text("print('somebody else')\n")
    with pytest.raises(
        RecordError, match=r"its files are not those of the tree .*; run this in a clone of its reposit"
    ):
        notebook(laptop, job)
    tree.chmod(0o700)
    (tree / "train.py").unlink()
    tree.rename(tree.with_name("0" * 40))
    with pytest.raises(RecordError, match=rf"^{job}: code: .* is not there any more; run this in a clone"):
        notebook(laptop, job)


def test_secrets_are_of_this_shell_or_are_left_out(
    laptop: Laptop, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    job = begun(laptop, typed, outputs="/out", secrets=["WANDB_API_KEY"])
    assert notebook(laptop, job)[0].secrets == ("WANDB_API_KEY",)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(InputError, match=r"secrets: WANDB_API_KEY: not set in this shell; .* --set 'secrets=\[\]'"):
        notebook(laptop, job)
    assert notebook(laptop, job, "secrets=[]")[0].secrets == ()


def test_what_is_no_run_of_this_tracker_or_another_environment_is_refused(laptop: Laptop, typed: Type) -> None:
    waits = typed("submit", laptop.experiment(outputs="/out")).stdout.strip()
    for words, code, why in (
        ((waits,), 1, f"{waits}: has no outputs yet (PENDING); try again when it runs"),
        (
            (waits, "--set", "image=other:1"),
            2,
            "--set image=other:1: would not be the environment of that job; set res",
        ),
        ((waits, "--set", "packages=../x"), 2, "--set packages=../x: '../x' is a path on this machine"),
        ((waits, "--cluster", "alpha"), 2, f"--cluster alpha: {waits} and its outputs are on alpha"),
        (("4711",), 2, "'4711': is not in the tracker"),
        (("nothing.yaml",), 2, "nothing.yaml"),
    ):
        done = typed("jupyter", *words)
        assert (done.returncode, why in done.stderr) == (code, True), done.stderr
    assert len(laptop.folders()) == 1


def test_the_nodes_network_and_several_tasks_are_refused_by_the_runs_name(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, outputs="/out", network="host", resources={"nodes": 2})
    done = typed("jupyter", job)
    assert (done.returncode, f"error: {job}: resources.nodes: is 2; a service is in one" in done.stderr) == (2, True)
    done = typed("jupyter", job, "--set", "resources.nodes=1")
    assert (done.returncode, f"error: {job}: network: is host: every user" in done.stderr) == (2, True), done.stderr
    assert notebook(laptop, job, "resources.nodes=1", "network=none")[0].network == "none"


def test_a_run_that_kept_nothing_has_a_notebook_that_keeps_its_own(laptop: Laptop, typed: Type) -> None:
    job = typed("submit", laptop.experiment()).stdout.strip()
    plan, said = notebook(laptop, job)
    assert (plan.outputs, plan.mounts, said) == ("/out", (), [])


def test_added_packages_are_resolved_together_with_the_runs_own_by_their_hashes(
    laptop: Laptop, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver is a stand-in: it locks what the run had."""
    wheel = Wheel("six", "1.16.0", "six-1.16.0-py2.py3-none-any.whl", "a" * 64, 10, "")
    made = {"image": PIN.digest, "python": "3.11.2", "platform": "linux_x86_64", "resolver": "pip", "index": ""}
    lock = package_lock((wheel,), asked="b" * 64, **made)
    asked: list[str] = []

    def resolve(session: Session, experiment: Experiment, file: Path, *_: object) -> PackageLock:
        asked.extend(each.asked for each in asked_packages(experiment, file))
        return lock

    monkeypatch.setattr("tfslurm.reruns.notebook.resolve_packages", resolve)
    job: Any = SimpleNamespace(key="alpha:1")
    run = OfRun(job, replace(plan(), packages=lock, outputs=None, code=None), {}, {}, ("jupyterlab",))
    with Session(lambda *_: None) as session:
        found = experiment(session, run, laptop.known, [])
        assert read_lock(found.lock_file.read_text(), "exp.lock.yaml").packages == lock
    assert asked == [f"six==1.16.0 sha256:{'a' * 64}", "jupyterlab"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("../my.sbatch.j2", "x", "'../my.sbatch.j2' is not the name of a template"),
        ("exp.yaml", "x", "is not the name of a template"),
        ("my.sbatch.j2", "", "an older tfslurm made its plan, without the text of its template my.sbatch.j2"),
    ],
)
def test_a_template_that_is_none_is_not_written(tmp_path: Path, name: str, text: str, why: str) -> None:
    job: Any = SimpleNamespace(key="alpha:1")
    made = replace(plan(), template=name, template_text=text)
    with pytest.raises(RecordError, match=re.escape(why)):
        write_template(OfRun(job, made, {}, {}, ()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_runs_own_template_is_used_again(laptop: Laptop, typed: Type) -> None:
    extends = '{% extends "job.sbatch.j2" %}{% block prologue %}module load tools{% endblock %}'
    (laptop.folder / "my.sbatch.j2").write_text(extends)
    job = begun(laptop, typed, outputs="/out", template="my.sbatch.j2")
    (laptop.folder / "my.sbatch.j2").write_text("changed since")
    assert notebook(laptop, job)[0].template_text == extends


def test_a_plan_that_was_read_from_a_run_folder_needs_a_word(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, outputs="/out")
    (laptop.folder / "data" / "tfslurm" / "tracker.sqlite").unlink()
    assert typed("tracker", "rebuild").returncode == 0
    said: list[str] = []
    with Session(said.append) as session, pytest.raises(TfslurmError, match="read from a folder, needs your word"):
        notebook_of(session, find_job(laptop.tracker, job), ())
    assert any(line.startswith("  secrets  none: their values") for line in said)


def test_a_job_stands_before_a_file_and_a_path_is_a_file(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed, outputs="/out")
    (laptop.folder / "digits").write_text("")
    (laptop.folder / "other").write_text("")
    with Session(print) as session:
        found = {name: job_named(session, name) for name in ("digits", "./digits", "other", "digits.yaml", "last")}
    assert {name: each and each.key for name, each in found.items()} == {
        "digits": job,
        "./digits": None,
        "other": None,
        "digits.yaml": None,
        "last": job,
    }


@pytest.mark.parametrize(
    ("taken", "place"),
    [
        ([], "/job/out"),
        (["/job/out"], "/job2/out"),
        (["/job", "/job2/out/x"], "/job3/out"),
        (["/job/outer", "/data"], "/job/out"),
    ],
)
def test_the_outputs_of_the_run_are_where_nothing_of_it_is(taken: list[str], place: str) -> None:
    assert free_place(taken, "/job/out") == place
    assert free_place(["/out"], "/out") == "/out2"
