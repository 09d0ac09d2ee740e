"""The Python, the C library and the packages inside an image, as a probe in a container of it found them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfslurm.document.bounded_json import read_json
from tfslurm.image.packages import PYTHON

MOST_BYTES = 4 * 2**20
MOST_PACKAGES = 20_000
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm64/v8": "aarch64", "linux/ppc64le": "ppc64le"}
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "tf-nightly-cpu", "tensorflow-intel")
"The distributions that bring a module of that name."
NONE = "probe ended with 127:"
"What job_templates/parts/observe/image_contents.sh writes first where the image has neither python3 nor python."
_GLIBC = re.compile(r"2\.[0-9]{1,3}")


class NoPython(ValueError):
    """An image without Python."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What wheels for an image must suit.

    python    3.11.2
    glibc     2.36; empty: the image has another C library
    machine   x86_64, as the names of wheels have it
    packages  normalized name -> version, of each installed distribution
    """

    python: str
    glibc: str
    machine: str
    packages: Mapping[str, str]

    @property
    def platform(self) -> str:
        """``manylinux_2_36_x86_64``: the newest that suits; ``linux_x86_64`` where the C library is not glibc."""
        return f"manylinux_{self.glibc.replace('.', '_')}_{self.machine}" if self.glibc else f"linux_{self.machine}"

    @property
    def tensorflow(self) -> str:
        """The version of its TensorFlow; empty: it has none."""
        return next((self.packages[name] for name in TENSORFLOW if name in self.packages), "")


def normalized(name: str) -> str:
    """The one form of a distribution's name: ``Python_Dateutil`` is ``python-dateutil``. Source: PyPA, names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def image_facts(text: bytes, platform: str) -> ImageFacts:
    """The facts that the probe printed; ``platform`` is the pin's (linux/amd64).

    Raises:
        NoPython: the probe found none.
        ValueError: it is no such document, or the probe could not ask the image's Python; it says why.
    """
    found = read_json(text, most=MOST_BYTES)
    if not isinstance(found, dict) or found.get("schema") != "tfslurm.image/1":
        raise ValueError("is not what the probe of an image prints")
    python, listed, glibc = found.get("python"), found.get("packages"), found.get("glibc")
    if not isinstance(python, str) or not PYTHON.fullmatch(python) or not isinstance(listed, list):
        errors = found.get("errors")
        why = str(errors[0])[:300] if isinstance(errors, list) and errors else "it has no Python 3"
        is_none = NoPython if why.startswith(NONE) else ValueError
        raise is_none(f"the image's Python could not be asked: {why}")
    if len(listed) > MOST_PACKAGES or not all(isinstance(each, dict) for each in listed):
        raise ValueError("its list of packages is none")
    pairs = ((each.get("name"), each.get("version")) for each in reversed(listed))
    packages = {
        normalized(name): version for name, version in pairs if isinstance(name, str) and isinstance(version, str)
    }
    machine = MACHINES.get(platform, platform.split("/")[1])
    return ImageFacts(python, glibc if isinstance(glibc, str) and _GLIBC.fullmatch(glibc) else "", machine, packages)
