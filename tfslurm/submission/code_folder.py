"""The code of an experiment: its own folder, one in its repository, or one that the command line named.

An exp.yaml may come from a stranger. What it can take along is what came with it: the files beside it, and those of the
repository that it lies in. Everything else on this machine is for the person at the keyboard to name. Git is not asked
where the repository begins, for its configuration is the stranger's too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfslurm.document.tree import printable
from tfslurm.errors import InputError, TfslurmError
from tfslurm.snapshot import Snapshot, take
from tfslurm.snapshot.files import Entry
from tfslurm.spec import Experiment
from tfslurm.workspace.project import belongs_to, holds_home
from tfslurm.workspace.session import Say

if TYPE_CHECKING:
    from tfslurm.submission.prepare import Asked

PRIVATE = re.compile(
    r"(^|/)(\.env(\.[^/]*)?|[._]netrc|\.pgpass|\.my\.cnf|\.npmrc|\.pypirc|\.git-credentials|\.dockercfg|\.htpasswd"
    r"|\.s3cfg|\.boto|\.vault-token|\.xauthority|\.[a-z_]*history|id_(rsa|dsa|ecdsa|ed25519)[^/]*(?<!\.pub)|kubeconfig"
    r"|kaggle\.json|rclone\.conf|[^/]*(credential|secret|password|passwd|private[-_]?key|service[-_]?account|token)s?"
    r"(\.(json|ya?ml|toml|ini|cfg|txt|env|csv))?|[^/]*\.(pem|key|p12|pfx|jks|keystore|ppk|kdbx|gpg|asc|ovpn|tfstate)"
    r"|\.(ssh|aws|gnupg|kube|docker|azure|password-store)/.*|\.config/(gcloud|gh|rclone|tfslurm)/.*)$"
)
"Names, in small letters, of files that often hold passwords, keys or tokens."

FILLED_BY = {
    "Git LFS": "git lfs pull",
    "git-annex": "git annex get .",
    "git-crypt": "git-crypt unlock",
    "git-fat": "git fat pull",
}
"What brings the files themselves, by the program whose pointers they are."
TellOfCode = Callable[[Say, Snapshot | None], None]
"Says what a user should know of the code before it is sent."


def code_folder(experiment: Experiment, file: Path) -> Path:
    """The folder as it really is, without links.

    Raises:
        InputError: it is no folder, or it is not the file's to give.
    """
    assert experiment.code is not None  # noqa: S101 - asked for where there is code
    folder = (file.parent / experiment.code.path).resolve()
    if not folder.is_dir():
        why = f"{str(folder)!r} is not a folder"
        raise InputError([experiment.problem(("code",), why, "name a folder, or drop `code`")])
    if _is_named(experiment) or belongs_to(folder, file.parent.resolve()):
        return folder
    why = f"{str(folder)!r} is outside the folder of {file.name} and of its repository, and would be sent to a cluster"
    fix = f"move the code beside {file.name}; if you mean that folder, say so: --set code={experiment.code.path}"
    raise InputError([experiment.problem(("code",), why, fix)])


def snapshot(asked: Asked) -> Snapshot | None:
    """The code that the experiment brings, as it is on disk now; None where it brings none.

    Raises:
        InputError: the folder is not the file's to give, cannot be sent, or has files that are not to be sent.
        TfslurmError: (transient) it changed while it was read; or git failed.
    """
    experiment = asked.experiment
    if experiment.code is None:
        return None
    if asked.code is not None:
        refuse_unfit_files(experiment, asked.code.folder, asked.code.entries)
        return asked.code
    folder = code_folder(experiment, asked.file)
    taken = take(folder, experiment.code.exclude)
    if taken.folder != folder:
        raise TfslurmError(f"{folder}: became a link to {taken.folder} while it was read; try again", transient=True)
    refuse_unfit_files(experiment, folder, taken.entries)
    return taken


def refuse_unfit_files(experiment: Experiment, folder: Path, entries: Sequence[Entry]) -> None:
    """Refuse what is hidden in a home, unless the command line names the home; and pointers.

    Raises:
        InputError: there are some.
    """
    refuse_pointers(experiment, folder, entries)
    refuse_hidden(experiment, folder, entries)


def refuse_hidden(experiment: Experiment, folder: Path, entries: Iterable[Entry]) -> None:
    """Refuse to send a home as code if it has a hidden folder or a private file in it."""
    if _is_named(experiment):
        return
    names = [entry.name for entry in entries if entry.name.startswith(".")]
    found = [name for name in names if "/" in name or PRIVATE.search(name.lower())]
    hidden = sorted({name.split("/")[0] for name in found})
    if hidden and holds_home(folder):
        why = (
            f"{str(folder)!r} holds your home, and what is hidden there would be sent to a cluster: {', '.join(hidden)}"
        )
        fix = "put the experiment into a folder of its own; if you mean that, say so: --set code=."
        raise InputError([experiment.problem(("code",), why, fix)])


def refuse_pointers(experiment: Experiment, folder: Path, entries: Iterable[Entry]) -> None:
    """Refuse files that only say where the file itself is kept: the program would read those few bytes as a model."""
    of: dict[str, list[str]] = {}
    for entry in entries:
        if entry.stands_for:
            of.setdefault(entry.stands_for, []).append(entry.name)
    problems = []
    for keeper, names in of.items():
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        many = f"{len(names)} files are" if len(names) > 1 else "1 file is"
        why = f"{many} only {'encrypted by' if keeper == 'git-crypt' else 'a pointer of'} {keeper}: {shown}"
        fix = f"`{FILLED_BY[keeper]}` in {folder}, or leave them out: `code: {{path: …, exclude: [{names[0]}]}}`"
        problems.append(experiment.problem(("code",), why, fix))
    if problems:
        raise InputError(problems)


def _is_named(experiment: Experiment) -> bool:
    """Whether the command line names the folder."""
    return any(path in (("code",), ("code", "path")) for path in experiment.overridden)


def private_files(code: Snapshot | None) -> list[str]:
    """The files of the code that look as if they held a password, a key or a token."""
    return private_looking([entry.name for entry in code.entries]) if code else []


def private_looking(names: Iterable[str]) -> list[str]:
    """Those of the files that look as if they held a password, a key or a token."""
    return [name for name in names if PRIVATE.search(name.lower())]


def tell_of_private(say: Say, code: Snapshot | None) -> None:
    """Say which files of the code look as if they held a secret."""
    if names := private_files(code):
        fix = "name them in `code: {path: …, exclude: […]}` or .gitignore, or keep them elsewhere"
        say(f"warning: code: files that look private are part of it: {printable(some(names))}; {fix}")


def tell_of_sent(say: Say, code: Snapshot | None) -> None:
    """The same of code that is sent, and which parts of its folder are not; a plan that is shown has these itself."""
    tell_of_private(say, code)
    if code and code.left_out:
        say(f"note: code: left out: {printable(some(code.left_out))}")


def some(names: Sequence[str], most: int = 10) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
