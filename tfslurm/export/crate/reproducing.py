"""REPRODUCING.md: how a reader checks a crate, runs its job again, and what to compare."""

from __future__ import annotations

from collections.abc import Iterator

from tfslurm.document.tree import printable
from tfslurm.errors import RecordError
from tfslurm.export.crate import contents
from tfslurm.export.crate.contents import Crate, Run
from tfslurm.export.docker_run import docker_run, install_line
from tfslurm.record import Record
from tfslurm.run_folder import paths
from tfslurm.spec import Comparer

AGAIN = "rerun"
"The folder that another run leaves its results in."
MOST = 50
"Outputs that are listed; SHA256SUMS has all."


def reproducing(crate: Crate) -> str:
    """The text."""
    first = next(run for run in crate.runs if run.record.attempts)
    parts = (opening(crate), checking(crate), running(crate, first), comparing(first), lacking(crate))
    return "\n".join("\n".join(part) + "\n" for part in parts if part)


def opening(crate: Crate) -> list[str]:
    """What this is."""
    many = len(crate.runs)
    what = "one job" if many == 1 else f"{many} jobs"
    lines = [
        f"# {printable(crate.title)}",
        "",
        f"This folder holds {what} that ran in a container: the experiment as it was asked for,",
        "the script, the code, what the program printed and left, and a record of what was observed.",
        "",
        *names(crate),
    ]
    return lines + [f"\n{printable(note)}" for note in crate.notes]


def names(crate: Crate) -> Iterator[str]:
    """The names in the folder, each with what is there."""
    is_one = contents.RECORD in crate.by_path
    listed = {
        contents.RECORD if is_one else f"{contents.RECORDS}*.json": f"the record of {'the' if is_one else 'each'} job",
        contents.SPEC: "the experiment",
        contents.LOCK: "the container image, by its digest",
        contents.PACKAGES: "the Python packages that are added to it, each with its sha256",
        paths.JOB_SCRIPT: "the batch script",
        f"{contents.CODE}": "the code",
        "JOB/out/": "what the program left",
        "JOB/attempt-N/": "what it printed, and what was observed on the node",
        f"image-*{contents.IMAGE}": "the container image itself",
        contents.METADATA: "all of this for machines (RO-Crate, Process Run Crate)",
    }
    there = {path.partition("/")[0] for path in crate.by_path}
    if contents.PACKAGES not in crate.by_path:
        del listed[contents.PACKAGES]
    if contents.CODE[:-1] not in there:
        del listed[contents.CODE]
    if not any(path.endswith(contents.IMAGE) for path in there):
        del listed[f"image-*{contents.IMAGE}"]
    yield from (f"- `{name}`: {what}" for name, what in listed.items())


def checking(crate: Crate) -> list[str]:
    """How to see that nothing was changed."""
    first = crate.runs[0].record
    lines = ["## Check it", "", "In this folder:", "", "    sha256sum --check --quiet SHA256SUMS", ""]
    if contents.CANONICAL in crate.by_path:
        said = (
            f"`sha256sum {contents.CANONICAL}` prints {first.integrity.record_sha256}, which is the hash of the record:"
        )
        lines += [said, "compare it with the one in the paper."]
    else:
        lines += [f"The hash of each record is the sha256 of its file in `{contents.CANONICALS}`."]
    if contents.SIGNATURE in crate.by_path:
        lines += [
            "",
            "The record is signed. With the author's public key in a file `signers`, a line `NAME KEY`:",
        ]
        signed = f"-n tfslurm-record-v1 -s {contents.SIGNATURE} <{contents.CANONICAL}"
        lines += ["", f"    ssh-keygen -Y verify -f signers -I NAME {signed}"]
    lines += ["", "`tfslurm verify .` does both, and compares each file with the record."]
    if any(crate.absent.values()):
        lines += ["It says that the files at the end of this page are missing, unless you add `--partial`."]
    return lines


def running(crate: Crate, run: Run) -> list[str]:
    """The command, what it needs, and how long it takes."""
    record = run.record
    lines = ["## Run it again", ""]
    code = f"{contents.CODE}{record.code.tree}" if record.code else ""
    has_code = any(True for _ in crate.below(f"{code}/"))
    try:
        packages = "packages" if run.base + contents.PACKAGES in crate.by_path else ""
        found = docker_run(record, code=code if has_code else "", outputs=AGAIN, packages=packages)
    except RecordError as error:
        return [*lines, f"There is no command for this: {printable(str(error))}."]
    if packages:
        lines += ["First the packages, by their hashes; this needs the index of packages:", ""]
        lines += [f"    {printable(install_line(record, run.base + contents.PACKAGES, packages))}", ""]
    which = "" if len(crate.runs) == 1 else f" This is the job {record.job.job_id}, one of {len(crate.runs)}."
    lines += [f"In this folder, on a machine with {needs(record)}.{which}", "", f"    {printable(found.line)}", ""]
    lines += [f"Its results are then in `{AGAIN}/`. {duration(record)}"] if AGAIN in found.line else [duration(record)]
    image = contents.image_name(record.image.digest)
    if image in crate.by_path:
        load = (
            f"If no registry has the image any more: `docker load --input {image}`, or `podman load --input {image}`."
        )
        lines += ["", load, "Put what it prints in the place of the image's name in the line above."]
    notes = [f"Replace {place} by {what}." for place, what in found.fill.items()]
    notes += [f"{note[:1].upper()}{note[1:]}." for note in found.notes]
    listed = ["", *(f"- {printable(note)}" for note in notes)] if notes else []
    return [*lines, *listed, *with_tfslurm(crate)]


def with_tfslurm(crate: Crate) -> list[str]:
    """The command that also compares; [] where the code here is not the code that ran."""
    if crate.rewritten:
        return []
    sample = " --points 5" if len(crate.runs) > 5 else ""
    return [
        "",
        "With tfslurm, `tfslurm rerun . --local --check` says what this machine lacks for it, and",
        f"`tfslurm rerun . --local{sample}` runs it again and compares the results.",
    ]


def needs(record: Record) -> str:
    """Docker, and the GPUs and driver that the run had."""
    last = record.attempts[-1].tasks if record.attempts else ()
    gpus = {gpu.uuid: gpu.name or "GPU" for task in last for gpu in task.gpus or ()}
    if not gpus:
        return "docker"
    kinds = " and ".join(f"{[*gpus.values()].count(name)} × {printable(name)}" for name in dict.fromkeys(gpus.values()))
    drivers = ", ".join(sorted({printable(task.driver_version) for task in last if task.driver_version}))
    return f"docker and NVIDIA GPUs (the run had {kinds}{f' with driver {drivers}' if drivers else ''})"


def duration(record: Record) -> str:
    """How long the run took, as a measure for the next one."""
    if record.job.elapsed_s is None:
        return "How long it takes is not known: the time of the run was not observed."
    last = record.attempts[-1].tasks if record.attempts else ()
    processors = ", ".join(sorted({printable(task.cpu_model) for task in last if task.cpu_model}))
    on = f" on {processors}" if processors else ""
    pull = "with the pull of the image if there was one"
    return f"Expect about {minutes(record.job.elapsed_s)}: so long the job took{on}, {pull}."


def minutes(seconds: int) -> str:
    """A time for a reader."""
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def comparing(run: Run) -> list[str]:
    """What the program left, by which another run is compared."""
    outputs = run.record.experiment.outputs
    lines = ["## Compare", ""]
    if outputs is None:
        return [*lines, "The files that the program left were not hashed when the job ended."]
    if not outputs:
        return [*lines, "The program left no files; compare what it printed, in `attempt-N/stdout.log`."]
    lines += declared(run.record)
    lines += ["These files are the result. On a GPU another run need not give the same bytes: compare what they say."]
    lines += ["", *(f"    {each.sha256}  {printable(run.outputs + each.path)}" for each in outputs[:MOST])]
    return lines + ([f"\nand {len(outputs) - MOST} more, in the record."] if len(outputs) > MOST else [])


def declared(record: Record) -> list[str]:
    """What the authors say that another run is to be compared by."""
    by = record.asked.reproduce if record.asked else None
    said = []
    if by and by.metric:
        within = f", within {by.tolerance:g}" if by.tolerance is not None else ""
        said.append(f"The authors compare runs by `{printable(by.metric)}` of metrics.json{within}.")
    if by and by.files:
        named = ", ".join(f"`{printable(each)}`" for each in by.files)
        said.append(f"They say that with the same seed and machine these are equal to the byte: {named}.")
    for each in by.compare if by else ():
        how = f"by `{printable(each.script)}`, a program of the code" if each.script else f"within {told(each)}"
        said.append(f"They compare `{printable(each.files)}` {how}.")
    return [*said, ""] if said else []


def told(by: Comparer) -> str:
    """A tolerance of numbers in a sentence."""
    return f"{by.absolute:g}, or within {by.relative:g} times the larger number"


def lacking(crate: Crate) -> list[str]:
    """What is not here, or not as it was, and why."""
    lines: list[str] = []
    if crate.rewritten:
        told = "Names were replaced in these files, so their hashes are not those of the record:"
        lines += ["## Changed for a double-blind review", "", told, ""]
        lines += [*(f"- `{printable(path)}`" for path in crate.rewritten), ""]
    if crate.left_out:
        lines += ["## Not in this crate", ""]
        lines += [f"- `{printable(each.path)}`: {printable(each.why)}" for each in crate.left_out]
    return lines
