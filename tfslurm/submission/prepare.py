"""The files a user wrote -> what will be submitted. Reads this disk and, for a tag not yet pinned, a registry."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tfslurm import __version__
from tfslurm.cluster import Cluster
from tfslurm.document import Refused
from tfslurm.errors import InputError, refuse
from tfslurm.image import Lock, Pin, Reference, lock_text, parse_reference
from tfslurm.job_plan import CodeState, DerivedFrom, JobPlan, Points, make_plan
from tfslurm.job_plan.options import slurm_options
from tfslurm.local_files import KeptFiles, read_text, write_file
from tfslurm.remote_programs import packaged
from tfslurm.render import render
from tfslurm.slurm import check_options
from tfslurm.slurm.options import check_plugin_options
from tfslurm.snapshot import Snapshot
from tfslurm.spec import KEYS, Experiment, Scan
from tfslurm.submission.own_folders import OwnPlaces, refuse_own_files, with_run_outputs
from tfslurm.submission.spec_checks import is_of_one, refuse_unused, wrong_image, wrong_options, wrong_sweep
from tfslurm.sweeps.points_file import Entry
from tfslurm.workspace.checked_files import checked_experiment, checked_lock
from tfslurm.workspace.packaged_files import BUILT_IN_TEMPLATE, SHELL_SIDE, node_side
from tfslurm.workspace.session import Say

if TYPE_CHECKING:
    from tfslurm.image import PackageLock
    from tfslurm.image.scan_rule import Judgement
    from tfslurm.submission.image_archive import ImageArchive

MAX_TEMPLATE_BYTES = 2**18


class Asked(NamedTuple):
    """An experiment as it stands in its file, with what the command line set.

    Of a rerun ``derived_from`` is the run that it repeats, and ``code`` that run's own, in place of the file's folder;
    its image comes from ``archive``, where it has one, and no registry is asked. ``is_temporary`` says that its file is
    gone after the command; then ``of_run`` may be the run whose environment it is.
    """

    file: Path
    text: str
    experiment: Experiment
    parameters: Mapping[str, str | int | float | bool]
    derived_from: DerivedFrom | None = None
    code: Snapshot | None = None
    archive: ImageArchive | None = None
    is_temporary: bool = False
    of_run: str = ""
    keep_on_failure_s: int = 0

    @property
    def reference(self) -> Reference:
        """The image that is run, as its file, or what was built of it, names it."""
        if self.experiment.build:
            from tfslurm.submission.build_inputs import reference_of

            return reference_of(self.experiment, self.file)
        return parse_reference(self.experiment.image)

    @property
    def lock_file(self) -> Path:
        """Where the image's pin is kept: EXP.lock.yaml beside EXP.yaml."""
        return self.file.with_name(f"{self.file.stem}.lock.yaml")


class Prepared(NamedTuple):
    """One job, or array, ready to be sent: ``script`` is the rendering of ``plan``, ``code`` what its tree names.

    ``entries`` are the points of an array. ``scan`` is what the rules say of the image, where there is one.
    """

    plan: JobPlan
    script: str
    code: Snapshot | None
    cluster: Cluster
    cluster_text: str
    entries: tuple[Entry, ...] = ()
    archive: ImageArchive | None = None
    scan: Judgement | None = None

    @property
    def wheels(self) -> Mapping[str, Path]:
        """The files of the plan's packages, by their names; each is fetched and hashed when it is asked for."""
        if self.plan.packages is None:
            return {}
        from tfslurm.packages.wheels import WheelFiles

        return WheelFiles(self.plan.packages)


def read_experiment(file: Path, sets: Sequence[str] = (), *, sweeps: bool = False) -> Asked:
    """The experiment in ``file``; ``sets`` are the command line's ``key=value``, as ``read_with`` takes them.

    Raises:
        InputError: every problem of the file and of ``sets``.
    """
    settings: dict[str, str] = {}
    for setting in sets:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise refuse(f"--set {setting}", "is not key=value", "for example --set lr=0.1")
        settings[key.strip()] = value
    return read_with(file, settings, sweeps=sweeps)


def read_with(file: Path, settings: Mapping[str, str], *, sweeps: bool = False) -> Asked:
    """The experiment in ``file`` with other values.

    A key of exp.yaml (``resources.time``) replaces what the file says; any other name is a parameter for ``{{ }}``, as
    is the name in ``parameters.lr``. Several values of one (``lr=0.1,0.01``) make a sweep, and those of an experiment
    with a sweep are its axes' values: then nothing is left in ``parameters``. ``sweeps`` says that the caller can do
    something with a sweep; else it is refused.

    Raises:
        InputError: every problem of the file and of ``settings``; a name that nothing uses.
    """
    overrides: dict[str, str] = {}
    given: dict[str, str] = {}
    for name, value in settings.items():
        text = name + value
        if not text.isascii() and text.encode("utf-8", "replace").decode("utf-8") != text:
            raise refuse(f"--set {name}", "its value is not UTF-8 text", "save such a value in a file")
        key, dot, parameter = name.partition(".")
        if key == "parameters":
            if not dot:
                raise refuse(f"--set {name}", "sets all parameters at once", "set each by its name: --set lr=0.1")
            given[parameter] = value
        else:
            (overrides if key in KEYS else given)[name] = value
    os.environ.pop("SQUEUE_FORMAT", None)  # simple_slurm fails to import where it holds an ordinary value
    spec_text, written = checked_experiment(file, overrides, (wrong_options, wrong_sweep, wrong_image))
    experiment, parameters = with_values(written, given)
    if experiment.sweep is not None and not sweeps:
        fix = "submit it; or remove `sweep`, and give each parameter one value with --set"
        raise InputError([experiment.problem(("sweep",), "this command takes one job, and a sweep is many", fix)])
    return Asked(file, spec_text, experiment, parameters)


def with_values(
    experiment: Experiment, parameters: Mapping[str, str]
) -> tuple[Experiment, dict[str, str | int | float | bool]]:
    """The experiment with the command line's values as axes, if it is a sweep; else each parameter's one value.

    Raises:
        InputError: values that cannot be read, and every parameter that nothing uses.
    """
    given = experiment.sweep or {}
    if given and is_of_one(given):
        experiment = replace(experiment, sweep=None)
    if not parameters and experiment.sweep is None:
        return experiment, dict(experiment.parameters)
    refuse_unused(experiment, parameters)
    if not parameters:
        return experiment, {}
    from tfslurm.sweeps.overrides import like, values_given, with_given

    values: dict[str, tuple[str | int | float | bool, ...]] = {}
    for name, text in parameters.items():
        try:
            values[name] = tuple(like(value, experiment.parameters.get(name)) for value in values_given(text))
            if experiment.sweep is not None:
                with_given(experiment.sweep, {name: values[name]})
        except Refused as refused:
            raise refuse(f"--set {name}", refused.why, refused.fix) from refused
    if experiment.sweep is None and all(len(each) == 1 for each in values.values()):
        return experiment, {**experiment.parameters, **{name: each[0] for name, each in values.items()}}
    return replace(experiment, sweep=with_given(given, values)), {}


def locked(asked: Asked) -> Lock | None:
    """What EXP.lock.yaml holds, or None when the image was never pinned; of a `build`, what was made of these files."""
    if asked.experiment.build:
        from tfslurm.submission.build_inputs import built

        return built(asked.experiment, asked.file)
    path = asked.lock_file
    return checked_lock(path, asked.experiment.image) if path.exists() else None


def pinned(asked: Asked) -> Pin | None:
    """The pin in EXP.lock.yaml, or None when the image was never pinned."""
    lock = locked(asked)
    return lock.image if lock else None


def packages_of(asked: Asked, pin: Pin) -> PackageLock | None:
    """The wheels that are added to the image, as the lock file has them; None where the experiment asks for none.

    Raises:
        InputError: the lock's are of other requirements, or of another image.
    """
    if asked.experiment.packages is None:
        return None
    from tfslurm.submission.packages import refuse_other_packages

    lock = locked(asked)
    found = lock.packages if lock else None
    # those of a rerun are the original's, whatever was asked for then
    if asked.derived_from is None or found is None or found.image != pin.digest:
        refuse_other_packages(asked.experiment, asked.file, found, pin)
    return found


def pin_now(asked: Asked, clusters: Sequence[Cluster], now: str, say: Say) -> Pin:
    """The image's digest as the registry says now: from the clusters' mirrors first, then from its own registry."""
    return resolve_now(asked.reference, clusters, now, say)


def resolve_now(reference: Reference, clusters: Sequence[Cluster], now: str, say: Say) -> Pin:
    """The same for an image of no experiment."""
    from tfslurm.registry import resolve

    mirrors, engine = mirrors_of(clusters)
    return resolve(reference, mirrors, "linux/amd64", now, engine=engine, warn=say)


def mirrors_of(clusters: Sequence[Cluster]) -> tuple[dict[str, tuple[str, ...]], str]:
    """The mirrors of all of these clusters, and the engine whose logins come first."""
    mirrors: dict[str, tuple[str, ...]] = {}
    for cluster in clusters:
        for prefix, names in cluster.mirrors.items():
            mirrors[prefix] = tuple(dict.fromkeys((*mirrors.get(prefix, ()), *names)))
    engines = {cluster.engine for cluster in clusters}
    return mirrors, engines.pop() if len(engines) == 1 else "docker"


def write_lock(asked: Asked, pin: Pin, packages: PackageLock | None = None) -> None:
    """Write EXP.lock.yaml, whole or not at all. How the image was made stays in it."""
    lock = None
    if asked.experiment.build:
        from tfslurm.submission.build_inputs import lock_if_good

        lock = lock_if_good(asked.file)
    made = lock.build if lock and lock.build and lock.build.digest == pin.digest else None
    write_file(asked.lock_file, lock_text(pin, packages, made).encode(), mode=0o666)


def prepare(
    asked: Asked,
    pin: Pin,
    cluster: Cluster,
    cluster_text: str,
    user: str,
    now: str,
    points: Points | None = None,
    *,
    code: Snapshot | None,
    own: OwnPlaces,
    chain_head: str = "",
) -> Prepared:
    """The job as it will be submitted to ``cluster``, or the array of these ``points``.

    ``code``: what the experiment brings (``code_folder.snapshot``). ``own``: what the job and its code must not reach.

    Raises:
        InputError: an option, a mount, a placeholder, a template or the code folder does not hold.
    """
    packages = packages_of(asked, pin)
    templates, name = find_templates(asked)
    scan = judged(asked.experiment.scan, cluster.scan, pin, now)
    state = code_state(code, asked.experiment) if code else None
    experiment = with_run_outputs(asked.experiment, cluster)
    if code:
        refuse_own_files(experiment, code, cluster, own)
    roots = own.beside(cluster)
    options = check_options(slurm_options(experiment, cluster), file=str(asked.file))
    plugins = {**cluster.plugin_options, **experiment.plugin_options}
    plan = make_plan(
        experiment,
        cluster,
        pin,
        options=options,
        plugin_options=check_plugin_options(plugins, str(asked.file)) if plugins else {},
        code=state,
        template_sha256=hashlib.sha256(templates[name].encode()).hexdigest(),
        template_text="" if name == BUILT_IN_TEMPLATE else templates[name],
        parameters=asked.parameters,
        user=user,
        planned_at=now,
        spec_file=str(asked.file),
        spec_text=asked.text,
        tfslurm_version=__version__,
        points=points,
        roots=roots,
        chain_head=chain_head,
        derived_from=asked.derived_from,
        image_archive=asked.archive.sha256 if asked.archive else "",
        packages=packages,
        scan=scan.evidence if scan else None,
        keep_on_failure_s=asked.keep_on_failure_s,
    )
    if asked.experiment.build or asked.derived_from:
        from tfslurm.submission.build_inputs import with_build

        plan = with_build(plan, asked.file)
    script = rendered(plan, templates, own.folders.data)
    return Prepared(plan, script, code, cluster, cluster_text, archive=asked.archive, scan=scan)


def judged(experiment: Scan | None, cluster: Scan | None, pin: Pin, now: str) -> Judgement | None:
    """What the rules say of an image; None where neither the experiment nor the cluster has one."""
    rules = {"experiment": experiment, "cluster": cluster}
    if not any(rules.values()):
        return None
    from tfslurm.image.scan_rule import judge
    from tfslurm.workspace.scans import scanned

    return judge(rules, scanned(pin.digest), now)


def rendered(plan: JobPlan, templates: Mapping[str, str], data: Path) -> str:
    """The script of a plan; a template that did not come with tfslurm is rendered within bounds.

    ``data``: the user's data folder, where compiled templates are kept.
    """
    files = sent_files(plan)
    if plan.template:
        from tfslurm.submission.render_apart import render_apart

        return render_apart(plan, templates, plan.template, files)
    return render(plan, templates, BUILT_IN_TEMPLATE, files, KeptFiles(data / "compiled"))


def code_state(code: Snapshot, experiment: Experiment) -> CodeState:
    """The plan's description of a snapshot."""
    assert experiment.code is not None  # noqa: S101 - a snapshot is only taken of code
    return CodeState(
        tree=code.tree,
        writable=experiment.code.writable,
        files=len(code.entries),
        size_bytes=code.bytes,
        remote=code.remote,
        commit=code.commit,
        branch=code.branch,
        dirty=code.dirty,
        contents_sha256=code.contents_sha256,
    )


def find_templates(asked: Asked) -> tuple[dict[str, str], str]:
    """Every template's text by name, and the name of the one to render.

    ``template: my.sbatch.j2`` lies beside the experiment, or in `job_templates` beside it. A link may not leave there:
    the file that it leads to would be shown and sent.

    Raises:
        InputError: it is not there, leads elsewhere, or is no file of a template's size.
    """
    texts = {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE)}
    name = asked.experiment.template
    if not name:
        return texts, BUILT_IN_TEMPLATE
    folder = asked.file.parent.resolve()
    path = next((path for path in (folder / name, folder / "job_templates" / name) if os.path.lexists(path)), None)
    if path is None:
        why, fix = f"{name!r} is not in {folder}, nor in job_templates there", "put it there"
    elif not path.resolve().is_relative_to(folder):
        why, fix = f"{name!r} is a link that leaves {folder}", "put the file itself there"
    elif name == BUILT_IN_TEMPLATE:
        why, fix = f"{name!r} is the name of the built-in template", "give yours another name"
    else:
        try:
            return {**texts, name: read_text(path, MAX_TEMPLATE_BYTES)}, name
        except InputError as error:
            why, fix = f"{name!r} {error.problems[0].why}", error.problems[0].fix
    raise InputError([asked.experiment.problem(("template",), why, fix)])


def sent_files(plan: JobPlan) -> dict[str, str]:
    """Name -> SHA-256 of what is sent beside the script and read on the node; the script holds them against it.

    Those of ``SHELL_SIDE`` have one sum: each ends with a NUL there, which none can hold, so that no line of one counts
    as a line of the next.
    """
    sent = node_side(plan.engine, points=plan.points is not None)
    texts = {" + ".join(SHELL_SIDE): "".join(sent[name].removesuffix("\n") + "\0" for name in SHELL_SIDE)}
    texts |= {name: text for name, text in sent.items() if name not in SHELL_SIDE}
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    return {**sums, **({"points": plan.points.sha256} if plan.points else {})}
