"""The run folder and sbatch in one command on the login node, and what such a command left where nobody heard its end.

Whoever gives a submission up must know that no sbatch of it comes later. The far side therefore holds a lock in the run
folder while it calls sbatch (sbatch inherits it), and calls it only while the folder is there; giving up means taking
that lock and removing the folder, or putting an empty one in its place before it arrives. See docs/adr/0020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tfslurm import slurm
from tfslurm.errors import LONGEST_WORDS, CommandFailed, Completed, HostError, SlurmParseError, last_words
from tfslurm.host import File, Host
from tfslurm.host.files import as_tar, patience_s
from tfslurm.host.folder_permissions import Sharing
from tfslurm.job_plan import JobPlan
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths
from tfslurm.slurm.values import lines_of

CODE_ABSENT = 77
HANDED = "tfslurm: sbatch ended with "
ASKED_S = "5"
KILLED = 124  # exit codes from here on: timeout(1) or a signal ended the far side, nobody knows where


class Left(NamedTuple):
    """The result of a submission that was cut off: its job's id, or nothing for certain, or (both unset) a doubt."""

    job_id: str | None = None
    is_nothing: bool = False


class Handed(NamedTuple):
    """sbatch's answer, and the reason for which Slurm lets the new job wait; '' where it was not asked or gave none."""

    answer: Completed
    reason: str


def hand_over(host: Host, plan: JobPlan, files: Mapping[str, File], *, ask: bool = False) -> Handed | None:
    """sbatch's answer, after the run folder has arrived; None where the cluster does not have the code.

    ``ask``: squeue is asked too why the job waits, in the same command.

    Raises:
        CommandFailed: the machine refused the run folder; sbatch was not called.
        HostError: the line was lost, or the far side was killed: sbatch may have been called or not.
    """
    shared, run_dir, code_dir = sharing(plan), plan.run_dir, plan.code_dir
    code = (str(code_dir), str(plan.code.files)) if plan.code else ("", "0")
    # without the secrets: sbatch gives its environment to the job, and a site may keep it (sacct --env-vars)
    hidden = [word for name in plan.secrets for word in ("-u", name)]
    submit = (*(("env", *hidden) if hidden else ()), *slurm.sbatch_argv(str(run_dir / paths.JOB_SCRIPT)))
    question = ("timeout", ASKED_S, *slurm.REASON_ARGV) if ask else ()
    words = (*code, *shared, str(len(question)), *question, *submit)
    argv = program("hand-over", str(run_dir.parent), run_dir.name, "700", str(len(files)), *words)
    content = as_tar(files, 0o700)
    done = host.run(argv, input=content, timeout_s=patience_s(len(content)))
    told, mark, rest = done.stdout.rpartition(HANDED)
    code_text, _, asked = rest.partition("\n")
    if mark and re.fullmatch(r"[0-9]{1,3}", code_text):
        reason = asked.partition(slurm.FIELD)[2].partition("\n")[0].strip()
        return Handed(Completed(submit, int(code_text), told, done.stderr, done.host), reason[:LONGEST_WORDS])
    if done.exit_code == CODE_ABSENT:
        return None
    if 0 < done.exit_code < KILLED:
        raise CommandFailed(Completed(("write", str(plan.run_dir)), done.exit_code, "", done.stderr, done.host))
    why = f"the submission was cut off there (exit {done.exit_code})"
    raise HostError(f"{host.name}: {why}; run the same command again, it first asks what came of it", transient=True)


def sharing(plan: JobPlan) -> Sharing:
    """The cluster file's rules about other people, as they were when the plan was made."""
    return Sharing(plan.read_group, "accept" if plan.shared_parents == "accept" else "")


def look_back(host: Host, plan: JobPlan) -> Left:
    """The run folder's word on a submission whose end nobody heard; after this no sbatch of it can begin.

    Raises:
        HostError: it is still going on, or the machine cannot be reached or refuses.
    """
    done = host.run(program("look-back", str(plan.run_dir.parent), plan.run_dir.name))
    word, _, rest = done.stdout.partition("\n")
    if done.exit_code or word == "busy":
        why = last_words(done) if done.exit_code else "sbatch is still being called there"
        raise HostError(f"{host.name}: {plan.run_dir}: {why}; try again in a moment", transient=True)
    if word == "absent":
        return Left(is_nothing=True)
    if word == "answer":
        try:
            return Left(slurm.parse_sbatch(Completed(("sbatch",), 0, rest, "", host.name)))
        except SlurmParseError:
            return Left()  # the disk was full
    # a job that began has a folder of its own, as has each task of an array
    began = {name.partition("_")[0] for name in lines_of(rest) if re.fullmatch(r"[0-9]{1,10}(_[0-9]{1,10})?", name)}
    return Left(began.pop() if len(began) == 1 and all(map(slurm.is_job_id, began)) else None)
