"""Requirements of Python packages as text: PEP 508, read by the library `packaging`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tfslurm.document import NotText, Refused, show
from tfslurm.errors import InputError, Problem
from tfslurm.spec import names

MOST_REQUIREMENTS = 1000
_HASH = re.compile(r"\s--hash[= ](?P<hash>\S+)")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_OPTIONS = {
    ("-r", "--requirement"): ("reads another file", "write the lines of that file here"),
    ("-c", "--constraint"): ("reads constraints", "write them as requirements; the image's packages are constraints"),
    ("-e", "--editable"): ("installs a folder", "put that folder into `code`, and name it in `env: {PYTHONPATH: …}`"),
    ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host", "--proxy"): (
        "says where packages are found",
        "set it for this machine: `pip config set global.index-url URL` (or extra-index-url, find-links)",
    ),
    ("--pre",): ("allows every pre-release", "name the pre-release that you mean: `PACKAGE==2.0rc1`"),
}
_PATH = re.compile(r"\.{0,2}/|~|\S*\.(whl|tar\.gz|zip)$")
_VCS = re.compile(r"(git|hg|svn|bzr)\+|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FIND = "put its wheel into a folder, `pip config set global.find-links FOLDER`, and write NAME==VERSION"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement in its one form.

    text       ``pandas[excel]<3,>=2; python_version < "3.13"``: names are normalized, specifiers sorted
    name       normalized
    extras     sorted
    specifier  ``<3,>=2``; empty: any version
    hashes     of the wheels that it allows, 64 hex each; none: any
    line       where it stands in its file; 0: in the experiment
    """

    text: str
    name: str
    extras: tuple[str, ...] = ()
    specifier: str = ""
    hashes: tuple[str, ...] = ()
    line: int = 0

    @property
    def asked(self) -> str:
        """What the lock's hash is of: the text, with its hashes."""
        return " ".join((self.text, *(f"sha256:{each}" for each in self.hashes)))


def requirement(text: str, line: int = 0, hashes: tuple[str, ...] = ()) -> Requirement:
    """The requirement that a text is.

    Raises:
        Refused: it is none, or one that no index has a wheel for: a path, an address, an option of pip.
    """
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Read
    from packaging.utils import canonicalize_name

    plain = text.strip()
    text = re.sub(r"//[^/\s]*@", "//", plain)  # a login is shown to nobody
    _refuse_others(text)
    try:
        read = Read(plain)
    except InvalidRequirement as error:
        why = re.sub(r"//[^/\s]*@", "//", str(error).splitlines()[0].rstrip(":"))
        raise Refused(f"{show(text)} is not a requirement: {why}", "write for example pandas==2.2.3") from None
    if read.url:
        raise Refused(f"{show(text)} names an address, and only an index tells which wheel it has", _FIND)
    extras = tuple(sorted(canonicalize_name(extra) for extra in read.extras))
    name, specifier = canonicalize_name(read.name), ",".join(sorted(map(str, read.specifier)))
    marker = f"; {read.marker}" if read.marker else ""
    written = f"{name}{'[' + ','.join(extras) + ']' if extras else ''}{specifier}{marker}"
    return Requirement(written, name, extras, specifier, hashes, line)


def _refuse_others(text: str) -> None:
    if not text or not text.isprintable():
        raise Refused(f"{show(text)} is not a requirement", "write for example pandas==2.2.3")
    if text.startswith("-"):
        option = re.split(r"[\s=]", text)[0]
        for names, (why, fix) in _OPTIONS.items():
            if option in names or (len(option) > 2 and option[1] != "-" and option[:2] in names):
                raise Refused(f"{option} {why}, and a lock holds wheels of an index alone", fix)
        raise Refused(f"{option} is an option of pip, not a requirement", "remove it")
    if _VCS.match(text):
        raise Refused(f"{show(text)} names sources, and only wheels are taken", _FIND)
    if _PATH.match(text):
        raise Refused(f"{show(text)} is a path on this machine, and only an index tells which wheel it has", _FIND)


def requirement_lines(text: str, file: str) -> tuple[Requirement, ...]:
    """The requirements of a requirements file: comments and joined lines as pip reads them, hashes kept.

    Raises:
        InputError: every line that is refused, with its number; none at all.
    """
    found: list[Requirement] = []
    problems: list[Problem] = []
    for number, line in _joined(text):
        try:
            found.append(_line(line, number))
        except Refused as refused:
            problems.append(Problem(file, number, "", refused.why, refused.fix))
    if len(found) > MOST_REQUIREMENTS:
        problems.append(Problem(file, 0, "", f"has {len(found)} requirements; {MOST_REQUIREMENTS} are the most"))
    if not found and not problems:
        problems.append(Problem(file, 0, "", "names no package", "write one, or remove `packages`"))
    if problems:
        raise InputError(problems)
    return tuple(found)


def _line(line: str, number: int) -> Requirement:
    bare = _HASH.sub("", line)
    hashes = [match["hash"] for match in _HASH.finditer(line)]
    for wrong in (each for each in hashes if not _SHA256.fullmatch(each)):
        raise Refused(f"{show(wrong)} is not a hash that is checked here", "write --hash=sha256:…")
    if not bare.startswith("-") and " --" in bare:
        option = bare.partition(" --")[2].split("=")[0].split()[0] if bare.partition(" --")[2].strip() else ""
        raise Refused(f"--{option} is an option for sources, and only wheels are taken", "remove it")
    return requirement(bare, number, tuple(sorted(each.partition(":")[2] for each in hashes)))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something; one that ends in a backslash goes on in the next."""
    begun, held = 0, ""
    for number, line in enumerate([*text.removeprefix("\ufeff").splitlines(), ""], 1):
        bare = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        begun = begun or number
        held = f"{held} {bare.removesuffix(chr(92)).strip()}" if held else bare.removesuffix(chr(92)).strip()
        if bare.endswith("\\"):
            continue
        if held.strip():
            yield begun, held.strip()
        begun, held = 0, ""


def packages(value: object) -> str | tuple[str, ...]:
    """The path of a requirements file, or requirements in their one form."""
    if isinstance(value, str):
        return names.requirements_file(value)
    if not isinstance(value, list) or not value or len(value) > MOST_REQUIREMENTS:
        raise Refused(f"{show(value)} names no packages", "write a file's name, or a list: `packages: [pandas]`")
    found: list[str] = []
    refusals: list[Refused] = []
    for index, text in enumerate(value):
        try:
            if not isinstance(text, str):
                raise NotText(text)
            found.append(requirement(text).text)
        except Refused as refused:
            refused.at = (index,)
            refusals.append(refused)
    if refusals:
        raise Refused.together(refusals)
    return tuple(found)
