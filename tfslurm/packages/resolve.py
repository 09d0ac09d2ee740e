"""Requirements -> the wheels that satisfy them in an image, by uv, else by pip. What the image holds is left out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import Completed, TfslurmError, refuse
from tfslurm.image.facts import TENSORFLOW, ImageFacts, normalized
from tfslurm.image.packages import FILE, SHA256, wrong_url
from tfslurm.local_files import make_folder, write_file
from tfslurm.packages.programs import GET, MOST_BYTES, call, find_pip, find_uv, for_pip, for_uv, indexes, without_logins
from tfslurm.packages.refusals import Refusal, of_image, refusal
from tfslurm.packages.run_pip import OTHERWISE
from tfslurm.packages.stubs import held, write_stubs
from tfslurm.packages.targets import pip_words, uv_words
from tfslurm.spec.requirements import Requirement

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)")
_UNFIT = "an image without glibc, whose wheels are not looked for"


class NoSolution(Exception):
    """No wheels satisfy the requirements; leaves the room `packages` as the error of the file that asked."""

    def __init__(self, refused: Refusal) -> None:
        super().__init__(refused.why)
        self.refused = refused


class Found(NamedTuple):
    """One wheel that a resolver chose. ``sha256`` and ``url`` are as the index says; empty: it does not say."""

    name: str
    version: str
    file: str
    sha256: str
    url: str


class Resolved(NamedTuple):
    """The wheels that are to be added to the image, by which program, and the index that it asked first."""

    wheels: tuple[Found, ...]
    resolver: str
    first_index: str


def resolve(asked: Sequence[Requirement], facts: ImageFacts, work: Path, say: Callable[[str], None]) -> Resolved:
    """The wheels that satisfy the requirements; ``work`` is an empty folder of this command's own.

    ``say`` is told what is waited for.

    Raises:
        NoSolution: there are none, or one of them would be a second TensorFlow.
        TfslurmError: pip is not here or too old, or what a program prints is not understood.
    """
    if not facts.glibc:
        raise TfslurmError(f"packages: {_UNFIT}; use an image of Debian, Ubuntu or Red Hat")
    uv, pip = find_uv(), find_pip()
    if not pip:
        raise refuse("packages", "pip is not installed beside tfslurm", GET)
    places = indexes(pip)
    first = without_logins(places.first).partition("?")[0]
    resolver = _version(uv or pip)
    refuse_second_tensorflow(asked, facts)
    say(f"packages: {resolver} asks {first or 'the folders of wheels'} what suits {of_image(facts)}")
    inputs = _Inputs.written(asked, facts, work)
    if uv:
        nowhere = () if places.first or places.more else ("--no-index",)
        chosen = _by_uv((*uv, "pip", "compile", *nowhere), for_uv(places, [str(inputs.stubs)]), inputs, asked, facts)
        missing = {name: each for name, each in chosen.items() if not is_held(name, each.version, facts)}
        found = _report(pip, for_pip(places, facts), _names(missing, work), (), asked, facts) if missing else ()
    else:
        words = ("--constraint", str(inputs.constraints))
        settings = for_pip(places, facts, [str(inputs.stubs)])
        found = _report(pip, settings, inputs.requirements, words, asked, facts)
    added = tuple(sorted(each for each in found if not is_held(each.name, each.version, facts)))
    refuse_brought_tensorflow(added, facts)
    return Resolved(added, resolver, "" if wrong_url(first) else first)


class _Inputs(NamedTuple):
    """The files that a resolver reads."""

    requirements: Path
    constraints: Path
    stubs: Path

    @classmethod
    def written(cls, asked: Sequence[Requirement], facts: ImageFacts, work: Path) -> _Inputs:
        stubs = work / "image"
        make_folder(stubs)
        constraints = write_stubs(stubs, facts, free(asked, facts))
        made = cls(work / "requirements.in", work / "image.txt", stubs)
        write_file(made.requirements, "".join(f"{each.text}\n" for each in asked).encode())
        write_file(made.constraints, "".join(f"{line}\n" for line in constraints).encode())
        return made


def free(asked: Sequence[Requirement], facts: ImageFacts) -> set[str]:
    """The packages of the image that a requirement itself asks another version of, or an extra."""
    from packaging.specifiers import SpecifierSet

    have = dict(held(facts, ()))
    return {
        each.name
        for each in asked
        if each.name in have
        and (each.extras or not SpecifierSet(each.specifier).contains(have[each.name], prereleases=True))
    }


def is_held(name: str, version: str, facts: ImageFacts) -> bool:
    """Whether the image has this very version."""
    from packaging.version import Version

    return any(each == name and Version(has) == Version(version) for each, has in held(facts, ()) if each == name)


def refuse_second_tensorflow(asked: Sequence[Requirement], facts: ImageFacts) -> None:
    """Refuse a requirement that would bring another TensorFlow than the image's.

    Raises:
        NoSolution: there is one.
    """
    others = [each for each in asked if each.name in TENSORFLOW and facts.tensorflow]
    for each in others:
        if each.name not in facts.packages or each.name in free(
            [Requirement(each.text, each.name, (), each.specifier)], facts
        ):
            raise NoSolution(second_tensorflow(each.name, f"{each.text!r}", facts))


def second_tensorflow(name: str, what: str, facts: ImageFacts) -> Refusal:
    """The refusal of what would be another TensorFlow; ``name``: of the package that is to go, '' for all."""
    why = f"{what} would be a second TensorFlow beside the image's {facts.tensorflow}"
    return Refusal(name, why, "remove it, or name an image of the TensorFlow that you want in `image`")


def refuse_brought_tensorflow(found: Sequence[Found], facts: ImageFacts) -> None:
    """Refuse a second TensorFlow that a package brings.

    Raises:
        NoSolution: there is one.
    """
    for each in found:
        if each.name in TENSORFLOW and facts.tensorflow:
            raise NoSolution(
                second_tensorflow("", f"{each.name} {each.version}, which one of the packages needs,", facts)
            )


class _Chosen(NamedTuple):
    version: str
    hashes: tuple[str, ...]


def _by_uv(
    compiler: Sequence[str],
    environment: Mapping[str, str],
    inputs: _Inputs,
    asked: Sequence[Requirement],
    facts: ImageFacts,
) -> dict[str, _Chosen]:
    """Name -> version and hashes, as uv chose them; the image's packages among them.

    uv asks the Python that it is told. Else it looks for one in `.venv` of the current folder, maybe a stranger's.
    """
    words = ("--quiet", "--no-header", "--no-annotate", "--generate-hashes", "--color", "never", "--no-config")
    limits = ("--python", sys.executable, "--constraint", str(inputs.constraints), *uv_words(facts))
    done = call((*compiler, *words, *limits, str(inputs.requirements)), environment)
    if done.exit_code:
        raise NoSolution(refusal(_said(done, inputs.requirements.parent), asked, facts))
    found: dict[str, _Chosen] = {}
    for block in re.split(r"\n(?=\S)", done.stdout):
        if match := _LINE.match(block):
            hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
            found[normalized(match["name"])] = _Chosen(match["version"], hashes)
    return found


def _names(chosen: Mapping[str, _Chosen], work: Path) -> Path:
    """A file with exactly these versions; their hashes, where the index told all of them."""
    whole = all(each.hashes for each in chosen.values())
    lines = (
        " ".join((f"{name}=={each.version}", *(f"--hash=sha256:{hash}" for hash in each.hashes if whole)))
        for name, each in sorted(chosen.items())
    )
    file = work / "chosen.txt"
    write_file(file, "".join(f"{line}\n" for line in lines).encode())
    return file


def _report(
    pip: Sequence[str],
    environment: Mapping[str, str],
    requirements: Path,
    words: Sequence[str],
    asked: Sequence[Requirement],
    facts: ImageFacts,
) -> tuple[Found, ...]:
    """The wheels that pip would install; without ``words`` those of the file alone."""
    work = requirements.parent
    report = work / "report.json"
    target = ("--target", str(work / "none"), "--ignore-installed", "--dry-run", "--report", str(report))
    more = words or ("--no-deps",)
    done = call((*pip, "install", *target, *pip_words(facts), *more, "--requirement", str(requirements)), environment)
    if done.exit_code == OTHERWISE:
        raise refuse("packages", f"{_version(pip)} cannot be told which Python the image has", GET)
    if "no such option: --" in done.stderr:
        raise refuse("packages", f"{_version(pip)} is too old: pip 22.2 and later say what they would install", GET)
    if done.exit_code:
        raise NoSolution(refusal(_said(done, work), asked, facts))
    try:
        return tuple(_items(read_json(report.read_bytes(), most=MOST_BYTES)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TfslurmError(f"packages: the report of {_version(pip)} is not understood: {error!r}") from error


def _items(report: Mapping[str, Any]) -> Iterator[Found]:
    for each in report["install"]:
        about = each["download_info"]
        url = without_logins(about["url"]).partition("#")[0].partition("?")[0]
        file = unquote(urlsplit(url).path.rpartition("/")[2])
        sha256 = str(about.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
        if not FILE.fullmatch(file) or (sha256 and not SHA256.fullmatch(sha256)):
            raise ValueError(f"{file!r} is no wheel")
        parts = file.split("-")
        yield Found(normalized(parts[0]), parts[1], file, sha256, "" if wrong_url(url) else url)


def _said(done: Completed, work: Path) -> str:
    """The words of a program, without logins and without the names of files of this command's own."""
    both = f"{done.stdout[-20000:]}\n{done.stderr[-20000:]}"
    return without_logins(both).replace(f"file://{work}/image", "the image").replace(str(work), "")


def _version(argv: Sequence[str]) -> str:
    """``uv 0.13.9``, ``pip 24.0``."""
    said = call((*argv, "--version")).stdout.split()
    return " ".join(said[:2])[:100] if len(said) > 1 else argv[-1]
