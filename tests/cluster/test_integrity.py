"""The chain of real jobs' records, its end in Slurm's accounting, and a signature over a real record."""

from __future__ import annotations

import json
from pathlib import Path

from .desk import USER, Desk, gate, open_gate, until
from .users import run_as


def parts_of(desk: Desk, *words: str | Path) -> dict[str, tuple[str, str]]:
    """Name -> status and reason of each part that `tfslurm verify` prints."""
    done = desk.tfslurm("verify", *words, "--json")
    assert done.returncode in (0, 1), done.stderr
    return {part["name"]: (part["status"], part["reason"]) for part in json.loads(done.stdout)["parts"]}


def comment_of(job: str) -> str:
    """A job's comment in Slurm's accounting, as its user sees it; '' before slurmdbd has heard of its beginning too.

    Of a short job it may hear of the end first; until then it calls the job `allocation`.
    """
    cluster, _, number = job.partition(":")
    done = run_as(USER, ["sacct", "-n", "-X", "-P", "-j", number, "-o", "JobName,Comment"], cluster)
    name, _, comment = done.stdout.strip().partition("|")
    return "" if name == "allocation" else comment


def test_the_end_of_the_chain_goes_with_each_job_and_slurms_accounting_has_it(desk: Desk) -> None:
    file = desk.experiment("first", "sh -c 'echo 1 >/out/metrics.json'")
    first = desk.submit(file)
    assert desk.ended(first) == "COMPLETED"
    record = desk.record(first)
    digest = record["integrity"]["record_sha256"]
    assert record["integrity"]["previous"] is None
    assert desk.record(first) == record, "read again it is the same"
    assert parts_of(desk, first)["anchor"] == ("not verifiable", "no job was submitted since the record was chained")

    second = desk.submit(file)
    assert desk.ended(second) == "COMPLETED"
    until(lambda: comment_of(second) != "", 20, "slurmdbd did not hear of the comment")
    assert comment_of(second).split(":")[2] == digest
    script = (desk.run_folder(second).parent / "job.sbatch").read_text()
    assert f"#SBATCH --comment={comment_of(second)}\n" in script, "`sbatch job.sbatch` by hand says the same"
    later = desk.record(second)
    assert later["integrity"]["previous"] == digest
    parts = parts_of(desk, first)
    assert parts["chain"] == ("unchanged", "entry 1 of 2: each names the record before it")
    status, reason = parts["anchor"]
    assert (status, reason.startswith("Slurm's accounting has entry 1 as of 20")) == ("unchanged", True), reason
    assert reason.endswith(f"when {second} was submitted")

    third = desk.submit(file, cluster="gamma")  # it keeps no accounting
    assert desk.ended(third) == "COMPLETED"
    status, reason = parts_of(desk, second)["anchor"]
    assert (status, "accounting storage is disabled" in reason) == ("not verifiable", True), reason

    number = second.partition(":")[2]
    forged = ["sacctmgr", "-i", "modify", "job", "where", f"jobid={number}", "set", f"comment=tfslurm:x:{'0' * 64}"]
    assert run_as(USER, forged, "alpha").returncode == 0, "Slurm lets users change their own comments"
    assert parts_of(desk, first)["anchor"] == (
        "changed", f"the comment of {second} in Slurm's accounting names another end",
    )  # fmt: skip

    (desk.run_folder(first) / "attempt-1" / "facts" / "task-0" / "container-diff.txt").write_text("A /forged\n")
    again = desk.record(first)
    assert again["integrity"]["previous"] == later["integrity"]["record_sha256"], "another record, another link"
    assert parts_of(desk, first)["chain"] == ("unchanged", "entry 3 of 3: each names the record before it")


def test_a_real_record_is_signed_and_checked_by_a_stranger(desk: Desk) -> None:
    job = desk.submit(desk.experiment("signed", ["sh", "-c", gate()]))
    waits = desk.tfslurm("sign", job)
    assert (waits.returncode, f"{job}: has not ended" in waits.stderr) == (1, True), waits.stderr
    until(lambda: desk.status(job)["state"] == "RUNNING", 60)
    until(lambda: any(desk.root("alpha").glob("runs/*/*/out")), 20)
    open_gate(desk, job)
    assert desk.ended(job) == "COMPLETED"
    key = desk.folder / "id"
    assert run_as(USER, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "it", "-f", key]).returncode == 0
    signers = desk.write(
        "signers", f'alice@example.org namespaces="tfslurm-record-v1" {Path(f"{key}.pub").read_text()}'
    )
    none = desk.tfslurm("verify", job, "--signers", signers)
    assert (none.returncode, "missing        signature: the record is not signed" in none.stdout) == (1, True)
    done = desk.tfslurm("sign", job, "--key", key, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert desk.tfslurm("verify", job, "--signers", signers).returncode == 0
    record = desk.record(job)
    said = record["integrity"]["signature"]
    assert (said["format"], said["namespace"]) == ("ssh", "tfslurm-record-v1")
    assert json.loads((desk.folder / "out" / "record.json").read_text()) == record
    checked = run_as(
        USER,
        ["sh", "-c", "cd out && sha256sum -c --quiet SHA256SUMS && ssh-keygen -Y verify -f ../signers -I "
         "alice@example.org -n tfslurm-record-v1 -s record.json.sig <record.canonical.json"],
        cwd=desk.folder,
    )  # fmt: skip
    assert (checked.returncode, 'Good "tfslurm-record-v1" signature' in checked.stdout) == (0, True), checked.stderr
