"""tfslurm sign."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import click

from tfslurm.cli.console import emit, json_text, save, show
from tfslurm.cli.options import common
from tfslurm.export.crate.contents import CANONICAL, RECORD, SIGNATURE, SUMS
from tfslurm.record.model import record_bytes
from tfslurm.retrieval.signing import Signed
from tfslurm.workspace.session import Session


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="JOB|SWEEP|RECORD|CRATE...")
@click.option(
    "--key",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="An ssh key: a private key, or a public one that the agent has. Default: git's user.signingkey, if that is "
    "one of ssh, else the agent's only key.",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of one record: write into this folder what a stranger checks with ssh-keygen and sha256sum.",
)
@common
def sign(session: Session, names: tuple[str, ...], key: Path | None, output: Path | None, as_json: bool) -> None:
    """Sign records with your ssh key: whoever has your public key then knows that you stand for them.

    The signature of a JOB, or of each job of a SWEEP, goes into the record that this machine keeps, and from there
    into `tfslurm provenance JOB --json` and every export. The signature of a RECORD, a file that `tfslurm provenance
    --json` wrote, goes into that file; that of a CRATE, a folder, goes beside its record. With -o these stay as they
    are. tfslurm asks for no passphrase: ssh-keygen may, on the terminal.
    """
    from tfslurm.retrieval.signing import sign as sign_records

    done = sign_records(session, names, key, one=output is not None)
    for each in done:
        if output:
            write_folder(each, output)
        elif each.job is None:
            replace(each, Path(each.name))
    if as_json:
        emit([as_value(each) for each in done])
        return
    for each in done:
        show(f"{each.name}: signed with {each.fingerprint}{f'; {output} has what it is over' if output else ''}")


def replace(signed: Signed, path: Path) -> None:
    """The signature in the file of its record; of a crate, whose sums cover that file, beside it."""
    if path.is_dir():
        save(signed.values["integrity"]["signature"]["value"].encode(), path / SIGNATURE)
    else:
        save(json_text(signed.values).encode("utf-8", "backslashreplace"), path)


def write_folder(signed: Signed, folder: Path) -> None:
    """The files of one record as a crate has them too: the record, the bytes that were signed, the signature, sums."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        RECORD: json_text(signed.values).encode("utf-8", "backslashreplace"),
        CANONICAL: record_bytes(signed.values),
        SIGNATURE: signed.values["integrity"]["signature"]["value"].encode(),
    }
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    for name, data in {**files, SUMS: sums.encode()}.items():
        save(data, folder / name)


def as_value(signed: Signed) -> dict[str, str]:
    """One record, for --json."""
    integrity = signed.values["integrity"]
    return {
        "name": signed.name,
        "record_id": signed.values["record_id"],
        "record_sha256": integrity["record_sha256"],
        "key_fingerprint": signed.fingerprint,
    }
