"""Slurm's dialect, read from recordings of a real Slurm: see tests/slurm_output/record.py."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tfslurm import slurm
from tfslurm.check.probe_output import parse_probe_output
from tfslurm.errors import Completed, InputError, SlurmParseError, SubmitRejected
from tfslurm.reap.containers import containers
from tfslurm.slurm import reasons, states
from tfslurm.slurm.capacity import Need, parse_room
from tfslurm.slurm.environment import clean
from tfslurm.slurm.jobs import QUEUE_FIELDS, SACCT_FIELDS, parse_exit
from tfslurm.slurm.limits import parse_limits, parse_qos_limits
from tfslurm.slurm.nodes import parse_nodes
from tfslurm.slurm.options import check_plugin_options
from tfslurm.slurm.profile import parse_profile
from tfslurm.slurm.rejection import explain_rejection
from tfslurm.slurm.site import parse_config, parse_preemption, preemption_argv
from tfslurm.slurm.values import FIELD, ROW, expand_hostlist, expand_tasks, parse_duration, parse_moment

RECORDED = sorted(
    path for path in (Path(__file__).parent / "slurm_output").iterdir() if (path / "manual.json").exists()
)


@pytest.fixture(params=RECORDED, ids=lambda path: str(path.name))
def recorded(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def said(folder: Path, name: str) -> str:
    """What the command printed, without the header that names it."""
    return (folder / f"{name}.txt").read_bytes().decode().partition("\n\n")[2]


def by_name(jobs: tuple[slurm.JobStatus, ...]) -> dict[str, slurm.JobStatus]:
    return {job.name: job for job in jobs}


# --- sbatch


@pytest.mark.parametrize(
    ("stdout", "job_id"),
    [
        ("1234\n", "1234"),
        ("1234;alpha\n", "1234"),
        ("Welcome to alpha, 3 users\nquota: 17 of 20\n1234\n", "1234"),
        ("1234;alpha-2.site\n\n", "1234"),
        ("Submitted batch job 1234\n", "1234"),
        ("1234\nNote: project lab has used 93 % of its hours\n", "1234"),
        ("1234\n1234;alpha\n", "1234"),
        ("4294967293\n", "4294967293"),
    ],
)
def test_a_job_id_is_the_one_that_stands_alone_on_a_line(stdout: str, job_id: str) -> None:
    assert slurm.parse_sbatch(Completed(("sbatch",), 0, stdout, "")) == job_id


def test_a_recorded_answer_of_sbatch_is_a_job_id(recorded: Path) -> None:
    assert slurm.parse_sbatch(Completed(("sbatch",), 0, said(recorded, "sbatch"), "")).isdecimal()


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\n",
        "batch job 1234\n",
        "1234\n5\n",
        "1234 5\n",
        "-1\n",
        "12a\n",
        "0\n",
        "012\n",
        "4294967294\n",
        "1" * 5000,
        "٣\n",
    ],
)
def test_an_integer_somewhere_is_not_a_job_id(stdout: str) -> None:
    with pytest.raises(SlurmParseError):
        slurm.parse_sbatch(Completed(("sbatch",), 0, stdout, ""))


def test_a_refusal_carries_sbatchs_own_words(recorded: Path) -> None:
    with pytest.raises(SubmitRejected, match="Invalid partition name specified"):
        slurm.parse_sbatch(Completed(("sbatch",), 1, "", said(recorded, "refused-partition")))


def test_no_variable_of_the_user_changes_what_is_asked() -> None:
    assert slurm.sbatch_argv("/run/job.sbatch") == ("sbatch", "--parsable", "/run/job.sbatch"), "test_environment.py"
    assert {"SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_STATES"} <= set(slurm.queue_argv())
    assert "--me" in slurm.queue_argv()
    assert "SACCT_FORMAT" in slurm.sacct_argv(job_ids=["1"])


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("sbatch: error: please use --mem-per-cpu, --mem is not allowed here", "ask: {memory: mem-per-cpu}"),
        ("sbatch: error: cli_filter: memory per core must be asked for", "ask: {memory: mem-per-cpu}"),
        ("error: Use --gpus-per-node instead of gres", "ask: {gpus: gpus-per-node}"),
        ("sbatch: error: --gres is forbidden", "ask: {gpus: gpus-per-node}"),
    ],
)
def test_a_submit_filter_s_words_lead_to_the_key_that_says_how_to_ask(said: str, key: str) -> None:
    assert key in explain_rejection(said)


def test_every_variable_of_the_manual_pages_is_known(recorded: Path) -> None:
    for command, names in json.loads((recorded / "manual.json").read_text())["variables"].items():
        assert names, command
        assert command == "sbatch" or set(names) <= set(clean(command)), command


# --- more than a cluster can have

BIG = "9" * 5000
LISTS = {
    "a range": "n[1-300000000]",
    "to the end of numbers": f"n[1-{'9' * 18}]",
    "digits without end": f"n[{BIG}]",
    "brackets that multiply": "n[1-1000][1-1000][1-1000]",
    "nested brackets": "n" + "[1-2]" * 2000,
    "brackets in brackets": "[" * 100000,
    "many words": ",".join(["n[1-100]"] * 2000),
    "nothing, very often": "n[1-999999999999999][2-1]",
    "a range that ends before it begins": "n[3-1]",
    "a name of a megabyte, often": "n" * 2**20 + "[1-100000]",
    "an end of a megabyte, often": "n[1-100000]" + "n" * 2**20,
    "long in all": "-".join([("n" * 100) + "[1-2]"] * 3),
    "megabytes of commas": "n," * 5_000_000,
    "never closed": "n[1-2" * 1000,
    "control characters": "n1\x1b[31m",
    "NUL": "n1\0",
    "other digits": "n[٣-٤]",
    "letters that no host has, which are many in JSON": "é[1-2]",
    "names that are long together": "n" * 200 + "[1-99999]",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_more_nodes_than_there_are_is_no_list(text: str) -> None:
    with pytest.raises(SlurmParseError) as told:
        expand_hostlist(text)
    assert len(str(told.value)) < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["1-4000000000%5", "9-1", "1-3,2-1", f"1-{BIG}", "1-3:0", ",".join(["0-1000"] * 1000), "٣", "1-2-3", "[1]"]
)
def test_more_tasks_than_an_answer_can_have_is_no_answer(text: str) -> None:
    with pytest.raises(SlurmParseError):
        slurm.parse_queue(row_of_squeue(job=f"1_[{text}]"))


def row_of_squeue(state: str = "PENDING", *, job: str = "1", nodes: str = "", **more: str) -> str:
    fields = dict.fromkeys(QUEUE_FIELDS, "") | {"%i": job, "%T": state, "%M": "0:00", "%l": "1:00", "%N": nodes}
    return FIELD.join((fields | {f"%{key}": value for key, value in more.items()}).values()) + ROW


def row_of_sacct(state: str = "COMPLETED", **more: str) -> str:
    fields = dict.fromkeys(SACCT_FIELDS, "") | {"JobID": "1", "State": state, "ExitCode": "0:0"}
    return FIELD.join((fields | more).values()) + "\n"


@pytest.mark.parametrize("value", [str(10**20), BIG, str(10**11), "-1", "1e9", "٣", "253402300800", "1\x002"])
@pytest.mark.parametrize("field", ["V", "S", "e", "M", "l"])
def test_a_time_that_no_calendar_has_is_not_read(field: str, value: str) -> None:
    text = value if field in "VSe" else f"{value}-00:00:00"
    with pytest.raises(SlurmParseError):
        slurm.parse_queue(row_of_squeue(**{field: text}))


@pytest.mark.parametrize("value", [str(10**20), BIG, str(10**15), "٣"])
@pytest.mark.parametrize("field", ["Submit", "Start", "End", "ElapsedRaw", "TimelimitRaw", "ExitCode"])
def test_a_number_that_slurm_cannot_count_to_is_not_read(field: str, value: str) -> None:
    with pytest.raises(SlurmParseError):
        slurm.parse_sacct(row_of_sacct(**{field: f"{value}:0" if field == "ExitCode" else value}))


IDS = [
    "0",
    "01",
    "-1",
    "4294967294",
    BIG,
    "1_",
    "1_[",
    "1_[]",
    "1_01",
    "../x",
    "1;2",
    "1 2",
    "1\n2",
    "٣",
    "1\x00",
    "1+",
    "",
]


@pytest.mark.parametrize("job", IDS)
def test_an_id_that_slurm_does_not_give_is_not_read(job: str) -> None:
    with pytest.raises(SlurmParseError):
        slurm.parse_queue(row_of_squeue(job=job))
    with pytest.raises(SlurmParseError):
        slurm.parse_sacct(row_of_sacct(JobID=job))


def endless(count: int = 500_000) -> dict[str, str]:
    return {
        "lines": "x\n" * count,
        "one line": "x" * 2 * count,
        "separators": FIELD * count,
        "rows": ROW * count + "x",
        "groups": "\x1d" * count,
        "brackets": "gpu" + "(" * count,
        "empty lines": "\n" * count + "x",
        "text": "\udcff\x00" * count,
    }


PARSERS: dict[str, Callable[[str], object]] = {
    "squeue": slurm.parse_queue,
    "sacct": slurm.parse_sacct,
    "scontrol": parse_config,
    "sinfo": slurm.parse_partitions,
    "sinfo's modes": parse_preemption,
    "sinfo's nodes": parse_nodes,
    "sacctmgr": slurm.parse_accounts,
    "sacctmgr's limits": lambda text: parse_limits(text, "alpha"),
    "sacctmgr's qos": parse_qos_limits,
    "profile": lambda text: parse_profile(text, ""),
    "room": lambda text: parse_room(text, Need(1, 1, 1)),
    "sbatch": lambda text: slurm.parse_sbatch(Completed(("sbatch",), 0, text, "")),
    "check's node": lambda text: parse_probe_output(text).lines,
    "reap's node": lambda text: containers(parse_probe_output(text)),
    "a refusal": lambda text: explain_rejection(text, (), (), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS)
def test_megabytes_of_nothing_are_refused_soon_and_in_little_memory(parser: str) -> None:
    for kind, text in endless().items():
        tracemalloc.start()
        began = time.monotonic()
        try:
            assert not PARSERS[parser](text), kind
        except SlurmParseError as error:
            assert len(str(error)) < 5000, kind
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.monotonic() - began < 20, kind
        assert peak < 4 * len(text) * (4 if kind == "text" else 1) + 2**26, f"{kind}: {peak / 2**20:.0f} MiB"


@pytest.mark.slow
def test_many_rows_of_one_partition_or_node_are_read_in_time_that_grows_with_them() -> None:
    began = time.monotonic()
    rows = (FIELD.join(("gpu", "up", "infinite", "0/2/0/2", f"gpu:a{each}:4", "64", "9")) for each in range(50_000))
    (part,) = slurm.parse_partitions("\n".join(rows))
    assert (part.nodes, len(part.gres)) == (100_000, 50_000)
    nodes = parse_nodes("\n".join(FIELD.join(("n1", f"p{each}", "up", "idle")) for each in range(50_000)))
    assert len(nodes["n1"]) == 50_000
    assert time.monotonic() - began < 6


@pytest.mark.slow
def test_good_rows_without_end_are_more_than_anybody_has() -> None:
    row = row_of_squeue(nodes="n[1-50000]")
    assert len(slurm.parse_queue(row * 20)) == 20
    with pytest.raises(SlurmParseError, match="the nodes of all jobs"):
        slurm.parse_queue(row * 21)
    with pytest.raises(SlurmParseError, match="jobs: there are more than 200000; look at what the command prints"):
        slurm.parse_queue(row_of_squeue(job="1_[0-99999]") * 3)


def test_sizes_and_counts_of_a_site_have_a_most() -> None:
    good = ["gpu*", "up", "1:00:00", "0/2/0/2", "gpu:a100:4(S:0-1)", "64", "257000"]
    assert slurm.parse_partitions(FIELD.join(good))[0].gpus_per_node == 4
    for place, values in {
        0: ["", "a\x1b[0m", "a\0", "\udcff"],
        3: [f"0/{BIG}/0/2", "0/٣/0/2", "0/2/0"],
        5: [BIG],
        6: [BIG, "-1"],
    }.items():
        for value in values:
            with pytest.raises(SlurmParseError):
                slurm.parse_partitions(FIELD.join([*good[:place], value, *good[place + 1 :]]))
    assert slurm.parse_partitions(FIELD.join([*good[:4], f"gpu:{BIG}", *good[5:]]))[0].gpus_per_node == 0
    assert parse_config(f"SLURM_VERSION = 22.05.8\nMaxArraySize = {BIG}").max_array_size is None
    with pytest.raises(SlurmParseError):
        parse_limits(f"alpha|lab||{BIG}|", "alpha")


def test_a_node_of_odd_memory_is_an_answer_that_is_not_understood() -> None:
    row = "n1|idle|0/4/0/4|N/A|0|gpu:1|gpu:0|"
    for text in (row, row.replace("N/A", BIG), row.replace("0/4/0/4", "0/4/0")):
        with pytest.raises(SlurmParseError):
            parse_room(f"{text}\n\x1d\x1d1795000000\n", Need(1, 1, 1))


# --- squeue and sacct


def test_squeue_shows_every_job_with_its_state_and_comment(recorded: Path) -> None:
    jobs = slurm.parse_queue(said(recorded, "squeue"))
    named = by_name(jobs)
    assert named["a|b c"].state == "COMPLETED"
    assert named["a|b c"].comment == "tfslurm:0123456789ab\nand a|second line"
    assert named["two\nlines"].state == "FAILED"
    assert named["two\nlines"].comment == ""
    assert {"TIMEOUT", "OUT_OF_MEMORY", "PENDING", "RUNNING", "CANCELLED"} <= {job.state for job in jobs}
    assert all(job.exit_code is None and job.restarts is None for job in jobs)


def test_squeue_times_are_utc_and_durations_seconds(recorded: Path) -> None:
    job = by_name(slurm.parse_queue(said(recorded, "squeue")))["a|b c"]
    assert job.submitted_at and job.submitted_at.endswith("Z") and len(job.submitted_at) == 20
    assert job.time_limit_s == 3600 and job.elapsed_s == 0
    assert job.nodes in {("alpha1",), ("alpha2",)}


def test_a_pending_array_is_one_entry_per_task(recorded: Path) -> None:
    waiting = [job for job in slurm.parse_queue(said(recorded, "squeue")) if job.reason == "JobArrayTaskLimit"]
    one = [job for job in waiting if job.array_job_id == waiting[-1].array_job_id]
    assert [job.array_task_id for job in one] == ["5", "10", "15", "20"]
    assert [job.job_id for job in one] == [f"{waiting[-1].array_job_id}_{task}" for task in (5, 10, 15, 20)]
    assert all(job.submitted_at and not job.nodes for job in one)


def test_no_jobs_are_no_entries(recorded: Path) -> None:
    assert slurm.parse_queue(said(recorded, "squeue-nobody")) == ()
    assert slurm.parse_sacct("") == ()


def test_sacct_knows_how_every_job_ended(recorded: Path) -> None:
    jobs = slurm.parse_sacct(said(recorded, "sacct-ended"))
    named = by_name(jobs)
    assert (named["a|b c"].exit_code, named["a|b c"].signal) == (0, None)
    assert (named["two\nlines"].exit_code, named["two\nlines"].signal) == (3, None)
    assert (named["kill.sh"].exit_code, named["kill.sh"].signal) == (None, 10)
    assert (named["memory.sh"].state, named["memory.sh"].exit_code, named["memory.sh"].signal) == (
        "OUT_OF_MEMORY",
        None,
        None,
    )
    timeout = next(job for job in jobs if job.state == "TIMEOUT")
    assert timeout.exit_code is None and timeout.elapsed_s and timeout.elapsed_s >= 60 and timeout.time_limit_s == 60
    assert all(slurm.is_final(job.state) for job in jobs)


def test_sacct_counts_the_runs_of_a_requeued_job(recorded: Path) -> None:
    first, *_ = [job for job in slurm.parse_sacct(said(recorded, "sacct")) if job.comment == "tfslurm:requeued"]
    assert (first.state, first.restarts) == ("RUNNING", 1)
    assert first.submitted_at and first.started_at and first.started_at > first.submitted_at


def test_the_tasks_of_an_array_end_each_for_itself(recorded: Path) -> None:
    tasks = [job for job in slurm.parse_sacct(said(recorded, "sacct-ended")) if job.name == "tasks.sh"]
    assert {job.array_task_id: (job.state, job.exit_code) for job in tasks} == {
        "1": ("COMPLETED", 0), "2": ("COMPLETED", 0), "3": ("FAILED", 1), "4": ("COMPLETED", 0),
    }  # fmt: skip


def test_sacct_finds_a_job_by_its_name(recorded: Path) -> None:
    jobs = slurm.parse_sacct(said(recorded, "sacct-by-name"))
    assert jobs and {job.name for job in jobs} == {"a|b c"}


def test_an_id_that_slurm_gave_out_again_is_the_newer_job() -> None:
    row = "7|COMPLETED|None|0:0|100|100|160|60|60|n1|gpu|{}||alice\n".replace("|", FIELD)
    (job,) = slurm.parse_sacct(row.format("old") + row.format("new"))
    assert (job.name, job.restarts) == ("new", 0)


@pytest.mark.parametrize(
    "text", ["slurm_load_jobs error: Unable to contact slurm controller\n", f"12{FIELD}RUNNING{ROW}\n"]
)
def test_other_words_than_asked_for_are_not_read(text: str) -> None:
    for parse in (slurm.parse_queue, slurm.parse_sacct):
        with pytest.raises(SlurmParseError):
            parse(text)


def test_by_ids_sacct_looks_back_for_ever_and_by_name_from_the_moment_asked() -> None:
    assert not any("--starttime" in word for word in slurm.sacct_argv(job_ids=["1", "2_3"]))
    assert "--starttime=2026-11-23T08:00:00" in slurm.sacct_argv(names=["digits"], since="2026-11-23T08:00:00Z")
    assert "--starttime=1970-01-01T00:00:00" in slurm.sacct_argv(names=["digits"])


def test_cancel_names_the_jobs_and_the_signal() -> None:
    assert slurm.cancel_argv(["1", "2_3"])[-3:] == ("scancel", "1", "2_3")
    assert slurm.cancel_argv(["1"], signal="USR1")[-2:] == ("--signal=USR1", "1")


@pytest.mark.parametrize(
    ("text", "state", "exit_code", "signal"),
    [
        ("0:0", "COMPLETED", 0, None),
        ("3:0", "FAILED", 3, None),
        ("0:9", "FAILED", None, 9),
        ("0:0", "TIMEOUT", None, None),
        ("0:0", "CANCELLED", None, None),
        ("0:125", "OUT_OF_MEMORY", None, None),
        ("0:0", "NODE_FAIL", None, None),
    ],
)
def test_only_a_script_that_ended_by_itself_has_an_exit_code(
    text: str, state: str, exit_code: int | None, signal: int | None
) -> None:
    assert parse_exit(text, state) == (exit_code, signal)


# --- states and reasons


def test_cancelled_by_someone_is_cancelled() -> None:
    assert states.parse_state("CANCELLED by 1000") == "CANCELLED"


@pytest.mark.parametrize("text", ["", "DONE", "completed", "CANCELLED+", "COMPLETED,COMPLETING", "(null)"])
def test_a_word_that_slurm_does_not_have_is_never_the_end(text: str) -> None:
    with pytest.raises(SlurmParseError):
        slurm.is_final(text)


def test_suspended_stopped_and_requeued_jobs_are_not_over() -> None:
    for state in ("SUSPENDED", "STOPPED", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STAGE_OUT"):
        assert not slurm.is_final(state)
    assert Counter(slurm.STATES.values())[True] == 10


@pytest.mark.parametrize(
    ("exit_code", "signal", "oom_killed", "state"),
    [
        (0, None, False, "COMPLETED"),
        (1, None, False, "FAILED"),
        (0, 15, False, "FAILED"),
        (137, 9, True, "OUT_OF_MEMORY"),
    ],
)
def test_without_accounting_the_jobs_own_end_says_its_state(
    exit_code: int, signal: int | None, oom_killed: bool, state: str
) -> None:
    assert slurm.state_from_exit(exit_code, signal, oom_killed=oom_killed) == state


def test_every_recorded_reason_is_explained(recorded: Path) -> None:
    for job in (*slurm.parse_queue(said(recorded, "squeue")), *slurm.parse_sacct(said(recorded, "sacct-ended"))):
        assert slurm.explain_reason(job.reason) != job.reason or not job.reason


def test_no_reason_is_explained_with_itself() -> None:
    assert all(words and words != word for word, words in reasons.REASONS.items())
    assert list(reasons.REASONS) == sorted(reasons.REASONS)


# --- Slurm's ways to write


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:00", 0), ("5:00", 300), ("1:02:03", 3723), ("7-00:00:00", 604800), ("1-02:03:04", 93784)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n[08-10,12],login2", ("n08", "n09", "n10", "n12", "login2")),
        ("r[1-2]n[1-2]-ib", ("r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib")),
    ],
)
def test_hostlists(text: str, nodes: tuple[str, ...]) -> None:
    assert expand_hostlist(text) == nodes


@pytest.mark.parametrize(
    ("text", "tasks"), [("1", (1,)), ("1-3", (1, 2, 3)), ("0-20:5%1", (0, 5, 10, 15, 20)), ("1,3-4%2", (1, 3, 4))]
)
def test_array_tasks(text: str, tasks: tuple[int, ...]) -> None:
    assert tuple(expand_tasks(text)) == tasks


def test_a_list_that_slurm_cut_short_is_not_taken_for_whole() -> None:
    with pytest.raises(SlurmParseError):
        tuple(expand_tasks("1,3,5,..."))
    with pytest.raises(SlurmParseError):
        expand_hostlist("n[1-3")


def test_a_moment_in_another_format_is_not_guessed() -> None:
    assert parse_moment("1795421174") == "2026-11-23T08:06:14Z"
    assert parse_moment("Unknown") is None
    with pytest.raises(SlurmParseError):
        parse_moment("2026-11-23T08:06:14")


# --- the cluster


def test_the_configuration_says_what_a_job_needs_to_know(recorded: Path) -> None:
    config = parse_config(said(recorded, "scontrol-config"))
    assert config.version.startswith(recorded.name)
    assert config.cluster_name == "alpha"
    assert (config.kill_wait_s, config.max_array_size, config.max_job_count) == (5, 1001, 10000)
    assert config.has_accounting and config.keeps_comment and config.requeues
    assert "task/cgroup" in config.task_plugins
    assert config.confines_devices is True


def test_a_cluster_without_accounting_says_so(recorded: Path) -> None:
    config = parse_config(said(recorded, "scontrol-config-no-accounting"))
    assert not config.has_accounting and not config.keeps_comment


def test_an_error_is_not_a_configuration() -> None:
    with pytest.raises(SlurmParseError):
        parse_config("slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n")


def test_partitions_have_limits_and_gpus(recorded: Path) -> None:
    gpu, debug = slurm.parse_partitions(said(recorded, "sinfo"))
    assert (gpu.name, gpu.is_default, gpu.is_up, gpu.time_limit_s) == ("gpu", True, True, 604800)
    assert (gpu.nodes, gpu.gres, gpu.gpus_per_node, gpu.cpus_per_node, gpu.memory_mib_per_node) == (
        2,
        ("gpu:4",),
        4,
        16,
        8000,
    )
    assert (debug.name, debug.is_default, debug.time_limit_s) == ("debug", False, 300)


def test_a_partition_of_unlike_nodes_is_one_partition() -> None:
    rows = ["gpu*|up|infinite|3/1/0/4|gpu:a100:4(S:0-1),nvme:1|64|250000", "gpu*|up|infinite|0/2/1/3|(null)|16|64000"]
    (part,) = slurm.parse_partitions("\n".join(rows).replace("|", FIELD))
    assert (part.nodes, part.idle_nodes, part.time_limit_s) == (7, 3, None)
    assert (part.gres, part.gpus_per_node, part.cpus_per_node) == (("gpu:a100:4", "nvme:1"), 4, 64)


def test_accounts_are_those_of_one_cluster(recorded: Path) -> None:
    accounts = slurm.parse_accounts(said(recorded, "sacctmgr"), "alpha")
    assert [(entry.account, entry.partition, entry.qos, entry.is_default) for entry in accounts] == [
        ("guest", "", ("normal",), False),
        ("lab", "", ("normal",), True),
    ]


# --- refusals


def explained(recorded: Path, name: str, **asked: str) -> str:
    partitions = slurm.parse_partitions(said(recorded, "sinfo"))
    accounts = slurm.parse_accounts(said(recorded, "sacctmgr"), "alpha")
    return explain_rejection(said(recorded, f"refused-{name}"), partitions, accounts, asked)


def test_partitions_have_a_way_with_jobs_that_are_pushed_out() -> None:
    text = "gpu*\x1fOFF\nlow\x1fREQUEUE\n"
    assert parse_preemption(text) == {"gpu": "OFF", "": "OFF", "low": "REQUEUE"}
    assert preemption_argv()[-3:] == ("--noheader", "--exact", "--format=%P\x1f%M")
    with pytest.raises(SlurmParseError):
        parse_preemption("sinfo: command not found")


def test_a_waiting_job_can_be_let_go() -> None:
    assert slurm.begin_argv("12")[-4:] == ("scontrol", "update", "JobId=12", "StartTime=now+3")


def test_an_unknown_partition_is_answered_with_those_there_are(recorded: Path) -> None:
    told = explained(recorded, "partition", partition="nosuch")
    assert told == "partition 'nosuch' is not on this cluster; it has: gpu (default), debug"


def test_the_nearest_name_comes_first() -> None:
    parts = slurm.parse_partitions(
        "\n".join(f"{name}|up|infinite|0/1/0/1|(null)|1|1" for name in ("cpu", "big", "gpu-long")).replace("|", FIELD)
    )
    told = explain_rejection("sbatch: error: invalid partition specified: gpulong", parts)
    assert told.endswith("it has: gpu-long, cpu, big")


def test_an_account_that_is_not_yours_is_answered_with_yours(recorded: Path) -> None:
    assert explained(recorded, "account", account="lap").endswith("`slurm: {account: …}`: lab, guest")
    alone = explain_rejection(said(recorded, "refused-account"))
    assert "ask the administrators" in alone


@pytest.mark.parametrize("name", ["gres-count", "gres-type", "gres-name", "memory"])
def test_a_job_that_fits_nowhere_is_answered_with_the_nodes(recorded: Path, name: str) -> None:
    told = explained(recorded, name, gres="gpu:8", nodes="1")
    assert told == (
        "the job asks for nodes=1 gres=gpu:8; write `resources` that fit; available: "
        "gpu: 2 nodes of up to 16 cpus, 8000 MiB, gpu:4; debug: 2 nodes of up to 16 cpus, 8000 MiB, gpu:4"
    )


@pytest.mark.parametrize("name", ["array", "feature", "node", "reservation"])
def test_other_refusals_say_where_to_look(recorded: Path, name: str) -> None:
    assert explained(recorded, name)


def test_a_timeout_of_sbatch_is_not_a_refusal() -> None:
    words = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    assert "may have taken the job" in explain_rejection(words)


def test_time_and_qos_are_answered_with_what_there_is(recorded: Path) -> None:
    partitions = slurm.parse_partitions(said(recorded, "sinfo"))
    words = (
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)"
    )
    assert "gpu 7-00:00:00, debug 0-00:05:00" in explain_rejection(words, partitions, (), {"time": "9-0"})
    accounts = slurm.parse_accounts(said(recorded, "sacctmgr"), "alpha")
    words = "sbatch: error: Batch job submission failed: Invalid qos specification"
    assert explain_rejection(words, (), accounts, {"qos": "norm"}) == "qos 'norm' is not yours; yours are: normal"


def test_words_that_explain_themselves_are_left_alone() -> None:
    assert explain_rejection("sbatch: error: Batch script is empty!") == ""


# --- options


def test_options_are_named_as_sbatch_names_them() -> None:
    options: dict[str, str | int | bool] = {
        "cpus_per_task": 4,
        "mem": "16G",
        "exclusive": True,
        "hold": False,
        "nice": -5,
        "segment": 2,
        "gres": "gpu:1",
    }
    assert dict(slurm.check_options(options)) == {
        "cpus-per-task": "4", "mem": "16G", "exclusive": "", "nice": "-5", "segment": "2", "gres": "gpu:1",
    }  # fmt: skip


def test_options_of_plugins_are_formatted_and_not_looked_up() -> None:
    options: dict[str, str | int | bool] = {
        "quotatype": "spot",
        "container-image": "x y",
        "vm_size": 3,
        "ib": True,
        "off": False,
    }
    assert dict(check_plugin_options(options)) == {
        "quotatype": "spot",
        "container-image": "x y",
        "vm_size": "3",
        "ib": "",
    }


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("partition", "gpu", "is an option of sbatch itself; write it under `slurm`"),
        ("cpus_per_task", 1, "is an option of sbatch itself"),
        ("outp", "/x", "would be read as the beginning of `output`"),
        ("arr", "0-3", "would be read as the beginning of `array`"),
        ("quotatype", "a\nb", "line break"),
        ("quotatype", "--uid=0", "begins with a dash"),
    ],
)
def test_an_option_of_a_plugin_that_sbatch_would_take_for_its_own_is_refused(
    name: str, value: str | int, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_plugin_options({name: value})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("partitoin", "gpu", "did you mean `partition`"),
        ("part", "gpu", "did you mean `partition`"),
        ("p", "gpu", "short form of an option; write `partition`"),
        ("job-name", "x", "write `name:`"),
        ("array", "0-3", "write `sweep:`"),
        ("comment", "x", "token"),
        ("xyzzy", "1", "goes under `plugin_options: {xyzzy: …}`"),
        ("container-image", "x.sqsh", "goes under `plugin_options: {container-image: …}`"),
        ("constraint", "a\\b", "backslash"),
        ("constraint", "a\nb", "line break"),
        ("constraint", "-x", "begins with a dash"),
        ("mem", True, "needs a value"),
        ("help", True, "is not an option"),
    ],
)
def test_an_option_that_would_go_wrong_is_refused_with_the_fix(key: str, value: str | bool, words: str) -> None:
    with pytest.raises(InputError) as caught:
        slurm.check_options({key: value}, file="exp.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == ("exp.yaml", 0, f"slurm.{key}")
    assert words in str(problem)


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        slurm.check_options({"partitoin": "gpu", "accuont": "lab", "qos": "x"})
    assert len(caught.value.problems) == 2


def test_checking_options_leaves_the_logging_of_the_program_alone() -> None:
    code = (
        "import logging; from tfslurm import slurm; root = logging.getLogger(); before = root.handlers[:], root.level\n"
        "slurm.check_options({'mem': '1G'}); assert (root.handlers, root.level) == before, root.handlers"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert logging.getLogger() is logging.root


def test_every_option_of_the_manual_page_is_known(recorded: Path) -> None:
    from tfslurm.slurm.options import NEWER, OURS, new_vocabulary

    found = json.loads((recorded / "manual.json").read_text())["options"]
    assert len(found) > 80
    known = {*new_vocabulary().parser._option_string_actions, *(f"--{name}" for name in (*NEWER, *OURS))}
    unknown = {name for name in found if f"--{name.replace('-', '_')}" not in known}
    assert unknown <= {"help", "usage", "version"}, unknown
