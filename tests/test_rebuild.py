"""What a run folder says is believed only as far as it holds: nothing that was rebuilt is sent."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from getpass import getuser
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.fakes.slurm import FakeSlurm
from tests.made import CLUSTER, EXPERIMENT, NOW, SWEEP, array, entries, experiment, plan, session
from tfslurm.cluster import Cluster
from tfslurm.document.canonical import canonical
from tfslurm.errors import HostError, RecordError
from tfslurm.handoff.protocol import look_back
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import JobPlan, Points, from_json, identify, identity, run_folder, to_json
from tfslurm.job_plan.folders import job_folder
from tfslurm.monitoring import exit_files as ends
from tfslurm.monitoring.exit_files import GONE, UNWRITTEN, ExitRequest, end_in, read_ends
from tfslurm.monitoring.lookup import find_job
from tfslurm.monitoring.rebuild_tracker import listed, read_runs, rebuild
from tfslurm.remote_programs import program
from tfslurm.run_folder.ending import End
from tfslurm.run_folder.plan_file import is_job_of, read_plan, read_points
from tfslurm.slurm.jobs import QUEUE_FIELDS
from tfslurm.slurm.values import FIELD, ROW
from tfslurm.spec import Checkpoint, Mount, Reproduce
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.submit import point_files, run_files
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known

Change = Callable[[dict[str, Any]], object]
SPEC = "name: digits\n"


def values_of(made: JobPlan) -> dict[str, Any]:
    return dict(json.loads(json.dumps(to_json(made))))


def read(values: Mapping[str, Any], *, folder: str = "", cluster: Cluster = CLUSTER, user: str = "alice") -> JobPlan:
    name = folder or f"{values.get('name')}-{values.get('plan_id')}"
    return read_plan(name, json.dumps(values).encode(), cluster, user)


def forged(change: Change, made: JobPlan | None = None) -> dict[str, Any]:
    """A plan that was changed, with the hash and the id of what it says now."""
    values = values_of(made or plan())
    change(values)
    values["plan_sha256"], values["plan_id"] = identity(values)
    return values


IGNORED = {"of": "cluster", "id": "CVE-1-1", "until": "2027-01-01", "why": "x"}
SCAN = {
    "answer": "passes",
    "why": "",
    "report_sha256": "a" * 64,
    "sbom_sha256": None,
    "tool": "trivy 0.76.0",
    "database_version": 2,
    "database_updated_at": "2026-11-28T06:00:00Z",
    "scanned_at": "2026-11-29T06:00:00Z",
    "counts": {"LOW": 1},
    "rules": [{"of": "cluster", "fail_on": "HIGH", "max_age_s": 86400, "on_unknown": "warn"}],
    "ignored": [IGNORED],
}
FULL = experiment(
    checkpoint=Checkpoint(signal="USR1", before_end_s=60, requeue=True),
    mounts=(Mount("/data/digits", "/data"), Mount("/data/more", "/more", read_only=False)),
    secrets=("WANDB_API_KEY",),
    network="host",
    reproduce=Reproduce("accuracy", 0.02, ("model.weights.h5",)),
)


@pytest.mark.parametrize(
    "made", [plan(), plan(code=None), plan(FULL, options={"time": "0-02:00:00"}), array(entries())]
)
def test_a_plan_that_was_submitted_is_read_as_it_was(made: JobPlan) -> None:
    assert read(values_of(made)) == made


def test_what_was_known_against_the_image_is_read_and_is_no_part_of_what_is_asked() -> None:
    values = forged(put("scan", value=SCAN))
    found = read(values)
    assert json.loads(json.dumps(to_json(found)))["scan"] == SCAN
    assert found.plan_sha256 == plan().plan_sha256
    assert found.plan_id != plan().plan_id


def test_a_plan_of_an_older_version_has_the_hash_of_what_it_says() -> None:
    values = values_of(plan())
    for newer in ("gpu_check", "cgroup_parent", "prepull", "points", "template_sha256"):
        del values[newer]
    assert identity(values)[0] != plan().plan_sha256
    values["plan_sha256"], values["plan_id"] = identity(values)
    found = read(values)
    assert (found.plan_id, found.gpu_check, found.points) == (values["plan_id"], "cached", None)


def put(*path: str | int, value: object) -> Change:
    """Put a value somewhere."""

    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


HOSTILE = {
    "a name that climbs": put("name", value="../../../u/alice/my"),
    "a name with a slash": put("name", value="a/b"),
    "a name that is an option": put("name", value="-rf"),
    "no name": put("name", value=""),
    "a name with a line break": put("name", value="digits\n"),
    "a name of a wrong type": put("name", value=["digits"]),
    "a long name": put("name", value="a" * 65),
    "a scan with another answer": put("scan", value={**SCAN, "answer": "good"}),
    "a scan with a line break": put("scan", value={**SCAN, "why": "a\nb"}),
    "a scan with a long text": put("scan", value={**SCAN, "tool": "x" * 9000}),
    "a scan whose report climbs": put("scan", value={**SCAN, "report_sha256": "../x"}),
    "a scan with an escape in a rule": put("scan", value={**SCAN, "ignored": [{**IGNORED, "why": "\x1b[2J"}]}),
    "a scan with many severities": put("scan", value={**SCAN, "counts": {str(each): 1 for each in range(10_001)}}),
    "a scan that is no scan": put("scan", value={"answer": "passes"}),
    "an archive that climbs": put("image_archive", value="../../x"),
    "an archive of an image without a config": lambda values: values.update(
        image_archive="a" * 64, pin=values["pin"] | {"config_digest": ""}
    ),
    "a cluster that climbs": put("cluster", value="../alpha"),
    "a root that climbs": put("root", value="/scratch/alice/../bob"),
    "a relative root": put("root", value="scratch"),
    "a root of a wrong type": put("root", value=None),
    "a user of a wrong type": put("user", value=0),
    "an unknown engine": put("engine", value="sh -c id"),
    "an unknown network": put("network", value="container:other"),
    "an unknown check": put("gpu_check", value="never"),
    "an unknown cgroup rule": put("cgroup_parent", value="/"),
    "a key that is no field": put("sudo", value=True),
    "a key of the pin that is no field": put("pin", "sudo", value=True),
    "a pin that is no object": put("pin", value=[]),
    "a digest that is none": put("pin", "digest", value="latest"),
    "a reference that names another image": put("pin", "repository", value="evil/image"),
    "a source with another digest": put("image_sources", value=[f"evil/image@sha256:{'0' * 64}"]),
    "a source with a tag": put("image_sources", value=["evil/image:latest"]),
    "a source that is an option": put("image_sources", value=["--privileged"]),
    "a command that is a line": put("command", value="rm -rf /"),
    "a word that is a number": put("command", value=["python", 1]),
    "a word with NUL": put("command", value=["python\0"]),
    "a variable that is one of ours": put("env", value={"TFSLURM_JOB_ID": "1"}),
    "a variable that is no name": put("env", value={"A B": "1"}),
    "a variable with a number": put("env", value={"A": 1}),
    "a secret that is no name": put("secrets", value=["../../etc/passwd"]),
    "a secret with a slash": put("secrets", value=["A/B"]),
    "secrets that are a text": put("secrets", value="TOKEN"),
    "the whole node as a mount": put("mounts", 0, "source", value="/"),
    "docker's socket as a mount": put("mounts", 0, "source", value="/var/run/docker.sock"),
    "a mount that climbs": put("mounts", 0, "source", value="/data/../etc"),
    "a mount over our own files": put("mounts", 0, "target", value="/run/tfslurm"),
    "a mount whose switch is a text": put("mounts", 0, "read_only", value="no"),
    "everything allowed": put("mounts_allow", value=["/"]),
    "outputs over the image": put("outputs", value="/"),
    "an output of a wrong type": put("outputs", value=7),
    "more GPUs than there are": put("resources", "gpus", value=10**9),
    "GPUs that are true": put("resources", "gpus", value=True),
    "CPUs that are a text": put("resources", "cpus", value="4"),
    "less than no memory": put("resources", "memory_mib", value=-1),
    "a kind of GPU that is an option": put("resources", "gpu_type", value="a100:1 --uid=0"),
    "code that climbs": put("code", "tree", value="../../../home/alice"),
    "a template in another folder": put("template", value="../evil.j2"),
    "an option of ours": put("options", "output", value="/home/alice/.bashrc"),
    "an option of ours, cut short": put("options", "outp", value="/home/alice/.bashrc"),
    "an option of ours, in capitals": put("options", "OUTPUT", value="/home/alice/.bashrc"),
    "an option of a plugin that is one of ours": put("plugin_options", value={"outp": "/home/alice/.bashrc"}),
    "an option of a plugin with a line break": put("plugin_options", value={"x1": "a\n#SBATCH --uid=0"}),
    "an option that is none": put("options", "sudo", value="1"),
    "an option that is the job's name": put("options", "job-name", value="thesis"),
    "an environment for the job": put("options", "export", value="ALL,LD_PRELOAD=/tmp/x"),
    "a value that is another option": put("options", "partition", value="--uid=0"),
    "a value with a line break": put("options", "partition", value="gpu\n#SBATCH --uid=0"),
    "other nodes than the resources": put("options", "nodes", value="100"),
    "a number as an option": put("options", "partition", value=1),
    "a tolerance below 0": put("reproduce", value={"metric": "a", "tolerance": -1.0, "files": []}),
    "a metric with a line break": put("reproduce", value={"metric": "a\nb", "tolerance": None, "files": []}),
    "a file above the outputs": put("reproduce", value={"metric": None, "tolerance": None, "files": ["../x"]}),
    "a checkpoint with another signal": put("checkpoint", value={"signal": "KILL"}),
    "a moment that is none": put("planned_at", value="now"),
    "a moment of no calendar": put("planned_at", value="2026-13-45T07:50:01Z"),
    "a moment before all": put("planned_at", value="0001-01-01T00:00:00Z"),
    "a moment with a slash": put("planned_at", value="2026-11-23T07:50:01/../Z"),
    "a version with words": put("tfslurm_version", value="1; rm -rf /"),
    "a parameter that is a list": put("parameters", value={"lr": [1]}),
    "parameters that are a list": put("parameters", value=[]),
    "another schema": put("schema", value="tfslurm.plan/2"),
    "an unknown rule for shared folders": put("shared_parents", value="ignore"),
    "a group that is an option": put("read_group", value="-R x"),
    "a group with a line break": put("read_group", value="lab\n"),
    "a root that is no path": put("roots", value=["$(id)"]),
    "processes without a limit": put("limits", "pids", value=-1),
    "a limit of a wrong type": put("limits", "log_mib", value="1; id"),
    "less than no layer": put("limits", "layer_mib", value=-1),
    "a list of the code that has no hash": put("code", "contents_sha256", value="$(id)"),
    "a very long list": put("command", value=["x"] * 100_001),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_value_that_no_user_could_have_written_is_refused(change: Change) -> None:
    with pytest.raises(RecordError, match=r"^plan\.json: "):
        read(forged(change))


@pytest.mark.parametrize(
    "change",
    [
        put("points", "sweep_id", value="../../evil"),
        put("points", "sweep_id", value="another-0f0f0f"),
        put("points", "count", value=10**9),
        put("points", "count", value=0),
        put("points", "points_per_job", value=-1),
        put("points", "sha256", value="x"),
    ],
)
def test_points_that_no_sweep_has_are_refused(change: Change) -> None:
    with pytest.raises(RecordError, match=r"^plan\.json: "):
        read(forged(change, array(entries())))


@pytest.mark.parametrize("key", sorted(to_json(plan())))
def test_nothing_of_a_plan_can_be_left_out_or_changed_unseen(key: str) -> None:
    whole = values_of(plan(FULL, options={}))
    for change in (lambda values: values.pop(key), put(key, value={"x": "y"}), put(key, value="x")):
        values = dict(whole)
        change(values)
        if values.get(key) == whole[key] or (key == "spec_file" and values.get(key) == "x"):
            continue  # the same, or only shown
        with pytest.raises(RecordError):
            read(values, folder=plan(FULL, options={}).job_name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" * 100_000, "nested deeper than"),
        (b'{"schema": ' * 50_000, "nested deeper than"),
        (b"", "Expecting value"),
        (b"\xff\xfe\xff", "plan.json"),
        (b"[]", "plan.json"),
        (b"null", "plan.json"),
        (b"{}", "'schema' is missing"),
        (b"1" * 10_000, "plan.json"),
    ],
)
def test_a_file_that_is_no_plan_is_one_line(text: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=why) as caught:
        read_plan("digits-0123456789ab", text, CLUSTER, "alice")
    assert len(str(caught.value).splitlines()) == 1


def test_a_plan_is_that_of_its_folder_cluster_root_and_user() -> None:
    values, name = values_of(plan()), plan().job_name
    for wrong in (
        {"folder": "digits-000000000000"},
        {"folder": f"other-{plan().plan_id}"},
        {"cluster": replace(CLUSTER, name="beta")},
        {"cluster": replace(CLUSTER, root=PurePosixPath("/scratch/bob"))},
        {"user": "bob"},
    ):
        with pytest.raises(RecordError, match="and here it must be"):
            read(values, **{"folder": name, **wrong})  # type: ignore[arg-type]


# --- points and ids


def lines(made: JobPlan) -> bytes:
    return bytes(point_files(Prepared(made, "", None, CLUSTER, "", entries()))["points.jsonl"].content)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"command": [', b'"command": ["steal", ', 1),
        lambda text: text.splitlines(keepends=True)[0],
        lambda text: text * 2,
        lambda text: b"[" * 100_000 + b"\n" + b"\n" * 2,
        lambda text: b"null\nnull\nnull\n",
        lambda text: b"",
        lambda text: b"\n" * 2**26,
        lambda text: text.replace(b'"command": [', b'"command": ["' + "é".encode() * 2**22 + b'", ', 1),
        lambda text: text[:-1],
        lambda text: text.replace(b'"id": "', b'"id": "../'),
    ],
)
def test_points_are_those_that_the_plan_has_the_hash_of(change: Callable[[bytes], bytes]) -> None:
    made = array(entries())
    assert read_points(made, lines(made)) == entries()
    with pytest.raises(RecordError, match=r"^points\.jsonl: "):
        read_points(made, change(lines(made)))


@pytest.mark.parametrize(
    ("points", "yes", "no"),
    [
        (
            None,
            ("1", "67108863"),
            ("1_0", "", "x", "1.0", "../1", "12345678901", "1\n", "0", "01", "4294967296", "9999999999"),
        ),
        (Points("s", 3, "x"), ("1_0", "1_2"), ("1", "1_3", "1_00", "1_0.0", "1_-1", "1_99999999999")),
        (Points("s", 3, "x", points_per_job=2), ("1_0.0", "1_0.1", "1_1.2"), ("1_0", "1_1.1", "1_1.3")),
    ],
)
def test_only_ids_that_a_job_of_the_plan_can_have(points: Points | None, yes: list[str], no: list[str]) -> None:
    made = plan(points=points)
    assert [is_job_of(made, job_id) for job_id in (*yes, *no)] == [True] * len(yes) + [False] * len(no)


@pytest.mark.parametrize(
    "words",
    [
        ("/r", "../../x", "0123456789ab"),
        ("/r", "a", "project"),
        ("/r", "", ""),
        ("/r", "a", "0123456789ab/.."),
        ("r", "a", "0123456789ab"),
        ("/", "a", "0123456789ab"),
        ("/r/../..", "a", "0123456789ab"),
        (None, "a", "0123456789ab"),
        ("/r", None, "0123456789ab"),
    ],
)
def test_no_path_is_made_of_what_is_no_run_folder(words: tuple[Any, Any, Any]) -> None:
    with pytest.raises(RecordError, match="tracker rebuild"):
        run_folder(*words)


@pytest.mark.parametrize("job_id", ["", "..", "../17", "17/../..", "/etc", "17_x", "17\n"])
def test_no_path_is_made_of_what_is_no_job(job_id: str) -> None:
    with pytest.raises(RecordError, match="is not the id of a job"):
        job_folder(PurePosixPath("/r/runs/a-0123456789ab"), job_id)


@pytest.mark.parametrize(
    "text",
    [
        *('{"exit_code": "x"}', '{"exit_code": 1e999}', '{"exit_code": -1}', '{"exit_code": 99999999999999999999}'),
        *('{"exit_code": true}', '{"exit_code": [0]}', '{"exit_code": 0, "signal": {}}', '{"reason": []}'),
        *('{"began_at": "2026-11-23T08:00:00"}', '{"ended_at": "9999-12-31T23:59:59-23:59"}'),
        *('{"exit_code": 0, "ended_at": 7}', "[" * 50_000, "[]", "7", '"x"', "", "\0"),
    ],
)
def test_an_end_that_no_job_writes_is_no_end(text: str) -> None:
    assert end_in(text) is UNWRITTEN


# --- on a machine


@pytest.fixture
def site(tmp_path: Path) -> Known:
    (tmp_path / "root" / "runs").mkdir(parents=True)
    slurm = FakeSlurm.made(tmp_path / "slurm", getuser())
    cluster = replace(CLUSTER, root=PurePosixPath(tmp_path / "root"), slurm_bin=PurePosixPath(slurm.bin))
    return Known(cluster, "text", None)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(tmp_path / "tfslurm" / "tracker.sqlite")


def send(site: Known, made: JobPlan | None = None, **files: str) -> Path:
    """A run folder as it is sent, with the id that sbatch gave, and job 17 that ended."""
    made = made or plan(cluster=site.cluster, user=getuser())
    folder = Path(made.run_dir)
    for name, file in run_files(Prepared(made, "", None, site.cluster, "", ()), {}, to_json(made)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.content)
    (folder / "17" / "attempt-1").mkdir(parents=True)
    (folder / "17" / "attempt-1" / "exit.json").write_text('{"exit_code": 3, "signal": null}')
    (folder / "sbatch.answer").write_text("17\n")
    return folder


def indexed(site: Known, tracker: Tracker) -> tuple[int, list[str]]:
    return rebuild(site, tracker, read_runs(session(tracker), site))


def test_what_was_sent_is_indexed_and_nothing_of_it_is_open(site: Known, tracker: Tracker) -> None:
    send(site)
    waits = send(site, plan(cluster=site.cluster, user=getuser(), planned_at="2026-11-24T07:50:01Z"))
    shutil.rmtree(waits / "17")
    (waits / "sbatch.answer").write_text("18;alpha\n")
    unsent = send(site, plan(cluster=site.cluster, user=getuser(), planned_at="2026-11-25T07:50:01Z"))
    shutil.rmtree(unsent / "17")
    (unsent / "sbatch.answer").unlink()
    count, left_out = indexed(site, tracker)
    assert (count, [line.partition(": ")[0] for line in left_out]) == (1, [unsent.name])
    assert [(job.key, job.state) for job in tracker.jobs()] == [("alpha:17", "FAILED"), ("alpha:18", "UNKNOWN")]
    assert [(each.stage, each.is_rebuilt) for each in tracker.plans()] == [("submitted", True)] * 2
    assert (tracker.plans(stage="planned"), tracker.sweeps.waiting()) == ([], [])


@pytest.mark.parametrize("planned_at", ["2026-11-24T07:50:01Z", "2099-12-31T23:59:59Z"])
def test_a_job_that_was_asked_for_here_is_nobody_elses(site: Known, tracker: Tracker, planned_at: str) -> None:
    own = plan(cluster=site.cluster, user=getuser())
    tracker.plan(own, "own")
    tracker.submit(own, "17")
    evil = send(site, plan(cluster=site.cluster, user=getuser(), planned_at=planned_at))
    count, left_out = indexed(site, tracker)
    assert (count, left_out) == (0, [f"{evil.name}: says that it has alpha:17, which is a job that was asked for here"])
    assert find_job(tracker, "alpha:17").plan_id == own.plan_id


@pytest.mark.parametrize("job_id", ["17+1", "4294967295", "17"])
def test_the_queue_gives_only_ids_that_a_job_can_have(
    site: Known, tracker: Tracker, tmp_path: Path, job_id: str
) -> None:
    folder = send(site)
    shutil.rmtree(folder / "17")
    (folder / "sbatch.answer").unlink()
    row = dict.fromkeys(QUEUE_FIELDS, "") | {"%i": job_id, "%T": "PENDING", "%M": "0:00", "%l": "1:00"}
    (tmp_path / "rows").write_text(FIELD.join((row | {"%j": folder.name}).values()) + ROW)
    FakeSlurm(tmp_path / "slurm").program("squeue", f"exec cat '{tmp_path}/rows'")
    indexed(site, tracker)
    assert [job.job_id for job in tracker.jobs()] == (["17"] if job_id == "17" else [])


def test_what_the_tracker_planned_itself_gets_its_id_and_stays_its_own(site: Known, tracker: Tracker) -> None:
    made = plan(cluster=site.cluster, user=getuser())
    tracker.plan(made, "own", untold=True)
    send(site, made)
    indexed(site, tracker)
    (kept,) = tracker.plans()
    assert (kept.stage, kept.is_rebuilt, kept.cluster_text) == ("submitted", False, "own")
    assert [job.key for job in tracker.jobs(untold=True)] == ["alpha:17"]


def as_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def as_link(path: Path) -> None:
    target = path.with_name(f"{path.name}-elsewhere")
    path.rename(target)
    path.symlink_to(target)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_others(path: Path) -> None:
    os.chown(path, 65534, 65534)


OF_FILES = [(make, "plan.json") for make in (as_fifo, as_sparse, as_link, as_folder, as_others)]


@pytest.mark.parametrize(("make", "what"), [*OF_FILES, (as_link, ""), (as_others, "")])
def test_what_is_no_file_of_the_users_own_is_named_and_the_rest_is_read(
    site: Known, tracker: Tracker, make: Callable[[Path], None], what: str
) -> None:
    evil = send(site, plan(cluster=site.cluster, user=getuser(), planned_at="2026-11-24T07:50:01Z"))
    send(site)
    make(evil / what if what else evil)
    count, left_out = indexed(site, tracker)
    assert count == 1
    assert [line for line in left_out if line.startswith(evil.name)]
    assert len({job.plan_id for job in tracker.jobs()}) == 1


@pytest.mark.parametrize("make", [as_link, as_others])
def test_a_job_folder_that_is_not_the_users_own_is_no_job(
    site: Known, tracker: Tracker, make: Callable[[Path], None]
) -> None:
    folder = send(site)
    make(folder / "17")
    (folder / "18_0").mkdir()
    indexed(site, tracker)
    assert [(job.key, job.state) for job in tracker.jobs()] == [("alpha:17", "UNKNOWN")]  # sbatch's answer says 17


def test_a_sweep_of_this_tracker_is_joined_by_nobody(site: Known, tracker: Tracker) -> None:
    stranger = identify(replace(array(entries()), root=str(site.cluster.root), user=getuser(), mounts=()))
    folder = Path(stranger.run_dir)
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(to_json(stranger)))
    (folder / "points.jsonl").write_bytes(lines(stranger))
    (folder / "sbatch.answer").write_text("17\n")
    tracker.sweeps.add(SWEEP, [])
    count, left_out = indexed(site, tracker)
    assert (count, tracker.jobs(), tracker.sweeps.points(SWEEP.sweep_id)) == (0, [], [])
    assert f"says that it is part of {SWEEP.sweep_id}, which was asked for here without it" in left_out[0]


# --- what removes asks again on the far side


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    folder = tmp_path / "thesis"
    (folder / "secrets").mkdir(parents=True)
    (folder / "a.tex").write_text("years of work")
    (folder / "secrets" / "b").write_text("b")
    return folder


PLACES = (
    "../../thesis",
    "",
    ".",
    "..",
    "a-b",
    "a-0123456789AB",
    "-a-0123456789ab",
    "0123456789ab",
    "a-0123456789ab/..",
)


@pytest.mark.parametrize("name", PLACES)
def test_the_far_side_removes_nothing_by_a_name_of_no_run_folder(tmp_path: Path, precious: Path, name: str) -> None:
    runs = tmp_path / "root" / "runs"
    (runs / "a-0123456789ab").mkdir(parents=True)
    (runs / "a-b").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = LocalHost().run(program("remove-run", str(runs), name))
    assert (done.exit_code, sorted(tmp_path.rglob("*"))) == (1, before)
    done = LocalHost().run(program("remove-run", str(tmp_path / "root"), "runs"))
    assert (done.exit_code, sorted(tmp_path.rglob("*"))) == (1, before)


@pytest.mark.parametrize("is_others", [False, True])
def test_a_run_folder_that_is_a_link_or_another_users_is_left_alone(
    tmp_path: Path, precious: Path, is_others: bool
) -> None:
    made = plan(cluster=replace(CLUSTER, root=PurePosixPath(tmp_path / "root")), user=getuser())
    run = Path(made.run_dir)
    run.parent.mkdir(parents=True)
    if is_others:
        shutil.copytree(precious, run)
        os.chown(run, 65534, 65534)
    else:
        run.symlink_to(precious)
    before = sorted(tmp_path.rglob("*"))
    assert LocalHost().run(program("remove-run", str(run.parent), run.name)).exit_code == 1
    with pytest.raises(HostError, match="is no folder of yours"):
        look_back(LocalHost(), made)
    assert read_ends(LocalHost(), [ExitRequest(made.run_dir, "17", forget=True)]) == [None]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("file", ["submit.lock", "sbatch.answer", "sbatch.began"])
@pytest.mark.parametrize("make", ["pipe", "link"])
def test_looking_back_opens_no_file_that_is_none(tmp_path: Path, file: str, make: str) -> None:
    made = plan(cluster=replace(CLUSTER, root=PurePosixPath(tmp_path / "root")), user=getuser())
    run = Path(made.run_dir)
    run.mkdir(parents=True)
    target = tmp_path / "target"
    os.mkfifo(run / file) if make == "pipe" else (run / file).symlink_to(target)
    with pytest.raises(HostError, match=f"its {file} is no regular file"):
        look_back(LocalHost(), made)
    assert not target.exists()


def test_what_was_arriving_goes_and_nothing_beside_it(tmp_path: Path) -> None:
    made = plan(cluster=replace(CLUSTER, root=PurePosixPath(tmp_path / "root")), user=getuser())
    runs = Path(made.run_dir.parent)
    for name in (f".{made.job_name}.AbCdEfGh", f".{made.job_name}.backup-of-mine", ".other"):
        (runs / name).mkdir(parents=True)
    assert look_back(LocalHost(), made).is_nothing
    assert sorted(path.name for path in runs.iterdir()) == [f".{made.job_name}.backup-of-mine", ".other", made.job_name]


def test_a_run_folder_that_is_gone_is_told_from_one_without_an_end(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a-0123456789ab"
    (run / "17").mkdir(parents=True)
    gone = PurePosixPath(tmp_path / "runs" / "a-ba9876543210")
    found = read_ends(LocalHost(), [ExitRequest(PurePosixPath(run), "17"), ExitRequest(gone, "17")])
    assert found[0] is None
    assert found[1] is GONE


def test_an_end_that_says_gone_is_no_end_and_the_folder_is_there(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a-0123456789ab"
    for number, text in enumerate(("gone", "", "=", "={}", "{}")):
        (run / f"17_{number}" / "attempt-1").mkdir(parents=True)
        (run / f"17_{number}" / "attempt-1" / "exit.json").write_text(text)
    found = read_ends(LocalHost(), [ExitRequest(PurePosixPath(run), f"17_{number}") for number in range(5)])
    assert found == [UNWRITTEN] * 5


def test_ends_of_any_size_hide_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "MOST_IN_ALL", 2**16)
    run = tmp_path / "runs" / "a-0123456789ab"
    for number in range(100):
        (run / f"17_{number}" / "attempt-1").mkdir(parents=True)
        end = '{"exit_code": 0, "signal": null, "reason": ""}'
        (run / f"17_{number}" / "attempt-1" / "exit.json").write_text(end if number == 7 else "x" * 10**5)
    found = read_ends(LocalHost(), [ExitRequest(PurePosixPath(run), f"17_{number}") for number in range(100)])
    assert [number for number, end in enumerate(found) if isinstance(end, End)] == [7]


def test_the_moments_of_a_plan_and_its_hash_are_what_they_were() -> None:
    made = plan(EXPERIMENT, planned_at=NOW)
    beside = {"roots": [], "shared_parents": "refuse", "read_group": "", "contents_sha256": ""}
    texts = {"spec_text": "name: digits\n", "template_text": ""}
    for more in ({}, texts):  # a plan of an older version, and one of this
        values = {key: value for key, value in values_of(made).items() if key not in texts.keys() - more.keys()}
        held = canonical({**beside, **more}, "plan")
        plan_id = sha256(f"{made.plan_sha256} {NOW}".encode() + held).hexdigest()[:12]
        assert identity(values) == (made.plan_sha256, plan_id)
    assert from_json(values_of(made)) == made


@pytest.mark.slow
@pytest.mark.parametrize("word", [b"", b"d 1000 4096 a-0123456789ab/1", b"x"])
def test_a_list_of_run_folders_takes_little_more_memory_than_it_says(word: bytes) -> None:
    tracemalloc.start()
    there, _ = listed(b"1000\0" + (word + b"\0") * (2**22 // (len(word) + 1)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(there) <= 1
    assert peak < 2**24


def test_a_list_of_run_folders_that_is_none_is_told_of() -> None:
    there, lines = listed(b"1000\0f 1000 5 a-0123456789ab/plan.json\0Welcome\0f x 5 b\0f 1000 1e9 c\0")
    assert list(there) == ["a-0123456789ab/plan.json"]
    assert lines == ["not all of the list of what is here can be read"]
