"""What is inside an image, as one JSON document on standard output; run once per image in a container of it.

Standard library only, Python 3.6 and later. What could not be asked is null, with the reason under ``errors``.
"""

# ruff: noqa: UP006, UP035, UP045, PTH112, PTH113, PTH118, PTH119, PTH123, PTH207, PTH208 - an image's Python may be as old as 3.6
import glob
import json
import os
import re
import signal
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

Build = Dict[str, Any]
Named = Tuple[Optional[str], Optional[str]]

# Where Debian, Red Hat, NVIDIA's images and conda keep libraries, beside what the loader is told of.
FOLDERS = (
    "/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", "/usr/local/lib", "/lib/*-linux-gnu", "/lib64", "/lib",
    "/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib",
)  # fmt: skip
# Library -> the folder of the Python package that brings it, and how that package is named.
LIBRARIES = {
    "libcudart": ("nvidia/cuda_runtime", r"nvidia-cuda-runtime(-cu\d+)?"),
    "libcudnn": ("nvidia/cudnn", r"nvidia-cudnn(-cu\d+)?"),
}

PATIENCE_S = 110  # an import that hangs ends the probe, which nobody may be left to stop


def main() -> None:
    """Print the document; whatever an import prints meanwhile goes to standard error."""
    signal.alarm(PATIENCE_S)
    answer = os.dup(1)
    os.dup2(2, 1)
    errors: List[str] = []
    packages = installed(errors)
    version, build = tensorflow(packages, errors)
    facts = {
        "schema": "tfslurm.image/1",
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "tensorflow": version,
        "cuda": text(build.get("cuda_version")),
        "cudnn": text(build.get("cudnn_version")),
        "cuda_present": present("libcudart", build.get("cuda_version"), packages, errors),
        "cudnn_present": present("libcudnn", build.get("cudnn_version"), packages, errors),
        "os": operating_system(errors),
        "glibc": glibc(errors),
        "packages": packages,
        "source": "importlib.metadata + tf.sysconfig.get_build_info + the names of libraries in the container",
        "errors": errors,
    }
    with os.fdopen(answer, "w") as out:
        json.dump(facts, out, indent=1, sort_keys=True)
        out.write("\n")


def text(value: object) -> Optional[str]:
    """The value as text, or None where there is none."""
    return str(value) if value else None


def installed(errors: List[str]) -> List[Dict[str, str]]:
    """Name and version of every installed distribution, sorted; the one that an import would find comes first."""
    found: Dict[str, Dict[str, str]] = {}
    try:
        for name, version in distributions():
            if name and name.lower() not in found:
                found[name.lower()] = {"name": name, "version": version or ""}
    except Exception as error:
        errors.append(f"packages: {type(error).__name__}: {error}")
    return [found[key] for key in sorted(found)]


def distributions() -> Iterator[Named]:
    """(name, version) in the order of sys.path: importlib.metadata since 3.8, else the files it would read."""
    try:
        from importlib import metadata
    except ImportError:
        yield from metadata_files()
        return
    for distribution in metadata.distributions():
        yield distribution.metadata["Name"], distribution.version


def metadata_files() -> Iterator[Named]:
    """The Name and Version headers of *.dist-info/METADATA and *.egg-info/PKG-INFO."""
    for folder in sys.path:
        if not os.path.isdir(folder):
            continue
        for entry in sorted(os.listdir(folder)):
            if not entry.endswith((".dist-info", ".egg-info")):
                continue
            path = os.path.join(folder, entry)
            for name in ("METADATA", "PKG-INFO", ""):
                if os.path.isfile(os.path.join(path, name) if name else path):
                    yield headers(os.path.join(path, name) if name else path)
                    break


def headers(path: str) -> Named:
    """Name and Version of one metadata file."""
    values: Dict[str, str] = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                break
            key, _, value = line.partition(":")
            values.setdefault(key.strip(), value.strip())
    return values.get("Name"), values.get("Version")


def tensorflow(packages: List[Dict[str, str]], errors: List[str]) -> Tuple[Optional[str], Build]:
    """The version that an import gives (else the installed distribution's) and the build's own facts."""
    names = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly")
    versions = [package["version"] for package in packages if package["name"].lower().replace("_", "-") in names]
    if not versions:
        errors.append("tensorflow: no distribution of it is installed")
        return None, {}
    try:
        import tensorflow as tf

        return text(tf.__version__), dict(tf.sysconfig.get_build_info())
    except Exception as error:
        errors.append(f"tensorflow: {type(error).__name__}: {error}")
        return versions[0], {}


def present(name: str, built: object, packages: List[Dict[str, str]], errors: List[str]) -> Optional[str]:
    """The version of a library that is here: of the major version that TensorFlow was built with, else the newest."""
    key = {"libcudart": "cuda_present", "libcudnn": "cudnn_present"}[name]
    found: List[Tuple[int, ...]] = []
    try:
        found = sorted(set(versions(name)) | set(packaged(LIBRARIES[name][1], packages)))
    except Exception as error:
        errors.append(f"{key}: {type(error).__name__}: {error}")
        return None
    fitting = [version for version in found if version[:1] == numbers(text(built) or "")[:1]]
    if not found and built:
        errors.append(f"{key}: no {name}.so is in the folders in which libraries are looked for")
    return ".".join(map(str, (fitting or found)[-1])) if found else None


def versions(name: str) -> Iterator[Tuple[int, ...]]:
    """What the names of the files say, links followed: ``libcudart.so.12.3.101``; one number alone says too little."""
    for folder in folders():
        for path in glob.glob(os.path.join(glob.escape(folder), name + ".so*")):
            read = re.match(r"\.so\.(\d+(?:\.\d+)+)$", os.path.basename(os.path.realpath(path))[len(name) :])
            if read and os.path.isfile(path):
                yield numbers(read.group(1))


def folders() -> Iterator[str]:
    """The folders in which the loader looks, and where the Python packages of NVIDIA have theirs."""
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    yield os.path.join(sys.prefix, "lib")
    for pattern in FOLDERS:
        yield from glob.glob(pattern)
    for settings in glob.glob("/etc/ld.so.conf.d/*.conf"):
        with open(settings, encoding="utf-8", errors="replace") as lines:
            yield from (line.strip() for line in lines if line.startswith("/"))
    for folder in sys.path:
        for place, _ in LIBRARIES.values():
            yield os.path.join(folder, place, "lib")


def packaged(name: str, packages: List[Dict[str, str]]) -> Iterator[Tuple[int, ...]]:
    """The versions of the Python packages that bring a library, whose files carry the major version alone."""
    for package in packages:
        if re.match(name + "$", package["name"].lower().replace("_", "-")) and numbers(package["version"]):
            yield numbers(package["version"])


def numbers(version: str) -> Tuple[int, ...]:
    """12.3.101 as numbers; those that come before anything else."""
    read = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in read.group(0).split(".")) if read else ()


def operating_system(errors: List[str]) -> Optional[str]:
    """PRETTY_NAME of /etc/os-release."""
    try:
        with open("/etc/os-release", encoding="utf-8") as lines:
            for line in lines:
                key, _, value = line.strip().partition("=")
                if key == "PRETTY_NAME":
                    return value.strip("\"'")
        errors.append("os: /etc/os-release has no PRETTY_NAME")
    except OSError as error:
        errors.append(f"os: {error}")
    return None


def glibc(errors: List[str]) -> Optional[str]:
    """The version of the C library; None where it is another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if name == "glibc":
            return version
        errors.append("glibc: the C library does not say that it is glibc")
    except (OSError, ValueError) as error:
        errors.append(f"glibc: {error}")
    return None


if __name__ == "__main__":
    main()
