from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tfslurm.check import Fact
from tfslurm.check.fact import gib, one_line, unknown
from tfslurm.check.registries import address, registry_names
from tfslurm.check.registries import registry_facts as asked_here
from tfslurm.check.site import CONFIG_FACTS, root_fact, site_facts
from tfslurm.cli.check import next_step, shared, unrepeated
from tfslurm.errors import RegistryError, SlurmParseError
from tfslurm.slurm import Account, Partition, SlurmConfig
from tfslurm.slurm.limits import SubmitLimit, limits_argv, parse_limits, parse_qos_limits
from tfslurm.slurm.nodes import is_busy, probe_argv
from tfslurm.slurm.profile import Said, understood
from tfslurm.slurm.profile import SiteProfile as Site
from tfslurm.slurm.site import parse_config
from tfslurm.spec import Option


def config(**changes: str) -> SlurmConfig:
    values = {
        "SLURM_VERSION": "22.05.8",
        "ClusterName": "alpha",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStoreFlags": "job_comment",
        "AccountingStorageEnforce": "associations,limits,qos",
        "MaxArraySize": "1001",
        "MaxJobCount": "10000",
        "KillWait": "30 sec",
        "JobRequeue": "1",
        "PreemptMode": "OFF",
        "PreemptType": "preempt/none",
    }
    return parse_config("".join(f"{key} = {value}\n" for key, value in {**values, **changes}.items()))


GPU = Partition("gpu", True, True, 86400, 2, 1, ("gpu:a100:4",), 64, 257000, 4)
CPU = Partition("cpu", False, True, None, 9, 0, (), 64, 257000, 0)
LAB = Account("alpha", "lab", "", ("normal", "long"), True)
SITE = Site(config(), (GPU, CPU), (LAB,), ())


def facts_of(site: Site = SITE, /, **options: Option) -> dict[str, Fact]:
    return {fact.fact: fact for fact in site_facts(site, options, "alice")}


def test_a_site_without_fault_is_ok_throughout() -> None:
    found = facts_of(partition="gpu", account="lab", qos="long")
    assert {fact.status for fact in found.values()} == {"ok"}
    assert found["partition gpu"].value == (
        "default, 2 nodes, 1 idle, gpu:a100:4 a node, 64 cpus, 250 GiB a node, time limit 1-00:00:00"
    )
    assert found["MaxArraySize"].value.startswith("1001: one array has indices 0 to 1000")
    assert list(found)[-3:] == ["slurm.partition", "slurm.account", "slurm.qos"]


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"SLURM_VERSION": "19.05.8"}, "slurm", "warn", "19.05.8"),
        ({"AccountingStorageType": "accounting_storage/none"}, "accounting", "warn", "none"),
        ({"AccountingStoreFlags": "(null)"}, "accounting", "ok", "not kept"),
        ({"MaxArraySize": "0"}, "MaxArraySize", "FAIL", "off"),
        ({"MaxArraySize": "(null)"}, "MaxArraySize", "unknown", "not print"),
        ({"KillWait": "5 sec"}, "KillWait", "warn", "5 s"),
        ({"KillWait": "(null)"}, "KillWait", "unknown", "not print"),
        ({"JobRequeue": "0"}, "JobRequeue", "ok", "checkpoint"),
        ({"JobRequeue": "(null)"}, "JobRequeue", "unknown", "not print"),
        ({"PreemptMode": "REQUEUE", "PreemptType": "preempt/qos"}, "PreemptMode", "warn", "preempt/qos"),
        ({"PreemptMode": "GANG,CANCEL", "PreemptType": "preempt/partition_prio"}, "PreemptMode", "warn", "CANCEL"),
        ({"PreemptMode": "(null)"}, "PreemptMode", "unknown", "not print"),
    ],
)
def test_settings(changes: dict[str, str], name: str, status: str, words: str) -> None:
    fact = facts_of(Site(config(**changes), (GPU,), (LAB,), ()))[name]
    assert (fact.status, words in fact.value) == (status, True), fact


def test_settings_that_were_not_asked_for_now_say_how_old_they_are() -> None:
    found = facts_of(replace(SITE, age_s=7300))
    old = [name for name, fact in found.items() if fact.value.endswith("; asked 2 h ago")]
    assert old == list(CONFIG_FACTS)
    assert found["accounting"].value.startswith("slurmdbd answered; ")
    assert not [fact for fact in facts_of().values() if "asked" in fact.value]


def test_a_slurmctld_that_does_not_answer_leaves_the_rest_unknown() -> None:
    found = facts_of(Site(why={"config": "exit 1: Unable to contact slurm controller"}), partition="gpu", account="lab")
    assert found["slurm"].status == "FAIL"
    assert "Unable to contact" in found["slurm"].value
    assert {fact.status for name, fact in found.items() if name != "slurm"} == {"unknown"}


def test_a_slurmdbd_that_does_not_answer_is_a_warning() -> None:
    fact = facts_of(Site(config(), (GPU,), None, None, why={"accounts": "exit 1: Connection refused"}))["accounting"]
    assert (fact.status, "Connection refused" in fact.value) == ("warn", True)


@pytest.mark.parametrize(
    ("options", "name", "status", "do"),
    [
        ({"partition": "gpus"}, "slurm.partition", "FAIL", "write one of: gpu, cpu"),
        ({"partition": "cpu,gpuu"}, "slurm.partition", "FAIL", "write one of: gpu, cpu"),
        ({"partition": "cpu,gpu"}, "slurm.partition", "ok", ""),
        ({"account": "labs"}, "slurm.account", "FAIL", "write one of: lab"),
        ({"qos": "lang"}, "slurm.qos", "FAIL", "write one of: long, normal"),
    ],
)
def test_names_that_do_not_exist_come_with_those_that_do(
    options: dict[str, Option], name: str, status: str, do: str
) -> None:
    fact = facts_of(**options)[name]
    assert (fact.status, fact.do) == (status, do)


def test_an_account_is_only_compared_where_slurm_compares_it() -> None:
    loose = Site(config(AccountingStorageEnforce="none"), (GPU,), (LAB,), ())
    assert facts_of(loose, account="labs")["slurm.account"].status == "warn"
    none = Site(config(), (GPU,), None, None, why={"accounts": "no accounting to ask"})
    assert facts_of(none, account="lab")["slurm.account"].status == "unknown"
    stranger = facts_of(Site(config(), (GPU,), (), ()))["slurm.account"]
    assert (stranger.status, "knows no account of alice" in stranger.value) == ("FAIL", True)


def test_without_a_default_partition_one_must_be_named() -> None:
    fact = facts_of(Site(config(), (CPU,), (LAB,), ()))["slurm.partition"]
    assert (fact.status, fact.do) == ("FAIL", "write `slurm: {partition: …}` in the cluster file: cpu")
    assert facts_of(Site(config(), (), (LAB,), ()))["partitions"].status == "FAIL"


def test_a_partition_that_is_not_up_is_a_warning() -> None:
    down = Partition("gpu", True, False, 86400, 2, 0, ("gpu:4",), 64, 1000, 4)
    fact = facts_of(Site(config(), (down,), (LAB,), ()))["partition gpu"]
    assert (fact.status, fact.value.startswith("not up")) == ("warn", True)


def test_limits_of_associations_and_qos_are_told_together() -> None:
    limits = parse_limits("alpha|lab||10|\nbeta|lab||1|1\nalpha|guest|gpu|2|40\n", "alpha")
    assert limits == (SubmitLimit("lab", "", 10, None), SubmitLimit("guest", "gpu", 2, 40))
    qos = parse_qos_limits("normal|5\nlong|\nother|9\n")
    fact = facts_of(Site(config(), (GPU,), (LAB,), limits, qos))["MaxSubmitJobs"]
    assert fact.value == "lab 10; guest/gpu 2; guest/gpu 40 together with its other users; qos normal 5"
    with pytest.raises(SlurmParseError):
        parse_limits("alpha|lab\n", "alpha")
    with pytest.raises(SlurmParseError):
        parse_qos_limits("normal|many\n")
    assert limits_argv("alice")[-3:-1] == ("where", "user=alice")


@pytest.mark.parametrize(
    ("kind", "free", "status"),
    [
        ("nfs", 90000, "ok"),
        ("tmpfs", 90000, "warn"),
        ("overlayfs", 90000, "warn"),
        ("nfs", 20, "warn"),
        ("", None, "ok"),
    ],
)
def test_the_root_warns_of_node_local_file_systems_and_little_room(kind: str, free: int | None, status: str) -> None:
    assert root_fact("/scratch", kind, free).status == status


def test_the_look_is_one_small_srun_whose_words_are_arguments() -> None:
    options = {"account": "lab", "array": "1-9"}
    argv = probe_argv(options, ("bash", "-s", "--", "$(x)"), partition="a b", gres="gpu:1", immediate=20)
    assert argv[0] == "srun"
    assert {"--partition=a b", "--gres=gpu:1", "--immediate=20", "--account=lab"} < set(argv)
    assert not [word for word in argv if word.startswith("--array")]
    assert argv[-1] == "$(x)"
    assert not [word for word in probe_argv({}, ("true",), gres="") if word.startswith("--gres")]


@pytest.mark.parametrize(
    ("words", "busy"),
    [
        ("srun: error: Unable to allocate resources: Requested nodes are busy", True),
        ("srun: Job allocation 7 has been revoked", True),
        ("srun: error: Unable to allocate resources: Invalid account or account/partition combination", False),
    ],
)
def test_busy_is_not_refused(words: str, busy: bool) -> None:
    assert is_busy(words) == busy


# --- registries


@pytest.mark.parametrize(
    ("registry", "place"),
    [
        ("docker.io", ("registry-1.docker.io", "443")),
        ("127.0.0.1:5000", ("127.0.0.1", "5000")),
        ("quay.io", ("quay.io", "443")),
        ("[::1]:5000", ("::1", "5000")),
    ],
)
def test_where_a_registry_is_knocked_at(registry: str, place: tuple[str, str]) -> None:
    assert address(registry) == place


def test_registries_are_the_mirrors_in_order_and_then_what_they_mirror() -> None:
    mirrors = {"docker.io": ("127.0.0.1:5000/hub", "127.0.0.1:5001"), "quay.io/a": ("127.0.0.1:5000",)}
    assert registry_names(mirrors) == ("127.0.0.1:5000", "127.0.0.1:5001", "docker.io", "quay.io")
    assert registry_names({}) == ("docker.io",)


def silent(name: str) -> str:
    if name == "docker.io":
        raise RegistryError("docker.io: GET /v2/: DNS")
    return "answers"


def test_a_silent_registry_is_a_warning_that_says_whether_it_matters() -> None:
    first, second = asked_here(("127.0.0.1:5000", "docker.io"), silent)
    assert (first.status, second.status, second.value) == ("ok", "warn", "GET /v2/: DNS")
    assert "no action needed if another mirror" in second.do
    assert "no tag can be pinned" in asked_here(("docker.io",), silent)[0].do


# --- what is printed


def test_facts_that_repeat_on_a_second_partition_are_counted_not_printed() -> None:
    facts = [
        Fact("gpu/node", "ok", "n1"),
        Fact("gpu/driver", "ok", "550"),
        Fact("gpu/registry a:1", "warn", "closed", "x"),
        Fact("debug/node", "ok", "n1"),
        Fact("debug/driver", "ok", "550"),
        Fact("debug/registry a:1", "ok", "open"),
    ]
    lines = unrepeated(facts)
    assert [fact.fact for fact in lines[3:]] == ["debug/node", "debug/registry a:1"]
    assert lines[3].value == "n1; 1 fact as in gpu"


def test_unknowns_of_one_reason_share_a_line() -> None:
    facts = [
        Fact("reach", "FAIL", "no"),
        *unknown(["slurm", "accounting"], "not reached"),
        Fact("x", "unknown", "other"),
    ]
    assert [(fact.fact, fact.value) for fact in shared(facts)] == [
        ("reach", "no"),
        ("(2 facts)", "slurm, accounting: not reached"),
        ("x", "other"),
    ]


@pytest.mark.parametrize(
    ("found", "has_experiment", "words"),
    [
        ({"a": "ok"}, True, "`tfslurm submit exp.yaml --cluster a --wait`"),
        ({"a": "ok"}, False, "`tfslurm init` writes an experiment to start from"),
        ({"local": "ok"}, True, "`tfslurm run exp.yaml`"),
        ({"a": "FAIL"}, True, "fix what FAILs, then `tfslurm check a`"),
        (
            {"a": "FAIL", "b": "warn"},
            True,
            "`tfslurm submit exp.yaml --cluster b --wait`; on a fix what FAILs, then `tfslurm check a`",
        ),
    ],
)
def test_the_last_line_is_the_next_command(found: dict[str, Any], has_experiment: bool, words: str) -> None:
    assert next_step({name: [Fact("f", status, "")] for name, status in found.items()}, has_experiment) == words


def test_an_answer_that_is_not_understood_is_a_reason_not_a_crash() -> None:
    why: dict[str, str] = {}
    assert understood("config", Said("nonsense"), parse_config, why) is None
    assert "cannot read" in why["config"]
    assert understood("config", Said("", "exit 1: no"), parse_config, why) is None
    assert why["config"] == "exit 1: no"


def test_sizes_and_long_words_are_shortened() -> None:
    assert [gib(900), gib(78000), gib(3 * 1024**2)] == ["900 MiB", "76 GiB", "3.0 TiB"]
    assert len(one_line("word " * 400)) == 300
