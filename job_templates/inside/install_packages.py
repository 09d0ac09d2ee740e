"""Install locked wheels into an empty folder, in a container of the image that they were locked for; no network.

    install_packages.py MOST_BYTES WHEELS TARGET FILE SHA256 [FILE SHA256 …]

Prints one JSON document: the Python, the pip, and what was installed. Where it cannot, it prints a line
``no: why; what to do`` and ends with 3. What pip says goes to standard error. Needs the image's pip and nothing else of
it; Python 3.6 and later.
"""

# ruff: noqa: B905, UP006, UP021, UP035, PTH103, PTH106, PTH107, PTH112, PTH113, PTH118, PTH120, PTH123, PTH208 - an image's Python may be as old as 3.6
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any, Dict, List, Sequence, Tuple

CANNOT = 3
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = ("No space left on device", "Disk quota exceeded")
ROOM = "free some space there, then submit again"
FULL_SAID = f"the file system of the run folders is full; {ROOM}"
LONGEST = 400
SENT_AGAIN = "submit again: it is sent again"
PINNED_AGAIN = "lock the packages again for this image: tfslurm pin EXP.yaml --update"
TENSORFLOW = re.compile(r"([^/]+\.data/(pure|plat)lib/)?tensorflow(/__init__)?\.[^/]+")
"Files of a wheel that are a module of this name."
Wheels = List[Tuple[str, str]]


class Refused(Exception):
    """Why it cannot be installed, and what to do."""


def main(words: Sequence[str]) -> int:
    """Install, and print what came of it; the exit code."""
    most, folder, target, *rest = words
    wheels = list(zip(rest[::2], rest[1::2]))
    try:
        pip = version_of_pip()
        needed = sum(looked_at(folder, file, sha256) for file, sha256 in wheels)
        refuse_size(needed, int(most), target)
        install(folder, target, wheels)
        found = installed(target)
    except Refused as refused:
        print("no: " + " ".join(str(refused).split())[: 2 * LONGEST])
        return CANNOT
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"no: {FULL_SAID}")
        return CANNOT
    python = ".".join(str(part) for part in sys.version_info[:3])
    print(json.dumps({"python": python, "pip": pip, "packages": found}, sort_keys=True))
    return 0


def version_of_pip() -> str:
    """The version of the image's pip."""
    said = run_pip(["--version"])
    if said.returncode or not said.stdout.startswith("pip "):
        raise Refused(
            "the image's Python has no pip, which installs packages; "
            "use an image with pip, or build one from this image: `build:` in place of `image:`"
        )
    return said.stdout.split()[1][:40]


def looked_at(folder: str, file: str, sha256: str) -> int:
    """How many bytes a wheel unpacks to; it must be the one that was locked."""
    path = os.path.join(folder, file)
    summed = hashlib.sha256()
    try:
        with open(path, "rb") as content:
            for piece in iter(lambda: content.read(1 << 20), b""):
                summed.update(piece)
    except OSError as error:
        raise Refused(f"{file} cannot be read ({error.strerror}); {SENT_AGAIN}") from error
    if summed.hexdigest() != sha256:
        why = f"{file} has the sha256 {summed.hexdigest()[:16]}…, and the lock file says {sha256[:16]}…"
        raise Refused(f"{why}; {SENT_AGAIN}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Refused(f"{file} is no wheel ({error}); lock another version of it") from error
    if any(TENSORFLOW.fullmatch(member.filename) for member in members) and find_spec("tensorflow"):
        why = f"{file} holds a module `tensorflow`, which would take the place of the image's"
        raise Refused(f"{why}; remove it from `packages`, or name an image of the TensorFlow that you want")
    return sum(member.file_size for member in members)


def refuse_size(needed: int, most: int, target: str) -> None:
    """Refuse packages that unpack to more than is allowed, or than there is room for."""
    if needed > most:
        why = f"the packages unpack to {needed / 2.0**30:.1f} GiB, and {most / 2.0**30:.0f} GiB are the most"
        raise Refused(why + "; build an image of them: `build:` in place of `image:`")
    there = os.statvfs(target)
    if needed > there.f_bavail * there.f_frsize:
        free = there.f_bavail * there.f_frsize
        why = f"the packages need {needed / 2.0**20:.1f} MiB, and the run folders' disk has {free / 2.0**20:.1f} MiB"
        raise Refused(f"{why}; {ROOM}")


def install(folder: str, target: str, wheels: Wheels) -> None:
    """Have pip install the very files, each by its hash, into the folder ``site``."""
    listed = os.path.join(target, "requirements.txt")
    with open(listed, "w", encoding="utf-8") as lines:
        for file, sha256 in wheels:
            lines.write(f"{os.path.join(folder, file)} --hash=sha256:{sha256}\n")
    words = ["install", "--no-deps", "--no-index", "--no-compile", "--require-hashes", "--no-cache-dir"]
    words += ["--no-warn-script-location", "--disable-pip-version-check", "--no-input"]
    site = os.path.join(target, "layer", "site")
    os.makedirs(site)
    done = run_pip([*words, "--target", site, "--requirement", listed])
    sys.stderr.write(done.stdout)
    if done.returncode:
        raise Refused(reason(done.stdout))
    leave_out(site)
    for place, _, _ in os.walk(site, topdown=False):
        if not os.listdir(place):
            os.rmdir(place)  # the list of what is installed names files


def leave_out(site: str) -> None:
    """Remove each module that Python itself has one of: in its own folder of packages it would never find it either."""
    own = os.path.dirname(os.__file__)
    for entry in sorted(os.listdir(site)):
        path = os.path.join(site, entry)
        name, _, kind = entry.partition(".")
        if kind and (os.path.isdir(path) or not kind.endswith(("py", "so"))):
            continue
        spec = PathFinder.find_spec(name, [own, os.path.join(own, "lib-dynload")])
        if name in sys.builtin_module_names or (spec is not None and spec.loader is not None):
            sys.stderr.write(f"left out: {entry}, which Python itself has\n")
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.remove(path)


def reason(said: str) -> str:
    """Why pip did not install, and what to do."""
    if any(words in said for words in FULL_WORDS):
        return FULL_SAID
    lines = [line.strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    why = (lines or ["pip ended with an error"])[0].replace("ERROR: ", "")[:LONGEST]
    if "is not a supported wheel" in why:
        python = "{}.{}".format(*sys.version_info[:2])
        return f"{why} It does not fit the image's Python {python}; {PINNED_AGAIN}"
    return "{}; lock other versions: tfslurm pin EXP.yaml --update".format(why.rstrip("."))


def run_pip(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """What the image's pip says, all of it; neither variables nor files of settings steer it."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-I", "-m", "pip", "--isolated", *words],
        check=False,
        env={**kept, "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )


def installed(target: str) -> List[Dict[str, str]]:
    """Name and version of what is installed, sorted by name."""
    site = os.path.join(target, "layer", "site")
    found: List[Dict[str, str]] = []
    for entry in sorted(os.listdir(site)):
        path = os.path.join(site, entry, "METADATA")
        if entry.endswith(".dist-info") and os.path.isfile(path):
            found.append(headers(path))
    return sorted(found, key=lambda each: each["name"].lower())


def headers(path: str) -> Dict[str, str]:
    """Name and version of one metadata file."""
    values: Dict[str, Any] = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, colon, value = line.partition(":")
            if not colon:
                break
            values.setdefault(key.strip(), value.strip())
    return {"name": values.get("Name", ""), "version": values.get("Version", "")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
