"""A plan becomes a job. Intent is written down first, so that a crash at any point leaves a job that can be found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tfslurm import slurm
from tfslurm.errors import (
    LONGEST_WORDS,
    CommandFailed,
    Completed,
    HostError,
    SlurmParseError,
    SubmitRejected,
    TrackerError,
    Untracked,
)
from tfslurm.handoff.protocol import KILLED, Handed, hand_over, sharing
from tfslurm.handoff.recovery import came_to_nothing, find_by_token, find_twice, give_up, in_doubt, unreachable
from tfslurm.host import File, Host, put, put_tree
from tfslurm.job_plan import JobPlan, to_json
from tfslurm.run_folder import paths
from tfslurm.submission.image_archive import send_archive
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.send_packages import send_wheels
from tfslurm.sweeps.points_file import encode, point_json
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.packaged_files import node_side

DOUBT = (  # source: slurm_errno.c, the codes of communication
    r"(?i:timed out|unable to contact slurm controller|zero bytes were transmitted|connection (reset|refused)"
    r"|unexpected message received|message (send|receive) failure|communication (connection|shutdown|send|receive))"
)
OWN_NO = r"(?m:^(sbatch|srun): |Batch job submission failed)"  # of sbatch itself, not of a wrapper
NO_SBATCH = (126, 127)


def submit_job(
    prepared: Prepared,
    tracker: Tracker,
    host: Host,
    secrets: Mapping[str, str],
    *,
    untold: bool = False,
) -> str:
    """The id of the new job; ``untold``: it is kept as one that nobody has seen, until the tracker is told.

    Raises:
        SubmitRejected: sbatch said no; nothing was queued.
        HostError: the cluster or its scheduler did not answer; the plan is kept and the next command settles it.
        Untracked: the job is queued, and the tracker could not be told.
    """
    with tracker.claim(prepared.plan.plan_id):
        return submit_claimed(prepared, tracker, host, secrets, untold=untold).job_id


def submit_claimed(
    prepared: Prepared,
    tracker: Tracker,
    host: Host,
    secrets: Mapping[str, str],
    *,
    untold: bool = False,
    ask: bool = False,
) -> TrackedJob:
    """The same for a plan that this process has claimed: the job, or the array as one, as it was queued.

    ``ask``: Slurm is asked too why it waits, and the tracker keeps the reason.
    """
    plan = prepared.plan
    values = to_json(plan)
    is_there = tracker.has_sent(plan)
    if plan.packages:
        send_wheels(prepared.wheels, plan, host)
    tracker.plan(plan, prepared.cluster_text, values, untold=untold)
    try:
        handed = send(prepared, host, run_files(prepared, secrets, values), is_there=is_there, ask=ask)
    except CommandFailed as error:  # before sbatch was called
        came_to_nothing(plan, prepared.cluster_text, str(error), tracker)
        raise
    job_id = accepted(prepared, handed.answer, tracker, host)
    try:
        tracker.submit(plan, job_id, reason=handed.reason)
    except (TrackerError, KeyboardInterrupt) as error:
        raise untracked(plan, job_id, error) from error
    status = {"reason": handed.reason}
    return TrackedJob(plan.cluster, job_id, plan.planned_at, plan.plan_id, plan.name, "PENDING", False, status)


def untracked(plan: JobPlan, job_id: str, error: BaseException) -> Untracked:
    """The id that sbatch gave, where the tracker fails, or Ctrl-C ends the wait for it."""
    why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    return Untracked(plan.cluster, job_id, plan.plan_id, why)


def send(prepared: Prepared, host: Host, files: Mapping[str, File], *, is_there: bool, ask: bool) -> Handed:
    """sbatch's answer. The code goes first, unless it ``is_there``; the far side says where that is wrong.

    Raises:
        CommandFailed: sbatch was not called.
        HostError: nobody knows whether it was.
    """
    send_image(prepared, host)
    if not is_there:
        send_code(prepared, host, look=False)
    handed = hand_over(host, prepared.plan, files, ask=ask)
    if handed is None:
        send_code(prepared, host, look=False)
        handed = hand_over(host, prepared.plan, files, ask=ask)
    if handed is None:
        what = ("write", str(prepared.plan.code_dir))
        raise CommandFailed(Completed(what, 1, "", "the code was removed as soon as it had arrived", host.name))
    return handed


def send_files(prepared: Prepared, host: Host, secrets: Mapping[str, str]) -> None:
    """Put the code (once per snapshot) and the run folder where the nodes can read them."""
    send_image(prepared, host)
    send_code(prepared, host)
    plan = prepared.plan
    put(host, plan.run_dir, run_files(prepared, secrets, to_json(plan)), sharing=sharing(plan))


def send_image(prepared: Prepared, host: Host) -> None:
    """Put the image's archive there, where the job has one."""
    if prepared.archive:
        send_archive(prepared.archive, prepared.plan, host)


def send_code(prepared: Prepared, host: Host, *, look: bool = True) -> None:
    """Put the code there, once per snapshot."""
    code, plan = prepared.code, prepared.plan
    if code and plan.code_dir:
        sizes = {"files": code.files, "bytes": code.bytes}
        put_tree(host, plan.code_dir, **sizes, stream=code.stream(), look=look, sharing=sharing(plan))


def run_files(prepared: Prepared, secrets: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, File]:
    """The files of a run folder before its job begins; ``values`` are the plan's, as ``to_json`` has them."""
    plan = prepared.plan
    return {
        paths.JOB_SCRIPT: File(prepared.script.encode("utf-8", "surrogateescape"), 0o700),
        paths.PLAN: File(json.dumps(values, indent=1).encode()),
        **point_files(prepared),
        **{name: File(text.encode()) for name, text in node_side(plan.engine, points=plan.points is not None).items()},
        **{paths.secret(name): File(value.encode("utf-8", "surrogateescape")) for name, value in secrets.items()},
    }


def point_files(prepared: Prepared) -> dict[str, File]:
    """The files with the points: for a reader, and for the tasks of an array."""
    if not prepared.entries:
        point = {"index": 0, "parameters": dict(prepared.plan.parameters)}
        return {paths.POINTS: File((json.dumps(point) + "\n").encode())}
    lines = (
        json.dumps({"index": place, "id": entry.id, **point_json(entry)})
        for place, entry in enumerate(prepared.entries)
    )
    listed = "".join(f"{line}\n" for line in lines)
    return {paths.POINTS: File(listed.encode()), paths.PACKED_POINTS: File(encode(prepared.entries))}


def accepted(prepared: Prepared, completed: Completed, tracker: Tracker, host: Host) -> str:
    """The id that sbatch gave; after any doubt the scheduler is asked by the plan's token before anything else."""
    plan = prepared.plan
    if completed.exit_code == 0 or completed.exit_code >= KILLED:
        job_id = given(completed)
        try:
            if job_id and not tracker.has_unfinished(plan.cluster, job_id):  # see handoff.recovery.taken
                return job_id
        except (TrackerError, KeyboardInterrupt) as error:
            raise untracked(plan, job_id or "", error) from error
        find = find_by_token if completed.exit_code == 0 else find_twice  # after 0 nothing is on its way any more
        if found := find(plan, host):
            return found
        raise in_doubt(plan, completed, job_id)
    is_unsure = bool(re.search(DOUBT, completed.stderr[-LONGEST_WORDS:]))
    is_own = completed.exit_code in NO_SBATCH or re.search(OWN_NO, completed.stderr)
    if is_unsure or not is_own or slurm.ids_in(completed.stdout):  # a wrapper may fail after sbatch
        found = find_by_token(plan, host)
        if found:
            return found
        if is_unsure:
            raise unreachable(plan, completed)
    came_to_nothing(plan, prepared.cluster_text, completed.stderr[-LONGEST_WORDS:].strip(), tracker)
    raise rejected(plan, host, completed, left_over(plan, host))


def given(completed: Completed) -> str | None:
    """The id in sbatch's answer; None where it names none, or several, or sbatch was killed after it had printed it."""
    try:
        return slurm.parse_sbatch(completed) if completed.exit_code == 0 else None
    except SlurmParseError:
        return None


def left_over(plan: JobPlan, host: Host) -> str:
    """Give the run folder up; why it is still there, '' if it is not. No reason to keep sbatch's own words back."""
    try:
        return give_up(plan, host)
    except HostError as error:
        return f"{plan.run_dir} may still be there: {error}"


def rejected(plan: JobPlan, host: Host, completed: Completed, left: str = "") -> SubmitRejected:
    """sbatch's refusal with the valid names beside it, and what is ``left`` of the submission."""
    from tfslurm.slurm.rejection import explain_rejection

    partitions: tuple[slurm.Partition, ...] = ()
    accounts: tuple[slurm.Account, ...] = ()
    answer = host.run(slurm.partitions_argv())
    if answer.exit_code == 0:
        partitions = slurm.parse_partitions(answer.stdout)
    if "ccount" in completed.stderr or "qos" in completed.stderr.lower():
        answer = host.run(slurm.accounts_argv(plan.user))
        if answer.exit_code == 0:
            accounts = slurm.parse_accounts(answer.stdout)
    more = explain_rejection(completed.stderr, partitions, accounts, plan.directives)
    said = completed.stderr.replace("sbatch: error: ", "").replace("Batch job submission failed: ", "").strip()
    why = "; ".join(line for line in [*said.splitlines()[-1:], *more.splitlines(), left] if line)
    told = Completed(completed.argv, completed.exit_code, "", why, completed.host)
    return SubmitRejected(told, what=f"sbatch refused {plan.name}")
