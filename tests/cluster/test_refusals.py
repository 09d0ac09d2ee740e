"""What does not hold is refused in words; what is merely hostile reaches the program as it is, and nothing else."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.made import PIN
from tfslurm.image import lock_text, pin_from_json, pin_to_json

from .bed import BED, CLUSTERS
from .desk import USER, Desk, gate, open_gate, until
from .docker import docker
from .processes import processes
from .slurm import slurm
from .users import run_as

SHOW = """#!/bin/sh
for word; do printf '%s\\0' "$word"; done >/out/words
cat "/proc/$$/environ" >/out/environ
"""


@pytest.fixture
def canary(desk: Desk) -> Iterator[Path]:
    """A path in a folder that all may write to; that nothing is there after the test says that nothing ran."""
    cage = desk.folder / "cage"
    cage.mkdir()
    cage.chmod(0o777)
    yield cage / "canary"
    assert list(cage.iterdir()) == []


def hostile(canary: Path) -> list[str]:
    """What a shell, YAML, jinja2, docker, srun or a careless join would each read in its own way."""
    touch = f"touch {canary}"
    return [
        "", " ", "  two  blanks  ", "\t", "a\tb", "\n", "a\nb", "ends in newline\n", "cr\rhere", "dos\r\nline",
        "'", '"', "it's", 'say "hi"', "'\"'\"'", "\\", "\\\\", "end\\", "\\n", "back`tick",
        f"$({touch})", f"`{touch}`", f"'; {touch}; '", f'"; {touch}; "', f"\n{touch}\n", f"|{touch}", f"&& {touch}",
        f"$'\\n{touch}'", f"#SBATCH --wrap='{touch}'", "$HOME", "${HOME}", "$$", "!!", "# comment", "exp#3",
        "-", "--", "-n", "--help", "--entrypoint=/bin/false", "--volume=/:/host", "*", "[a-z]?*", "~", "~root", "{a,b}",
        "{{ lr }}", "{{", "}}", "{% raw %}", "{# note #}", "%j", "a=b", "=", ",", "a,b", ":", "key: value", "- item",
        "null", "é", "日本語", "🧪", "\u202e right to left", "\u2028", "\u0085", "\ufeff", "\x01\x1b[31m\x7f", "(", ")",
        "EOF", "x" * 100_000,
    ]  # fmt: skip


def braces(value: str) -> str:
    """The value as a template has to write it."""
    return value.replace("{{", '{{ "{{" }}')


# ------------------------------------------------------------------------------------------------ hostile, and harmless


def test_hostile_words_and_variables_reach_the_program_byte_for_byte(desk: Desk, canary: Path) -> None:
    values = hostile(canary)
    assert len(set(values)) == len(values) >= 40
    desk.write("code/show.sh", SHOW)
    file = desk.experiment(
        "hostile",
        ["sh", "show.sh", *map(braces, values)],
        env={f"V{at}": braces(value) for at, value in enumerate(values)},
        code="code",
    )
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
    out = desk.run_folder(job) / "out"
    assert (out / "words").read_bytes() == b"".join(value.encode() + b"\0" for value in values)
    environ = dict(pair.split(b"=", 1) for pair in (out / "environ").read_bytes().split(b"\0") if pair)
    assert [environ[b"V%d" % at] for at in range(len(values))] == [value.encode() for value in values]
    record = desk.record(job)
    assert record["experiment"]["command"][2:] == values
    kept = record["experiment"]["env"]
    assert [kept[f"V{at}"] for at in range(len(values))] == values
    desk.tfslurm("provenance", job)
    desk.tfslurm("status")


def test_a_parameter_stays_one_word_whatever_it_holds(desk: Desk, canary: Path) -> None:
    desk.write("code/show.sh", SHOW)
    file = desk.experiment(
        "parameter", "sh show.sh --lr={{ lr }} '{{ lr }}' after", code="code", env={"LR": "{{ lr }}"}
    )
    values = [f"$(touch {canary}) `touch {canary}`; touch {canary}\n'\" \\ #", "", "{{ lr }} {% raw %}", "-x *"]
    jobs = [desk.submit(file, "--set", f"lr={value}") for value in values]
    for job, value in zip(jobs, values, strict=True):
        assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
        out = desk.run_folder(job) / "out"
        assert (out / "words").read_text().split("\0") == [f"--lr={value}", value, "after", ""]
        assert f"LR={value}".encode() in (out / "environ").read_bytes().split(b"\0")
        assert desk.record(job)["experiment"]["parameters"] == {"lr": value}


def test_options_for_sbatch_are_values_and_never_commands(desk: Desk, canary: Path) -> None:
    touch = f"$(touch {canary})"
    file = desk.experiment(
        "options", "true", slurm={"mail-user": touch, "wckey": f"`touch {canary}`", "begin": "now+1hour"}
    )
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert done.returncode == 0, done.stderr
    for option in ("reservation", "constraint", "nodelist", "licenses", "account", "partition"):
        for value in (touch, f"x' ; touch {canary} ; '"):
            done = desk.tfslurm(
                "submit", desk.experiment("options", "true", slurm={option: value}), "--cluster", "alpha"
            )
            assert (done.returncode, done.stdout) == (2 if option == "nodelist" else 1, ""), (option, value)
            assert done.stderr.startswith("error: ")
            assert "Traceback" not in done.stderr
    assert len(desk.jobs("alpha")) == 1


@pytest.mark.parametrize("value", ["a\nb", "two\n#SBATCH --uid=0", "back\\slash", "--uid=0"])
def test_options_that_a_directive_cannot_hold_are_refused_with_their_line(desk: Desk, value: str) -> None:
    file = desk.experiment("option", "true", slurm={"wckey": value})
    line = next(at for at, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("slurm:"))
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: \S+option\.yaml:{line}: slurm\.wckey: .+\n", done.stderr)


def test_the_comment_is_tfslurms_own(desk: Desk, canary: Path) -> None:
    done = desk.tfslurm(
        "submit", desk.experiment("own", "true", slurm={"comment": f"$(touch {canary})"}), "--cluster", "alpha"
    )
    assert done.returncode == 2
    assert "comment" in done.stderr
    assert desk.jobs("alpha") == []


def test_every_hostile_name_and_mount_is_refused_with_its_line_all_at_once(desk: Desk, canary: Path) -> None:
    touch = f"$(touch {canary})"
    lines = [
        'image: "127.0.0.1:5000/tfslurm/small:1"',
        f'name: "{touch}"',
        "command: 'true'",
        "mounts:",
        *(f'  - {{source: "{source}", target: "{target}"}}' for source, target in (
            ("/", "/node"), ("/etc", "/data"), ("/var/run/docker.sock", "/sock"), ("../up", "/data1"),
            (f"/data/{touch}/../..", "/data2"), ("~/x", "/data3"), ("/data", "/etc/passwd"), ("/data\\nx", "/data4"),
        )),
        "env:",
        f'  "{touch}": x',
        f"secrets: ['{touch}']",
        f"outputs: '{touch}'",
        f"template: '../{touch}'",
        f"clusters: ['{touch}']",
    ]  # fmt: skip
    file = desk.write("names.yaml", "\n".join(lines) + "\n")
    done = desk.tfslurm("plan", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (2, "")
    wrong = [at for at, line in enumerate(lines, 1) if at not in (1, 3, 4) and line != "env:"]
    named = [int(found[1]) for found in re.finditer(r"^error: \S+names\.yaml:(\d+): ", done.stderr, re.MULTILINE)]
    assert sorted(set(named)) == wrong
    assert len(named) == len(done.stderr.splitlines())


def test_a_mount_outside_of_what_the_cluster_allows_is_refused_with_its_line(desk: Desk) -> None:
    mounts = [{"source": "/srv/others", "target": "/data"}]
    file = desk.experiment("outside", "true", mounts=mounts)
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert done.returncode == 2
    line = next(at for at, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("mounts:"))
    assert f"outside.yaml:{line}: mounts" in done.stderr
    assert f"is outside what cluster alpha allows ({desk.root('alpha')}, {desk.data('alpha')})" in done.stderr


# --------------------------------------------------------------------------------------------------------- broken files


# --------------------------------------------------------------------------------------------------- the scheduler's no


def test_a_lock_file_that_does_not_fit_its_image_is_refused_with_each_line(desk: Desk) -> None:
    """The digest is right, and so the bytes: the words beside it are somebody else's."""
    file = desk.experiment("borrowed", ["true"])
    lock = file.with_suffix(".lock.yaml")
    assert desk.tfslurm("pin", file).returncode == 0
    honest = lock.read_text()
    text = honest.replace("entrypoint: []", "entrypoint: [sh, -c, echo owned, x]")
    text = re.sub(r"(?m)^  environment:.*(\n    .*)*", '  environment: {CUDA_VERSION: "12.3.0"}', text)
    text = re.sub(r"(?m)^  config_digest: .*", f"  config_digest: sha256:{'0' * 64}", text)
    assert text.count("owned") == 1
    lock.write_text(text)
    for words in (("submit", "--cluster", "alpha"), ("plan", "--cluster", "alpha"), ("pin",)):
        done = desk.tfslurm(*words, file)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        for field in ("entrypoint", "environment", "config_digest"):
            line = next(n for n, said in enumerate(text.splitlines(), 1) if said.startswith(f"  {field}:"))
            assert f"borrowed.lock.yaml:{line}: image.{field}: " in done.stderr, done.stderr
    assert desk.jobs("alpha") == []
    assert desk.tfslurm("pin", file, "--update").returncode == 0
    again = re.sub(r"(?m)^  pinned_at:.*", "", lock.read_text())
    assert again == re.sub(r"(?m)^  pinned_at:.*", "", honest)


def test_where_no_registry_answers_a_borrowed_lock_file_names_the_digest_alone(desk: Desk) -> None:
    """Which manifest an index names nobody here can say; the node compares what it can."""
    file = desk.experiment("offline", ["true"], image="127.0.0.1:1/tfslurm/small:1")
    digest, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    place = {"registry": "127.0.0.1:1", "repository": "tfslurm/small", "tag": "1"}
    digests = {"digest": digest, "digest_kind": "index", "manifest_digest": other}
    pin = pin_from_json({**pin_to_json(PIN), **place, **digests, "reference": "127.0.0.1:1/tfslurm/small:1"})
    desk.write("offline.lock.yaml", lock_text(pin))
    done = desk.tfslurm("plan", file, "--cluster", "alpha", "--json")
    assert done.returncode == 0, done.stderr
    assert "; the node compares" in done.stderr
    (plan,) = json.loads(done.stdout)
    assert all(source.endswith(digest) for source in plan["image_sources"]), plan["image_sources"]
    assert (plan["pin"]["manifest_digest"], plan["pin"]["config_digest"]) == ("", "")


def test_an_unknown_partition_is_refused_with_those_there_are(desk: Desk) -> None:
    file = desk.experiment("partition", "true", slurm={"partition": "gpuu"})
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert "partition 'gpuu' is not on this cluster; it has: gpu (default), debug" in done.stderr
    assert "Traceback" not in done.stderr
    again = desk.tfslurm("submit", file, "--cluster", "alpha", "--set", "slurm.partition=debug")
    assert again.returncode == 0, again.stderr
    assert len(desk.jobs("alpha")) == 1


def test_an_unknown_account_is_refused_with_those_of_the_user(desk: Desk) -> None:
    done = desk.tfslurm("submit", desk.experiment("account", "true", slurm={"account": "labb"}), "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert "account 'labb' is not yours here; write one of these as `slurm: {account: …}`: lab, guest" in done.stderr


def test_an_unknown_option_is_refused_with_the_nearest_name(desk: Desk) -> None:
    file = desk.experiment("option", "true", slurm={"partitoin": "gpu", "qos_": "x"})
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"option\.yaml:\d+: slurm\.partitoin: .*partition", done.stderr)
    assert re.search(r"option\.yaml:\d+: slurm\.qos_: .*qos", done.stderr)


def test_more_than_any_node_has_is_refused_with_what_there_is(desk: Desk) -> None:
    file = desk.experiment("large", "true", resources={"gpus": 9})
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert "2 nodes of up to 16 cpus" in done.stderr
    assert "gpu:4" in done.stderr


# -------------------------------------------------------------------------------------------------------------- secrets


@dataclass(frozen=True)
class Kept:
    """A job that was given a secret, while it ran."""

    job: str
    value: str
    seen: str
    "what docker, Slurm and the process list showed"
    holders: tuple[tuple[str, int], ...]
    "the files of the run folder that held the value, and their modes"


@pytest.fixture(scope="module")
def kept(shared: Desk) -> Kept:
    value = f"s3cr3t-{os.urandom(12).hex()} with 'quotes' and $signs"
    script = f'printf "%s" "$TOKEN" | sha256sum >/out/hash; {gate()}'
    job = shared.submit(shared.experiment("secret", ["sh", "-c", script], secrets=["TOKEN"]), env={"TOKEN": value})
    until(lambda: any(shared.root("alpha").glob("runs/secret-*/*/out/hash")), 60)
    number = job.partition(":")[2]
    ids = docker(
        "ps", "--all", "--quiet", f"--filter=label=tfslurm.job_id={number}", "--filter=label=tfslurm.cluster=alpha"
    )
    seen = docker("inspect", *ids.stdout.split()).stdout
    assert f'"tfslurm.job_id": "{number}"' in seen
    seen += "".join(line for _, line in processes())
    seen += slurm(CLUSTERS["alpha"], "scontrol", "show", "job", "--details", number).stdout
    holders = tuple((str(path), stat.S_IMODE(path.stat().st_mode)) for path in holding(shared))
    open_gate(shared, job)
    return Kept(job, value, seen, holders)


def holding(desk: Desk) -> list[Path]:
    """The files of a desk in which the value, or a part of it, stands."""
    tops = (desk.folder, desk.root("alpha"))
    return [path for top in tops for path in top.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]


def test_a_secret_reaches_the_program(shared: Desk, kept: Kept) -> None:
    assert shared.ended(kept.job) == "COMPLETED"
    assert shared.out(kept.job, "hash").split()[0] == sha256(kept.value.encode()).hexdigest()


def test_a_secret_is_in_no_process_list_and_in_nothing_that_docker_or_slurm_shows(kept: Kept) -> None:
    assert "s3cr3t" not in kept.seen


def test_a_secret_is_in_one_file_of_mode_0600_while_the_job_runs_and_in_none_after(shared: Desk, kept: Kept) -> None:
    ((path, mode),) = kept.holders
    assert (Path(path).parent.name, Path(path).name, mode) == ("secrets", "TOKEN", 0o600)
    assert shared.ended(kept.job) == "COMPLETED"
    assert holding(shared) == []


def test_a_secret_is_in_no_log_record_plan_or_tracker(shared: Desk, kept: Kept) -> None:
    assert shared.ended(kept.job) == "COMPLETED"
    commands = (["provenance"], ["provenance", "--json"], ["logs"], ["logs", "--batch"], ["status", "--json"])
    told = [shared.tfslurm(*words, kept.job) for words in commands]
    told.append(shared.tfslurm("plan", shared.folder / "secret.yaml", "--cluster", "alpha", "--json"))
    assert [done.returncode for done in told] == [0] * len(told)
    assert not [done for done in told if "s3cr3t" in done.stdout + done.stderr]
    assert shared.tracker.exists()
    assert shared.tracker not in holding(shared)


def test_a_secret_is_not_in_what_slurm_keeps_of_the_job(shared: Desk, kept: Kept) -> None:
    folders = (BED / "state" / "alpha", *(BED / "spool" / node for node in CLUSTERS["alpha"].nodes), BED / "log")
    number = kept.job.partition(":")[2]
    files = [
        path
        for top in folders
        for path in top.rglob("*")
        if path.is_file() and (number in str(path) or top.name == "log")
    ]
    assert not [path for path in files if b"s3cr3t" in path.read_bytes()]


def test_a_secret_that_is_not_set_is_asked_for_before_anything_is_sent(desk: Desk) -> None:
    done = desk.tfslurm("submit", desk.experiment("unset", "true", secrets=["TOKEN", "OTHER"]), "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (2, "")
    assert "secrets: TOKEN, OTHER: not set in this shell" in done.stderr
    assert not desk.root("alpha").exists()


def test_json_of_a_plan_names_secrets_only(desk: Desk) -> None:
    file = desk.experiment("named", "true", secrets=["TOKEN"])
    done = desk.tfslurm("plan", file, "--cluster", "alpha", "--json", env={"TOKEN": "s3cr3t"})
    assert json.loads(done.stdout)[0]["secrets"] == ["TOKEN"]
    assert "s3cr3t" not in done.stdout


def test_data_has_one_name_on_clusters_that_keep_it_in_different_places(desk: Desk) -> None:
    """What is named is looked at on the node as any other source: a link in it leads no further than `allow`."""
    for cluster in ("alpha", "beta"):
        folder = desk.data(cluster) / f"moons-of-{cluster}"
        assert run_as(USER, ["mkdir", "-p", str(folder / "train")], cluster).returncode == 0
        run_as(USER, ["ln", "-s", "/srv", str(folder / "out")], cluster)
        (folder / "train" / "where").write_text(cluster)
        desk.describe(cluster, mounts={"names": {"moons": str(folder)}})
    sweep = {"grid": {"n": [0, 1]}, "spread": "idle", "where": [{"values": {"n": 1}, "cluster": "beta"}]}
    keys = {"mounts": [{"source": "moons:train", "target": "/data"}], "clusters": ["alpha", "beta"]}
    file = desk.experiment("named", ["sh", "-c", "cp /data/where /out; echo $1", "sh", "{{ n }}"], sweep=sweep, **keys)
    done = desk.tfslurm("submit", file, "--wait")
    assert done.returncode == 0, done.stderr
    (known,) = json.loads(desk.tfslurm("status", f"named-{desk.token}", "--json").stdout)
    jobs = [point["job"] for point in known["points"]]
    assert [desk.out(job, "where") for job in jobs] == [job.partition(":")[0] for job in jobs] == ["alpha", "beta"]
    one = desk.experiment("one", "true", **{**keys, "clusters": ["beta"]})
    source = str(desk.data("beta") / "moons-of-beta" / "train")
    made = json.loads(desk.tfslurm("plan", one, "--json").stdout)[0]
    assert made["mounts"] == [{"source": source, "target": "/data", "read_only": True, "name": "moons:train"}]
    job = desk.submit(one, cluster="beta")
    assert desk.ended(job) == "COMPLETED"
    assert [(each["name"], each["path"]) for each in desk.record(job)["inputs"]] == [("moons:train", source)]
    out = desk.experiment("out", "true", mounts=[{"source": "moons:out", "target": "/data"}], clusters=["beta"])
    job = desk.submit(out, cluster="beta")
    assert desk.ended(job) == "FAILED"
    said = desk.tfslurm("logs", job).stderr
    assert f"mounts: {desk.data('beta')}/moons-of-beta/out is really /srv, which is outside what this cluster" in said
    desk.describe("beta")
    done = desk.tfslurm("submit", file, "--again")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mounts[0].source: 'moons' is no data of cluster beta; add `mounts: {names: {moons: /…}}`" in done.stderr
