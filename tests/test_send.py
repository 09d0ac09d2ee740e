"""A submission to programs of a cluster that answer as they like: which job it became, or an honest doubt.

sbatch and squeue are real programs, first on PATH; the run folder, the lock and the tracker are ours.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from tests.made import CLUSTER, plan
from tfslurm.errors import HostError, SubmitRejected, Untracked
from tfslurm.handoff.recovery import settle_all
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import JobPlan
from tfslurm.slurm.jobs import QUEUE_FIELDS, SACCT_FIELDS
from tfslurm.slurm.values import FIELD, ROW
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.submit import submit_job
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known

EVIL = Known(replace(CLUSTER, name="evil"), "", None)


@dataclass(frozen=True)
class Evil:
    """A cluster whose programs are written by a test."""

    folder: Path
    tracker: Tracker

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def made(self, second: int = 0) -> JobPlan:
        moment = f"2026-11-23T07:50:{second:02d}.123456Z"
        return replace(plan(planned_at=moment, code=None), cluster="evil", root=str(self.folder / "root"))

    def submit(self, made: JobPlan) -> str:
        prepared = Prepared(made, "#!/bin/sh\n", None, replace(CLUSTER, name="evil"), "")
        return submit_job(prepared, self.tracker, LocalHost("evil"), {})

    def queue(self, *jobs: tuple[str, str]) -> None:
        """What squeue prints: ids and names."""
        rows = [dict.fromkeys(QUEUE_FIELDS, "") | {"%i": each, "%j": name} for each, name in jobs]
        fixed = {"%T": "PENDING", "%u": "alice", "%M": "0:00", "%l": "1:00:00"}
        text = "".join(FIELD.join((row | fixed).values()) + ROW + "\n" for row in rows)
        (self.folder / "squeue").write_text(text)
        self.program("squeue", f"cat {shlex.quote(str(self.folder / 'squeue'))}")

    def known(self) -> list[tuple[str, str]]:
        return [(job.job_id, job.job_name) for job in self.tracker.jobs(cluster="evil")]

    def stages(self) -> list[str]:
        return [each.stage for each in self.tracker.plans()]

    def folders(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "root" / "runs").iterdir())


@pytest.fixture(autouse=True)
def _nothing_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stand-in for sbatch took is in its queue at once: nobody need wait before the second question."""
    monkeypatch.setattr("tfslurm.handoff.recovery.ON_THE_WAY_S", 0)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evil:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    site = Evil(tmp_path, Tracker(tmp_path / "tracker.sqlite"))
    site.program("sacct", "exit 0")
    site.queue()
    return site


DOUBTFUL = {
    "two ids": r"printf '1234\n5678\n'",
    "two ids, one in words": r"printf 'Submitted batch job 1234\n5678\n'",
    "a path as a cluster": r"printf '1234;../../x\n'",
    "a path": r"printf '../../etc\n'",
    "escapes": r"printf '\033[2J\033]0;TITLE\007 9\n'",
    "an id of 32 digits": "echo 99999999999999999999999999999999",
    "an id of 5,000 digits": "printf '1%.0s' $(seq 5000)",
    "an id beyond 32 bits": "echo 4294967296",
    "Slurm's word for no id": "echo 4294967294",
    "zero": "echo 0",
    "zeros in front": "echo 0001234",
    "negative": "echo -1234",
    "a task": "echo 1234_7",
    "digits of another script": "echo ١٢٣٤",
    "NUL": r"printf '12\00034\n5\n'",
    "bytes that are no text": r"printf '\377\376\n'",
    "nothing": "exit 0",
    "600 MB": "yes 4242 | head -c 600000000",
    "endless": "exec yes 4242",
    "killed by a signal": "kill -9 $$",
}


@pytest.mark.slow
@pytest.mark.parametrize("sbatch", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_an_answer_that_names_no_job_for_certain_is_never_an_id(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    made, began = evil.made(), time.monotonic()
    with pytest.raises(
        HostError, match=r"^evil: sbatch .*the queue does not show digits-.*is kept: run the same"
    ) as told:
        evil.submit(made)
    assert told.value.transient
    assert len(str(told.value)) < 1200
    assert time.monotonic() - began < 30
    assert (evil.known(), evil.stages(), evil.folders()) == ([], ["planned"], [made.run_dir.name])


@pytest.mark.slow
@pytest.mark.parametrize("sbatch", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_the_queue_then_says_by_the_jobs_own_name_which_it_is(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    made = evil.made()
    evil.queue(("17", "other"), ("4711", made.job_name))
    assert evil.submit(made) == "4711"
    assert evil.known() == [("4711", made.job_name)]


@pytest.mark.slow
@pytest.mark.parametrize("sbatch", [*list(DOUBTFUL.values())[:2], DOUBTFUL["endless"]])
def test_the_next_command_finds_what_the_first_could_not(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    made, never = evil.made(1), evil.made(2)
    for each in (made, never):
        with pytest.raises(HostError, match="the queue does not show"):
            evil.submit(each)
    evil.queue(("4711", made.job_name))
    settle_all(EVIL, evil.tracker, LocalHost("evil"))
    assert evil.known() == [("4711", made.job_name)]
    assert sorted(evil.stages()) == ["refused", "submitted"]
    assert evil.folders() == [made.run_dir.name]


def test_an_id_that_another_unfinished_job_has_is_a_doubt_unless_the_queue_says_the_same(evil: Evil) -> None:
    first, second, third = (evil.made(number) for number in range(3))
    evil.program("sbatch", "echo 1234")
    assert evil.submit(first) == "1234"
    with pytest.raises(HostError, match=r"printed '1234\\n', which job evil:1234 has, .* the queue does not show"):
        evil.submit(second)
    assert evil.known() == [("1234", first.job_name)]
    evil.queue(("1235", second.job_name), ("1234", third.job_name))
    settle_all(EVIL, evil.tracker, LocalHost("evil"))
    assert evil.submit(third) == "1234", "a site whose ids began anew"
    assert evil.known() == [("1234", first.job_name), ("1235", second.job_name), ("1234", third.job_name)]


def test_accounting_is_asked_from_before_a_moment_of_our_own_clock(evil: Evil) -> None:
    evil.program("sbatch", "exit 0")
    row = dict.fromkeys(SACCT_FIELDS, "") | {"JobID": "4711", "State": "COMPLETED", "ExitCode": "0:0"}
    made = evil.made()
    (evil.folder / "sacct").write_text(FIELD.join((row | {"JobName": made.job_name}).values()) + "\n")
    asked = '*" --starttime=2026-11-21T07:50:00 "*'  # the clock of this machine may be a day ahead of the cluster's
    evil.program("sacct", f'case " $* " in {asked}) cat {shlex.quote(str(evil.folder / "sacct"))} ;; esac')
    assert evil.submit(made) == "4711"


def test_two_jobs_of_one_name_are_never_chosen_between(evil: Evil) -> None:
    evil.program("sbatch", "echo")
    made = evil.made()
    evil.queue(("4711", made.job_name), ("815", made.job_name))
    with pytest.raises(HostError, match=rf"2 jobs have the name {made.job_name}: 815, 4711; .*cancel the others"):
        evil.submit(made)
    assert (evil.known(), evil.stages()) == ([], ["planned"])


WRAPPED = {
    "words after it": "echo 1234; echo 'Note: project lab has used 93 % of its hours'",
    "Slurm's own sentence": "echo '--> Verifying valid submit host ... OK'; echo 'Submitted batch job 1234'",
    "on a cluster": "echo 'Submitted batch job 1234 on cluster alpha'",
    "said twice": "echo 1234; echo 'Submitted batch job 1234'; echo '1234;alpha'",
    "warnings beside it": "echo 'sbatch: lua: memory set to 4G' >&2; echo '1234;alpha-2.site'; echo",
}


@pytest.mark.parametrize("sbatch", WRAPPED.values(), ids=WRAPPED.keys())
def test_a_sites_own_words_around_one_id_are_no_doubt(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    evil.program("squeue", "echo squeue is not asked >&2; exit 1")
    assert evil.submit(evil.made()) == "1234"


def test_a_refusal_is_a_refusal(evil: Evil) -> None:
    evil.program("sbatch", "printf '\\033]0;TITLE\\007red\\n' >&2; yes y | head -c 2000000 >&2; echo 7; exit 1")
    evil.program("sinfo", "exit 1")
    with pytest.raises(SubmitRejected, match="sbatch refused digits") as told:
        evil.submit(evil.made())
    assert len(str(told.value)) < 5000
    assert (evil.known(), evil.stages(), evil.folders()) == ([], ["refused"], [])


@pytest.mark.slow
@pytest.mark.parametrize("names", [["1_0", "2_0"], ["0"], ["99999999999"], ["../x", "1 2"], ["٣"]])
def test_folders_that_name_no_one_job_are_a_doubt(evil: Evil, names: list[str]) -> None:
    evil.program("sbatch", "exit 0")
    made = evil.made()
    with pytest.raises(HostError):
        evil.submit(made)
    run = Path(PurePosixPath(made.run_dir))
    (run / "sbatch.answer").unlink(missing_ok=True)
    for name in names:
        (run / re.sub("/", "_", name)).mkdir()
    settle_all(EVIL, evil.tracker, LocalHost("evil"))
    assert (evil.known(), evil.stages()) == ([], ["refused"])


@pytest.mark.parametrize(
    "harm",
    {
        "damaged": "printf damaged >tracker.sqlite",
        "another file": "rm tracker.sqlite",
        "claims": "mv claims gone; : >claims",
        "both": "printf damaged >tracker.sqlite; for one in claims/*; do rm $one; mkdir $one; done",
    }.values(),
)
def test_an_id_is_told_whatever_becomes_of_the_tracker_meanwhile(evil: Evil, harm: str) -> None:
    evil.program("sbatch", f"cd {shlex.quote(str(evil.tracker.path.parent))} && {harm}\necho Submitted batch job 4711")
    try:
        assert evil.submit(evil.made()) == "4711"
    except Untracked as error:
        assert error.job == "evil:4711"
        assert "evil:4711 was submitted, and the tracker does not know it" in str(error)


def test_an_id_is_told_where_ctrl_c_ends_the_wait_for_the_tracker(evil: Evil, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    evil.program("sbatch", "echo Submitted batch job 4711")
    monkeypatch.setattr(Tracker, "submit", interrupted)
    with pytest.raises(Untracked, match=r"evil:4711 was submitted.*interrupted"):
        evil.submit(evil.made())


REFUSALS = {
    "a wrapper that fails after sbatch": "echo 4711; echo 'quota: cannot write the log' >&2; exit 1",
    "in words": "echo 'Submitted batch job 4711'; exit 1",
    "with the cluster": "echo '4711;alpha'; exit 3",
    "another id": "echo 815; exit 1",
    "a wrapper that keeps the id to itself": "echo 'quota: the mail could not be sent' >&2; exit 3",
    "a wrapper without a word": "exit 1",
    "an answer that was lost": "echo 'Batch job submission failed: Unexpected message received' >&2; exit 1",
    "a line that was lost": "echo 'Batch job submission failed: Message receive failure' >&2; exit 1",
    "a slow controller": "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv' >&2; exit 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("sbatch", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_that_may_be_none_is_looked_up_by_the_jobs_own_name(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    made = evil.made()
    evil.queue(("4711", made.job_name), ("815", "other"))
    assert evil.submit(made) == "4711"
    assert evil.known() == [("4711", made.job_name)]
    assert evil.folders() == [made.run_dir.name], "the job has its run folder"


@pytest.mark.parametrize("sbatch", list(REFUSALS.values())[-3:], ids=list(REFUSALS)[-3:])
def test_a_refusal_that_nobody_can_be_sure_of_keeps_the_plan(evil: Evil, sbatch: str) -> None:
    evil.program("sbatch", sbatch)
    with pytest.raises(HostError, match="is kept: run the same command again"):
        evil.submit(evil.made())
    assert evil.stages() == ["planned"]
