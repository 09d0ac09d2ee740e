"""A run once more from its record: the exp.yaml that is made of it, its code, and the submission."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tfslurm
from tests.fakes.laptop import Laptop
from tests.made import entries
from tests.repository import repository
from tests.test_record import case
from tfslurm.api.session import session_of
from tfslurm.cli import run as typed
from tfslurm.errors import InputError, Problem, RecordError
from tfslurm.export.prov import prov_json
from tfslurm.image import Pin, parse_lock
from tfslurm.job_plan import DerivedFrom, JobPlan, identify, to_json
from tfslurm.job_plan.holding import Service
from tfslurm.record import Record, build_record, record_from_json, record_json
from tfslurm.record.comparison.code import CodeFile
from tfslurm.record.metrics import metric_files
from tfslurm.record.model import seal
from tfslurm.reruns.code_files import write_tree
from tfslurm.reruns.experiment_text import experiment_text
from tfslurm.reruns.naming import PREFIX, named_by_record
from tfslurm.reruns.older import asked_of
from tfslurm.run_folder.plan_file import checked_plan
from tfslurm.snapshot import take_all
from tfslurm.submission.code_folder import snapshot
from tfslurm.submission.own_folders import own_places
from tfslurm.submission.prepare import prepare, read_experiment
from tfslurm.submission.sweep_arrays import points_of

FACTS = Path(__file__).parent / "facts"
RUN = {"command": "python train.py --lr {{ lr }} --tag={{ tag }}", "parameters": {"lr": 0.1, "tag": "a b"}}
PLANS: dict[str, dict[str, Any]] = {
    "a line": RUN,
    "an argv": {
        "command": ["python", "train.py", "--lr={{ lr }}", '{{ "{{" }} x }}', ""],
        "parameters": {"lr": "0.10"},
    },
    "no parameter": {"command": ["true"]},
    "variables": {**RUN, "env": {"LR": "{{ lr }}", "A": "$HOME {%", "TF_DETERMINISTIC_OPS": "1"}},
    "own variable": {**RUN, "env": {"PYTHONUNBUFFERED": ""}},
    "read by the program": {"command": ["true"], "parameters": {"seed": 7, "big": True}},
    "resources": {
        **RUN,
        "resources": {"gpus": "a100:2", "cpus": 6, "memory": "all", "time": "1-02:03:04", "nodes": 2, "shm": "8G"},
    },
    "no gpu": {**RUN, "resources": {"gpus": 0, "memory": "1500M", "tasks_per_node": 2}, "prepull": True},
    "checkpoint": {
        **RUN,
        "outputs": "/out",
        "checkpoint": {"signal": "TERM", "before_end": 90, "requeue": True, "max_requeues": 3},
    },
    "options": {**RUN, "slurm": {"account": "lab", "exclusive": True, "hint": "nomultithread", "nice": 5}},
    "plugin": {**RUN, "plugin_options": {"quotatype": "spot"}},
    "mounts": {
        **RUN,
        "mounts": [
            {"source": "/data/a", "target": "/a", "hash": True},
            {"source": "moons:train", "target": "/b"},
            {"source": "/data/c", "target": "/c", "read_only": False},
        ],
    },
    "the rest": {**RUN, "network": "none", "gpu_check": "always", "outputs": "/o", "secrets": ["KEY"]},
    "reproduce": {**RUN, "outputs": "/out", "reproduce": {"metric": "acc", "tolerance": 0.02, "files": ["w.h5"]}},
    "writable code": {**RUN, "code": {"path": "code", "writable": True}},
}
BESIDE = ("plan_id", "plan_sha256", "spec_sha256", "spec_text", "spec_file", "chain_head", "reproduce", "derived_from")


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A user's machine whose cluster has data."""
    made = Laptop.made(tmp_path, monkeypatch)
    file = made.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    mounts = {"allow": ["/data"], "names": {"moons": "/data/moons"}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "mounts": mounts, "slurm": {"partition": "gpu"}}))
    return made


def planned(laptop: Laptop, file: str, *sets: str) -> JobPlan:
    """The plan of an experiment."""
    asked = read_experiment(Path(file), sets)
    known, own = laptop.known, own_places(laptop.tracker)
    code, moment = snapshot(asked), "2026-11-23T07:50:01Z"
    return prepare(asked, pin_of(laptop), known.cluster, known.text, "alice", moment, code=code, own=own).plan


def pin_of(laptop: Laptop) -> Pin:
    """The pin of its image."""
    return parse_lock((laptop.folder / "exp.lock.yaml").read_text(), "exp.lock.yaml")


def recorded(plan: JobPlan, point: dict[str, Any] | None = None) -> Record:
    """The record of a job of a plan, which ended well."""
    source = case("gpu")
    return build_record(plan, "59", source.files, source.status, image_facts=source.image_facts, point=point)


def crate_of(laptop: Laptop, plan: JobPlan, folder: str = "crate") -> Path:
    """A crate of that job with its code."""
    crate = laptop.folder / folder
    crate.mkdir()
    (crate / "record.json").write_text(json.dumps(record_json(recorded(plan))))
    if plan.code:
        (crate / "code").mkdir()
        (laptop.folder / "code").rename(crate / "code" / plan.code.tree)
    return crate


def crate(laptop: Laptop, **keys: Any) -> Path:
    """The crate of an experiment whose code is the folder beside it."""
    return crate_of(laptop, planned(laptop, laptop.experiment(**{**RUN, "code": "code", **keys})))


def last_plan(laptop: Laptop) -> JobPlan:
    """The plan of the job that was queued last."""
    return laptop.tracker.plans(plan_id=laptop.tracker.jobs()[-1].plan_id)[0].plan


# ---------------------------------------------------------------------------------------------------- the experiment


@pytest.mark.parametrize("name", PLANS)
def test_the_experiment_of_a_record_is_planned_as_the_original_was(name: str, laptop: Laptop) -> None:
    plan = planned(laptop, laptop.experiment(**PLANS[name]))
    record = recorded(plan)
    assert record.asked is not None
    made = experiment_text(record, record.asked, is_same_cluster=True)
    assert not made.is_literal and not made.left_out
    (laptop.folder / "exp.yaml").write_text(made.text)
    again = planned(laptop, "exp.yaml")
    one, other = ({key: value for key, value in to_json(each).items() if key not in BESIDE} for each in (plan, again))
    assert one == other
    assert plan.reproduce == again.reproduce


def test_a_point_of_a_sweep_becomes_one_job_with_its_parameters(laptop: Laptop) -> None:
    file = laptop.experiment(**{**RUN, "env": {"LR": "{{ lr }}"}, "sweep": {"grid": {"lr": [0.3, 0.4]}}})
    asked = read_experiment(Path(file), sweeps=True)
    plan = prepare(
        asked, pin_of(laptop), laptop.known.cluster, laptop.known.text, "alice", "2026-11-23T07:50:01Z",
        points_of(entries(2), asked.experiment, "digits-0a1b2c"), code=None, own=own_places(laptop.tracker),
    ).plan  # fmt: skip
    values = {"lr": 0.4, "tag": "a b"}
    argv = ["python", "train.py", "--lr", "0.4", "--tag=a b"]
    point = {"parameters": values, "command": argv, "env": {"LR": "0.4", "TFSLURM_PARAMS": "{}"}}
    record = recorded(plan, point)
    assert record.asked is not None
    made = experiment_text(record, record.asked, is_same_cluster=True)
    assert "sweep" not in made.tree and "clusters" not in made.tree
    assert (made.tree["parameters"], made.tree["command"], made.tree["env"]) == (
        values,
        RUN["command"],
        {"LR": "{{ lr }}"},
    )
    swept = experiment_text(record, record.asked, is_same_cluster=True, sweep={"zip": [{"tag": ["x", "y"]}]})
    assert swept.tree["sweep"] == {"zip": [{"tag": ["x", "y"]}]}


def test_a_point_keeps_the_files_that_its_sweeps_metrics_are_in(laptop: Laptop) -> None:
    swept = {"grid": {"lr": [0.3, 0.4]}, "results": "fold*/metrics.json", "max_parallel": 1}
    spec = (laptop.folder / laptop.experiment(**{**RUN, "sweep": swept})).read_text()
    record = recorded(planned(laptop, laptop.experiment(**RUN)))
    assert record.asked is not None
    made = experiment_text(record, replace(record.asked, spec=spec), is_same_cluster=True)
    assert made.tree["sweep"] == {"results": "fold*/metrics.json"}
    (laptop.folder / "exp.yaml").write_text(made.text)
    again = recorded(planned(laptop, "exp.yaml"))
    assert metric_files(again)[1] == metric_files(replace(record, asked=replace(record.asked, spec=spec)))[1]
    assert again.asked is not None
    twice = experiment_text(again, again.asked, is_same_cluster=True)
    assert twice.tree["sweep"] == made.tree["sweep"], "and so does a rerun of the rerun"
    asked = read_experiment(laptop.folder / "exp.yaml", ["lr=0.1,0.2"], sweeps=True)
    assert asked.experiment.sweep == {"results": "fold*/metrics.json", "grid": {"lr": [0.1, 0.2]}}


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["", "name: [", "command: python other.py {{ lr }}\n", "- 1\n", "command: {a: 1}\n"])
def test_words_that_the_text_does_not_give_are_taken_to_the_letter(spec: str, laptop: Laptop) -> None:
    plan = planned(laptop, laptop.experiment(command=["echo", "{{ lr }}", '{{ "{{" }} lr }}'], parameters={"lr": 3}))
    record = recorded(plan)
    assert record.asked is not None
    made = experiment_text(record, replace(record.asked, spec=spec or None), is_same_cluster=True)
    assert made.is_literal and made.tree["command"] == ["echo", "3", '{{ "{{" }} lr }}']
    (laptop.folder / "exp.yaml").write_text(made.text)
    assert planned(laptop, "exp.yaml").command == plan.command == ("echo", "3", "{{ lr }}")


def test_options_of_a_site_stay_there_and_those_of_a_moment_nowhere(laptop: Laptop) -> None:
    slurm = {"account": "lab", "exclusive": True, "nodelist": "n1", "begin": "now+1hour"}
    record = recorded(planned(laptop, laptop.experiment(**RUN, slurm=slurm)))
    assert record.asked is not None
    here = experiment_text(record, record.asked, is_same_cluster=True)
    assert here.tree["slurm"] == {"partition": "gpu", "account": "lab", "exclusive": True, "nodelist": "n1"}
    assert dict(here.left_out) == {"begin": "it was meant for that time"}
    there = experiment_text(record, record.asked, is_same_cluster=False)
    assert there.tree["slurm"] == {"exclusive": True}
    assert set(dict(there.left_out)) == {"partition", "account", "nodelist", "begin"}


@pytest.mark.parametrize("path", sorted((FACTS / "first").glob("*.json")), ids=lambda path: path.stem)
def test_of_a_record_of_the_first_schema_what_it_had_is_asked_again(path: Path) -> None:
    record = record_from_json(json.loads(path.read_text()))
    try:
        asked, notes = asked_of(record)
    except RecordError as error:
        assert "how its tasks were spread" in str(error)
        return
    made = experiment_text(record, asked, is_same_cluster=False)
    assert "of an older tfslurm" in notes[0] and made.tree["command"] == list(record.experiment.command)


# --------------------------------------------------------------------------------------------------------- the code


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", ".git/config", "a/.GIT/hooks/post", "", ".."])
def test_code_with_a_name_that_leads_elsewhere_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is no name of a file of code"):
        write_tree({name: CodeFile("", b"x")}, tmp_path / "code", "crate")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_nothing_is_written_through_a_link_of_the_code(tmp_path: Path) -> None:
    tree = {"a": CodeFile("", b"", target="/etc"), "a/passwd": CodeFile("", b"x")}
    with pytest.raises(RecordError, match="cannot be written here"):
        write_tree(tree, tmp_path / "code", "crate")


@pytest.mark.parametrize("link", ["a", "./a", "a/."])
@pytest.mark.parametrize("below", ["a/evil", "a/new/evil"])
def test_no_link_is_made_below_a_link_of_the_code(link: str, below: str, tmp_path: Path) -> None:
    """Git keeps a tree with a file and a folder of one name; a stranger's repository may have one."""
    (tmp_path / "home").mkdir()
    tree = {link: CodeFile("", b"", target=str(tmp_path / "home")), below: CodeFile("", b"", target="/tmp/evil.py")}
    with pytest.raises(RecordError, match="cannot be written here: it lies below a link"):
        write_tree(tree, tmp_path / "code", "crate")
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.slow
def test_code_is_what_its_tree_names_with_no_name_left_out(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    folder = laptop.folder / "code"
    laptop.experiment()
    for name in (".cache/weights", "old.pyc", ".gitignore", "sub/run.sh"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("*\n")
    (folder / "sub/run.sh").chmod(0o755)
    plan = planned(laptop, laptop.experiment(**RUN, code="code"))
    assert plan.code is not None
    plan = identify(replace(plan, code=replace(plan.code, tree=take_all(folder).tree)))
    found = crate_of(laptop, plan)
    assert typed(["rerun", str(found), "--cluster", "alpha"]) == 0, capsys.readouterr().err
    made = last_plan(laptop).code
    assert made and plan.code and (made.tree, made.files) == (plan.code.tree, 5)


@pytest.mark.slow
def test_code_that_no_crate_has_comes_from_the_repository_that_one_is_in(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop.experiment()
    (laptop.folder / "code" / "run.sh").write_text("true\n")
    (laptop.folder / "code" / "run.sh").chmod(0o755)
    shutil.copytree(laptop.folder / "code", laptop.folder / "clone" / "src")
    repository(laptop.folder / "clone", {})
    found = crate(laptop)
    shutil.rmtree(found / "code")
    assert typed(["rerun", str(found)]) == 1
    assert "is not there any more; run this in a clone of its repository" in capsys.readouterr().err
    monkeypatch.chdir(laptop.folder / "clone")
    assert typed(["rerun", str(found)]) == 0
    code = recorded(last_plan(laptop)).code
    assert code and code.tree == json.loads((found / "record.json").read_text())["code"]["tree"]


def test_changed_code_is_run_only_by_who_says_so(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    found = crate(laptop)
    (file,) = found.glob("code/*/train.py")
    file.write_text("print(2)\n")
    assert typed(["rerun", str(found)]) == 1
    assert "its files are not those of the tree that the record names; take the original" in capsys.readouterr().err
    assert typed(["rerun", str(found), "--anyway", "--dry-run", "--json"]) == 0
    assert "--anyway runs it" in json.loads(capsys.readouterr().out)["warnings"][0]
    file.unlink()
    assert typed(["rerun", str(found), "--anyway"]) == 1
    assert "run this in a clone of its repository" in capsys.readouterr().err
    assert not laptop.known_ids()


# --------------------------------------------------------------------------------------------------- the submission


def test_a_crate_is_submitted_once_and_names_its_original(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    found = crate(laptop)
    record = json.loads((found / "record.json").read_text())
    assert typed(["rerun", str(found)]) == 0
    told = capsys.readouterr()
    assert told.out == "alpha:101\n" and f"then `tfslurm diff {found} alpha:101`" in told.err
    origin = DerivedFrom("alpha:59", record["integrity"]["record_sha256"], record["record_id"], {})
    plan = last_plan(laptop)
    assert plan.derived_from == origin
    assert checked_plan(json.dumps(to_json(plan)).encode()) == plan
    assert recorded(plan).derived_from == origin
    assert typed(["rerun", str(found)]) == 1
    assert "the same job is there already: alpha:101" in capsys.readouterr().err
    assert typed(["rerun", str(found), "--again", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"job": "alpha:102", "original": "alpha:59"}
    assert typed(["rerun", str(found), "--set", "lr=0.5", "--set", "env.A=x"]) == 0
    plan = last_plan(laptop)
    assert plan.command[2:4] == ("--lr", "0.5") and plan.parameters["lr"] == 0.5 and plan.env["A"] == "x"
    assert plan.derived_from and plan.derived_from.set == {"lr": "0.5", "env.A": "x"}
    capsys.readouterr()
    assert typed(["provenance", str(found)]) == 0
    assert "reruns   alpha:101, alpha:102, alpha:103\n" in capsys.readouterr().out


def test_a_rerun_that_was_cut_off_before_its_id_was_told_is_not_submitted_twice(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = crate(laptop)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfslurm.reruns.run.submit_jobs", lambda *words, told, **more: cut_off())
        assert typed(["rerun", str(found)]) == 130
    with monkeypatch.context() as patch:
        patch.setattr("tfslurm.cli.rerun.show", cut_off)
        assert typed(["rerun", str(found)]) == 130
    capsys.readouterr()
    assert laptop.slurm.ids() == ["101"]
    assert typed(["rerun", str(found)]) == 0
    assert capsys.readouterr().out == "alpha:101\n"
    assert laptop.slurm.ids() == ["101"]


def test_what_would_run_is_shown_and_nothing_runs(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    found = crate(laptop, secrets=["NO_SUCH_KEY"], slurm={"begin": "now"})
    assert typed(["rerun", str(found), "--set", "lr=3", "--dry-run"]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("original alpha:59, COMPLETED in ") and "\nchanged  lr=3\n" in shown
    assert "note     slurm option begin is left out: it was meant for that time\n" in shown
    assert "MISSING  " in shown and "NO_SUCH_KEY" in shown
    assert typed(["rerun", str(found)]) == 2
    assert "NO_SUCH_KEY" in capsys.readouterr().err
    assert not laptop.known_ids() and not laptop.slurm.ids()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--data", "/dat=/data/x"), "--data /dat: nothing is mounted there; did you mean `/data`?"),
        (("--data", "/data"), "is not TARGET=SOURCE"),
        (("--data", "/data=/etc"), "/etc"),
        (("--set", "lt=1"), "--set lt"),
        (("--set", "lr=1,2"), "this command takes one job"),
        (("--set", "resources.gpus=x"), "resources.gpus"),
        (("--cluster", "beta"), "cluster 'beta': is not known"),
        (("--cluster", "alpha", "--local"), "exclude each other"),
        (("--format", "markdown"), "--format is of the verdict"),
        (("--local", "--check", "--format", "markdown"), "--format is of the verdict"),
        (("--check", "--seeds", "3"), "3 are too few to say anything"),
        (("--check", "--points", "2"), "is one run, and not a sweep"),
    ],
)
def test_a_wish_that_fits_nothing_is_refused(
    words: tuple[str, ...], why: str, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crate(laptop, mounts=[{"source": "/data/digits", "target": "/data"}])
    assert typed(["rerun", str(found), *words]) == 2
    assert why in capsys.readouterr().err
    assert not laptop.known_ids()


@pytest.mark.slow
def test_data_lie_where_the_user_says(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.reruns.looking.look_at_data", lambda *_: {})  # nothing is in /data here
    found = crate(laptop, mounts=[{"source": "/data/digits", "target": "/data", "hash": True}])
    assert typed(["rerun", str(found), "--data", "/data=moons:test"]) == 0
    (mount,) = last_plan(laptop).mounts
    assert (mount.source, mount.target, mount.hash) == ("/data/moons/test", "/data", True)


def changed(values: dict[str, Any]) -> dict[str, Any]:
    """The record with another hash, as a stranger would seal it."""
    return record_json(seal(record_from_json(values)))


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ({"experiment": {"command": ["rm"]}}, 1, "its record was changed after it was made"),
        ({"job": {"state": "RUNNING"}}, 1, "alpha:59 has not ended (RUNNING)"),
        ({"experiment": {"command": [*Service("jupyter", 60).command]}}, 1, "typed in a browser (tfslurm jupyter)"),
        ({"experiment": {"command": [*Service("tensorboard", 60).command]}}, 1, "name one of the runs that it showed"),
        ({"job": {"cluster": "gone"}}, 2, "it ran on cluster 'gone', which is not known here"),
        ({"code": {"tree": "../../etc"}}, 1, "is not the id of a tree"),
        ({"experiment": {"name": "../x"}}, 2, "name: '../x'"),
        ({"asked": {"resources": {"gpus": "1; rm"}}}, 2, "resources.gpus"),
        ({"asked": {"options": {"wrap": "rm"}}}, 2, "wrap"),
        ({"asked": {"options": {"output": "/etc/passwd"}}}, 2, "output"),
        ({"asked": {"template": {"name": "../x", "text": "", "sha256": None}}}, 1, "is not a file name"),
        (
            {"asked": {"template": {"name": "my.j2", "text": None, "sha256": None}}},
            1,
            "has not the text of its template",
        ),
        (
            {"asked": {"template": {"name": "exp.yaml", "text": "x", "sha256": None}}},
            1,
            "exp.yaml is not the name of a template",
        ),
        ({"image": {"digest": "sha256:" + "0" * 64}}, 1, "its lock file is of"),
        ({"asked": {"lock": "image: ["}}, 2, "lock"),
        ({"experiment": {"mounts": [{"source": "/etc", "target": "/data"}]}}, 2, "/etc"),
        ({"experiment": {"mounts": [{"source": "/data/../etc", "target": "/data"}]}}, 2, "/data/../etc"),
        ({"experiment": {"mounts": [{"source": [], "target": {}}]}}, 2, "mounts[0]"),
        ({"experiment": {"env": {"TFSLURM_ROOT": "/x"}}}, 2, "TFSLURM_ROOT"),
        ({"experiment": {"command": []}}, 2, "command"),
        ({"asked": {"entrypoint": ["/init"]}}, 1, "does not begin with the entrypoint of its image: '/init'"),
    ],
)
def test_a_strangers_record_is_held_against_what_a_user_could_write(
    change: dict[str, Any], code: int, why: str, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crate(laptop)
    values = json.loads((found / "record.json").read_text())
    for part, news in change.items():
        values[part] = {**values[part], **news}
    is_sealed = "its record was changed" not in why
    (found / "record.json").write_text(json.dumps(changed(values) if is_sealed else values))
    assert typed(["rerun", str(found)]) == code
    assert why in capsys.readouterr().err
    assert not laptop.slurm.ids()


def test_the_outputs_of_a_run_of_another_tracker_are_not_taken_for_those_of_a_run_here(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    file = laptop.experiment(command=["true"], outputs="/out")
    assert typed(["submit", file]) == 0
    found = crate(laptop, mounts=[{"source": "run:alpha:101/out", "target": "/in"}])
    values = json.loads((found / "record.json").read_text())
    values["experiment"]["mounts"][0]["source"] = f"{laptop.root}/runs/digits-0123456789ab/101/out"
    (found / "record.json").write_text(json.dumps(changed(values)))
    assert typed(["rerun", str(found)]) == 2
    assert "a run of that name here is another one; say where they lie: --data /in=SOURCE" in capsys.readouterr().err
    assert laptop.slurm.ids() == ["101"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["source", "name"])
def test_a_run_of_this_tracker_is_not_mounted_by_another_name(
    key: str, laptop: Laptop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfslurm.reruns.looking.look_at_data", lambda *_: {})  # nothing is in /data here
    assert typed(["submit", laptop.experiment(command=["true"], outputs="/out")]) == 0
    found = crate(laptop, mounts=[{"source": "/data/a", "target": "/in"}])
    values = json.loads((found / "record.json").read_text())
    values["experiment"]["mounts"][0][key] = "run:alpha:101/out"
    (found / "record.json").write_text(json.dumps(changed(values)))
    assert typed(["rerun", str(found)]) == 2
    assert "a run of that name here is another one; say where they lie: --data /in=SOURCE" in capsys.readouterr().err
    assert laptop.slurm.ids() == ["101"]


def test_a_command_that_is_the_entrypoint_alone_is_no_crash(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    found = crate(laptop)
    values = json.loads((found / "record.json").read_text())
    values["experiment"]["command"] = values["asked"]["entrypoint"]
    values["asked"]["spec"] = None
    (found / "record.json").write_text(json.dumps(changed(values)))
    assert typed(["rerun", str(found)]) in (0, 2)
    assert "internal" not in capsys.readouterr().err


def test_a_parameter_without_a_place_in_the_command_cannot_be_set(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    found = crate(laptop)
    values = json.loads((found / "record.json").read_text())
    values["asked"]["spec"] = None
    (found / "record.json").write_text(json.dumps(changed(values)))
    assert typed(["rerun", str(found), "--set", "lr=0.5"]) == 2
    assert "has the command alone, and not where in it the parameters stand" in capsys.readouterr().err
    assert typed(["rerun", str(found), "--set", "resources.gpus=0"]) == 0
    assert last_plan(laptop).command[3] == "0.1"


@pytest.mark.slow
def test_a_template_comes_with_its_record(laptop: Laptop) -> None:
    text = '{% extends "job.sbatch.j2" %}\n'
    (laptop.folder / "mine.j2").write_text(text)
    found = crate(laptop, template="mine.j2")
    (laptop.folder / "mine.j2").unlink()
    assert typed(["rerun", str(found), "--yes"]) == 0
    plan = last_plan(laptop)
    assert (plan.template, plan.template_text) == ("mine.j2", text)


@pytest.mark.slow
def test_what_a_rerun_reaches_is_shown_before_and_named_as_it_begins(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exp.yaml of the record says nothing of it."""
    monkeypatch.setattr("tfslurm.reruns.looking.look_at_data", lambda *_: {})  # nothing is in /data here
    found = crate(laptop, mounts=[{"source": "/data/a", "target": "/in"}])
    values = json.loads((found / "record.json").read_text())
    values["experiment"]["mounts"][0]["read_only"] = False
    values["asked"] |= {
        "template": {"name": "evil.j2", "sha256": None, "text": '{% extends "job.sbatch.j2" %}\n{# evil #}\n'},
        "secrets": ["AWS_KEY", "KEY"],
    }
    (found / "record.json").write_text(json.dumps(changed(values)))
    monkeypatch.setenv("AWS_KEY", "1")
    monkeypatch.setenv("KEY", "1")
    reached = (
        "template: evil.j2 is code that runs on the node as you, OUTSIDE the container",
        "secrets: AWS_KEY is a credential of other services: the program can do there what you may do",
        "secrets: the program gets your KEY",
        "mounts: the program can change /data/a",
    )
    assert typed(["rerun", str(found), "--review"]) == 0
    said = capsys.readouterr().out
    assert all(f"LOOK AT  {line}" in said for line in reached) and "{# evil #}" in said and not laptop.slurm.ids()
    assert typed(["rerun", str(found), "--review", "--check"]) == 2
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody can be asked
    assert typed(["rerun", str(found)]) == 2
    said = capsys.readouterr().err
    assert "evil.j2 (2 lines) came with the record" in said and "add --yes" in said and not laptop.slurm.ids()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert typed(["rerun", str(found)]) == 1
    assert "nothing was started: its template needs your word" in capsys.readouterr().err and not laptop.slurm.ids()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert typed(["rerun", str(found)]) == 0
    said = capsys.readouterr().err
    assert all(f"note: {line}\n" in said for line in reached)


def test_a_template_that_this_tracker_has_sent_is_not_asked_about_and_python_gives_its_word(
    laptop: Laptop, caplog: pytest.LogCaptureFixture
) -> None:
    text = '{% extends "job.sbatch.j2" %}\n'
    (laptop.folder / "mine.j2").write_text(text)
    found = crate(laptop, template="mine.j2")
    assert typed(["rerun", str(found), "--yes"]) == 0  # of another tracker, as far as this one knows
    sent = last_plan(laptop)
    values = json.loads((found / "record.json").read_text())
    (found / "record.json").write_text(json.dumps(changed({**values, "plan_sha256": sent.plan_sha256})))
    assert typed(["rerun", str(found), "--again"]) == 0
    (found / "record.json").write_text(json.dumps(changed({**values, "plan_sha256": "f" * 64})))
    session_of.cache_clear()
    with pytest.raises(tfslurm.TfslurmError, match="nothing was started"):
        tfslurm.rerun(found, again=True)
    job = tfslurm.rerun(found, again=True, yes=True)
    assert isinstance(job, tfslurm.Job) and job.key == "alpha:103"
    assert "template: mine.j2 is code that runs on the node as you" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("resources.memory=much", "resources.memory"),
        ("command=python train.py {{ nope }}", "nope"),
        ("image=127.0.0.1:1/team/tf:latest", "moves with each release"),
        ("slurm.nonsense=1", "nonsense"),
    ],
)
def test_an_error_names_the_record_and_no_file_that_is_gone_by_then(
    laptop: Laptop, capsys: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    found = crate(laptop)
    capsys.readouterr()
    assert typed(["rerun", str(found), "--set", setting]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert PREFIX not in error


def test_problems_of_the_temporary_folder_are_the_records() -> None:
    folder = f"/tmp/{PREFIX}a1b2_c"
    problems = [
        Problem(f"{folder}/exp.yaml", 7, "resources.gpus", "is not a number", f"run `tfslurm pin {folder}/exp.yaml`"),
        Problem(f"{folder}/exp.lock.yaml", 3, "image.digest", "is none", ""),
        Problem("alpha.yaml", 2, "root", f"{folder}/code/train.py: is a link", ""),
    ]
    with pytest.raises(InputError) as error, named_by_record("alpha:12"):
        raise InputError(problems)
    assert sorted(str(error.value).splitlines()) == [
        "alpha.yaml:2: root: alpha:12: code/train.py: is a link",
        "alpha:12: lock file: image.digest: is none",
        "alpha:12: resources.gpus: is not a number; run `tfslurm pin alpha:12`",
    ]


@pytest.mark.slow
def test_a_program_in_python_gets_the_new_job(laptop: Laptop) -> None:
    found = crate(laptop)
    session_of.cache_clear()
    job = tfslurm.rerun(found, settings={"resources.gpus": 0}, lr=0.5)
    assert isinstance(job, tfslurm.Job) and (job.key, job.parameters["lr"]) == ("alpha:101", 0.5)
    plan = last_plan(laptop)
    assert plan.resources.gpus == 0
    assert plan.derived_from and plan.derived_from.set == {"resources.gpus": "0", "lr": "0.5"}
    session_of.cache_clear()


@pytest.mark.slow
def test_other_code_may_be_named(laptop: Laptop) -> None:
    found = crate(laptop)
    (laptop.folder / "other").mkdir()
    (laptop.folder / "other" / "train.py").write_text("print(3)\n")
    assert typed(["rerun", str(found), "--set", "code=other"]) == 0
    (sent,) = (path for path in (laptop.root / "code").rglob("train.py"))
    assert sent.read_text() == "print(3)\n"


# ------------------------------------------------------------------------------------------------------- the records


@pytest.mark.parametrize(
    "origin",
    [
        DerivedFrom(""),
        DerivedFrom("x" * 5000),
        DerivedFrom("alpha:1", "no hash"),
        DerivedFrom("alpha:1", None, "urn:uuid:nothing"),
        DerivedFrom("alpha:1", None, None, {str(n): "" for n in range(10_001)}),
    ],
)
def test_a_plan_that_repeats_no_run_is_not_believed(origin: DerivedFrom, laptop: Laptop) -> None:
    plan = identify(replace(planned(laptop, laptop.experiment(**RUN)), derived_from=origin))
    with pytest.raises(RecordError, match="derived_from"):
        checked_plan(json.dumps(to_json(plan)).encode())


def test_prov_derives_the_record_of_a_rerun_from_its_originals() -> None:
    first = case("gpu").build()
    origin = DerivedFrom("alpha:59", first.integrity.record_sha256, first.record_id, {"lr": "1"})
    second = case("gpu").build(plan=identify(replace(case("gpu").plan, derived_from=origin)))
    found = json.loads(prov_json([second], "0"))["wasDerivedFrom"]
    about = f"uuid:{first.record_id.removeprefix('urn:uuid:')}"
    assert [each["prov:usedEntity"] for each in found.values()] == [about]
    assert next(iter(found.values()))["tfslurm:set"] == '{"lr": "1"}'
    assert "derived_from" not in to_json(case("gpu").plan), "a plan that repeats none is as an older version wrote it"
