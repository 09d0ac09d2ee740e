"""The files in which two snapshots of code differ, of which the older one lies on a cluster."""

from __future__ import annotations

from tfslurm.errors import HostError
from tfslurm.host.files import tree_contents
from tfslurm.job_plan import JobPlan
from tfslurm.snapshot import Snapshot
from tfslurm.snapshot.files import contents
from tfslurm.submission.code_folder import some
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def changed_code(session: Session, known: Known, then: JobPlan, now: Snapshot | None) -> str:
    """``train.py; new: a.py; gone: b.py``; else the reason why the files are not known."""
    if then.code_dir is None or now is None:
        return f"there was {'code' if then.code_dir else 'none'}, and there is {'some' if now else 'none'} now"
    try:
        older = tree_contents(session.reach(known), then.code_dir)
    except HostError as error:
        return f"its files are not known: {str(error).splitlines()[0]}"
    if not older:
        return f"{then.code_dir} is gone, so its files are not known"
    return in_words(older, contents(now.entries))


def in_words(older: bytes, newer: bytes) -> str:
    """The names of the files that two lists have differently."""
    before, after = (set(filter(None, each.split(b"\0"))) for each in (older, newer))
    had, has = (set(map(name_of, each)) for each in (before, after))
    names = set(map(name_of, before ^ after))
    groups = {"": names & had & has, "new: ": names - had, "gone: ": names - has}
    return "; ".join(f"{head}{some(sorted(found))}" for head, found in groups.items() if found)


def name_of(row: bytes) -> str:
    """The name in a row of a list of contents."""
    head, _, rest = row.partition(b" ./")
    if head.isdigit() and len(head) < 64:  # the bytes of a link's target
        rest = rest[: len(rest) - int(head) - len(" -> ")]
    return rest.decode("utf-8", "surrogateescape")
