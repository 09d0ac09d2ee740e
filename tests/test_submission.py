"""What a submission says where it comes to nothing: a refusal with the right names, code that goes, a secret unset."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.cuts import NearHost
from tests.fakes.desk import Desk
from tests.fakes.laptop import Laptop
from tests.made import CODE, plan
from tfslurm.errors import CommandFailed, InputError, SubmitRejected
from tfslurm.host.command import Raw
from tfslurm.slurm.site import ACCOUNT_FIELDS, PARTITION_FIELDS
from tfslurm.slurm.values import FIELD
from tfslurm.snapshot import take
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import submit_job


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.made(tmp_path)


def test_a_secret_that_this_shell_has_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    monkeypatch.delenv("OTHER", raising=False)
    assert read_secrets(("TOKEN",)) == {"TOKEN": "s3cret"}
    with pytest.raises(InputError, match="secrets: OTHER: not set in this shell; export OTHER="):
        read_secrets(("TOKEN", "OTHER"))


class Purged(NearHost):
    """A cluster that cleans code up as soon as it is there."""

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        raw = super().execute(argv, input, timeout_s, max_bytes)
        for path in (self.programs.parent.parent / "root" / "code").glob("*"):
            if path.is_dir():
                path.chmod(0o700)
                shutil.rmtree(path)
            else:  # the list of a tree's files
                path.unlink()
        return raw


def test_code_that_goes_as_soon_as_it_is_there_is_sent_twice_and_no_more(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text("print(1)\n")
    code = take(tmp_path / "mine")
    state = replace(CODE, tree=code.tree, files=code.files, contents_sha256=code.contents_sha256)
    made = plan(cluster=desk.known.cluster, code=state)
    host = Purged("alpha", desk.slurm.bin)
    with pytest.raises(CommandFailed, match="the code was removed as soon as it had arrived"):
        submit_job(Prepared(made, "#!/bin/sh\n", code, desk.known.cluster, ""), desk.tracker, host, {})
    assert (host.heard, desk.slurm.calls(), desk.stages()) == (["sh"] * 4, [], ["refused"])


def test_a_refusal_comes_with_the_names_that_are_right(desk: Desk) -> None:
    partition = dict.fromkeys(PARTITION_FIELDS, "") | {"%P": "gpu*", "%a": "up", "%l": "1-00:00:00", "%F": "0/1/0/1"}
    partition |= {"%G": "gpu:2", "%c": "8", "%m": "64000"}
    account = dict.fromkeys(ACCOUNT_FIELDS, "") | {"Cluster": "alpha", "Account": "lab", "DefaultAccount": "lab"}
    desk.slurm.program("sinfo", f"echo {shlex.quote(FIELD.join(partition.values()))}")
    desk.slurm.program("sacctmgr", f"echo {shlex.quote('|'.join(account.values()))}")
    why = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    desk.slurm.program("sbatch", f"echo {shlex.quote(why)} >&2; exit 1")
    with pytest.raises(SubmitRejected, match=r"Invalid account or account/partition combination specified; .*lab"):
        desk.submit(desk.plan(), desk.host())
    assert desk.stages() == ["refused"]


def test_an_id_that_was_shown_has_been_seen_though_the_next_cluster_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = Laptop.made(tmp_path, monkeypatch)
    (tmp_path / "beta").write_text("no folder can be made here")
    nowhere = {"name": "beta", "root": str(tmp_path / "beta" / "root"), "slurm_bin": str(laptop.slurm.bin)}
    (laptop.folder / "config" / "tfslurm" / "clusters" / "beta.yaml").write_text(json.dumps(nowhere))
    file = laptop.experiment()
    assert laptop.type("submit", file, "--cluster", "alpha", "--cluster", "beta") != 0
    assert laptop.known_ids() == ["101"]
    assert laptop.type("submit", file, "--cluster", "alpha", "--again") == 0
    assert laptop.known_ids() == ["101", "102"]
