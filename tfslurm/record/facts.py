"""One raw observation (a file's bytes) -> values. Pure; each quotes a line of what it reads.

A parser raises ValueError (or KeyError, TypeError, IndexError) for bytes that are not what they should be: a file that
was cut off, another command's words. Folder.fact turns that into null with the reason.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from typing import Any

from tfslurm.document.bounded_json import read_json

UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]+")  # of a device


def text(raw: bytes) -> str:
    """The bytes as text, stripped; those that are no UTF-8 as ``\\xff``."""
    found = raw.decode("utf-8", "backslashreplace").strip()
    if not found:
        raise ValueError("it is empty")
    return found


def parse_json(raw: bytes) -> Any:
    """A JSON value, in which ``?`` stands for half of a surrogate pair: no record could be written with one."""
    value = read_json(raw)
    if b"\\ud" not in raw.lower():
        return value
    return read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def parse_object(raw: bytes) -> Mapping[str, Any]:
    """A JSON object."""
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def parse_list(raw: bytes) -> tuple[tuple[str, str], ...]:
    """(UUID, name) of each device in ``nvidia-smi -L``; the slices of a GPU in MIG mode stand in its place.

    ``GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-2c27f8a9-…)`` or ``  MIG 3g.40gb     Device  0: (UUID: MIG-5a9…)``
    """
    found: list[tuple[str, str]] = []
    whole = ""
    for line in raw.decode("utf-8", "backslashreplace").splitlines():
        head, _, tail = line.rpartition("(UUID: ")
        uuid = re.fullmatch(r"(\S+)\)", tail)
        match = uuid and re.match(r"GPU \d+: (?P<name>.+)|\s+MIG (?P<mig>\S+)\s", head)
        if uuid and match and match["name"]:
            whole = match["name"].rstrip()
            found.append((uuid[1], whole))
        elif uuid and match:
            if found and found[-1][1] == whole and found[-1][0].startswith("GPU-"):
                found.pop()
            found.append((uuid[1], f"{whole} MIG {match['mig']}"))
    if not found and raw.strip() and b"No devices" not in raw:
        raise ValueError(f"no device in {raw[:120]!r}")
    return tuple(found)


def parse_query(raw: bytes) -> tuple[Mapping[str, str], ...]:
    """The rows of ``nvidia-smi --query-gpu=… --format=csv,nounits``, by the names that were asked for.

    ``index, uuid, name, memory.total [MiB], driver_version, pci.bus_id`` is the line before them. Lines that are no
    rows, such as a warning, are left out.
    """
    try:
        rows = list(csv.reader(raw.decode("utf-8", "backslashreplace").splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    start = next((at for at, row in enumerate(rows) if "uuid" in [word.strip() for word in row]), None)
    if start is None:
        raise ValueError(f"no header in {raw[:120]!r}")
    names = [word.partition(" [")[0].strip() for word in rows[start]]
    found = ({name: word.strip() for name, word in zip(names, row, strict=False)} for row in rows[start + 1 :])
    return tuple(row for row in found if len(row) == len(names) and UUID.fullmatch(row["uuid"]))


def parse_complaints(raw: bytes) -> tuple[str, ...]:
    """The lines of nvidia-smi's list or table that name no device: ``WARNING: infoROM is corrupted at gpu …``."""
    told = re.compile(r".*\(UUID: .*|No devices.*|([^,]*, )*uuid(, .*)?|[^,]*, (GPU|MIG)-[^,]+, .*")
    return tuple(line for line in parse_lines(raw) if not told.fullmatch(line))


def parse_driver(raw: bytes) -> str:
    """535.129.03 of /proc/driver/nvidia/version, the open kernel module's as well.

    ``NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023``
    """
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)*)", text(raw))
    if not found:
        raise ValueError(f"no version in {raw[:120]!r}")
    return found[1]


def parse_version(raw: bytes) -> str:
    """The version in a file that holds nothing else, such as /sys/module/nvidia/version."""
    found = re.fullmatch(r"\d+\.\d+(\.\d+)*", text(raw))
    if not found:
        raise ValueError(f"no version in {raw[:120]!r}")
    return found[0]


def parse_lines(raw: bytes) -> tuple[str, ...]:
    """The lines that are not empty."""
    return tuple(line.strip() for line in raw.decode("utf-8", "backslashreplace").splitlines() if line.strip())


def parse_environment(raw: bytes) -> Mapping[str, str]:
    """``NAME=value`` entries between NULs."""
    entries = (entry.partition("=") for entry in raw.decode("utf-8", "backslashreplace").split("\0") if "=" in entry)
    return {name: value for name, _, value in entries}


def parse_uname(raw: bytes) -> str:
    """``Linux 5.15.0-91-generic`` of ``uname -srmn``, which prints system, node, release, machine in this order."""
    system, _, release, *_ = text(raw).split()
    return f"{system} {release}"


def parse_os(raw: bytes) -> str:
    """PRETTY_NAME of os-release. Source: os-release(5)."""
    found = re.search(r"^PRETTY_NAME=(['\"]?)(.+)\1$", text(raw), re.MULTILINE)
    if not found:
        raise ValueError("no PRETTY_NAME")
    return found[2]


def parse_cpu(raw: bytes) -> str:
    """The model in the first block of /proc/cpuinfo: ``model name\\t: Intel(R) Xeon(R) Processor @ 2.90GHz``."""
    found = re.search(r"^(?:model name|cpu|Model|Hardware)\s*:\s*(.+)$", text(raw), re.MULTILINE)
    if not found:
        raise ValueError("the processor does not tell its model")
    return found[1].strip()


def parse_cpu_flags(raw: bytes) -> tuple[str, ...]:
    """The abilities of the first processor: ``flags\t\t: fpu vme …``, on ARM ``Features\t: fp asimd …``."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text(raw), re.MULTILINE)
    if not found:
        raise ValueError("the processor does not tell its flags")
    return tuple(found[1].split())


def parse_memory(raw: bytes) -> int:
    """MiB of ``MemTotal:       16393244 kB`` in /proc/meminfo, where kB are 1024 bytes."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text(raw), re.MULTILINE)
    if not found:
        raise ValueError("no MemTotal")
    return int(found[1]) // 1024


def parse_check(raw: bytes) -> tuple[str, str]:
    """Status and words of a check that the node made: ``ok`` | ``failed: why`` | ``unknown: why``."""
    status, _, why = text(raw).partition(":")
    if status not in ("ok", "failed", "unknown"):
        raise ValueError(f"no verdict in {raw[:120]!r}")
    return status, " ".join(why.split())


def parse_shared(raw: bytes) -> tuple[tuple[str, str, str], ...]:
    """Mode, owner and name of each folder in ``2775 0 /proj`` lines."""
    rows = [line.split(" ", 2) for line in raw.decode("utf-8", "surrogateescape").splitlines()]
    if any(len(row) != 3 for row in rows):
        raise ValueError(f"no folder in {raw[:120]!r}")
    return tuple((row[0], row[1], row[2]) for row in rows)


def parse_hashes(raw: bytes) -> Mapping[str, str]:
    """Path -> sha256 of ``sha256sum --zero``: ``<64 hex>  ./metrics.json`` between NULs, names byte for byte."""
    found: dict[str, str] = {}
    for entry in zero_separated(raw):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", entry, re.DOTALL)
        if not match:
            raise ValueError(f"no hash in {entry[:120]!r}")
        found[match[2]] = match[1]
    return found


def parse_log_sums(raw: bytes) -> Mapping[str, tuple[int, str]]:
    """Name -> bytes and sha256 of ``1234 <64 hex> stdout.log``, a line each."""
    found: dict[str, tuple[int, str]] = {}
    for line in parse_lines(raw):
        match = re.fullmatch(r"([0-9]{1,18}) ([0-9a-f]{64}) (std(?:out|err)(?:\.[1-9][0-9]{0,5})?\.log)", line)
        if not match:
            raise ValueError(f"no hash in {line[:120]!r}")
        found[match[3]] = int(match[1]), match[2]
    return found


def parse_sizes(raw: bytes) -> Mapping[str, int]:
    """Path -> bytes of ``find -printf '%s %p\\0'``: ``1234 ./metrics.json`` between NULs."""
    pairs = (entry.partition(" ") for entry in zero_separated(raw))
    return {name.removeprefix("./"): int(size) for size, _, name in pairs}


def zero_separated(raw: bytes) -> list[str]:
    """The entries, each of which ends with a NUL; the last one without it was cut off."""
    if raw and not raw.endswith(b"\0"):
        raise ValueError("it was cut off")
    return raw.decode("utf-8", "backslashreplace").split("\0")[:-1]


def parse_diff(raw: bytes) -> tuple[tuple[str, str], ...]:
    """(A, C or D, path) of ``docker diff``: ``A /opt/model.h5``; a line that begins otherwise continues a name."""
    found: list[tuple[str, str]] = []
    for line in raw.decode("utf-8", "backslashreplace").split("\n"):
        if re.match(r"[ACD] /", line):
            found.append((line[0], line[2:]))
        elif found and line:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line}")
        elif line:
            raise ValueError(f"no change in {line[:120]!r}")
    return tuple(found)
