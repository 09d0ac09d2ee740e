"""What a user is told of jobs that have ended: why they failed, their last lines, and work that is gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.site import Site, at_home
from tfslurm.cli import run
from tfslurm.monitoring.backoff import Pace
from tfslurm.retrieval.endings import LINES, MOST_BYTES, last_lines
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known

MISSING = (
    "Traceback (most recent call last):\n  File \"train.py\", line 1\nModuleNotFoundError: No module named 'pandas'\n"
)
DIFF = "C /tmp\nA /tmp/model.h5\nA /home\nA /home/alice\nC /workspace\nA /out\nC /etc\nA /etc/hosts\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path, Tracker(tmp_path / "tfslurm" / "tracker.sqlite"))
    made.queue([])
    made.accounts([])
    at_home(made, monkeypatch)
    return made


def left(
    site: Site,
    job: TrackedJob,
    *,
    stderr: str = "",
    stdout: str = "",
    diff: str = "",
    rank: int = 0,
    started: bool = True,
    out: tuple[str, ...] = ("metrics.json",),
    **end: Any,
) -> Path:
    """The files of one job that has ended, as the node scripts leave them."""
    site.ended(job, **end)
    folder = Path(site.root) / "runs" / job.job_name / job.job_id
    (folder / "latest").write_text("attempt-1\n")
    for each in range(rank + 1):
        facts = folder / "attempt-1" / "facts" / f"task-{each}"
        facts.mkdir(parents=True)
        code = end["exit_code"] if each == rank else 143
        (facts / "exit.json").write_text(json.dumps({"exit_code": code, "oom_killed": False}))
        (facts / "events.tsv").write_text("" if each == rank else "t\ttold-to-stop\tSIGTERM\n")
        (facts / "container-diff.txt").write_text(diff)
        (facts / ("container-id.txt" if started else "refused.txt")).write_text("x\n")
    mark = f".{rank}" if rank else ""
    (folder / "attempt-1" / f"stderr{mark}.log").write_text(stderr)
    (folder / "attempt-1" / f"stdout{mark}.log").write_text(stdout)
    (folder / "out").mkdir()
    for name in out:
        (folder / "out" / name).write_text("{}")
    return folder


def failed(site: Site, *jobs: TrackedJob, state: str = "FAILED") -> None:
    site.queue([(job, state, "None") for job in jobs])
    site.accounts([(job, state, "1:0") for job in jobs])


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    run(list(words))
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("command", ["wait", "watch"])
def test_a_job_that_failed_shows_its_last_lines_and_the_one_that_tells(
    site: Site, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (job,) = site.submit("7")
    failed(site, job)
    left(site, job, exit_code=1, stderr="".join(f"step {number}\n" for number in range(100)) + MISSING)
    said = said_by(capsys, command, "alpha:7")
    at = said.index("alpha:7: the last lines of its stderr:")
    shown, (why,) = said[at + 1 : at + 1 + LINES], said[at + 1 + LINES :]
    assert shown == [
        *(f"  step {number}" for number in range(88, 100)),
        *(f"  {line}" for line in MISSING.splitlines()),
    ]
    assert why.startswith("alpha:7: exit 1: ModuleNotFoundError: No module named 'pandas'; the image has no such")
    assert why.endswith("; `tfslurm logs alpha:7` shows what it printed")


def test_of_several_tasks_the_one_that_failed_by_itself_tells(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = site.submit("7")
    failed(site, job)
    reason = "task 2 ended with 3, so the others were ended"
    left(site, job, exit_code=3, stderr="ValueError: rank 2 alone\n", rank=2, cause="program", reason=reason)
    assert f"alpha:7: exit 3: {reason}: ValueError: rank 2 alone; " in said_by(capsys, "wait", "7")[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "files", "shown", "why"),
    [
        ({"exit_code": 1}, {"stdout": "error: only on stdout\n"}, "stdout", "exit 1: error: only on stdout"),
        (
            {"exit_code": 78, "cause": "refused", "reason": "tfslurm: n1: mounts: /data does not exist"},
            {"started": False},
            "",
            "exit 78: not started: n1: mounts: /data does not exist",
        ),
        (
            {"exit_code": 137, "cause": "memory", "reason": "memory (1 GiB) used up"},
            {"stderr": "ValueError: an old one\n"},
            "stderr",
            "memory (1 GiB) used up; ask for more `memory`",
        ),
        (
            {"exit_code": 127},
            {"stderr": "sh: 1: pyhton: not found\n"},
            "stderr",
            "exit 127: sh: 1: pyhton: not found; ",
        ),
        ({"exit_code": 139}, {"stderr": "I am a prompt"}, "stderr", "exit 139: it crashed: I am a prompt"),
        ({"exit_code": 9}, {}, "", "exit 9"),
    ],
)
def test_each_way_to_fail_has_its_reason(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    end: dict[str, Any],
    files: dict[str, Any],
    shown: str,
    why: str,
) -> None:
    (job,) = site.submit("7")
    failed(site, job)
    left(site, job, **files, **end)
    said = said_by(capsys, "wait", "7")
    assert said[-1].startswith(f"alpha:7: {why}")
    assert [line for line in said if line.startswith("alpha:7: the last lines")] == (
        [f"alpha:7: the last lines of its {shown}:"] if shown else []
    )


def test_many_that_failed_are_told_by_cause_the_most_frequent_first(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = site.submit("1", "2", "3", "4")
    failed(site, *jobs)
    left(site, jobs[0], exit_code=2, stderr="t.py: error: unrecognized arguments: --lrr\n")
    for number, job in enumerate(jobs[1:]):
        left(site, job, exit_code=1, stderr=f"RuntimeError: loss is nan at step {number}\n")
    said = said_by(capsys, "wait", "1", "2", "3", "4")
    assert said[-2].startswith("alpha:2 and 2 more (alpha:3, alpha:4): exit 1: RuntimeError: loss is nan at step 0")
    assert said[-1].startswith("alpha:1: exit 2: t.py: error: unrecognized arguments: --lrr; correct `command`")
    assert not [line for line in said if "last lines" in line]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"diff": DIFF, "out": ()},
            "1 file was lost with the container: /tmp/model.h5; only /out and writable mounts are kept",
        ),
        ({"diff": DIFF.replace("/tmp/", "/out/")}, ""),
        ({"diff": "A /opt/a\nA /opt/b\n"}, "2 files were lost with the container: /opt/a, /opt/b; only /out and …"),
        ({"diff": "A /opt/" + "x" * MOST_BYTES}, ""),
        ({"diff": "C /tmp\nC /var\nC /var/tmp\nC /root\n"}, ""),
        ({"diff": "nonsense"}, ""),
        ({"out": ()}, "the program left nothing in /out"),
    ],
)
def test_work_that_is_gone_is_told_of_a_job_that_ended_well(
    site: Site, capsys: pytest.CaptureFixture[str], files: dict[str, Any], told: str
) -> None:
    (job,) = site.submit("7")
    site.queue([(job, "COMPLETED", "None")])
    left(site, job, exit_code=0, **files)
    first, _, _ = told.partition("…")
    assert [line.startswith(f"warning: alpha:7: {first}") for line in said_by(capsys, "wait", "7")[1:]] == [
        True
    ] * bool(told)


def test_a_run_folder_that_is_a_link_or_gone_tells_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = site.submit("7")
    failed(site, job)
    folder = left(site, job, exit_code=1, stderr="secret of another\n")
    run(["wait", "7"])
    folder.parent.rename(folder.parent.with_name("elsewhere"))
    folder.parent.symlink_to("elsewhere")
    capsys.readouterr()
    assert said_by(capsys, "wait", "7") == [
        "alpha:7 FAILED",
        "alpha:7: exit 1; `tfslurm logs alpha:7` shows what it printed",
    ]


def test_lines_are_as_a_terminal_had_left_them_and_none_is_long() -> None:
    assert last_lines(b"\x1b[1m1/2\x1b[0m\rdone 2/2\n\xff" + b"x" * 1000 + b"\n\n") == (
        "done 2/2",
        "\ufffd" + "x" * 399,
    )
    assert last_lines(b"10 %\b\b\b\b20 %\r\n") == ("20 %",)
    assert last_lines(b"") == last_lines(b"\n \n") == ()


# --- logs


def test_the_logs_of_a_job_that_runs_or_waits_say_its_state_as_it_is_now(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = site.submit("7")
    (Path(site.root) / "runs" / job.job_name).mkdir(parents=True)
    for state, reason, told in (
        ("PENDING", "Resources", "PENDING: it is next; it waits for nodes to become free"),
        ("RUNNING", "None", "RUNNING"),
    ):
        site.queue([(job, state, reason)])
        assert said_by(capsys, "logs", "7") == [f"alpha:7: has written nothing yet ({told})"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["logs"], ["logs", "-f"]], ids=" ".join)
@pytest.mark.parametrize(
    ("state", "end", "stderr", "last"),
    [
        (
            "FAILED",
            {"exit_code": 137, "cause": "memory", "reason": "memory (1 GiB) used up"},
            "",
            "memory (1 GiB) used up; ask for more `memory`",
        ),
        (
            "FAILED",
            {"exit_code": 137, "cause": "memory", "reason": "memory (2 MiB) used up"},
            "step 1\n",
            "memory (2 MiB) used up; ask for more `memory`",
        ),
        (
            "TIMEOUT",
            {"exit_code": 143, "cause": "stopped"},
            "step 1\n",
            "time limit of 0:01:00 reached; more `time`, or `checkpoint`",
        ),
        ("CANCELLED", {"exit_code": 137, "cause": "stopped"}, "step 1\n", "cancelled; ignored TERM, killed"),
        ("FAILED", {"exit_code": 3, "cause": "program"}, "", "exit 3"),
    ],
)
def test_the_logs_of_a_job_that_something_else_ended_say_what(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    state: str,
    end: dict[str, Any],
    stderr: str,
    last: str,
) -> None:
    (job,) = site.submit("7")
    failed(site, job, state=state)
    left(site, job, stderr=stderr, **end)
    site.refresh()
    lines = said_by(capsys, *words, "7")
    assert lines[-1] == f"alpha:7: {last}"
    assert lines[0] == (stderr.strip() or f"alpha:7: wrote nothing ({state})")


def test_the_logs_of_a_program_that_failed_are_what_it_wrote_and_nothing_else(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = site.submit("7")
    failed(site, job)
    left(site, job, exit_code=1, stderr=MISSING)
    site.refresh()
    assert said_by(capsys, "logs", "7") == MISSING.splitlines()
    (*_, why) = said_by(capsys, "logs", "-f", "7")
    assert why.startswith(f"alpha:7: exit 1: {MISSING.splitlines()[-1]}; the image has no such Python module")


def test_logs_f_says_once_why_a_job_waits_and_at_ctrl_c_how_to_come_back(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = site.submit("7")
    (Path(site.root) / "runs" / job.job_name).mkdir(parents=True)
    site.queue([(job, "PENDING", "AssocGrpGRESMinutes")])
    looks: list[Sequence[Known]] = []

    def due(pace: Pace, clusters: Sequence[Known]) -> Sequence[Known]:
        looks.append(clusters)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return clusters

    monkeypatch.setattr(Pace, "due", due)
    assert run(["logs", "-f", "7"]) == 130
    waits, fix, *_, goes_on, last = capsys.readouterr().err.splitlines()
    assert waits == "alpha:7 PENDING: the jobs of your account have used up its GPU time (AssocGrpGRESMinutes)"
    assert "ask the administrators of alpha" in fix
    assert (goes_on, last) == ("alpha:7 goes on; `tfslurm logs -f alpha:7`, `tfslurm cancel alpha:7`", "interrupted")
