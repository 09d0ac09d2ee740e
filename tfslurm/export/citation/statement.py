"""Settings -> paragraphs of text, code and digests, in English or Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from tfslurm.export.citation.settings import TENSORFLOW_DOI, GpuKind, Machine, Setting, Settings
from tfslurm.record.model import Code

FEW = 12  # jobs that are named before the rest is counted
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Mark(NamedTuple):
    """A piece that is set apart: a name, command or id as it is typed, or the place of a citation (its key)."""

    kind: Literal["code", "image", "tensorflow"]
    text: str


Paragraph = tuple[str | Mark, ...]


class Table(NamedTuple):
    """One row for each group of runs."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Phrases(NamedTuple):
    """The sentences of one language; {words} in braces are put in."""

    one: str
    all: str
    several: str
    group: str
    image_manifest: str
    image_index: str
    image_id: str
    withheld: str
    holds: str
    unobserved: str
    based: str
    added: str
    added_unobserved: str
    built: str
    on: str
    checked: str
    gpus: str
    no_gpus: str
    gpus_unobserved: str
    driver: str
    nodes: str
    processor: str
    listed: str
    commit: str
    tree: str
    changed: str
    no_code: str
    codes: str
    of_runs: str
    pull: str
    local: str
    tensorflow: str
    jobs: str
    more: str
    left_out: str
    uncounted: str
    joint: str
    last_joint: str
    gap: str
    run: tuple[str, str]  # of one run; of each of several
    program: tuple[str, str]
    headers: tuple[str, ...]


ENGLISH = Phrases(
    one="The run used the container image {image} ({platform}, {kind} {digest}).",
    all="All {n} runs used the container image {image} ({platform}, {kind} {digest}).",
    several="The {n} runs were made in {groups} environments.",
    group="{label}: {n} of the runs used the container image {image} ({platform}, {kind} {digest}).",
    image_manifest="image manifest",
    image_index="image index",
    image_id="image id",
    withheld="of a registry that is not named here",
    holds="A probe in a container of it found {software}{on}.",
    built=" (built with {libraries})",
    on=" on {os}",
    unobserved="What the image holds was not observed.",
    based="The image was built from {base} ({digest}).",
    added="These Python packages were added to it: {packages}{more} (layer {key}).",
    added_unobserved="The Python packages that were added to it were not observed.",
    checked="Before {program} started, the image on the node was checked against this digest.",
    gpus="{run} had {gpus}{nodes}{driver}{processor}.",
    no_gpus="No GPU was used{nodes}{processor}.",
    gpus_unobserved="The GPUs were not observed.",
    driver=", with driver {driver}",
    nodes=" on {nodes} nodes",
    processor="; the CPU was {processor}",
    listed="TensorFlow listed these GPUs before {program} started.",
    commit="The code is commit {commit}{remote}{changed}, Git tree {tree}.",
    tree="The code is the Git tree {tree}.",
    changed=" with uncommitted changes",
    no_code="No code beside the image was used.",
    codes="The runs used {n} versions of the code.",
    of_runs="{n} of the runs: {sentence}",
    pull="The image can be had with {command}.",
    local="The image is in no registry; the id names its content.",
    tensorflow="TensorFlow itself: {doi}.",
    jobs="Runs: {jobs}{more}.",
    more=" and {n} more",
    left_out="Nothing is stated of {jobs}{more}.",
    uncounted="Nothing is stated of {n} more runs.",
    joint=", ",
    last_joint=" and ",
    gap=" ",
    run=("The run", "Each run"),
    program=("the program", "each program"),
    headers=("", "Runs", "Image", "Digest", "TensorFlow", "GPUs", "Driver"),
)
CHINESE = Phrases(
    one="本实验在容器镜像 {image}（{platform}，{kind} {digest}）中运行。",
    all="全部 {n} 次实验均在容器镜像 {image}（{platform}，{kind} {digest}）中运行。",
    several="{n} 次实验在 {groups} 种环境中完成。",
    group="环境 {label}：其中 {n} 次实验在容器镜像 {image}（{platform}，{kind} {digest}）中运行。",
    image_manifest="镜像清单",
    image_index="镜像索引",
    image_id="镜像 ID",
    withheld="（仓库名称在此隐去）",
    holds="在该镜像的容器内实测，包含 {software}{on}。",
    built="（编译时使用 {libraries}）",
    on="，操作系统为 {os}",
    unobserved="镜像内的软件版本未经实测。",
    based="该镜像由 {base}（{digest}）构建而成。",
    added="在该镜像之外另加入以下 Python 包：{packages}{more}（层 {key}）。",
    added_unobserved="另加入该镜像的 Python 包未经实测。",
    checked="{program}启动前，计算节点上的镜像已与该摘要核对一致。",
    gpus="{run}使用 {gpus}{nodes}{driver}{processor}。",
    no_gpus="实验未使用 GPU{nodes}{processor}。",
    gpus_unobserved="GPU 型号未经实测。",
    driver="，驱动版本 {driver}",
    nodes="，共 {nodes} 个节点",
    processor="，CPU 为 {processor}",
    listed="{program}启动前，TensorFlow 已列出上述 GPU。",
    commit="代码为{remote}提交 {commit}{changed}，Git 树 {tree}。",
    tree="代码为 Git 树 {tree}。",
    changed="（含未提交的修改）",
    no_code="除镜像外未使用其他代码。",
    codes="实验使用了 {n} 个版本的代码。",
    of_runs="其中 {n} 次实验：{sentence}",
    pull="获取该镜像的命令为 {command}。",
    local="该镜像不在任何镜像仓库中，以上 ID 即其内容的标识。",
    tensorflow="TensorFlow：{doi}。",
    jobs="作业：{jobs}{more}。",
    more=" 等另外 {n} 项",
    left_out="未计入：{jobs}{more}。",
    uncounted="另有 {n} 次实验未计入。",
    joint="、",
    last_joint="和",
    gap="",
    run=("实验", "每次实验"),
    program=("程序", "每次程序"),
    headers=("", "次数", "镜像", "摘要", "TensorFlow", "GPU", "驱动"),
)
PHRASES = {"en": ENGLISH, "zh": CHINESE}


def statement(settings: Settings, language: str, *, anonymous: bool = False) -> list[Paragraph | Table]:
    """The statement's paragraphs; of several groups a table stands before what is said of each."""
    words, groups = PHRASES[language], settings.groups
    parts: list[Paragraph | Table] = []
    if len(groups) > 1:
        parts.append(fill(words.several, n=str(settings.runs), groups=str(len(groups))))
        parts.append(table(settings, words, anonymous=anonymous))
    for place, group in enumerate(groups):
        label = label_of(place) if len(groups) > 1 else ""
        parts.append(joined([*group_sentences(group, words, label, anonymous=anonymous)], words))
    last = [*code_sentences(settings, words, anonymous=anonymous)]
    if any(group.inside.tensorflow for group in groups):
        last.append(fill(words.tensorflow, doi=Mark("tensorflow", TENSORFLOW_DOI)))
    last += left_out(settings, words, anonymous=anonymous)
    return [*parts, joined(last, words)]


def label_of(place: int) -> str:
    """A, B, … Z, then A1, B1, …"""
    round_, letter = divmod(place, len(LABELS))
    return LABELS[letter] + (str(round_) if round_ else "")


def fill(phrase: str, **pieces: str | Mark | Paragraph) -> Paragraph:
    """A sentence with its pieces put in."""
    made: list[str | Mark] = []
    for text in re.split(r"(\{[a-z]+\})", phrase):
        piece = pieces[text[1:-1]] if text[:1] == "{" else text
        made += piece if type(piece) is tuple else [piece]  # type: ignore[list-item]
    return tuple(each for each in made if each != "")


def plain(sentence: Paragraph) -> str:
    """A sentence without marks."""
    return "".join(piece if isinstance(piece, str) else piece.text for piece in sentence)


def joined(sentences: Sequence[Paragraph], words: Phrases) -> Paragraph:
    """The sentences as one paragraph."""
    made: list[str | Mark] = []
    for sentence in sentences:
        made += [words.gap, *sentence] if made and words.gap else sentence
    return tuple(made)


def enumerated(items: Sequence[str], words: Phrases) -> str:
    """A, B and C."""
    *first, last = items
    return (words.joint.join(first) + words.last_joint if first else "") + last


def group_sentences(group: Setting, words: Phrases, label: str, *, anonymous: bool) -> Iterator[Paragraph]:
    """What one group of runs used."""
    image, many = group.image, len(group.runs)
    phrase = words.group if label else words.all if many > 1 else words.one
    hidden = anonymous and not group.publisher
    yield fill(
        phrase,
        label=label,
        n=str(many),
        image=words.withheld if hidden else Mark("image", named(group)),
        platform=image.platform or "",
        kind={"manifest": words.image_manifest, "index": words.image_index}.get(image.digest_kind, words.image_id),
        digest=Mark("code", image.digest),
    )
    yield from software(group, words)
    if group.inside.layer:
        yield added(group, group.inside.layer.key, words)
    program = words.program[many > 1]
    yield fill(words.checked, program=program)
    yield machine(group.machine, words, words.run[many > 1])
    if group.machine.gpus and all(run.verified.tensorflow_gpu.status == "ok" for run in group.runs):
        yield fill(words.listed, program=program)
    if not group.is_in_registry:
        yield fill(words.local)
    elif not hidden:
        yield fill(words.pull, command=Mark("code", f"docker pull {group.name}@{image.digest}"))
    if not anonymous and (asked := group.runs[0].asked) and asked.build:
        base = asked.build.base
        yield fill(words.based, base=Mark("image", base.reference), digest=Mark("code", base.digest))
    if label and not anonymous:
        yield fill(words.jobs, **listed([f"{run.job.cluster}:{run.job.job_id}" for run in group.runs], words))


def named(group: Setting) -> str:
    """The image as it is written in a text; the digest stands beside it."""
    return f"{group.name}:{group.image.tag}" if group.image.tag else group.name


def software(group: Setting, words: Phrases) -> Iterator[Paragraph]:
    """What was found in the image."""
    inside = group.inside
    libraries = [f"{name} {version}" for name, version in (("CUDA", inside.cuda), ("cuDNN", inside.cudnn)) if version]
    built = plain(fill(words.built, libraries=enumerated(libraries, words))) if libraries else ""
    found = [f"TensorFlow {inside.tensorflow}{built}"] if inside.tensorflow else []
    found += [f"Python {inside.python}"] if inside.python else []
    if not found:
        yield fill(words.unobserved)
        return
    on = fill(words.on, os=inside.os) if inside.os else ()
    yield fill(words.holds, software=enumerated(found, words), on=on)


def added(group: Setting, key: str, words: Phrases) -> Paragraph:
    """The packages that the experiment adds to the image, as they were found in the layer."""
    names = [f"{each.name} {each.version}" for each in group.inside.layer_packages or ()]
    if not names:
        return fill(words.added_unobserved)
    more = fill(words.more, n=str(len(names) - FEW)) if len(names) > FEW else ()
    packages = enumerated(names, words) if not more else words.joint.join(names[:FEW])
    return fill(words.added, packages=packages, more=more, key=Mark("code", key[:16]))


def machine(used: Machine, words: Phrases, run: str) -> Paragraph:
    """The hardware of each run."""
    if used.gpus is None:
        return fill(words.gpus_unobserved)
    pieces = {
        "nodes": fill(words.nodes, nodes=str(used.nodes)) if used.nodes > 1 else (),
        "processor": fill(words.processor, processor=enumerated(used.processors, words)) if used.processors else (),
    }
    if not used.gpus:
        return fill(words.no_gpus, **pieces)
    driver = fill(words.driver, driver=enumerated(used.drivers, words)) if used.drivers else ()
    return fill(words.gpus, run=run, gpus=gpu_names(used.gpus, words), driver=driver, **pieces)


def gpu_names(gpus: Sequence[GpuKind], words: Phrases) -> str:
    """2 × NVIDIA A100-SXM4-40GB (40960 MiB)."""
    return enumerated(
        [
            f"{gpu.each} × {gpu.name}" + (f" ({gpu.memory_mib} MiB)" if gpu.memory_mib is not None else "")
            for gpu in gpus
        ],
        words,
    )


def code_sentences(settings: Settings, words: Phrases, *, anonymous: bool) -> Iterator[Paragraph]:
    """The versions of the code."""
    if len(settings.codes) == 1:
        yield code_sentence(settings.codes[0][0], words, anonymous=anonymous)
        return
    yield fill(words.codes, n=str(len(settings.codes)))
    for code, runs in settings.codes:
        yield fill(words.of_runs, n=str(runs), sentence=code_sentence(code, words, anonymous=anonymous))


def code_sentence(code: Code | None, words: Phrases, *, anonymous: bool) -> Paragraph:
    """One version of the code; without its origin where nobody is to be named."""
    if code is None:
        return fill(words.no_code)
    tree = Mark("code", f"swh:1:dir:{code.tree}")
    if not code.commit or anonymous:
        return fill(words.tree, tree=tree)
    at = (" (", Mark("code", code.remote), ")") if code.remote and words is ENGLISH else ()
    remote: Paragraph = at if words is ENGLISH else ((" ", Mark("code", code.remote), " ") if code.remote else ())
    changed = fill(words.changed) if code.dirty else ()
    return fill(words.commit, commit=Mark("code", code.commit), remote=remote, changed=changed, tree=tree)


def left_out(settings: Settings, words: Phrases, *, anonymous: bool) -> Iterator[Paragraph]:
    """The runs of which nothing is stated."""
    if settings.left_out and anonymous:
        yield fill(words.uncounted, n=str(len(settings.left_out)))
    elif settings.left_out:
        yield fill(words.left_out, **listed([f"{job} ({why})" for job, why in settings.left_out], words))


def listed(names: Sequence[str], words: Phrases) -> dict[str, Paragraph]:
    """The first few names, and how many more there are."""
    more = len(names) - FEW
    return {
        "jobs": (words.joint.join(names[:FEW]),),
        "more": fill(words.more, n=str(more)) if more > 0 else (),
    }


def table(settings: Settings, words: Phrases, *, anonymous: bool) -> Table:
    """The groups side by side, for a paper with several environments."""
    rows = []
    for place, group in enumerate(settings.groups):
        gpus = group.machine.gpus
        hidden = anonymous and not group.publisher
        rows.append(
            (
                label_of(place),
                str(len(group.runs)),
                "-" if hidden else named(group),
                group.image.digest.removeprefix("sha256:")[:12],
                group.inside.tensorflow or "?",
                "?" if gpus is None else gpu_names(gpus, words) if gpus else "0",
                enumerated(group.machine.drivers, words) if group.machine.drivers else "-",
            )
        )
    return Table(words.headers, tuple(rows))
