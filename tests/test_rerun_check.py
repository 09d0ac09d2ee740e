"""`rerun --check`: the facts of a rerun, what would be compared, and how that is printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import made
from tests.test_rerun_losses import SUM, beta, experiment, here, original, resources
from tfslurm.check import Fact
from tfslurm.cli.rerun import wished
from tfslurm.cli.rerun_check import checked_json, next_step, show_checked
from tfslurm.record.model import Output
from tfslurm.registry.served import Served
from tfslurm.reruns.check_facts import (
    Checked,
    code_fact,
    data_facts,
    disk_fact,
    image_fact,
    needed,
    secret_facts,
    time_fact,
)
from tfslurm.reruns.expected import Compared, Took, compared, took
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.losses import losses
from tfslurm.reruns.place import Lies
from tfslurm.reruns.workspace import Wish
from tfslurm.spec import Reproduce

WEIGHTS = (Output("model.weights.h5", 900, SUM), Output("checkpoint", 10, SUM))


def of(*outputs: Output, reproduce: Reproduce | None = None, **changes: Any) -> Any:
    return original(experiment__outputs=outputs, asked__reproduce=reproduce, **changes)


def test_of_a_cluster_s_facts_those_that_the_job_needs_are_kept_and_every_one_that_fails() -> None:
    facts = [
        Fact("reach", "ok", "x"), Fact("accounting", "warn", "none"), Fact("MaxArraySize", "FAIL", "1"),
        Fact("partition gpu", "ok", "x"), Fact("registry docker.io", "warn", "x"), Fact("gpu/engine", "ok", "docker"),
        Fact("gpu/driver", "ok", "550"), Fact("gpu/root-shared", "FAIL", "no"), Fact("slurm.account", "FAIL", "x"),
    ]  # fmt: skip
    assert [fact.fact for fact in needed(facts, 1)] == ["reach", "MaxArraySize", "engine", "driver", "root-shared"]
    assert [fact.fact for fact in needed(facts, 0)] == ["reach", "MaxArraySize", "engine", "root-shared"]


@pytest.mark.parametrize(
    ("on_node", "answer", "archive", "status", "words"),
    [
        (("r/i@sha256:1",), Served(), "", "ok", "is on beta1"),
        ((), Served("mirror:5001/i"), "", "ok", "mirror:5001/i serves sha256:a1a1a1a1a1a1…, 204 MiB to pull"),
        ((), Served(is_gone=True, why="deleted from r"), "image.tar", "ok", "is image.tar, every byte"),
        ((), Served(is_gone=True, why="deleted from r"), "", "FAIL", "nobody has sha256:a1a1a1a1a1a1…: deleted from r"),
        ((), Served(why="r: no answer"), "", "unknown", "is not on the node; r: no answer"),
    ],
)
def test_where_the_image_is_to_be_had(
    on_node: tuple[str, ...], answer: Served, archive: str, status: str, words: str
) -> None:
    fact = image_fact(made.PIN, on_node, "beta1", answer, archive)
    assert fact.status == status and words in fact.value and bool(fact.do) is (status != "ok")


@pytest.mark.parametrize(
    ("lies", "status", "words"),
    [
        (Lies("folder", 4096, SUM), "ok", "/lab/digits: 4096 bytes, sha256 as in the record"),
        (Lies("folder", 4096, None, "it was not read: it is large"), "warn", "not compared by hash: it was not read"),
        (Lies("gone"), "FAIL", "/lab/digits is not there; it had 4096 bytes, sha256 of its list 5e5e"),
        (Lies("folder", 1), "FAIL", "/lab/digits: 1 bytes; it had 4096 bytes"),
        (Lies("unknown", why="you may not look at it"), "unknown", "you may not look at it"),
    ],
)
def test_data(lies: Lies, status: str, words: str) -> None:
    place = beta(data={"/lab/digits": lies})
    (fact,) = data_facts(original(), experiment(), place, losses(original(), experiment(), place))
    assert (fact.fact, fact.status) == ("data /data", status) and words in fact.value


def test_secrets_disk_time_and_code() -> None:
    asked, place = experiment(secrets=("A", "B")), beta(secrets=frozenset(["A"]))
    facts = {fact.fact: fact for fact in secret_facts(asked, place, losses(original(), asked, place))}
    assert (facts["secrets"].value, facts["secret B"].status) == ("set in this shell: A", "FAIL")
    record = of(Output("large", 3 * 2**30, SUM))
    assert [disk_fact(record, None, free).status for free in (9000, 3500, 100, None)] == [
        "ok",
        "warn",
        "FAIL",
        "unknown",
    ]
    assert disk_fact(record, None, 9000).value == "8 GiB free; the original left 3 GiB"
    assert time_fact(record, experiment(), beta(), ()).value == "0-02:00:00 is asked for; the original took 0-00:00:04"
    long = experiment(resources=resources(time_s=86401))
    assert time_fact(record, long, beta(), losses(record, long, beta())).status == "FAIL"
    short = experiment(resources=resources(time_s=3))
    assert time_fact(record, short, beta(), ()).status == "warn"
    assert time_fact(record, short, here(), ()).value == "no limit here; the original took 0-00:00:04"
    assert code_fact(original(code=None), None).value == "none was sent with the job"


@pytest.mark.parametrize(
    ("settings", "lost", "reproduce", "rule"),
    [
        ({}, (), Reproduce("accuracy", 0.02), "same seed (seed 7): bits, if the environment is the same; else within"),
        ({}, (), None, "same seed (seed 7): bits, if the environment is the same; else no tolerance is declared"),
        ({}, (Loss("driver", "a", "b"), Loss("cluster", "a", "b")), Reproduce("accuracy", 0.02),
         "same seed (seed 7), another environment (driver): within 0.02 of the metric"),
        ({}, (Loss("engine", "a", "b"),), None, "no tolerance is declared: only equal bits would agree"),
        ({"seed": "8"}, (), None, "another seed (seed): the 95 % prediction interval"),
        ({"parameters.seed": "8"}, (), None, "another seed"),
        ({"resources.time": "60"}, (), None, "same seed"),
    ],
)  # fmt: skip
def test_the_rule_that_will_decide(
    settings: dict[str, str], lost: tuple[Loss, ...], reproduce: Reproduce | None, rule: str
) -> None:
    record = of(*WEIGHTS, reproduce=reproduce, experiment__parameters={"seed": 7})
    assert rule in compared(record, settings, lost).rule


def test_what_would_be_compared_and_how_long_it_took() -> None:
    found = compared(of(*WEIGHTS), {}, ())
    assert found.outputs == ("model.weights.h5",)
    assert found.not_comparable == (("checkpoint", "the file `checkpoint` of TensorFlow holds times"),)
    named = compared(of(*WEIGHTS, reproduce=Reproduce(files=("model.weights.h5", "gone.npz"))), {}, ())
    assert named.not_comparable == (("gone.npz", "the original did not leave it"),)
    failed = replace(original().job, state="FAILED")
    assert compared(of(*WEIGHTS, job=failed), {}, ()).why_nothing.startswith("the original is FAILED")
    assert compared(of(), {}, ()).why_nothing == "the original left no file in its outputs"
    moments = replace(original().job, submitted_at="2026-11-23T08:29:03Z", elapsed_s=4)
    assert took(original(job=moments)) == Took(4, 30, 1)
    assert took(original(job=replace(moments, submitted_at="yesterday"))).queued_s is None


def checked(*facts: Fact, lost: tuple[Loss, ...] = ()) -> Checked:
    said = Compared(("model.weights.h5",), (("events", "they hold times"),), "accuracy", 0.02, "same seed: bits")
    return Checked("alpha:146", "beta", facts or (Fact("reach", "ok", "here"),), lost, said, Took(4, 31, 2))


def test_it_is_printed_so_that_nothing_acts_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lost = (Loss("data /data", "4 bytes", "/lab\x1b[2J/x is not there", True, "--data /data=PATH"),)
    show_checked(checked(Fact("image", "FAIL", "nobody\x1b has it", "ask"), lost=lost))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "FAIL     image  nobody\\x1b has it — ask" in out and "stops it" in out
    assert "compares     model.weights.h5\n             not events: they hold times\n" in out
    assert "metric       accuracy, within 0.02\nrule         same seed: bits\n" in out
    assert "took         0-00:00:04, after 0-00:00:31 in the queue, in 2 attempts\n" in out
    assert out.endswith(
        "next         set right what FAILs or stops it, then `tfslurm rerun alpha:146 --cluster beta --wait`\n"
    )


def test_it_can_start_unless_something_fails_or_a_loss_stops_it() -> None:
    assert checked().can_start and checked(lost=(Loss("engine", "a", "b"),)).can_start
    assert not checked(Fact("x", "FAIL", "y")).can_start and not checked(lost=(Loss("GPUs", "2", "1", True),)).can_start
    assert next_step(checked()) == "`tfslurm rerun alpha:146 --cluster beta --wait`"
    given = [*wished(Wish(settings={"seed": "3 4"}, data={"/data": "/lab"}, image_archive=Path("a.tar")))]
    words = "'--set=seed=3 4' --data=/data=/lab --image-archive=a.tar"
    assert next_step(checked(), given) == f"`tfslurm rerun alpha:146 --cluster beta --wait {words}`"
    told = checked_json(checked(lost=(Loss("GPUs", "2", "1", True, "fix"),)))
    assert told["losses"] == [{"what": "GPUs", "asked": "2", "here": "1", "stops": True, "fix": "fix"}]
    assert (told["can_start"], told["took"]["queued_s"]) == (False, 31)
    assert told["compared"]["not_comparable"] == [{"path": "events", "why": "they hold times"}]
