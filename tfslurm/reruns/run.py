"""The course of a rerun: where, what is lost there, the submission, and the verdict against the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfslurm.document import nearest
from tfslurm.errors import TfslurmError, refuse
from tfslurm.export.difference import Diff
from tfslurm.job_plan import DerivedFrom
from tfslurm.reruns.looking import look, resolved
from tfslurm.reruns.loss import Loss, refuse_stops
from tfslurm.reruns.losses import losses
from tfslurm.reruns.naming import named_by_record
from tfslurm.reruns.original import Original
from tfslurm.reruns.workspace import Wish, Workspace, changed_mounts, make_workspace
from tfslurm.retrieval.comparing import ended, of_two
from tfslurm.submission.local import follow_process, refuse_several_tasks
from tfslurm.submission.once import prepared_for, submit_jobs
from tfslurm.submission.pinning import Pinning, pin_on_first_use
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.review import OUTSIDE
from tfslurm.submission.secrets import read_secrets
from tfslurm.tracker.by_content import plans_with
from tfslurm.workspace.cluster_files import cluster_files
from tfslurm.workspace.config import LOCAL, Known, known_clusters, local_cluster
from tfslurm.workspace.folders import user_folders
from tfslurm.workspace.session import Session


class Rerun(NamedTuple):
    """A run that is ready to be run again."""

    original: Original
    known: Known
    wish: Wish
    workspace: Workspace
    losses: tuple[Loss, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, without a scheduler."""
        return self.known.cluster.name == LOCAL


def make_rerun(
    session: Session,
    original: Original,
    wish: Wish,
    *,
    sweep: Mapping[str, Any] | None = None,
    derived_from: DerivedFrom | None = None,
) -> Rerun:
    """The rerun of an original, as the user wants it, or with ``sweep`` many of them; nothing has started.

    Raises:
        InputError: no cluster is meant, or a setting fits nothing.
        RecordError: a part of the original is not to be had, or was changed.
    """
    known = place_of(session, original, wish)
    made = make_workspace(session, original, known, wish, sweep=sweep, derived_from=derived_from)
    with named_by_record(original.name):
        experiment = resolved(made.asked.experiment, known)
        place = look(session, known, original.record, experiment)
        lost = losses(original.record, experiment, place, anyway=wish.anyway)
    return Rerun(original, known, wish, made, tuple(lost))


def place_of(session: Session, original: Original, wish: Wish) -> Known:
    """Where it runs: the cluster that was named, this machine, or where the original ran.

    Raises:
        InputError: the cluster is not known here.
    """
    name = LOCAL if wish.is_here else wish.cluster or original.record.job.cluster
    if name == LOCAL:
        return local_cluster(session.say)
    used = [each for each in cluster_files(user_folders()).used if each != LOCAL]
    if not wish.cluster and name not in used:
        have = f"--cluster NAME ({', '.join(used)}), or --local" if used else "--local"
        why = f"it ran on cluster {name!r}, which is not known here"
        raise refuse(original.name, why, f"{nearest(name, used)}say where: {have}")
    return known_clusters([name], session.say)[0]


def refuse_losses(rerun: Rerun) -> None:
    """Refuse to start where something that the run needs is not to be had.

    Raises:
        InputError: all of it, and some is for the user to set right.
        TfslurmError: all of it: the place does not have what the job needs.
    """
    refuse_stops(rerun.original.name, rerun.losses)


def ask_for_template(session: Session, rerun: Rerun) -> None:
    """Ask before a template runs that this tracker has never sent: it runs as the user, outside of the container.

    Raises:
        InputError: nobody can be asked.
        TfslurmError: the user does not agree.
    """
    asked = rerun.workspace.asked.experiment
    before = rerun.original.record.asked
    if not asked.template or "template" in rerun.wish.settings or rerun.wish.is_agreed:
        return
    text = before.template.text if before else None
    plans = plans_with(session.tracker, rerun.original.record.plan_sha256 or "-")
    for plan_id in (each for found in plans.values() for each in found):
        if any(each.plan.template_text == text for each in session.tracker.plans(plan_id=plan_id)):
            return
    size = len((text or "").splitlines())
    session.say(f"{asked.template} ({size} lines) came with the record, and is {OUTSIDE}; --review shows it whole")
    if not session.agree(f"run the template of {rerun.original.name}?"):
        raise TfslurmError(f"{rerun.original.name}: nothing was started: its template needs your word; --yes gives it")


def prepare_rerun(session: Session, rerun: Rerun, pinning: Pinning = pin_on_first_use) -> Prepared:
    """The job as it will run.

    Raises:
        InputError: what the cluster's file does not allow; outputs of a run that are another run's here.
    """
    with named_by_record(rerun.original.name):
        (job,) = prepared_for(session, rerun.workspace.asked, [rerun.known], pinning)
    refuse_other_outputs(rerun, job)
    return job


def refuse_other_outputs(rerun: Rerun, job: Prepared) -> None:
    """Refuse a job that would mount the outputs of another run than the original did.

    Raises:
        InputError: it would.
    """
    for target in changed_mounts(rerun.original.record, job.plan.mounts, rerun.wish):
        why = "it mounts the outputs of a run of another tracker, and a run of that name here is another one"
        raise refuse(f"{rerun.original.name}: mount at {target}", why, f"say where they lie: --data {target}=SOURCE")


def submit_rerun(session: Session, rerun: Rerun, told: Callable[[str], None], *, again: bool = False) -> str:
    """The new job's name, ``told`` as soon as it is queued.

    Raises:
        TfslurmError: as submit_jobs.
    """
    refuse_losses(rerun)
    ask_for_template(session, rerun)
    if any(mount.run for mount in rerun.workspace.asked.experiment.mounts):
        prepare_rerun(session, rerun)  # which looks whose outputs these are
    asked, where = rerun.workspace.asked, [rerun.known]
    with named_by_record(rerun.original.name):
        (job,) = submit_jobs(session, asked, where, force=rerun.wish.anyway, again=again, told=told)
    return job.key


def run_here(session: Session, rerun: Rerun, shown: Callable[[str, str], None] | None) -> dict[str, Any]:
    """Run it on this machine to its end; how it ended. ``shown`` is called with what the program prints."""
    refuse_losses(rerun)
    ask_for_template(session, rerun)
    refuse_several_tasks(rerun.workspace.asked.experiment)
    secrets = read_secrets(rerun.workspace.asked.experiment.secrets)
    return follow_process(session, rerun.known, prepare_rerun(session, rerun), secrets, shown)


def verdict(session: Session, rerun: Rerun, key: str) -> Diff:
    """The verdict of the original and its rerun, which has ended."""
    (made,) = ended(session, key)
    found = of_two(rerun.original.evidence, made, None, rerun.wish.here)
    return found._replace(warnings=rerun.workspace.warnings)
