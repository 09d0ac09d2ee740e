"""Does the chain of this machine's tracker hold, and does Slurm's accounting know an end of it?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from weakref import WeakKeyDictionary

from tfslurm import slurm
from tfslurm.errors import CommandFailed, HostError, InputError, RecordError, SlurmParseError
from tfslurm.record import Record
from tfslurm.record.chain import broken_entries
from tfslurm.record.verification import Part
from tfslurm.tracker import Tracker
from tfslurm.tracker.chain import Anchor
from tfslurm.workspace.clock import earlier
from tfslurm.workspace.clusters_of_jobs import known_named
from tfslurm.workspace.session import Session

MOST_SAID = 3
MOST_READ = 1000
"Links whose records are read for one record: in a longer chain those of its own thousand."
_SEEN: WeakKeyDictionary[Tracker, tuple[tuple[str, int], tuple[str, ...]]] = WeakKeyDictionary()
_ASKED: WeakKeyDictionary[Session, dict[Anchor, Part]] = WeakKeyDictionary()


def chain_parts(session: Session, record: Record, most: int = MOST_READ) -> Iterator[Part]:
    """The entry that a record is, with every other one, and what Slurm's accounting says of the chain's end.

    The records of ``most`` entries are read, its own among them.
    """
    chain = session.tracker.chain if session.has_tracker else None
    about = record.job
    own = chain.place_of(record.integrity.record_sha256) if chain else None
    place = own or (chain.place_of_job(about.cluster, about.job_id, record.plan_id) if chain else None)
    if chain is None or place is None:
        yield Part("chain", "not verifiable", unchained(record))
        yield Part("anchor", "not verifiable", "the record is in no chain that this machine has")
        return
    last = chain.last()
    first = place - (place - 1) % most
    until = min(first + most - 1, last)
    broken = broken_in(session.tracker, first, until)
    if broken:
        more = f"; and {len(broken) - MOST_SAID} more" if len(broken) > MOST_SAID else ""
        yield Part("chain", "changed", f"{'; '.join(broken[:MOST_SAID])}{more}")
    elif own is None:
        yield Part("chain", "not verifiable", f"this tracker has another record of the job, entry {place} of {last}")
    else:
        read = f"; the records of entries {first} to {until} are whole" if last > most else ""
        yield Part("chain", "unchanged", f"entry {place} of {last}: each names the record before it{read}")
    if own is None:
        yield Part("anchor", "not verifiable", "the record is in no chain that this machine has")
    else:
        yield anchor_part(session, place)


def unchained(record: Record) -> str:
    """Why a record is in no chain here."""
    if record.integrity.previous:
        return f"it follows the record {record.integrity.previous[:16]}… in a tracker that is not this machine's"
    return "it is the first of another tracker's chain, its job had not ended, or an older tfslurm made it"


def broken_in(tracker: Tracker, first: int, until: int) -> tuple[str, ...]:
    """What does not hold of the chain, whose records are read from one place to another.

    It is looked at once, as long as nobody writes to the tracker.
    """
    chain = tracker.chain
    state = chain.version(), first
    if tracker not in _SEEN or _SEEN[tracker][0] != state:
        found = [*broken_entries(chain.entries(first, until - first + 1), until, chain.before(first))]
        elsewhere = [place for place in chain.gaps() if not first <= place <= until]
        found += [f"entry {place} does not follow the one before it" for place in elsewhere]
        _SEEN[tracker] = state, (*found, *lost_ends(tracker))
    return _SEEN[tracker][1]


def lost_ends(tracker: Tracker) -> Iterator[str]:
    """A line for each plan that was submitted when the chain ended with a record that is not in it now."""
    for plan_id in tracker.chain.lost_heads():
        yield f"the record that was the last one when plan {plan_id} was made is not in the chain any more"


def anchor_part(session: Session, place: int) -> Part:
    """Whether Slurm's accounting has, as a job's comment, the end that the chain had when it held this entry."""
    anchors = session.tracker.chain.anchors(place)
    if not anchors:
        return Part("anchor", "not verifiable", "no job was submitted since the record was chained")
    asked = _ASKED.setdefault(session, {})
    parts = (asked.get(anchor) or asked.setdefault(anchor, anchored(session, anchor)) for anchor in anchors)
    tried = list(islice(parts, 1))
    while tried[-1].status == "not verifiable" and (one := next(parts, None)):
        tried.append(one)
    return tried[-1] if tried[-1].status != "not verifiable" else tried[0]


def anchored(session: Session, anchor: Anchor) -> Part:
    """One job's comment in Slurm's accounting beside the end of the chain that its plan names."""
    cluster, _, job_id = anchor.job.partition(":")
    try:
        (plan,) = session.tracker.plans(plan_id=anchor.plan_id)
        host = session.reach(known_named(cluster, anchor.plan_id, session.tracker))
        asked = slurm.sacct_argv(job_ids=[job_id], since=earlier(plan.plan.planned_at))
        done = host.run(asked, max_bytes=slurm.MOST_BYTES)
        if done.exit_code:
            raise CommandFailed(done)
        jobs = [each for each in slurm.parse_sacct(done.stdout) if each.name == plan.plan.job_name]
    except (HostError, InputError, RecordError, CommandFailed, SlurmParseError) as error:
        return Part("anchor", "not verifiable", f"{anchor.job}: {str(error).splitlines()[0]}")
    commented = [each for each in jobs if each.comment]
    found = next((each for each in commented if each.comment == f"tfslurm:{anchor.plan_id}:{anchor.head}"), None)
    if found:
        when = f"as of {found.submitted_at}, when {anchor.job} was submitted"
        return Part("anchor", "unchanged", f"Slurm's accounting has entry {anchor.place} {when}")
    if commented:
        return Part("anchor", "changed", f"the comment of {anchor.job} in Slurm's accounting names another end")
    why = "has no comment of it (it has not ended, or the site does not keep comments)" if jobs else "does not know it"
    return Part("anchor", "not verifiable", f"{anchor.job}: Slurm's accounting {why}")
