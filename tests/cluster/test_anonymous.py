"""A real job with names planted wherever a user can plant them: no byte of what is exported anonymously holds one."""

from __future__ import annotations

import grp
import json
import os
import zipfile
from pathlib import Path

from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from prov.model import ProvDocument

from .desk import USER, Desk, ids
from .users import run_as

REMOTE = "ssh://git@git.slartibart.example/deepthought-lab/answer-to-all.git"
GIT = ("-c", "user.name=Zaphod Beeblebrox", "-c", "user.email=zaphod@slartibart.example")
PLANTED = ("slartibart", "deepthought", "answer-to-all", "Beeblebrox", "zaphod", "labsec", "heart-of-gold")


def committed(desk: Desk, text: str) -> None:
    """Code in a repository of the user's, whose author, remote, files and comments hold names."""
    desk.write(f"code/{USER}_train.py", f"# {text}\n")
    desk.write("code/AUTHORS", f"Zaphod Beeblebrox <zaphod@slartibart.example>\n{text}\n")
    desk.write(
        "code/run.sh", f'echo "$NOTE $HOME $(id -un) {text}"; echo "{text}" >/out/{USER}-notes.txt; date >/out/plain\n'
    )
    desk.write("CITATION.cff", "authors:\n- {family-names: Beeblebrox, given-names: Zaphod}\ntitle: Answers\n")
    for words in (["init", "-q"], ["remote", "add", "origin", REMOTE], ["add", "."], ["commit", "-qm", text]):
        done = run_as(USER, ["git", *GIT, *words], cwd=desk.folder / "code")
        assert done.returncode == 0, done.stderr


def bytes_of(place: Path) -> dict[str, bytes]:
    """Every file below a folder, or the members of an archive, by its name."""
    if place.is_dir():
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with zipfile.ZipFile(place) as archive:
        return {each: archive.read(each) for each in archive.namelist()}


def test_a_job_with_names_planted_everywhere_is_exported_without_any(desk: Desk) -> None:
    home, root = desk.folder.parent, desk.root("alpha")
    text = f"{USER} of labsec on alpha1, {home} {root}/x {REMOTE} {USER}@heart-of-gold.slartibart.example"
    committed(desk, text)
    desk.data("alpha").mkdir()
    os.chown(desk.data("alpha"), *ids())
    file = desk.experiment(
        f"of-{USER}",
        ["sh", "run.sh", f"--root={root}", text],
        code="code",
        mounts=[{"source": str(desk.data("alpha")), "target": f"/data-{USER}"}],
        env={"NOTE": text, f"{USER.upper()}_DIR": str(home)},
        parameters={f"of_{USER}": text},
        slurm={"mail-user": f"{USER}@heart-of-gold.slartibart.example", "account": "lab"},
        resources={"gpus": 1},
    )
    file.write_text(f"# written by {text}\n" + file.read_text())
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED"
    raw = json.dumps(desk.record(job))
    assert all(name in raw for name in (USER, "alpha1", "slartibart", "deepthought", "labsec", str(root)))
    groups = [grp.getgrgid(gid).gr_name for gid in os.getgrouplist(USER, ids()[1])]
    plan = desk.run_folder(job).parent.name.rpartition("-")[2]
    uuids = [gpu["uuid"] for task in desk.record(job)["attempts"][0]["tasks"] for gpu in task["gpus"]]
    names = [*PLANTED, USER, "alpha1", str(home), str(root), plan, *uuids, *(set(groups) - {"docker"})]

    written = {"text": "", "json": "", "in-toto": "", "prov": "", "mlperf": ""}
    for form in written:
        done = desk.tfslurm("provenance", job, "--format", form, "--anonymous")
        assert done.returncode == 0, done.stderr
        assert "'alpha'" in done.stderr and "ordinary words" in done.stderr
        written[form] = done.stdout
    done = desk.tfslurm("provenance", job, "--format", "rocrate", "--anonymous", "--license", "MIT", "-o", "crate.zip")
    assert done.returncode == 0, done.stderr
    contents = {**{form: each.encode() for form, each in written.items()}, **bytes_of(desk.folder / "crate.zip")}
    for path, data in contents.items():
        held = [name for name in names if name.lower().encode() in data.lower() or name.lower() in path.lower()]
        lines = [line for line in data.splitlines() if any(name.lower().encode() in line.lower() for name in held)]
        assert held == [], f"{path}: {lines}"
    assert any(path.endswith("user-1-notes.txt") for path in contents) and any("run.sh" in path for path in contents)

    Statement.copy_from_pb(json_format.Parse(written["in-toto"], statement_pb2.Statement())).validate()
    assert [*ProvDocument.deserialize(content=written["prov"], format="json").get_records()]
    assert json.loads(written["mlperf"])["accelerators_per_node"] == "1"
    desk.write("anonymous.json", written["json"])
    verified = desk.tfslurm("verify", "anonymous.json")
    assert "the anonymous form of a record" in verified.stdout and verified.returncode == 0
    cited = desk.tfslurm("cite", "anonymous.json", "--format", "cff", "--anonymous")
    assert cited.returncode == 0 and not [name for name in names if name in cited.stdout]
