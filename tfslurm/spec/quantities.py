"""Amounts as Slurm writes them: memory with a unit, times with colons, GPUs with a type."""

from __future__ import annotations

import re

from tfslurm.document import Refused, show

_MEMORY = r"([0-9]{1,12})([KMGTkmgt])"
_LOOSE_MEMORY = r"([0-9]{1,9})(\.[0-9]{1,6})? ?([KMGTkmgt])[Ii]?[Bb]?"
_KIB = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_HOUR, _SIXTY = "([01]?[0-9]|2[0-3])", "([0-5]?[0-9])"
_TIMES = {  # the forms of sbatch's --time: how many seconds each of their numbers is worth
    "([0-9]{1,7})": (60,),
    f"([0-9]{{1,7}}):{_SIXTY}": (60, 1),
    f"([0-9]{{1,5}}):{_SIXTY}:{_SIXTY}": (3600, 60, 1),
    f"([0-9]{{1,4}})-{_HOUR}": (86400, 3600),
    f"([0-9]{{1,4}})-{_HOUR}:{_SIXTY}": (86400, 3600, 60),
    f"([0-9]{{1,4}})-{_HOUR}:{_SIXTY}:{_SIXTY}": (86400, 3600, 60, 1),
}
_GPUS = r"(?P<kind>[A-Za-z0-9][A-Za-z0-9_.-]*):(?P<count>[0-9]{1,5})"
MAX_GPUS = 1024


def memory_mib(value: object) -> int:
    """MiB from ``16G`` or ``512M``: units K, M, G and T, base 1024 as Slurm's ``--mem``; parts of a MiB round up.

    Raises:
        Refused: no unit, another spelling, or nothing at all.
    """
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(_MEMORY, text)
    if found:
        mib = -(-int(found[1]) * _KIB[found[2].upper()] // 1024)
        if not mib:
            raise Refused(f"{show(value)} is no memory at all", "write 16G, or remove the key for the site's default")
        return mib
    loose = re.fullmatch(_LOOSE_MEMORY, text)
    if loose and not loose[2]:
        raise Refused(f"{show(value)} is not an amount of memory", f"write {loose[1]}{loose[3].upper()}")
    if loose:
        mib = int(float(f"{loose[1]}{loose[2]}") * _KIB[loose[3].upper()] / 1024)
        raise Refused(f"{show(value)} is not a whole amount of memory", f"write {mib}M")
    if isinstance(value, int) and not isinstance(value, bool):
        raise Refused(f"{value} has no unit", f"write {value}M or {value}G" if value > 0 else "write 16G")
    raise Refused(f"{show(value)} is not an amount of memory", "write a whole number and K, M, G or T, such as 16G")


ALL_MEMORY = 0
"What ``memory: all`` is in MiB: sbatch's --mem=0, all that a node has."


def job_memory_mib(value: object) -> int:
    """The same for a job, whose memory may be ``all`` of a node's: ALL_MEMORY."""
    if value == "all":
        return ALL_MEMORY
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        raise Refused("0 has no unit", "write `memory: all` for all that a node has, or an amount such as 16G")
    return memory_mib(value)


def time_s(value: object) -> int:
    """Seconds from a time limit as Slurm reads it.

    Accepted: minutes (``90``), ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` and ``D-HH:MM:SS``.
    Source: sbatch(1), --time.

    Raises:
        Refused: anything else, and zero, which Slurm takes as no limit.
    """
    fix = 'write "HH:MM:SS", "D-HH:MM:SS" or minutes, such as "02:00:00"'
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    for form, seconds in _TIMES.items():
        if found := re.fullmatch(form, text):
            total = sum(int(number) * worth for number, worth in zip(found.groups(), seconds, strict=True))
            if total:
                return total
            why = f"{show(value)} would be no limit at all"
            raise Refused(why, "write a limit, or remove the key for the partition's own")
    raise Refused(f"{show(value)} is not a time limit", fix)


_SHORT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def short_time_s(text: str) -> int:
    """Seconds from ``90s``, ``30m``, ``1h`` or ``2d``.

    Raises:
        Refused: anything else.
    """
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not found:
        raise Refused("is no time", "write 30m or 1h")
    return int(found[1]) * _SHORT[found[2]]


def gpus(value: object) -> tuple[int, str | None]:
    """How many GPUs per node, and of which type (None: any), from ``2`` or ``a100:2``.

    Raises:
        Refused: anything else.
    """
    fix = "write a number, or type:count such as a100:2; 0 is a CPU job"
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MAX_GPUS:
            return value, None
        raise Refused(f"{value} is out of range: 0 to {MAX_GPUS} GPUs per node", fix)
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(_GPUS, text)
    if found and 1 <= int(found["count"]) <= MAX_GPUS:
        return int(found["count"]), found["kind"]
    if re.fullmatch(r"[0-9]{1,5}", text):
        raise Refused(f"{show(value)} is a text, not a number", f"write {int(text)} without quotes")
    raise Refused(f"{show(value)} is not a number of GPUs", fix)
