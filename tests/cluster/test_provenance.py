"""The record found by any name, where nobody saw the job too; and the printed `docker run`, by the real docker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .desk import Desk, ids
from .users import run_as

USER = "alice"
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@b.org", "-c", "init.defaultBranch=main")


def found(desk: Desk, name: str | Path, **more: Any) -> Any:
    """The JSON that `tfslurm provenance` printed."""
    done = desk.tfslurm("provenance", name, "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def committed(desk: Desk) -> str:
    """A repository with code; its commit."""
    desk.write("code/words.txt", "it's here\n")
    for words in (("init",), ("add", "."), ("commit", "--quiet", "--message", "first"), ("rev-parse", "HEAD")):
        done = run_as(USER, [*GIT, *words], cwd=desk.folder / "code")
        assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def test_a_record_is_found_by_every_name_and_where_nobody_knows_the_job(desk: Desk) -> None:
    commit = committed(desk)
    job = desk.submit(desk.experiment("named", ["sh", "-c", "echo 1 >/out/a; ls"], code="code"), cluster="beta")
    assert desk.ended(job) == "COMPLETED"
    record = found(desk, job)
    number = job.partition(":")[2]
    folder, digest = record["run_folder"], record["image"]["digest"]
    names = [number, record["plan_id"], folder, f"{folder}/{number}", f"beta:{folder}", digest, digest[:19]]
    names += [f"docker.io/any/name@{digest}", commit, commit[:7], "last", f"named-{desk.token}"]
    for name in names:
        assert found(desk, name)["record_id"] == record["record_id"], name
    again = desk.submit(desk.experiment("again", ["true"], code="code"), cluster="beta")
    assert desk.ended(again) == "COMPLETED"
    assert {each["record_id"] for each in found(desk, commit)} > {record["record_id"]}
    listed = desk.tfslurm("provenance", digest).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["JOB", job, again]
    stranger = {"XDG_DATA_HOME": str(desk.folder / "elsewhere")}
    for name in (job, folder, f"{folder}/{number}", f"beta:{folder}"):
        other = found(desk, name, env=stranger)
        for key in ("record_id", "image", "code", "attempts", "experiment", "verified"):
            assert other[key] == record[key], (name, key)
    for name in (digest, commit, number, f"beta:{int(number) + 900_000}", f"{folder}x"):
        done = desk.tfslurm("provenance", name, env=stranger)
        assert done.returncode == 2 and done.stdout == "", name
    copy = desk.folder / "copied"
    shutil.copytree(folder, copy)
    for path in (copy, *copy.rglob("*")):
        shutil.chown(path, *ids())
    assert found(desk, copy, env=stranger)["attempts"] == record["attempts"]
    plan = copy / "plan.json"
    plan.write_text(plan.read_text().replace('"/out"', '"/owt"'))
    done = desk.tfslurm("provenance", copy, env=stranger)
    assert done.returncode == 1 and "it was changed after it was submitted" in done.stderr


def test_the_printed_docker_run_gives_what_the_job_gave(desk: Desk) -> None:
    committed(desk)
    data = desk.data("beta")
    data.mkdir()
    (data / "x, y").write_text("mounted")
    shutil.chown(data, *ids())
    program = 'cat words.txt "/in put/x, y"; echo "$WORD" "$TOKEN" "$1"; id -un >/dev/null 2>&1; echo 1 >/out/a'
    file = desk.experiment(
        "again",
        ["sh", "-c", program, "sh", "it's $HOME"],
        code="code",
        env={"WORD": 'two "words"'},
        secrets=["TOKEN"],
        mounts=[{"source": str(data), "target": "/in put", "read_only": True}],
        network="none",
    )
    job = desk.submit(file, cluster="beta", env={"TOKEN": "se cret"})
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
    printed = (desk.run_folder(job) / "attempt-1" / "stdout.log").read_text()
    done = desk.tfslurm("provenance", job, "--docker")
    assert done.returncode == 0 and "se cret" not in done.stdout + done.stderr
    assert "replace /PATH/TO/code by" in done.stderr and "set TOKEN" in done.stderr
    here = desk.folder / "machine"
    here.mkdir()
    shutil.chown(here, *ids())
    environment = desk.environment(None) | {"TOKEN": "se cret"}
    refused = run_as(USER, ["sh", "-c", done.stdout], cwd=here, env=environment)
    assert refused.returncode == 125 and "/PATH/TO/code" in refused.stderr, "docker made the folder"
    line = done.stdout.replace("/PATH/TO/code", str(desk.folder / "code")).replace("/PATH/TO/in-put", str(data))
    ran = run_as(USER, ["sh", "-c", line], cwd=here, env=environment, timeout_s=120)
    assert (ran.returncode, ran.stdout) == (0, printed), ran.stderr
    assert (here / "out" / "a").read_text() == (desk.run_folder(job) / "out" / "a").read_text()
    assert (here / "out" / "a").stat().st_uid == ids()[0]


CRATE = ("--format", "rocrate", "--license", "MIT", "--author", "Doe, Alice", "--affiliation", "Example University")


def verified(desk: Desk, name: str, code: int = 0) -> dict[str, str]:
    """Part -> status of what `tfslurm verify` says on a machine without Slurm and tracker."""
    done = desk.tfslurm("verify", name, "--json", cluster=None, env={"XDG_DATA_HOME": str(desk.folder / "nowhere")})
    assert done.returncode == code, done.stdout + done.stderr
    values = json.loads(done.stdout)
    listed = values if isinstance(values, list) else [values]
    return {part["name"]: part["status"] for each in listed for part in each["parts"]}


def test_crates_of_real_jobs_are_verified_and_run_again_anywhere(desk: Desk) -> None:
    commit = committed(desk)
    command = ["sh", "-c", 'cat words.txt; echo "$(cat words.txt)" >/out/a; mkdir /out/deep; echo 2 >/out/deep/b']
    job = desk.submit(desk.experiment("kept", command, code="code"), cluster="beta")
    swept = desk.experiment("swept", ["sh", "-c", "echo $0 >/out/n", "{{ n }}"], sweep={"grid": {"n": [1, 2]}})
    done = desk.tfslurm("submit", swept, "--cluster", "beta", "--wait", cluster="beta")
    assert done.returncode == 0 and desk.ended(job) == "COMPLETED", done.stderr
    for name, what in (("kept", job), ("kept.zip", job), ("swept", f"swept-{desk.token}")):
        done = desk.tfslurm("provenance", what, *CRATE, "-o", name, cluster="beta")
        assert done.returncode == 0, done.stderr
    done = desk.tfslurm("provenance", job, "--format", "rocrate", "--anonymous", "-o", "hidden", cluster="beta")
    assert done.returncode == 0, done.stderr
    wanted = {"record", "experiment", "lock", "plan", "script", "outputs", "code", "facts", "metadata", "SHA256SUMS"}
    for name in ("kept", "kept.zip", "swept"):
        found = verified(desk, name)
        assert {part for part, status in found.items() if status == "unchanged"} >= wanted, found
    assert "changed" not in verified(desk, "hidden").values()
    stranger = {"XDG_DATA_HOME": str(desk.folder / "nowhere")}
    for name in ("kept", "kept.zip"):
        record = json.loads(desk.tfslurm("provenance", name, "--json", cluster=None, env=stranger).stdout)
        assert (record["code"]["commit"], f"beta:{record['job']['job_id']}") == (commit, job)
    line = desk.tfslurm("provenance", "kept", "--docker", cluster=None, env=stranger)
    here = desk.folder / "again"
    here.mkdir()
    shutil.chown(here, *ids())
    ran = run_as(USER, ["sh", "-c", line.stdout], cwd=here, env=desk.environment(None), timeout_s=120)
    assert (ran.returncode, ran.stdout) == (0, "it's here\n"), ran.stderr
    assert (here / "out" / "deep" / "b").read_text() == "2\n"
    folder, number = desk.folder / "kept", job.partition(":")[2]
    for path in (f"{number}/out/a", f"{number}/attempt-1/stdout.log", f"{number}/attempt-1/begin.json", "plan.json"):
        before = (folder / path).read_bytes()
        (folder / path).write_bytes(before.replace(b"e", b"E", 1))
        assert verified(desk, "kept", 1)[f"file {path}"] == "changed"
        (folder / path).write_bytes(before)
    assert "changed" not in verified(desk, "kept").values()
