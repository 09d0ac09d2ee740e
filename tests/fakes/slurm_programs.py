"""A stand-in for Slurm's sbatch, squeue, sacct, scontrol and scancel: `main(PROGRAM, STATE, WORD…)`.

STATE is a folder with one JSON file for each job; tests/fakes/slurm.py makes jobs run and end there. What a real
program would refuse (an option, a field, a directive, an id) is refused here too, in the words of Slurm 22.05. It knows
the options that tfslurm uses and no others: a new one has to be looked up in the manual page and added.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time

TYPE_CHECKING = False  # no pathlib, no typing: a test starts dozens of these, and most of their time is the import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    Job = dict[str, Any]

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
DIRECTIVES = """account array begin chdir comment constraint cpus-per-task error exclude exclusive export gpus gres hold
    job-name licenses mail-type mail-user mem mem-per-cpu nodelist no-requeue nodes ntasks ntasks-per-node open-mode
    output partition qos requeue reservation signal time"""
FLAGS = ("hold", "no-requeue", "requeue", "exclusive")
FULL = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def main(program: str, folder: str, *words: str) -> None:
    """Run one program, while no other one changes the jobs."""
    state = folder
    with open(f"{state}/calls", "a") as calls:
        calls.write(f"{program}\n")
    if os.path.exists(f"{state}/silent"):
        fail(program, "error: Unable to contact slurm controller (connect failure)")
    with open(f"{state}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scontrol": scontrol, "scancel": scancel}
        programs[program](state, list(words))


def fail(program: str, why: str, code: int = 1) -> NoReturn:
    """End as the real program does when it refuses."""
    print(f"{program}: {why}", file=sys.stderr)
    sys.exit(code)


def options(program: str, words: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """The long options, a ``=`` behind the names of those that take a value, and the other words."""
    takes = {name.rstrip("="): name.endswith("=") for name in known.split()}
    found: dict[str, str] = {}
    rest: list[str] = []
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("-"):
            rest.append(word)
        elif not word.startswith("--") or name not in takes:
            print(f"{program}: unrecognized option '{word}'", file=sys.stderr)
            fail(program, f"Try '{program} --help' for more information", 255 if program == "sbatch" else 1)
        elif takes[name] != bool(equals):
            fail(program, f"option '--{name}' {'requires' if takes[name] else 'does not allow'} an argument")
        else:
            found[name] = value
    return found, rest


# ------------------------------------------------------------------------------------------------------------- the jobs


def read(path: str) -> str:
    """The text of a file, whatever bytes it has."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def jobs(state: str) -> Iterator[Job]:
    """Every job that was ever taken, in the order of their ids."""
    names = [name for name in os.listdir(f"{state}/jobs") if name.endswith(".json") and not name.startswith(".")]
    for name in sorted(names, key=lambda name: int(name[: -len(".json")])):
        yield json.loads(read(f"{state}/jobs/{name}"))


def keep(state: str, job: Job) -> None:
    """Write a job, whole or not at all."""
    new = f"{state}/jobs/.{job['id']}"
    with open(new, "w") as file:
        file.write(json.dumps(job))
    os.rename(new, f"{state}/jobs/{job['id']}.json")


def indices(spec: str) -> list[str]:
    """The tasks of --array: '0-3,7%2' has five."""
    if not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*(%[0-9]+)?", spec):
        raise ValueError(spec)
    found: list[str] = []
    for part in spec.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += map(str, range(int(first), int(last or first) + 1))
    return found


def rows(job: Job) -> Iterator[tuple[str, str, Job]]:
    """Id, state and task of each line that squeue and sacct print: the tasks of an array that wait are one."""
    waits = [index for index, task in job["tasks"].items() if task["state"] == "PENDING"]
    if not job["array"]:
        yield str(job["id"]), job["tasks"][""]["state"], job["tasks"][""]
        return
    if waits:
        most = f"%{job['array'].partition('%')[2]}" if "%" in job["array"] else ""
        yield f"{job['id']}_[{','.join(waits)}{most}]", "PENDING", job["tasks"][waits[0]]
    for index, task in job["tasks"].items():
        if task["state"] != "PENDING":
            yield f"{job['id']}_{index}", task["state"], task


def named(program: str, state: str, ids: list[str]) -> Iterator[tuple[Job, list[str]]]:
    """The jobs that ids name, each with its tasks."""
    known = {str(job["id"]): job for job in jobs(state)}
    for each in ids:
        number, _, task = each.partition("_")
        job = known.get(number)
        if not job or (task and task not in job["tasks"]):
            fail(program, f"error: Invalid job id specified: {each}")
        yield job, [task] if task else list(job["tasks"])


# --------------------------------------------------------------------------------------------------------- the programs


def sbatch(state: str, words: list[str]) -> None:
    """Take a batch script."""
    found, rest = options("sbatch", words, "parsable version")
    if "version" in found:
        print("slurm-wlm 22.05.8")
        return
    if len(rest) != 1:
        fail("sbatch", "error: a stand-in takes one script and no words for it")
    path = rest[0]
    if not os.path.isfile(path):
        fail("sbatch", f"error: Unable to open file {path}")
    text = read(path)
    if not text.startswith("#!"):
        fail("sbatch", "error: This does not look like a batch script.  The first line must start with #!")
    asked = directives(text)
    refused(state, asked)
    numbers = [job["id"] for job in jobs(state)]
    array = asked.get("array", "")
    job: Job = {
        "id": max(numbers, default=int(read(f"{state}/first")) - 1) + 1,
        "name": asked.get("job-name", os.path.basename(path)),
        "comment": asked.get("comment", ""),
        "partition": asked.get("partition", "gpu"),
        "user": read(f"{state}/user"),
        "submitted": int(time.time()),
        "script": path,
        "array": array,
        "tasks": {index: {"state": "PENDING", "reason": "Priority"} for index in (indices(array) if array else [""])},
        "forgotten": False,
    }
    keep(state, job)
    print(job["id"] if "parsable" in found else f"Submitted batch job {job['id']}")


def directives(text: str) -> dict[str, str]:
    """The options of the #SBATCH lines, which end at the first command."""
    import shlex

    asked: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            for word in shlex.split(line.removeprefix("#SBATCH ")):
                name, equals, value = word.removeprefix("--").partition("=")
                if not word.startswith("--") or name not in DIRECTIVES.split() or (name not in FLAGS and not equals):
                    fail("sbatch", f"unrecognized option '{word}'", 255)
                asked[name] = value
        elif line.strip() and not line.startswith("#"):
            break
    return asked


def refused(state: str, asked: dict[str, str]) -> None:
    """End where a site would not take the job: an array that is none, more jobs than its limit."""
    why = ""
    try:
        size = len(indices(asked["array"])) if "array" in asked else 1
    except ValueError:
        size, why = 0, "Invalid job array specification"
    limit = f"{state}/limit"
    queued = sum(task["state"] not in FINAL for job in jobs(state) for task in job["tasks"].values())
    if os.path.exists(limit) and queued + size > int(read(limit)):
        why = FULL
    if why:
        fail("sbatch", f"error: Batch job submission failed: {why}")


def squeue(state: str, words: list[str]) -> None:
    """List what the controller has not forgotten."""
    found, rest = options("squeue", words, "noheader all states= me format= jobs=")
    of_some = set(found) == {"noheader", "states", "jobs", "format"} and found["states"] == "PENDING"
    of_all = set(found) == {"noheader", "all", "states", "me", "format"} and found["states"] == "all"
    if rest or not (of_some or of_all):
        fail(
            "squeue", f"error: a stand-in lists all jobs of its own user, or some that wait, without a header: {words}"
        )
    wanted = found["jobs"].split(",") if of_some else []
    in_seconds("squeue")
    for job in jobs(state):
        if not job["forgotten"] and (of_all or str(job["id"]) in wanted):
            for shown, stated, task in rows(job):
                if of_some and stated != "PENDING":
                    continue
                began = str(task.get("began", "N/A"))
                values = {
                    "%A": str(job["id"]),
                    "%i": shown,
                    "%T": stated,
                    "%r": task.get("reason", "None"),
                    "%V": str(job["submitted"]),
                    "%S": began,
                    "%e": str(task.get("ended", "N/A")),
                    "%M": "0:00",
                    "%l": "1:00:00",
                    "%N": "n1" if "began" in task else "",
                    "%P": job["partition"],
                    "%u": job["user"],
                    "%j": job["name"],
                    "%k": job["comment"] or "(null)",
                }
                parts = re.split("(%.)", found["format"])
                print("".join(one_of(values, "squeue", part) if part[:1] == "%" else part for part in parts))


def sacct(state: str, words: list[str]) -> None:
    """List what was ever taken, where the site keeps accounting."""
    known = "noheader parsable2 delimiter= duplicates allocations format= jobs= name= user= starttime= endtime="
    found, rest = options("sacct", words, known)
    if not os.path.exists(f"{state}/accounting"):
        print("Slurm accounting storage is disabled", file=sys.stderr)
        sys.exit(1)
    if rest or not {"noheader", "parsable2", "duplicates", "allocations"} <= set(found):
        fail("sacct", f"error: a stand-in prints every allocation, without a header: {words}")
    in_seconds("sacct")
    ids = [each.partition("_")[0] for each in found.get("jobs", "").split(",") if each]
    since = moment(found.get("starttime"))
    for job in jobs(state):
        is_meant = str(job["id"]) in ids if ids else job["submitted"] >= since
        if (
            not is_meant
            or found.get("name", job["name"]) != job["name"]
            or found.get("user", job["user"]) != job["user"]
        ):
            continue
        for shown, stated, task in rows(job):
            values = {
                "JobID": shown,
                "State": stated,
                "Reason": "None",
                "ExitCode": task.get("exit", "0:0"),
                "Submit": str(job["submitted"]),
                "Start": str(task.get("began", "Unknown")),
                "End": str(task.get("ended", "Unknown")),
                "ElapsedRaw": "0",
                "TimelimitRaw": "60",
                "NodeList": "n1" if "began" in task else "None assigned",
                "Partition": job["partition"],
                "JobName": job["name"],
                "Comment": job["comment"],
                "User": job["user"],
            }
            fields = found.get("format", "").split(",")
            print(found.get("delimiter", "|").join(one_of(values, "sacct", field) for field in fields))


def moment(text: str | None) -> float:
    """Seconds since 1970 of --starttime; without one sacct begins today."""
    if text is None:
        return time.time() // 86400 * 86400
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))  # TZ is UTC0, as it is asked for


def in_seconds(program: str) -> None:
    """End where times would not come as seconds since 1970, which is all that a stand-in prints."""
    if (os.environ.get("SLURM_TIME_FORMAT"), os.environ.get("TZ")) != ("%s", "UTC0"):
        fail(program, "error: a stand-in wants SLURM_TIME_FORMAT=%s and TZ=UTC0")


def one_of(values: dict[str, str], program: str, field: str) -> str:
    """The value of a field."""
    if field not in values:
        fail(program, f'error: Invalid field requested: "{field}"')
    return values[field]


def scontrol(state: str, words: list[str]) -> None:
    """Hold or release jobs that wait, or let one begin sooner."""
    _, rest = options("scontrol", words, "")
    match rest:
        case ["hold" | "release" as verb, ids]:
            for job, tasks in named("scontrol", state, ids.split(",")):
                for task in tasks:
                    if job["tasks"][task]["state"] == "PENDING":
                        job["tasks"][task]["reason"] = "JobHeldUser" if verb == "hold" else "Priority"
                keep(state, job)
        case ["update", number, begin] if number.startswith("JobId=") and begin.startswith("StartTime="):
            for job, _ in named("scontrol", state, [number.partition("=")[2]]):
                keep(state, {**job, "begin": begin.partition("=")[2]})
        case _:
            fail("scontrol", f"invalid entity or keyword: {' '.join(rest)}")


def scancel(state: str, words: list[str]) -> None:
    """End jobs that have not ended, or send them a signal, which is written down."""
    found, ids = options("scancel", words, "signal=")
    if not ids:
        fail("scancel", "error: No job identification provided")
    for job, tasks in named("scancel", state, ids):
        for task in (job["tasks"][task] for task in tasks):
            if task["state"] in FINAL:
                fail(
                    "scancel", f"error: Kill job error on job id {job['id']}: Job/step already completing or completed"
                )
            elif "signal" in found:
                task.setdefault("signals", []).append(found["signal"])
            else:
                task |= {"state": "CANCELLED", "ended": int(time.time()), "exit": "0:0"}
        keep(state, job)
