"""The stand-in for nvidia-smi beside the real one: told of the same GPUs, it should print the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.gpu.commands import Commands, Ran
from tests.gpu.rows import Row, compared, failed

STANDIN = Path(__file__).resolve().parent.parent / "cluster" / "standins" / "nvidia-smi"
HEADING = (
    *("node", "index", "minor", "uuid", "name", "memory_mib", "driver", "pci", "cuda", "brand", "compute_cap"),
    *("vbios", "mig", "power_limit_w"),
)  # fmt: skip
TOLD = "index,uuid,name,memory.total,driver_version,pci.bus_id,compute_cap,vbios_version,mig.mode.current,power.limit"
# What the stand-in measures nothing of: only the form is compared. The rest it was told.
MEASURED = (
    "memory.used,memory.free,utilization.gpu,utilization.memory,power.draw,temperature.gpu,pstate,persistence_mode,"
    "compute_mode,timestamp,serial,power.max_limit,mig.mode.pending"
)
FIELDS = f"{TOLD},{MEASURED},count,gpu_name,gpu_uuid,gpu_bus_id"
NO_FIELD = re.compile(r'Field "([^"]+)" is not a valid field')
LINE = re.compile(r"GPU (\d{1,4}): (.+) \(UUID: (GPU-[0-9A-Za-z-]+)\)")
# What no GPU has: the answers are errors, whose words and codes the node side relies on.
WRONG = {
    "a field that is none": ("--query-gpu=nothing_of_the_kind", "--format=csv"),
    "a query without a format": ("--query-gpu=uuid",),
    "an option that is none": ("--nothing-of-the-kind",),
    "a GPU that is not here": ("-i", "GPU-00000000-0000-0000-0000-000000000000", "-L"),
    "a number that no GPU has": ("-i", "31", "--query-gpu=uuid", "--format=csv,noheader"),
}


@dataclass(frozen=True)
class Gpus:
    """What the machine's nvidia-smi says of its GPUs: number, uuid and the fields that it knows, as text."""

    rows: tuple[Mapping[str, str], ...]
    listed: str  # of -L
    cuda: str
    minors: Mapping[str, str]  # uuid -> the number of its device file

    @property
    def uuids(self) -> list[str]:
        """The GPUs in the order of nvidia-smi."""
        return [row["uuid"] for row in self.rows]

    @property
    def mig(self) -> list[str]:
        """The devices that GPUs are cut into."""
        return re.findall(r"\(UUID: (MIG-[0-9A-Za-z/-]+)\)", self.listed)


def ask(commands: Commands, program: str, minors: Mapping[str, str]) -> tuple[Gpus, Ran]:
    """What nvidia-smi lists and says of each; the answer of ``-L`` beside it."""
    listing = commands.run("nvidia-smi-L", [program, "-L"], 30)
    fields, told = _query(commands, "nvidia-smi-told", program, TOLD.split(","))
    cells = ([word.strip() for word in line.split(",")] for line in told.out.splitlines())
    answer = [row for row in cells if len(row) == len(fields)]
    known = {row[fields.index("uuid")]: dict(zip(fields, row)) for row in answer if "uuid" in fields}
    rows = [{"index": number, "name": name, "uuid": uuid} for number, name, uuid in LINE.findall(listing.out)]
    table = commands.run("nvidia-smi", [program], 30)
    found = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", table.out)
    merged = tuple({**known.get(row["uuid"], {}), **row} for row in rows)
    return Gpus(merged, listing.out, found[1] if found else "", minors), listing


def _query(commands: Commands, name: str, program: str, fields: list[str]) -> tuple[list[str], Ran]:
    """The fields that this nvidia-smi knows, and its answer for them."""
    for turn in range(4):
        argv = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        done = commands.run(f"{name}-{turn}" if turn else name, argv, 30)
        unknown = NO_FIELD.search(done.out + done.err)
        if not unknown or unknown[1] not in fields:
            break
        fields = [field for field in fields if field != unknown[1]]
    return fields, done


def stand_in(folder: Path, gpus: Gpus) -> Path:
    """The bed's stand-in, told of these GPUs; its devices are files of this folder."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "dev").mkdir(exist_ok=True)
    lines = ["\t".join(HEADING)]
    for place, gpu in enumerate(gpus.rows):
        minor = gpus.minors.get(gpu["uuid"], str(place))
        (folder / "dev" / f"nvidia{minor}").touch()
        told = [gpu.get(name, "") for name in ("uuid", "name", "memory.total", "driver_version", "pci.bus_id")]
        more = [gpu.get(name, "[N/A]") for name in ("compute_cap", "vbios_version", "mig.mode.current", "power.limit")]
        lines.append("\t".join(["here", str(place), minor, *told, gpus.cuda or "?", "nvidia", *more]))
    (folder / "gpus.tsv").write_text("\n".join(lines) + "\n")
    program = folder / "bin" / "nvidia-smi"
    program.write_text(STANDIN.read_text().replace("/dev/nvidia", f"{folder}/dev/nvidia"))
    program.chmod(0o755)
    return program


def beside(commands: Commands, program: str, pretended: Path, gpus: Gpus) -> Iterator[Row]:
    """The same questions to both."""
    step = "nvidia-smi"
    uuid, pci = gpus.uuids[0], gpus.rows[0].get("pci.bus_id", "")
    questions = {"-L": ("-L",), "-L of one UUID": ("-i", uuid, "-L"), "-L of one bus id": ("-i", pci, "-L"), **WRONG}
    for what, words in questions.items():
        real, other = _both(commands, what, program, pretended, words)
        if real.why:
            yield failed(step, what, real.why)
            continue
        yield compared(step, what, _shown(other), _shown(real))
    yield from _columns(commands, program, pretended)
    for name, words in {"q": ("-q",), "q-x": ("-q", "-x"), "fields": ("--help-query-gpu",)}.items():
        commands.run(f"nvidia-smi-{name}", [program, *words], 30)  # for a reader, and as golden files


def _both(commands: Commands, what: str, program: str, pretended: Path, words: Sequence[str]) -> tuple[Ran, Ran]:
    name = re.sub(r"\W+", "-", what).strip("-")
    real = commands.run(f"nvidia-smi-{name}", [program, *words], 30)
    return real, commands.run(f"stand-in-{name}", [str(pretended), *words], 30)


def _shown(ran: Ran) -> str:
    """What counts of an answer: its code and its lines."""
    lines = [line.rstrip() for line in (ran.out + ran.err).splitlines()]
    return f"exit {ran.code}: {' / '.join(line for line in lines if line)}"


def _columns(commands: Commands, program: str, pretended: Path) -> Iterator[Row]:
    """Every field that the stand-in knows: its heading, and its values or their form, with units and without."""
    step, fields = "nvidia-smi", FIELDS.split(",")
    known, asked = _query(commands, "nvidia-smi-known", program, fields)
    if asked.why:
        yield failed(step, "all fields", asked.why)
        return
    yield compared(step, "fields that it does not know", [], [field for field in fields if field not in known])
    for form in ("csv", "csv,nounits"):
        words = (f"--query-gpu={','.join(known)}", f"--format={form}")
        real, other = _both(commands, f"all-fields-{form}", program, pretended, words)
        if real.code or real.why:
            yield failed(step, f"all fields as {form}", real.said)
            continue
        rows, others = _cells(real.out), _cells(other.out)
        lengths = [len(row) for row in rows]
        if lengths != [len(row) for row in others]:
            yield compared(step, f"cells of each row as {form}", [len(row) for row in others], lengths)
            continue
        odd = [
            f"{known[column]}: {cell}, not {others[line][column]}"
            for line, row in enumerate(rows)
            for column, cell in enumerate(row)
            if not _alike(known[column] if line else "heading", cell, others[line][column])
        ]
        yield compared(step, f"{len(known)} fields as {form}", [], odd)


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]


def _alike(field: str, cell: str, twin: str) -> bool:
    """Equal; of what is measured, of one form: numbers with the same unit, or words."""
    if field not in MEASURED.split(","):
        return cell == twin
    return _form(cell) == _form(twin)


def _form(cell: str) -> str:
    """``41.27 W`` -> ``9.9 W``, ``Enabled`` -> ``Word``."""
    if re.fullmatch(r"\[.*\]|[A-Za-z][A-Za-z_ ]*", cell):
        return "Word" if not cell.startswith("[") else "[…]"
    return re.sub(r"\d+", "9", cell)
