"""The container of a program that failed, kept for `tfslurm exec` (`submit --keep-on-failure`): every side of it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tfslurm
from tests import made
from tests.cluster.bed import wait_until
from tests.fakes.laptop import Laptop
from tests.fakes.site import Site, at_home
from tests.node_side import sourced
from tests.test_record import case
from tfslurm.api.session import session_of
from tfslurm.cli import run
from tfslurm.errors import InputError
from tfslurm.job_plan import from_json, to_json
from tfslurm.monitoring.poll import SIGNALLED, until
from tfslurm.monitoring.reasons import kept, reason_of, why
from tfslurm.record import record_from_json, record_json
from tfslurm.record.efficiency import efficiency
from tfslurm.record.model import Kept, Record
from tfslurm.run_folder.ending import KEPT_UNTIL, parse_end, parse_kept
from tfslurm.run_folder.plan_file import checked_plan
from tfslurm.spec import Checkpoint, Resources
from tfslurm.submission.keeping import cost, keeping
from tfslurm.submission.prepare import Asked
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known, local_cluster
from tfslurm.workspace.packaged_files import node_side

UNTIL = "2026-11-23T08:30:00Z"
TASK = "attempt-1/facts/task-0"
INSIDE = Path(__file__).parent.parent / "job_templates" / "inside"

# ------------------------------------------------------------------------------------------------------------ the node

# What stands here for an engine: its client is this machine's sh, which says that it waits as entry.sh does.
ENGINE = """
engine::run() { echo "run $1" >>"$folder/calls"; %(start)s; }
engine::stop() { echo "stop" >>"$folder/calls"; kill -s TERM "$client"; }
engine::remove() { echo "remove $1" >>"$folder/calls"; }
"""
WAITS = ': >"$program_dir/holding"; exec cat >/dev/null'
FAILED = (
    "exit_code=3 ended_id=c0ffee stopped='' warned='' mount_wrong='' looked=yes state_began=now state_running=false "
    "slow_facts='' started=yes client='' container_id='' admit_targets=() engine=docker"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An attempt whose program began."""
    for name in (f"{TASK}/container", "attempt-1/program/0", "attempt-1/home/0"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / TASK / "container" / "program-started-at.txt").write_text("now\n")
    return tmp_path


def bash(folder: Path, script: str, start: str = WAITS) -> subprocess.CompletedProcess[str]:
    """What a script gives that has the node side's functions, with a stand-in for the engine."""
    settings = (
        f"folder={folder} attempt_dir={folder}/attempt-1 facts={folder}/{TASK} "
        f"program_dir={folder}/attempt-1/program/0 where=alpha1 is_local='' rank=0 cluster=alpha job=145 "
        "job_dir=/nowhere own_dir=/nowhere run_dir=/nowhere read_group='' secrets=() checkpoint_signal='' "
        "keep_s=1800 grace_s=1 interrupted=''\n"
    )
    whole = f"set -euo pipefail\n{sourced()}\n{settings}{ENGINE % {'start': start}}\n{script}"
    return subprocess.run(["bash", "-c", whole], capture_output=True, text=True, timeout=60, check=False)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def kept_file(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / TASK / "kept.json").read_text())
    return found


@pytest.mark.parametrize(
    ("but", "is_kept"),
    [
        ("", True),
        ("exit_code=137 state_oom=true", True),
        ("exit_code=127", True),
        ("exit_code=0", False),
        ("keep_s=0", False),
        ("stopped=TERM", False),
        ("warned=yes", False),
        ("mount_wrong='/data is not what was looked at'", False),
        ("looked=''", False),
        ("state_began=''", False),
        ("state_running=true", False),
        ('echo lost >"$facts/lost.txt"', False),
        ('rm "$facts/container/program-started-at.txt"', False),
    ],
)
def test_a_container_is_kept_when_its_program_began_and_failed_by_itself(but: str, is_kept: bool, folder: Path) -> None:
    done = bash(folder, f'{FAILED}\n{but}\nkeep::choose; echo "<$kept_id>"')
    assert (done.stdout, done.stderr) == ("<c0ffee>\n" if is_kept else "<>\n", "")


def held(folder: Path, *, until: str = "", start: str = WAITS, before: str = "", meanwhile: str = "") -> str:
    """What comes of a task whose program has failed, when the attempt's end is written; stderr."""
    end = {"exit_code": 3, **({"kept_until_at": until} if until else {})}
    (folder / "attempt-1" / "exit.json").write_text(json.dumps(end))
    script = f'{FAILED}\n{before}\nset +e; keep::choose\n{meanwhile}\nkeep::hold; echo "left: <$kept_id>"'
    done = bash(folder, script, start)
    assert done.stdout == "left: <>\n", done.stderr
    assert not (folder / TASK / "to-keep").exists()
    assert not [*(folder / "attempt-1" / "program" / "0").iterdir()]
    return done.stderr


AHEAD = "2199-01-01T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"


def test_a_kept_container_is_started_again_and_removed_when_its_time_is_up(folder: Path) -> None:
    held(folder, until=PAST)
    assert calls(folder) == ["run c0ffee", "stop", "remove c0ffee"]
    found = kept_file(folder)
    assert (found["until_at"], found["ended_by"], found["reason"]) == (PAST, "time", None)
    assert found["began_at"] and found["ended_at"] >= found["began_at"]
    assert parse_kept((folder / TASK / "kept.json").read_bytes()).ended_by == "time"


@pytest.mark.slow
def test_a_stop_ends_the_keeping(folder: Path) -> None:
    stop = f"container::_stop() {{ :; }}\n{trap_for('kill -s TERM $client; stopped=TERM')}\n"
    stop += f"( until [[ -e {folder}/{TASK}/kept.json ]]; do read -r -t 0.05 <> <(:) || :; done; kill -s TERM $$ ) &"
    held(folder, until=AHEAD, meanwhile=stop)
    assert calls(folder) == ["run c0ffee", "remove c0ffee"]
    assert kept_file(folder)["ended_by"] == "stop"


def trap_for(words: str) -> str:
    return f"trap 'interrupted=yes; {words}' TERM"


def test_a_stop_before_the_end_is_written_keeps_nothing(folder: Path) -> None:
    held(folder, until=AHEAD, meanwhile="stopped=TERM")
    assert calls(folder) == ["remove c0ffee"]
    assert kept_file(folder) == {
        **kept_file(folder), "began_at": None, "ended_by": "stop", "reason": None
    }  # fmt: skip


def test_an_end_that_does_not_say_so_keeps_nothing(folder: Path) -> None:
    held(folder)
    assert calls(folder) == ["remove c0ffee"]


def test_an_engine_that_does_not_start_it_again_is_told_and_leaves_nothing(folder: Path) -> None:
    held(folder, until=AHEAD, start="echo 'Error: no space left' >&2; return 125")
    assert calls(folder) == ["run c0ffee", "remove c0ffee"]
    found = kept_file(folder)
    assert (found["began_at"], found["ended_by"], found["reason"]) == (None, "engine", "Error: no space left")


@pytest.mark.slow
def test_a_daemon_that_went_away_is_waited_for(folder: Path) -> None:
    gone = """engine::remove() {
        echo "remove $1" >>"$folder/calls"
        [[ -e $folder/asked ]] && return
        : >"$folder/asked"; echo "Cannot connect to the Docker daemon at unix:///x" >&2; return 1
    }"""
    held(folder, until=PAST, before=gone)
    assert calls(folder) == ["run c0ffee", "stop", "remove c0ffee", "remove c0ffee"]


@pytest.mark.slow
def test_a_client_that_is_lost_ends_the_keeping(folder: Path) -> None:
    held(folder, until=AHEAD, start=': >"$program_dir/holding"; until [[ -e $facts/kept.json ]]; do :; done')
    assert kept_file(folder)["ended_by"] == "engine"
    assert kept_file(folder)["reason"] == "the container ended before its time"


@pytest.mark.parametrize(
    "left",
    [
        'ln -s "$folder/elsewhere" "$program_dir/keep"; ln -s "$folder/other" "$program_dir/holding"',
        'mkdir -p "$program_dir/holding/a" "$program_dir/waiting/b"; : >"$program_dir/keep"',
        'mkfifo "$program_dir/keep" "$program_dir/holding"',
    ],
)
def test_what_a_program_left_under_the_names_of_the_node_is_removed_and_not_followed(left: str, folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "mine").write_text("mine")
    looks = 'test -d "$program_dir/keep" && test ! -L "$program_dir/keep" && : >"$program_dir/holding" && exec cat'
    held(folder, until=PAST, before=left, start=looks)
    assert kept_file(folder)["ended_by"] == "time"
    assert (folder / "elsewhere" / "mine").read_text() == "mine"
    assert not (folder / "other").exists()


def test_what_a_task_left_that_died_while_it_kept_a_container_is_swept(folder: Path) -> None:
    (folder / TASK / "to-keep").write_text("c0ffee\n")
    was = {"began_at": "2026-11-23T08:00:00.123Z", "until_at": UNTIL, "ended_at": None, "ended_by": None}
    (folder / TASK / "kept.json").write_text(json.dumps(was))
    done = bash(folder, f"{FAILED}; stopped=''; keep::sweep c0ffee && keep::sweep c0ffee || echo swept")
    assert (done.stdout, done.stderr) == ("swept\n", "")
    assert calls(folder) == ["remove c0ffee"]
    found = kept_file(folder)
    assert (found["began_at"], found["until_at"], found["ended_by"]) == (was["began_at"], UNTIL, "lost")
    assert parse_kept((folder / TASK / "kept.json").read_bytes()).ended_at


def test_a_container_that_its_task_could_not_remove_is_removed_by_the_sweep_and_its_end_stays(folder: Path) -> None:
    (folder / TASK / "to-keep").write_text("c0ffee\n")
    fails = (
        'engine::remove() { echo "podman rm: no answer in 1 s" >&2; return 124; }; kept_id=c0ffee kept_ended_by=stop'
    )
    empty = "kept_began='' kept_until='' kept_why=''"
    done = bash(folder, f"{FAILED}; stopped=TERM; {empty}; {fails}; keep::end")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    end = kept_file(folder)
    assert (end["ended_by"], (folder / TASK / "to-keep").exists()) == ("stop", True)
    done = bash(folder, f"{FAILED}; keep::sweep c0ffee && keep::sweep c0ffee || echo swept")
    assert (done.stdout, done.stderr) == ("swept\n", "")
    assert (calls(folder), kept_file(folder)) == (["remove c0ffee"], end)


@pytest.mark.parametrize("said", ["SLURM_JOB_END_TIME=%s", "timeout() { echo %s; }"], ids=["variable", "squeue"])
@pytest.mark.parametrize(("limit", "is_sooner"), [("N/A", False), ("$((now_s + 60))", True), ("$((now_s * 2))", False)])
def test_it_is_kept_for_its_time_and_no_longer_than_the_jobs(
    said: str, limit: str, is_sooner: bool, folder: Path
) -> None:
    """Slurm says when the job ends: in a variable, or where that is not there, by `timeout 10 squeue …`."""
    script = f"printf -v now_s '%(%s)T' -1; raw_job_id=145; {said % limit};  stopped='' kept=yes; keep::until"
    done = bash(folder, f'{script}; echo $(($(date --date="$kept_until" +%s) - now_s))')
    assert (abs(int(done.stdout) - (60 if is_sooner else 1800)) < 20, done.stderr) == (True, "")


@pytest.mark.parametrize(
    ("until", "says"), [("2026-11-23T08:30:00Z", True), ("2198-01-01T00:00:00Z", False), ("", False)]
)
def test_a_command_is_told_that_its_container_was_kept_so_long(until: str, says: bool, folder: Path) -> None:
    if until:
        (folder / TASK / "kept.json").write_text(json.dumps({"until_at": until}))
    done = bash(folder, f"task_facts={folder}/{TASK}; exec::_tell_of_time")
    said = f"tfslurm: alpha1: container: it was kept until {until}, so the command was ended\n" if says else ""
    assert (done.returncode, done.stderr) == (0, said)


def test_the_end_of_an_attempt_says_until_when_and_others_have_the_bytes_that_they_had(folder: Path) -> None:
    end = "began_at=now kept_until=%s; batch::_exit_json 3 program ''; cat $attempt_dir/exit.json"
    plain = json.loads(bash(folder, end % "''").stdout)
    assert list(plain) == ["exit_code", "signal", "began_at", "ended_at", "cause", "reason"]
    assert json.loads(bash(folder, end % UNTIL).stdout)["kept_until_at"] == UNTIL


def test_the_batch_role_is_woken_by_a_task_that_waits_for_its_end(folder: Path) -> None:
    """The look beside it wakes it, again and again, until the end is written."""
    script = """
    stopped='' checkpoint_requeue=false nodes=1 tasks_per_node=1
    keep::listen
    printf '{"exit_code": 3}' >"$facts/exit.json"
    sleep 50 & tasks=$!
    ( until kill -0 "$tasks" 2>/dev/null; do :; done; : >"$facts/to-keep"
      while [[ ! -e $attempt_dir/exit.json ]]; do keep::wake; read -r -t 0.1 <> <(:) || :; done ) &
    node::_wait "$tasks" batch::_have_ended
    echo "$kept $waited_code"
    : >"$attempt_dir/exit.json"
    kill "$tasks"
    """
    assert bash(folder, script).stdout == "yes 3\n"


def test_a_task_that_lost_its_slurmstepd_has_the_time_to_remove_its_container(folder: Path) -> None:
    for name, text in {"lost.txt": "slurmstepd", "cause": "lost\n", "exit.json": "{}", "to-keep": "c0ffee\n"}.items():
        (folder / TASK / name).write_text(text)
    script = 'supervision::_task_is_lost && echo lost || echo waits; rm "$facts/to-keep"; supervision::_task_is_lost'
    done = bash(folder, f"{script} && echo lost")
    assert done.stdout.split() == ["waits", "lost"]


# ------------------------------------------------------------------------------------------------------- the container


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
@pytest.mark.parametrize("wait", ["", "yes"])
def test_entry_waits_in_the_place_of_the_program_until_its_lifeline_ends(shell: str, wait: str, tmp_path: Path) -> None:
    text = (INSIDE / "entry.sh").read_text().replace("/run/tfslurm/", f"{tmp_path}/")
    (tmp_path / "entry.sh").write_text(text)
    (tmp_path / "keep").mkdir()
    words = [*shlex.split(shell), str(tmp_path / "entry.sh"), "1", "0022", wait, "", "", "--", "--", "--"]
    with subprocess.Popen([*words, "touch", str(tmp_path / "ran")], stdin=subprocess.PIPE, text=True) as entry:
        assert entry.stdin
        if wait:
            assert wait_until((tmp_path / "waiting").exists, 20)
            assert not (tmp_path / "holding").exists()
            entry.stdin.write("go\n")
            entry.stdin.flush()
        assert wait_until((tmp_path / "holding").exists, 20)
        assert entry.poll() is None
        entry.stdin.close()
        assert entry.wait(20) == 0
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------------------------------- what is asked


def asked(**changes: Any) -> Asked:
    return Asked(Path("exp.yaml"), "", made.experiment(**changes), {})


@pytest.fixture
def alpha() -> list[Known]:
    return [Known(made.CLUSTER, "", None, "own")]


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [("30m", 1800, "1 GPU and 4 CPUs for 30 min"), ("90s", 90, "90 s"), ("2h", 7200, "2 h"), ("7d", 604_800, "7 d")],
)
def test_a_time_is_taken_and_its_cost_told(text: str, seconds: int, words: str, alpha: list[Known]) -> None:
    found = keeping(asked(), text, alpha)
    assert found.keep_on_failure_s == seconds
    assert words in cost(found) and "`tfslurm cancel` ends that" in cost(found)


@pytest.mark.parametrize(
    "text", ["", "30", "0", "0m", "8d", "-5m", "1.5h", "30m ", "30 m", "1h30m", "٣٠m", "30m;rm", "∞"]
)
def test_another_time_is_refused(text: str, alpha: list[Known]) -> None:
    with pytest.raises(InputError, match=r"--keep-on-failure .*(is no time|is not between 1s and 7d); write 30m"):
        keeping(asked(), text, alpha)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sweep": {"grid": {"lr": [1, 2]}}}, "each point that fails would hold its GPUs"),
        ({"resources": Resources(nodes=2)}, "keeps one container"),
        ({"resources": Resources(cpus=2, tasks_per_node=2)}, "keeps one container"),
        ({"checkpoint": Checkpoint("USR1", 60, True, 3)}, "Slurm could start a program again that has failed"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_reason(changes: Any, why: str, alpha: list[Known]) -> None:
    with pytest.raises(InputError, match=why):
        keeping(asked(**changes), "30m", alpha)


def test_this_machine_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"cluster local: has no step of Slurm's"):
        keeping(asked(), "30m", [local_cluster(print)])


def test_a_job_with_a_checkpoint_that_is_not_queued_again_may_be_kept(alpha: list[Known]) -> None:
    assert keeping(asked(checkpoint=Checkpoint("USR1", 60)), "1h", alpha).keep_on_failure_s == 3600


def test_a_plan_says_it_and_one_without_is_as_it_was() -> None:
    plain, keeps = made.plan(), made.plan(keep_on_failure_s=1800)
    assert "keep_on_failure_s" not in to_json(plain)
    assert from_json(to_json(keeps)) == keeps and checked_plan(json.dumps(to_json(keeps)).encode()) == keeps
    assert keeps.plan_sha256 == plain.plan_sha256, "the same job is asked for"
    assert keeps.plan_id != plain.plan_id


@pytest.mark.parametrize("value", [-1, 604_801, "30m", 1.5, True])
def test_a_plan_of_a_stranger_with_another_time_is_refused(value: object) -> None:
    values = {**to_json(made.plan()), "keep_on_failure_s": value}
    with pytest.raises(Exception, match=r"plan\.json: "):
        checked_plan(json.dumps(values).encode())


def test_submit_says_what_it_may_cost_and_sends_the_time(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    file = laptop.experiment(resources={"gpus": 2, "cpus": 8})
    assert laptop.type("submit", file, "--cluster", "alpha", "--keep-on-failure", "30m") == 0
    said = capsys.readouterr()
    assert said.out == "alpha:101\n"
    assert "note: if the program fails, the job may hold 2 GPUs and 8 CPUs for 30 min more" in said.err
    (script,) = (laptop.root / "runs").glob("*/job.sbatch")
    assert "\nkeep_s=1800 " in script.read_text()
    assert laptop.type("submit", file, "--cluster", "alpha") == 1, "the same job is there already"
    assert laptop.type("submit", file, "--cluster", "alpha", "--keep-on-failure", "soon") == 2
    assert "error: --keep-on-failure 'soon': is no time; write 30m or 1h" in capsys.readouterr().err


def test_python_submits_the_same(laptop: Laptop, caplog: pytest.LogCaptureFixture) -> None:
    file = laptop.experiment(resources={"gpus": 1})
    try:
        with caplog.at_level("INFO", "tfslurm"):
            sent = tfslurm.submit(file, cluster="alpha", keep_on_failure="2h")
        assert isinstance(sent, tfslurm.Job)
        assert "note: if the program fails, the job may hold 1 GPU and 1 CPU for 2 h more" in caplog.text
        (known,) = laptop.tracker.jobs()
        assert laptop.tracker.plans(plan_id=known.plan_id)[0].plan.keep_on_failure_s == 7200
        with pytest.raises(tfslurm.InputError, match="is no time"):
            tfslurm.submit(file, cluster="alpha", keep_on_failure="long")
        with pytest.raises(tfslurm.InputError, match="each point that fails would hold its GPUs"):
            tfslurm.submit(laptop.experiment(command=["true", "{{ x }}"]), x=[1, 2], keep_on_failure="1h")
    finally:
        session_of.cache_clear()


# -------------------------------------------------------------------------------------------------------- what is told


def running(**status: Any) -> TrackedJob:
    return TrackedJob("alpha", "7", made.NOW, "0" * 12, "digits", "RUNNING", False, status)


def test_a_kept_job_says_until_when_what_it_holds_and_how_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    status = {"exit_code": 3, "cause": "program", "reason": "", "kept_until_at": UNTIL}
    ways = "`tfslurm exec alpha:7` goes in, `tfslurm cancel alpha:7` ends it"
    assert reason_of(running(**status)) == "exit 3"
    assert why(running(**status, kept_gpus=2)).startswith("exit 3; its container and 2 GPUs are kept until 2026-11-2")
    assert kept(running(**status, kept_gpus=0)).startswith("its container is kept until ")
    assert kept(running(**status, kept_gpus=1)).endswith(f":30: {ways}")
    sooner = running(**status, ended_at="2026-11-23T08:29:00Z")
    assert kept(sooner).endswith(f":29: {ways}"), "no longer than the time limit"
    assert kept(running(exit_code=None)) == ""
    assert kept(running(kept_until_at="nonsense", kept_gpus="many")).startswith("its container is kept until : ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("CANCELLED", "exit 3; cancelled while its container was kept"),
        ("TIMEOUT", "exit 3; its time limit was reached while its container was kept"),
        ("FAILED", "exit 3"),
    ],
)
def test_an_end_while_it_was_kept_is_not_taken_for_the_programs(state: str, words: str) -> None:
    status = {"exit_code": 3, "cause": "program", "reason": "", "kept_until_at": UNTIL, "nodes": ["n1"]}
    assert why(running(**status)._replace(state=state, final=True)) == words


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made_site = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))
    made_site.queue([])
    made_site.accounts([])
    at_home(made_site, monkeypatch)
    return made_site


def sent(site: Site, *, keep_s: int) -> TrackedJob:
    plan = replace(made.plan(), cluster="alpha", root=str(site.root), keep_on_failure_s=keep_s)
    site.tracker.plan(plan, "")
    site.tracker.submit(plan, "7")
    return site.job("7")


def ended(site: Site, job: TrackedJob, **more: Any) -> None:
    """The files of a job whose program has failed."""
    site.ended(job, exit_code=3, signal=None, cause="program", reason="", ended_at=made.NOW, **more)
    folder = Path(site.root) / "runs" / job.job_name / job.job_id
    (folder / "latest").write_text("attempt-1\n")
    (folder / TASK).mkdir(parents=True)
    (folder / TASK / "container-id.txt").write_text("c0ffee\n")
    (folder / "attempt-1" / "stderr.log").write_text("ValueError: wrong\n")


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(words))
    return code, *capsys.readouterr()


def test_wait_status_and_logs_tell_of_a_failure_at_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    job = sent(site, keep_s=1800)
    ended(site, job, kept_until_at="2198-01-01T00:00:00Z")
    site.queue([(job, "RUNNING", "None")])
    code, _, said = typed(capsys, "wait", "7")
    assert code == 3
    assert "alpha:7: exit 3: ValueError: wrong; `tfslurm logs alpha:7` shows what it printed\n" in said
    assert "alpha:7: its container and 1 GPU are kept until " in said
    code, out, _ = typed(capsys, "status", "7", "--json")
    (found,) = json.loads(out)
    assert (found["state"], found["exit_code"], found["kept_gpus"]) == ("RUNNING", 3, 1)
    assert found["kept_until_at"] == "2198-01-01T00:00:00Z"
    assert "exit 3; its container and 1 GPU are kept" in " ".join(typed(capsys, "status", "7")[1].split())
    code, _, said = typed(capsys, "logs", "-f", "7")
    assert (code, "its container and 1 GPU are kept until" in said) == (0, True)
    site.queue([])
    site.accounts([(job, "FAILED", "3:0")])
    assert typed(capsys, "wait", "7")[0] == 3
    assert (site.job("7").state, why(site.job("7"))) == ("FAILED", "exit 3")


def test_a_job_that_runs_or_keeps_nothing_is_asked_no_more_than_before(site: Site) -> None:
    job = sent(site, keep_s=0)
    ended(site, job, kept_until_at=UNTIL)
    site.queue([(job, "RUNNING", "None")])
    site.refresh()
    assert "kept_until_at" not in site.job("7").status and site.job("7").status["exit_code"] is None


def test_a_job_whose_program_runs_is_no_failure(site: Site) -> None:
    job = sent(site, keep_s=1800)
    (Path(site.root) / "runs" / job.job_name / "7" / "attempt-1").mkdir(parents=True)
    site.queue([(job, "RUNNING", "None")])
    site.refresh()
    assert site.job("7").status["exit_code"] is None and why(site.job("7")) == ""


def test_a_job_whose_batch_script_is_killed_before_it_has_written_the_end_says_so(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the outputs are hashed, say: the task's own end is there."""
    job = sent(site, keep_s=1800)
    ended(site, job)
    folder = Path(site.root) / "runs" / job.job_name / "7" / "attempt-1"
    (folder / "exit.json").rename(folder / "facts" / "task-0" / "exit.json")
    site.queue([])
    site.accounts([(job, "FAILED", "0:9")])
    assert typed(capsys, "wait", "7")[0] == 137
    assert why(site.job("7")) == SIGNALLED.format(9)
    assert SIGNALLED.format(9)[:40] in " ".join(typed(capsys, "status", "7")[1].split())


@pytest.mark.parametrize(("limit", "sooner"), [(AHEAD, False), ("2020-01-01T00:00:00Z", True), (None, False)])
def test_programs_are_told_the_time_limit_where_it_is_sooner(limit: str | None, sooner: bool) -> None:
    """Slurm 22.05 does not tell a job on its node until when it may run."""
    status = case("failed").status._replace(state="RUNNING", ended_at=limit)
    assert until(UNTIL, status) == (limit if sooner else UNTIL)
    assert until(UNTIL, status._replace(state="FAILED")) == UNTIL, "it has ended: that was no limit"


@pytest.mark.parametrize("text", ['"soon"', "7", "[]", '"2026-13-01T00:00:00Z"', '"\\u001b[31m"'])
def test_an_end_with_another_moment_is_no_end(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|month"):
        parse_end(f'{{"exit_code": 3, "kept_until_at": {text}}}')


# --------------------------------------------------------------------------------------------------------- the record

KEPT = {"began_at": "2026-11-23T08:00:00.5Z", "until_at": UNTIL, "ended_at": "2026-11-23T08:12:31.9Z",
        "ended_by": "time", "reason": None}  # fmt: skip


def recorded(kept: object = KEPT, entered: Sequence[str] = (), state: str = "FAILED", **end: Any) -> Record:
    """The record of a job that failed, and whose container was kept then."""
    made_case = case("failed")
    files = dict(made_case.files)
    files["attempt-1/exit.json"] = json.dumps(
        {**json.loads(files["attempt-1/exit.json"]), "kept_until_at": UNTIL, **end}
    ).encode()
    if kept is not None:
        files[f"{TASK}/kept.json"] = kept if isinstance(kept, bytes) else json.dumps(kept).encode()
    if entered:
        files[f"{TASK}/entered.tsv"] = "".join(f"{moment}\ttoken\n" for moment in entered).encode()
    return made_case.build(files=files, status=made_case.status._replace(state=state))


def test_a_record_has_the_kept_time_apart_from_the_programs() -> None:
    plain, found = case("failed").build(), recorded()
    attempt = found.attempts[0]
    assert attempt.kept == Kept("2026-11-23T08:00:00Z", UNTIL, "2026-11-23T08:12:31Z", "time", None, 0)
    assert replace(attempt, kept=None) == plain.attempts[0]
    assert found.experiment.outputs == plain.experiment.outputs
    assert record_from_json(record_json(found)) == found
    told = "container: it was kept for 0:12:31 after its program had failed; the job held its resources so long"
    assert told in found.warnings
    assert "kept" not in record_json(plain)["attempts"][0]
    used = efficiency(record_json(found))
    assert (used.kept_s, replace(used, kept_s=0)) == (751, efficiency(record_json(plain)))


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "PREEMPTED"])
def test_an_end_while_it_was_kept_does_not_change_what_ended_the_program(state: str) -> None:
    found = recorded({**KEPT, "ended_by": "stop"}, state=state)
    assert (found.job.state, found.attempts[0].ended_by, found.attempts[0].exit_code) == (state, "program", 3)


def test_commands_before_and_after_the_failure_are_told_apart() -> None:
    found = recorded(entered=["2026-11-23T07:59:59.9Z", "2026-11-23T08:00:00.5Z", "2026-11-23T08:05:00Z"])
    assert found.attempts[0].kept and found.attempts[0].kept.commands == 2
    beside, after = (line for line in found.warnings if "tfslurm exec" in line)
    assert beside.startswith("container: 1 command was run in it beside the program")
    assert after == (
        "container: 2 commands were run in it after its program had failed (tfslurm exec); the outputs may differ from "
        "their sums, which are of the failure"
    )


def test_a_record_says_why_it_was_not_kept_and_what_nobody_wrote_down() -> None:
    lost = recorded({**KEPT, "began_at": None, "ended_by": "engine", "reason": "no\nspace"})
    assert "container: it was not kept after its program had failed: no space" in lost.warnings
    never = recorded(None)
    assert never.attempts[0].kept == Kept(None, UNTIL, None, None, None, 0)
    assert never.unknown["attempts[0].kept.ended_at"] == "kept.json was not written"


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"ended_by": "magic"}', b'{"reason": 7}', b'{"began_at": "soon"}', b'{"until_at": []}',
     b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
def test_a_file_that_no_node_wrote_is_no_fact(raw: bytes) -> None:
    found = recorded(raw)
    assert found.attempts[0].kept == Kept(None, UNTIL, None, None, None, 0)
    assert found.unknown["attempts[0].kept.ended_at"].startswith("kept.json cannot be read: ")


def test_a_line_that_no_node_wrote_counts_as_a_command_after_the_failure() -> None:
    kept_then = recorded(entered=["nonsense", "2026-11-23T08:00:00.5Z"]).attempts[0].kept
    assert kept_then and kept_then.commands == 2


def test_each_word_for_the_end_of_the_keeping_is_written_by_the_node_and_known_here() -> None:
    text = node_side("docker", points=False)["task.sh"]
    written = {word for word in KEPT_UNTIL if f"kept_ended_by={word}" in text or f"kept_ended_by='{word}'" in text}
    assert written == set(KEPT_UNTIL)
