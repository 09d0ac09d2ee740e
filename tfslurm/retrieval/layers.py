"""The packages that experiments add to their images: the layers as they are on their clusters now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath

from tfslurm.errors import CommandFailed, HostError
from tfslurm.host import Host
from tfslurm.host.files import tree_contents
from tfslurm.image.packages import SHA256
from tfslurm.record.verification import Part, compared
from tfslurm.retrieval.evidence import Evidence
from tfslurm.run_folder import paths

Lists = Mapping[PurePosixPath, bytes | HostError | CommandFailed]
"Of folders, the list of the files in each; empty: it is not there."


def layer_dir(evidence: Evidence) -> PurePosixPath | None:
    """The installed packages of a record below its cluster's root; None: there are none, or it is in a crate."""
    layer, folder = evidence.record.environment.layer, evidence.folder
    if layer is None or folder is None or evidence.crate is not None or not SHA256.fullmatch(layer.key):
        return None
    return paths.packages(folder.parent.parent, layer.key) / "layer" / "site"


def layer_lists(host: Host, evidences: Sequence[Evidence]) -> dict[PurePosixPath, bytes | HostError | CommandFailed]:
    """The list of each layer that the records name on this machine.

    Raises:
        HostError: it does not answer.
    """
    found: dict[PurePosixPath, bytes | HostError | CommandFailed] = {}
    for folder in dict.fromkeys(filter(None, map(layer_dir, evidences))):
        try:
            found[folder] = tree_contents(host, folder)
        except CommandFailed as error:
            found[folder] = error
    return found


def layer_part(evidence: Evidence, lists: Lists) -> Part | None:
    """Whether a record's packages are still the files that were installed; None: its experiment adds none.

    The wheels that they are made of are in the lock file's text, each with its sha256.
    """
    layer, folder = evidence.record.environment.layer, layer_dir(evidence)
    if layer is None:
        return None
    listed = lists.get(folder, b"") if folder else b""
    if folder is None or isinstance(listed, HostError | CommandFailed):
        why = str(listed).splitlines()[0] if listed else "where they are is not known"
        return Part("packages", "not verifiable", why)
    now = sha256(listed).hexdigest() if listed else None
    return compared("packages", layer.contents_sha256, now, f"the list of {folder}")
