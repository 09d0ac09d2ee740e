"""The program that builds: docker, podman or buildah of this machine. What it leaves behind is removed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import which
from typing import NamedTuple

from tfslurm.errors import HostError, TfslurmError
from tfslurm.host.attended import Ended, attend
from tfslurm.image import Pin, sources
from tfslurm.image.dockerfile import marked
from tfslurm.images.building.context import DOCKERFILE
from tfslurm.local_files import write_file
from tfslurm.workspace.session import Say

BUILDERS = ("docker", "podman", "buildah")
VERSIONS = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("version", "--format", "{{.Client.Version}}"),
    "buildah": ("--version",),
}
BUILDKIT = "DOCKER_BUILDKIT"
"The variable that chooses between docker's two builders."
RUNNER = "buildah-oci-runtime"
"The part of podman and buildah that runs a step: if it is asked to end, it ends the container, and they clean up."
QUICK_S = 60.0
LONGEST_S = 6 * 3600.0
SAID_LINES = 12
"Of the builder's own last words that an error repeats."
LABEL = "tfslurm.build"
CLEAR_WAITS_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"docker's daemon ends an interrupted step after its client has gone, and keeps the step's image meanwhile."


class Builder(NamedTuple):
    """An engine that answers: its name, its version, and the variables that it is run with."""

    name: str
    version: str
    environment: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}{' (BuildKit)' if self.is_buildkit else ''}"

    @property
    def is_buildkit(self) -> bool:
        """Whether it is docker's newer builder, which may write other layers than the older one."""
        return self.environment.get(BUILDKIT, "0").lower() not in ("", "0", "f", "false")

    def run(self, words: Sequence[str], on_line: Callable[[str], None] = lambda line: None) -> Ended:
        """Run it to its end.

        Raises:
            HostError: it took longer than LONGEST_S.
        """
        return attend(
            [self.name, *words],
            environment=self.environment,
            on_line=on_line,
            timeout_s=LONGEST_S,
            first_to_stop=RUNNER,
        )


def find_builder(wanted: str, first: str) -> Builder:
    """The builder of this machine that answers; ``wanted`` alone if it is not '', else ``first`` is asked first.

    Raises:
        HostError: none does; it says what each said.
    """
    names = [wanted] if wanted else sorted(BUILDERS, key=lambda name: name != first)
    said = []
    for name in names:
        if not which(name):
            said.append(f"{name} is not on PATH")
            continue
        try:
            done = attend([name, *VERSIONS[name]], timeout_s=QUICK_S)
        except HostError as error:
            said.append(f"{name}: {error}")
            continue
        if done.exit_code == 0 and done.lines:
            version = next((word for word in done.lines[-1].split() if word[:1].isdigit()), done.lines[-1][:40])
            return Builder(name, version, settings(name))
        said.append(f"{name}: {done.lines[-1][:200] if done.lines else f'exit {done.exit_code}'}")
    fix = "install one of them here, or build on a node: --builder node"
    raise HostError(f"this machine: no program that builds images answers: {'; '.join(said)}; {fix}")


def settings(name: str) -> dict[str, str]:
    """The variables that it is run with: docker's newer builder where it is installed, else the older one.

    What the user's own variable says counts first.
    """
    if name != "docker":
        return {}
    if given := os.environ.get(BUILDKIT, ""):
        return {BUILDKIT: given}
    with suppress(HostError):
        if attend(["docker", "buildx", "version"], timeout_s=QUICK_S).exit_code == 0:
            return {BUILDKIT: "1"}
    return {BUILDKIT: "0"}


class Job(NamedTuple):
    """One build: where its context is, the text of its Dockerfile, the pinned base, and a token of its own."""

    folder: Path
    text: str
    base: Pin
    mirrors: Mapping[str, Sequence[str]]
    network: str
    epoch: int
    token: str

    @property
    def tag(self) -> str:
        """The name of the image while it is here."""
        return f"tfslurm-build-{self.token}:1"

    @property
    def label(self) -> str:
        """A label of every image that this build leaves."""
        return f"{LABEL}={self.token}"


def build(builder: Builder, job: Job, archive: Path, say: Say) -> None:
    """Build the image, and save it as an archive; nothing of it is left in the engine, however this ends.

    Raises:
        TfslurmError: the base cannot be pulled, or the builder refused, with its own last words.
        HostError: it took too long.
    """
    try:
        source = pulled(builder, job, say)
        text = marked(job.text.replace(f"{job.base.name}@{job.base.digest}", source), job.label)
        write_file(job.folder / DOCKERFILE, text.encode("utf-8", "surrogateescape"))
        say(f"building with {builder}; this can take minutes")
        done = builder.run(build_words(builder.name, job))
        if done.exit_code:
            raise failed(builder, "the build", done)
        done = builder.run(save_words(builder.name, job, archive))
        if done.exit_code:
            raise failed(builder, "saving the image", done)
    finally:
        clear(builder, job)


def pulled(builder: Builder, job: Job, say: Say) -> str:
    """The reference by which the base is here: pulled from the first place that has the pinned digest.

    Raises:
        TfslurmError: none has it.
    """
    said: list[str] = []
    for source in sources(job.base, job.mirrors):
        if builder.run(inspect_words(builder.name, source)).exit_code == 0:
            return source
        say(f"pulling {source}")
        done = builder.run(["pull", "--quiet", source])
        if done.exit_code == 0:
            return source
        said.append(done.lines[-1] if done.lines else f"{source}: exit {done.exit_code}")
    fix = "see that the registry serves it; `tfslurm image build --update` takes what the tag stands for now"
    raise TfslurmError(
        f"{builder.name}: the base {job.base.reference} cannot be pulled: {' | '.join(said)[:800]}; {fix}"
    )


def inspect_words(name: str, reference: str) -> list[str]:
    """The words that ask whether an image is here."""
    return ["inspect", "--type", "image", reference] if name == "buildah" else ["image", "inspect", reference]


def build_words(name: str, job: Job) -> list[str]:
    """The words of the build itself."""
    words = ["--no-cache", "--force-rm", "--file", str(job.folder / DOCKERFILE), "--tag", job.tag]
    words += ["--network", job.network] if job.network else []
    words += ["--build-arg", f"SOURCE_DATE_EPOCH={job.epoch}", str(job.folder)]
    return ["build", *(["--layers"] if name == "buildah" else []), *words]


def save_words(name: str, job: Job, archive: Path) -> list[str]:
    """The words that save the image as an archive of docker's kind."""
    if name == "buildah":
        return ["push", job.tag, f"docker-archive:{archive}:{job.tag}"]
    form = ["--format", "docker-archive"] if name == "podman" else []
    return ["save", *form, "--output", str(archive), job.tag]


def clear(builder: Builder, job: Job) -> None:
    """Remove what the build left in the engine: the image, and what an interrupted one did not come to remove."""
    with suppress(HostError):
        if builder.name == "buildah":
            builder.run(["rmi", "--force", job.tag])
            return
        builder.run(["image", "rm", "--force", job.tag])
        for wait_s in CLEAR_WAITS_S:
            if left := containers(builder, job):
                builder.run(["rm", "--force", *left])
            builder.run(["image", "prune", "--force", "--filter", f"label={job.label}"])
            if not builder.run(["images", "--all", "--quiet", "--filter", f"label={job.label}"]).lines:
                return
            time.sleep(wait_s)


def containers(builder: Builder, job: Job) -> list[str]:
    """The containers in which steps ran. Those of podman are named after their image."""
    mine = f"label={job.label}"
    if builder.name == "docker":
        return [*builder.run(["ps", "--all", "--quiet", "--filter", mine]).lines]
    images = builder.run(["images", "--all", "--quiet", "--filter", mine]).lines
    rows = builder.run(["ps", "--all", "--external", "--format", "{{.ID}} {{.Names}}"]).lines
    return [row.split()[0] for row in rows for image in images if f" {image[:12]}-working-container" in row]


def failed(builder: Builder, what: str, done: Ended) -> TfslurmError:
    """The error of a builder that refused, with its own last words."""
    said = [line for line in done.lines if line.strip()][-SAID_LINES:] or ["it said nothing"]
    fix = ""
    if any("no space left" in line.lower() for line in said):
        fix = "; the disk is full: free some space, or set TMPDIR to a folder elsewhere"
    lines = "\n".join(said)
    return TfslurmError(f"{builder.name}: {what} failed (exit {done.exit_code}){fix}; it said last:\n{lines}")
