"""The limits of a site, asked with one command and kept for a day beside the tracker."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, InputError, SlurmParseError
from tfslurm.host import Host
from tfslurm.local_files import make_folder, read_text, write_file
from tfslurm.remote_programs import program
from tfslurm.slurm.profile import NO_ACCOUNTING, SiteProfile, parse_profile, profile_words
from tfslurm.workspace.config import Known
from tfslurm.workspace.folders import data_folder

KEPT = timedelta(hours=24)
MOST_BYTES = 64 * 2**20
PATIENCE_S = 120.0  # a slurmdbd that is down costs each of its three questions some seconds


def site_profile(known: Known, host: Host, *, fresh: bool = False, patience_s: float = PATIENCE_S) -> SiteProfile:
    """The profile of a cluster: as kept, where that is less than a day old and not to be ``fresh``, else asked now.

    One that was only partly answered is given, and not kept. A cluster file that names another login, user or
    environment is another site. ``age_s`` of what comes out says how old it is.

    Raises:
        HostError: the login node does not answer, or not in Slurm's words.
    """
    now = datetime.now(timezone.utc)
    kept = None if fresh else kept_profile(known, now)
    if kept:
        return kept
    done = host.run(program("ask-all", *profile_words(known.user)), timeout_s=patience_s)
    moment = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        found = parse_profile(done.stdout, moment)
    except SlurmParseError as error:
        raise HostError(f"{known.cluster.name}: {error}", transient=True) from error
    if is_whole(found):
        keep(known, moment, done.stdout)
    return found


def kept_profile(known: Known, now: datetime) -> SiteProfile | None:
    """The profile as it was kept; None where there is none, it is too old, or of another site."""
    try:
        kept = read_json(read_text(place(known), MOST_BYTES))
        age = now - datetime.fromisoformat(kept["asked_at"].replace("Z", "+00:00"))
        if kept["site"] != site(known) or not timedelta(0) <= age < KEPT:
            return None
        return replace(parse_profile(kept["said"], kept["asked_at"]), age_s=int(age.total_seconds()))
    except (InputError, ValueError, KeyError, TypeError, AttributeError, SlurmParseError):
        return None  # it is asked again


def keep(known: Known, moment: str, said: str) -> None:
    """Keep what was said, whole or not at all; a disk that is full costs the next command a question, no more."""
    path = place(known)
    with suppress(OSError, InputError):
        make_folder(path.parent)
        write_file(path, json.dumps({"site": site(known), "asked_at": moment, "said": said}).encode())


def is_whole(profile: SiteProfile) -> bool:
    """Whether everything was answered that the site has."""
    return profile.config is not None and set(profile.why.values()) <= {NO_ACCOUNTING}


def place(known: Known) -> Path:
    """Where the profile of a cluster is kept."""
    return data_folder() / "sites" / f"{known.cluster.name}.json"


def site(known: Known) -> str:
    """The identity of a site: the login, the user, and what names a controller and its programs."""
    cluster = known.cluster
    told = [str(cluster.login), known.user, sorted(cluster.environment.items()), str(cluster.slurm_bin)]
    if cluster.login is None:  # commands run here, and this shell may name the controller
        told.append(os.environ.get("SLURM_CONF", ""))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def age(profile: SiteProfile) -> str:
    """How old the profile is, for a reader: ``3 h ago``; '' where it was asked just now."""
    if not profile.age_s:
        return ""
    minutes = profile.age_s // 60
    return f"{minutes // 60} h ago" if minutes >= 60 else f"{minutes} min ago" if minutes else f"{profile.age_s} s ago"
