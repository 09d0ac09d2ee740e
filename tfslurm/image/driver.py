"""The NVIDIA driver that an image's CUDA needs on a node.

Three rules decide, and each is NVIDIA's own:

1. Each toolkit was released with a driver; that driver and every later one run it in full.
   Source: CUDA Toolkit release notes, table "CUDA Toolkit and Corresponding Driver Versions" (up to CUDA 13.5).
2. Within one major version an older driver runs a newer toolkit, without its newest features and without JIT of its
   PTX, from a floor on. Source: docs.nvidia.com/deploy/cuda-compatibility, "Minor Version Compatibility".
3. The image may ask for more: ``NVIDIA_REQUIRE_CUDA`` is read by NVIDIA's container hook before the program starts.
   Blocks parted by spaces are alternatives; the conditions of a block, parted by commas, hold together.
   Source: docs.nvidia.com/datacenter/cloud-native/container-toolkit, "Specialized Configurations: Constraints".

An image may bring its own libcuda (forward compatibility), with which data-centre GPUs run its CUDA on an older driver
than rules 1 and 2 name. Whether that applies hangs on the GPU, so nothing but rule 3 makes a driver too old for it.
Source: docs.nvidia.com/deploy/cuda-compatibility, "Forward Compatibility".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

_Version = tuple[int, ...]

_TOOLKIT_DRIVERS = {
    "9.0": "384.81", "9.1": "390.46", "9.2": "396.26", "9.2.148": "396.37", "10.0": "410.48", "10.1": "418.39",
    "10.2": "440.33",
    "11.0.1": "450.36.06", "11.0.2": "450.51.05", "11.0.3": "450.51.06", "11.1.0": "455.23", "11.1.1": "455.32",
    "11.2.0": "460.27.03", "11.2.1": "460.32.03", "11.3": "465.19.01", "11.4.0": "470.42.01", "11.4.1": "470.57.02",
    "11.4.3": "470.82.01", "11.5": "495.29.05", "11.6.0": "510.39.01", "11.6.1": "510.47.03", "11.7.0": "515.43.04",
    "11.7.1": "515.48.07", "11.8": "520.61.05",
    "12.0.0": "525.60.13", "12.0.1": "525.85.12", "12.1": "530.30.02", "12.2.0": "535.54.03", "12.2.1": "535.86.09",
    "12.2.2": "535.104.05", "12.3.0": "545.23.06", "12.3.1": "545.23.08", "12.4.0": "550.54.14", "12.4.1": "550.54.15",
    "12.5.0": "555.42.02", "12.5.1": "555.42.06", "12.6.0": "560.28.03", "12.6.1": "560.35.03", "12.6.3": "560.35.05",
    "12.8.0": "570.26", "12.8.1": "570.124.06", "12.9.0": "575.51.03", "12.9.1": "575.57.08",
    "13.0.0": "580.65.06", "13.0.1": "580.82.07", "13.0.2": "580.95.05", "13.1.0": "590.44.01", "13.1.1": "590.48.01",
    "13.2.0": "595.45.04", "13.2.1": "595.58.03", "13.2.2": "595.71.05", "13.3": "610.43.02",
    "13.4": "615", "13.5": "620",  # the branch alone: from 13.4 on no driver comes with a toolkit
}  # fmt: skip
_FLOORS = {11: "450.80.02", 12: "525.60.13", 13: "580"}

_CONDITION = re.compile(r"([a-z]+)(>=|<=|!=|>|<|=)([^,\s]+)")


class Verdict(NamedTuple):
    """``full`` | ``minor-version compatible`` | ``too old`` | ``unknown``, and the reason in plain words."""

    status: str
    reason: str


class _Requirement(NamedTuple):
    """NVIDIA_REQUIRE_CUDA's word on a driver: ``met`` is None when that hangs on the GPU or is not understood."""

    met: bool | None
    why: str


def driver_verdict(environment: Mapping[str, str], driver_version: str) -> Verdict:
    """How the driver of a node (``535.104.05``) suits the CUDA of an image, from the image's own variables.

    ``unknown`` is said whenever the image does not name its CUDA, the driver's version cannot be read, or the answer
    hangs on the model of the GPU; ``full`` is never said on a guess. The rules stand at the top of this module.
    """
    driver, cuda = _version(driver_version), _version(environment.get("CUDA_VERSION", ""))
    if not driver:
        return Verdict("unknown", f"the driver's version was not observed (read {driver_version!r})")
    if not any(environment.get(name, "").strip() for name in ("CUDA_VERSION", "NVIDIA_REQUIRE_CUDA")):
        return Verdict("unknown", "the image does not say which CUDA it holds (no CUDA_VERSION in its environment)")
    requirement = _requirement(environment, driver, driver_version)
    if requirement.met is False:
        return Verdict("too old", requirement.why)
    if len(cuda) < 2:
        return Verdict("unknown", f"the image's CUDA_VERSION is not a version: {environment.get('CUDA_VERSION', '')!r}")
    return _by_toolkit(cuda, driver, driver_version, requirement, has_own_libcuda(environment))


def oldest_driver(environment: Mapping[str, str]) -> str:
    """The driver version below which every one is ``too old`` for an image; '' where its variables name none.

    A driver above it may still be too old: NVIDIA_REQUIRE_CUDA can leave gaps, which driver_verdict knows. It is ''
    where NVIDIA_DISABLE_REQUIRE says that somebody answers for the driver himself.
    """
    if environment.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "t", "true"):
        return ""
    parts = [part for block in environment.get("NVIDIA_REQUIRE_CUDA", "").split() for part in block.split(",")]
    wanted = [read[3] for part in parts if (read := _CONDITION.fullmatch(part))]
    cudas = [version for text in (*wanted, environment.get("CUDA_VERSION", "")) if len(version := _version(text)) > 1]
    named = {*wanted, *_FLOORS.values(), *(_toolkit_driver(cuda) for cuda in cudas)}
    edges = sorted((text for text in named if _version(text)), key=_version)
    # Between two edges every driver has one verdict; just above an edge it can be another than on it.
    for driver in ("0", *(point for edge in edges for point in (edge, f"{edge}.0.0.1"))):
        if driver_verdict(environment, driver).status != "too old":
            return "" if driver == "0" else driver
    return ""


def has_own_libcuda(environment: Mapping[str, str]) -> bool:
    """Whether an image says that it brings the package for forward compatibility, as those of NVIDIA do.

    ``_CUDA_COMPAT_PATH=/usr/local/cuda/compat``, ``NV_CUDA_COMPAT_PACKAGE=cuda-compat-12-3``, or a folder of that name
    among those in which libraries are looked for.
    """
    named = any("CUDA_COMPAT" in name and value.strip() for name, value in environment.items())
    folders = environment.get("LD_LIBRARY_PATH", "").split(":")
    return named or any("compat" in folder.split("/") for folder in folders)


def names_cuda(environment: Mapping[str, str]) -> bool:
    """Whether the variables of an image say that it holds CUDA, as those that are built on NVIDIA's do."""
    names = ("CUDA_VERSION", "NVIDIA_REQUIRE_CUDA", "NVIDIA_VISIBLE_DEVICES")
    return any(environment.get(name, "").strip() for name in names) or has_own_libcuda(environment)


def _by_toolkit(cuda: _Version, driver: _Version, said: str, requirement: _Requirement, own: bool) -> Verdict:
    """Rules 1 and 2, for an image whose own requirement does not refuse the driver."""
    name = "CUDA " + ".".join(map(str, cuda))
    condition = f"; {requirement.why}" if requirement.met is None else ""
    toolkit, floor = _toolkit_driver(cuda), _FLOORS.get(cuda[0], "")
    if toolkit and driver >= _version(toolkit):
        return Verdict("full", f"driver {said} is at least {toolkit}, which came with {name}" + condition)
    if floor and driver >= _version(floor):
        lacks = f"older than {toolkit}, which came with it" if toolkit else "whose own driver is not in the table here"
        why = f"driver {said} runs {name} ({lacks}) by minor-version compatibility, which begins at {floor}"
        return Verdict("minor-version compatible", why + condition)
    if not toolkit and not floor:
        return Verdict("unknown", f"{name} is not in the table here; driver {said} cannot be judged")
    needed = floor or toolkit
    why = f"driver {said} is older than {needed}, the oldest that runs {name}"
    if requirement.met is None or own:
        more = f": {requirement.why}" if requirement.met is None else ", which hangs on the GPU"
        return Verdict("unknown", f"{why}, unless the image's forward-compatibility package applies{more}")
    return Verdict("too old", f"{why}; update the driver, or use an image with an older CUDA")


def _toolkit_driver(cuda: _Version) -> str:
    """The driver that came with a toolkit; an update that is not listed came with that of the update before it."""
    listed = [(_version(name), driver) for name, driver in _TOOLKIT_DRIVERS.items()]
    same_minor = sorted((version, driver) for version, driver in listed if version[:2] == cuda[:2])
    earlier = [driver for version, driver in same_minor if version <= (*cuda, 0, 0)[:3]]
    return earlier[-1] if earlier else same_minor[0][1] if same_minor else ""


def _requirement(environment: Mapping[str, str], driver: _Version, said: str) -> _Requirement:
    blocks = environment.get("NVIDIA_REQUIRE_CUDA", "").split()
    if not blocks:
        return _Requirement(True, "")
    judged = [(block, _block(block, driver)) for block in blocks]
    if any(met for _, met in judged):
        return _Requirement(True, "")
    open_blocks = [block for block, met in judged if met is None]
    if open_blocks:
        return _Requirement(None, f"the image's NVIDIA_REQUIRE_CUDA admits it only if {_words(open_blocks)}")
    return _Requirement(False, f"the image's NVIDIA_REQUIRE_CUDA admits no driver {said}: it asks for {_words(blocks)}")


def _block(block: str, driver: _Version) -> bool | None:
    """All conditions of one block; None when none fails and one cannot be judged from the driver's version alone."""
    verdicts = [_condition(condition, driver) for condition in block.split(",") if condition]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _condition(condition: str, driver: _Version) -> bool | None:
    read = _CONDITION.fullmatch(condition)
    if not read:
        return None
    what, operator, wanted = read[1], read[2], _version(read[3])
    if what == "driver" and wanted:
        return _compare(driver, operator, wanted)
    if what == "cuda" and operator == ">=" and wanted:
        toolkit = _toolkit_driver(wanted) if len(wanted) > 1 else _FLOORS.get(wanted[0], "")
        return driver >= _version(toolkit) if toolkit else None
    return None


def _compare(have: _Version, operator: str, wanted: _Version) -> bool:
    """As the hook compares: part by part, absent parts are 0, so 450.80 is neither ``=450`` nor ``<=450``."""
    width = max(len(have), len(wanted))
    left, right = (version + (0,) * (width - len(version)) for version in (have, wanted))
    return {
        ">=": left >= right, "<=": left <= right, "!=": left != right,
        ">": left > right, "<": left < right, "=": left == right,
    }[operator]  # fmt: skip


def _words(blocks: list[str]) -> str:
    shown = [" and ".join(block.split(",")) for block in blocks[:4]]
    more = f" or one of {len(blocks) - len(shown)} more" if len(blocks) > len(shown) else ""
    return " or ".join(f"({block})" for block in shown) + more


@lru_cache(maxsize=512)
def _version(text: str) -> _Version:
    """``535.104.05`` as numbers; empty when the text is not a version."""
    return tuple(map(int, text.strip().split("."))) if re.fullmatch(r"\d+(\.\d+)*", text.strip()) else ()
