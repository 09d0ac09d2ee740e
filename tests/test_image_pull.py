"""`tfslurm image pull`: which nodes, what they are asked for, and what becomes of those that do not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from tests.fakes.no_lines import NoLines
from tests.made import CLUSTER, PIN
from tfslurm.errors import Completed, HostError, InputError
from tfslurm.image import Pin
from tfslurm.images.pull import NodePull, Pull, Which, chosen, start, submitted, watch
from tfslurm.slurm.node_jobs import Node, node_job_options, parse_states
from tfslurm.workspace.config import Known

ROWS = [
    ("n1", "gpu*", "up", "idle", "1-00:00:00", "none"),
    ("n2", "gpu*", "up", "mixed", "infinite", "none"),
    ("n3", "gpu*", "up", "drained*", "infinite", "bad fan"),
    ("n4", "gpu*", "up", "idle*", "infinite", "none"),
    ("n1", "debug", "up", "idle", "5:00", "none"),
    ("n5", "old", "down", "idle", "infinite", "none"),
    ("n6", "debug", "up", "down", "5:00", "Not responding"),
]
SINFO = "".join("\x1f".join(row) + "\n" for row in ROWS)


class Scripted(NoLines):
    """A stand-in for a login node: each command gets the next answer; the last one is given again."""

    def __init__(self, *answers: str | HostError | Completed) -> None:
        self.name, self.answers, self.asked = "alpha", list(answers), list[Sequence[str]]()

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        self.asked.append(argv)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HostError):
            raise answer
        return answer if isinstance(answer, Completed) else Completed(tuple(argv), 0, answer, "")

    def run_bytes(self, argv: Sequence[str], **_: Any) -> bytes:
        raise AssertionError(argv)


def a_pull(host: Scripted, pin: Pin = PIN) -> Pull:
    known = Known(CLUSTER, "", None)
    return Pull(known, pin, host, 30, lambda cluster, found: None, pauses_s=(0.0, 0.0), silent_s=0.0)


def test_the_nodes_that_sinfo_shows() -> None:
    nodes = parse_states(SINFO)
    assert nodes["n1"] == Node("n1", {"gpu": True, "debug": True}, True, "idle", "", 300)
    assert [name for name, node in nodes.items() if node.is_idle] == ["n1", "n5"]
    assert nodes["n3"].trouble == "drained (bad fan)"
    assert nodes["n4"].trouble == "it does not answer"
    assert nodes["n2"].trouble == ""


@pytest.mark.parametrize(
    ("options", "which", "wanted", "left_out"),
    [
        ({}, Which(), ["n1", "n2"], ["n3", "n4"]),
        ({}, Which(idle=True), ["n1"], ["n2", "n3", "n4"]),
        ({"partition": "debug"}, Which(), ["n1"], ["n6"]),
        ({"partition": "gpu,debug"}, Which("n[1-2]"), ["n1", "n2"], []),
        ({"exclude": "n2"}, Which(), ["n1"], ["n3", "n4"]),
        ({"nodelist": "n2"}, Which(), ["n2"], []),
    ],
)
def test_the_nodes_that_are_chosen(
    options: dict[str, str], which: Which, wanted: list[str], left_out: list[str]
) -> None:
    pull = a_pull(Scripted(SINFO))
    assert [node.name for node in chosen(pull, options, which)] == wanted
    assert [node for node, each in pull.nodes.items() if each.state == "left out"] == left_out


@pytest.mark.parametrize(
    ("options", "which", "kind", "why"),
    [
        ({}, Which("n9"), InputError, "n9: is not a node of the cluster; it has n1, n2, n3, n4"),
        ({}, Which("n5"), InputError, "n5: is not in the default partition"),
        ({}, Which("n[1"), InputError, "is no list of nodes"),
        ({}, Which("$(reboot)\n"), InputError, "is no list of nodes"),
        ({"partition": "old"}, Which(), HostError, "partition old is not up"),
        ({"partition": "none"}, Which(), HostError, "partition none is not up, or has no node"),
    ],
)
def test_nodes_that_are_not_there_are_named(
    options: dict[str, str], which: Which, kind: type[Exception], why: str
) -> None:
    with pytest.raises(kind) as error:
        chosen(a_pull(Scripted(SINFO)), options, which)
    assert why in str(error.value)


def test_no_gpu_is_asked_for_and_what_pays_and_places_the_job_is_kept() -> None:
    options = {"partition": "gpu", "account": "lab", "gres": "gpu:4", "nodes": "2", "time": "10:00:00", "mem": "64G"}
    words = node_job_options(options, {"mem": "1G"}, "tfslurm-pull-1", 5)
    assert {"--partition=gpu", "--account=lab", "--mem=1G", "--time=5", "--nodes=1"} <= set(words)
    assert not any("gres" in word or "gpus" in word or "64G" in word for word in words)


def test_each_node_has_a_job_or_the_reason_why_not() -> None:
    unfit = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
    answers = f"n1\x1f0\x1f17\0n2\x1f1\x1fsbatch: error: Invalid account\0n3\x1f1\x1f{unfit}\0"
    host = Scripted(answers)
    pull = a_pull(host)
    start(pull, ["n1", "n2", "n3"], {})
    assert [each.state for each in pull.nodes.values()] == ["waiting", "failed", "left out"]
    assert pull.nodes["n2"].words == "sbatch: Invalid account"
    assert PIN.digest in host.asked[0]
    with pytest.raises(HostError, match="no job could be submitted for n1"):
        start(a_pull(Scripted(Completed(("x",), 1, "", "ROOT is full"))), ["n1"], {})


def said(*rows: tuple[str, str, str, str]) -> str:
    return "".join(f"{node}.said\x1f{state}\t{seconds}\t{words}\n\x1e" for node, state, seconds, words in rows)


def watched(host: Scripted, *nodes: str, patience_s: float = 600.0, stop: Callable[[Pull], bool] | None = None) -> Pull:
    pull, ended = a_pull(host), Event()
    for node in nodes:
        pull.put(submitted(node, "0", "17"))
    pull.tell = lambda cluster, found: ended.set() if stop and stop(pull) else None
    watch(pull, patience_s, ended)
    return pull


def test_what_the_nodes_say_is_taken_as_it_comes_and_a_line_that_is_lost_is_waited_for() -> None:
    gone = HostError("alpha: gone", transient=True)
    one = said(("n1", "pulling", "0", "r/x@sha256:1"), ("n9", "present", "0", ""))
    two = said(("n1", "pulled", "12", "r/x@sha256:1"), ("n2", "failed", "3", "image: no space left on device"))
    pull = watched(Scripted(f"{one}\x1d", gone, f"{two}\x1d"), "n1", "n2")
    assert pull.nodes == {
        "n1": NodePull("n1", "pulled", 12, "r/x@sha256:1"),
        "n2": NodePull("n2", "failed", 3, "image: no space left on device"),
    }


@pytest.mark.parametrize("text", ["no tabs", "odd\t0\tx", "pulled\t9999999999\tx", "pulled\tx\ty", "\t\t"])
def test_what_a_node_may_not_say_is_no_image_on_it_or_no_time(text: str) -> None:
    host = Scripted(f"n1.said\x1f{text}\n\x1e\x1d", f"{said(('n1', 'failed', '0', 'late'))}\x1d")
    found = watched(host, "n1").nodes["n1"]
    assert (found.state, found.seconds) in (("failed", 0), ("pulled", 0))


def test_a_node_without_room_is_busy_when_the_time_is_over_and_slurm_s_reason_is_told() -> None:
    host = Scripted("\x1dn1\x1fPENDING\x1fResources\n")
    assert watched(host, "n1", patience_s=0.0).nodes["n1"] == NodePull(
        "n1", "busy", 0, "no room there in 0 min (Resources)"
    )


def test_a_job_that_ended_without_a_word_is_told_with_what_it_printed() -> None:
    log = "n1.log\x1fbash: mktemp: No space left on device\n\x1e"
    pull = watched(Scripted(f"{log}\x1dn1\x1fFAILED\x1fNonZeroExitCode\nn2\x1fCANCELLED\x1fNone\n"), "n1", "n2")
    assert pull.nodes["n1"].words == "its job ended (FAILED) without a word: bash: mktemp: No space left on device"
    assert pull.nodes["n2"].words.startswith("its job ended (CANCELLED) without a word")


def test_a_stop_is_heard_while_it_looks() -> None:
    pull = watched(Scripted(f"{said(('n1', 'pulling', '0', 'x'))}\x1d"), "n1", stop=lambda pull: bool(pull.nodes))
    assert pull.open == ["n1"]


def test_words_of_the_cluster_s_file_and_of_the_lock_stay_single_words() -> None:
    odd = replace(PIN, environment={"CUDA_VERSION": "12'; rm -rf / #\n"}, reference="a b")
    host = Scripted("n1\x1f0\x1f17\0")
    start(a_pull(host, odd), ["n1"], {"account": "a b;c"})
    assert "--account=a b;c" in host.asked[0] and "a b" in host.asked[0]
