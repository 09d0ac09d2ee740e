"""The program trivy, which knows what is known against packages: its only user.

It runs apart from the settings of the current folder and of its own variables, which would leave vulnerabilities out
of a report and say so nowhere. A login reaches it by a docker config of our own, and stands in no argv.
Source: trivy.dev, docs/latest/references/configuration/cli/trivy_image.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

from tfslurm.document.bounded_json import read_json
from tfslurm.document.moments import parse_time
from tfslurm.document.tree import printable
from tfslurm.errors import Completed, HostError, NoProgram, TfslurmError
from tfslurm.host import Host
from tfslurm.host.local import LocalHost
from tfslurm.host.traced import TracedHost
from tfslurm.local_files import make_folder, write_file
from tfslurm.registry.credentials import Credentials, stored_credentials

IMAGE = "docker.io/aquasec/trivy@sha256:62b1e65e8869bc4b4c6aa4fa2b21595256c7c2f6018a9d9ad61caf87187c1969"
"0.74.0; taken where there is no trivy on PATH, and TFSLURM_TRIVY_IMAGE names no other."
OWN_IMAGE = "TFSLURM_TRIVY_IMAGE"
KEPT = frozenset(
    ("TRIVY_CACHE_DIR", "TRIVY_DB_REPOSITORY", "TRIVY_JAVA_DB_REPOSITORY", "TRIVY_SKIP_DB_UPDATE", "TRIVY_INSECURE")
)
"Its variables that are left to the user: where its database is, and how it is got. Others change what a report says."
ENGINE_FAILED = 125
"The exit code of docker run and podman run where the container never began."
ENGINES = ("docker", "podman")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
QUIET: Mapping[str, str] = {"TRIVY_DISABLE_TELEMETRY": "true", "TRIVY_SKIP_VERSION_CHECK": "true"}
HOUR_S = 3600.0
LONGEST = 300
FIRST = "put trivy on PATH (github.com/aquasecurity/trivy/releases)"
INSTALL = f"{FIRST}, or install docker or podman, which run its image"
PULL = f"{FIRST}, or name an image of it that can be pulled here: `export {OWN_IMAGE}=NAME@sha256:…`"
CAUSES = re.compile(r"\d+ errors? occurred:")
DATABASE = "DB error"
"In what trivy says where its database is not to be had."
_MOMENT = re.compile(r"^[0-9T:.+Z-]+\s+")


class Database(NamedTuple):
    """The vulnerability database that trivy has; None: it has none, or does not say."""

    version: int | None
    updated_at: str | None


class Trivy:
    """Where trivy is and what is common to its calls. ``work`` is a folder of ours alone; its files are left there."""

    def __init__(self, work: Path, engine: str = "docker", trace: Callable[[str], None] | None = None) -> None:
        self.work, self.trace = work, trace
        self.program = which("trivy")
        self.engine = "" if self.program else next((name for name in (engine, *ENGINES) if which(name)), "")
        self.image = os.environ.get(OWN_IMAGE) or IMAGE
        if not self.program and not self.engine:
            raise NoProgram(f"trivy: is not on this machine; {INSTALL}")
        if not self.program and "@sha256:" not in self.image:
            raise TfslurmError(f"{OWN_IMAGE}: {printable(self.image)[:80]} has no digest; write NAME@sha256:…")

    def asked(self, *words: str) -> Completed:
        """The answer of one call.

        Raises:
            HostError: it cannot be started, or takes more than an hour.
            NoProgram: an engine was to run it, and could not.
        """
        environment = {**QUIET, "DOCKER_CONFIG": str(self.work), **own_cache()}
        if self.program:
            return self._host(environment).run([*self._apart(), self.program, *words], timeout_s=HOUR_S)
        name, ends = f"tfslurm-scan-{uuid4().hex[:12]}", False
        host = self._host()
        try:
            done = host.run([*self._in_container(name), *words], timeout_s=HOUR_S)
            ends = True
        finally:
            if not ends:  # the engine's client was killed, and its container runs on
                with suppress(HostError):
                    host.run([self.engine, "rm", "--force", name])
        if done.exit_code == ENGINE_FAILED:
            why = printable((done.stderr.strip().splitlines() or ["it said nothing"])[0])[:LONGEST]
            raise NoProgram(f"trivy: is not on PATH, and {self.engine} cannot run {self.image}: {why}; {PULL}")
        return done

    def _host(self, environment: Mapping[str, str] | None = None) -> Host:
        """This machine, whose commands are told where somebody wants to see them."""
        host = LocalHost("trivy", environment)
        return TracedHost(host, self.trace) if self.trace else host

    def _apart(self) -> Iterator[str]:
        """The words that keep the current folder's settings and other variables of trivy's from it."""
        yield from ("env", f"--chdir={self.work}")
        for name in os.environ:
            if name.startswith("TRIVY_") and name not in KEPT and name not in QUIET:
                yield from ("-u", name)

    def _in_container(self, name: str) -> Iterator[str]:
        """The words of the engine that run it in a container, with its cache and our folder at their own places."""
        cache = cache_folder()
        yield from (self.engine, "run", "--rm", "--name", name, "--network", "host", "--workdir", str(self.work))
        if self.engine == "docker":
            yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        for folder in (self.work, cache):
            yield from ("--volume", f"{folder}:{folder}")
        for key, value in {**QUIET, "DOCKER_CONFIG": str(self.work), "TRIVY_CACHE_DIR": str(cache)}.items():
            yield from ("--env", f"{key}={value}")
        for key in (*PROXIES, *sorted(KEPT - {"TRIVY_CACHE_DIR"})):
            if key in os.environ:
                yield from ("--env", key)
        yield self.image

    def version(self) -> tuple[str, Database]:
        """``trivy 0.76.0``, and the database that it has now.

        Raises:
            HostError: it does not say.
        """
        done = self.asked("version", "--format", "json")
        try:
            said = read_json(done.stdout)
            version, database = said["Version"], said.get("VulnerabilityDB") or {}
            if not isinstance(version, str) or not re.fullmatch(r"v?[0-9][0-9A-Za-z.+-]{0,60}", version):
                raise ValueError("no version")
            number, moment = database.get("Version"), database.get("UpdatedAt")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HostError(f"trivy: does not say its version: {refusal(done)}") from error
        return f"trivy {version}", Database(number if isinstance(number, int) else None, moment_of(moment))


def moment_of(value: object) -> str | None:
    """A moment as Go writes it, to the second; None where it is none."""
    try:
        return parse_time(value)
    except ValueError:
        return None


def own_cache() -> dict[str, str]:
    """TRIVY_CACHE_DIR, if the user set it; trivy runs in another folder, where a relative one would be another."""
    named = os.environ.get("TRIVY_CACHE_DIR")
    return {"TRIVY_CACHE_DIR": str(Path(named).absolute())} if named else {}


def cache_folder() -> Path:
    """Where trivy keeps its database, made if it is missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TRIVY_CACHE_DIR") or home / "trivy").absolute()
    if not folder.is_dir():
        make_folder(folder)
    return folder


@contextmanager
def trivy_for(engine: str, source: str = "", trace: Callable[[str], None] | None = None) -> Iterator[Trivy]:
    """Trivy with the login for ``source`` (registry/repository; '': no registry is asked), which goes with the block.

    Raises:
        NoProgram: neither it nor an engine that could run its image is here.
    """
    with TemporaryDirectory(prefix="tfslurm-scan-") as folder:
        trivy = Trivy(Path(folder), engine, trace)
        if source:
            registry, _, repository = source.partition("/")
            login = stored_credentials(registry, repository, engine)
            write_file(Path(folder) / "config.json", docker_config(registry, login))
        yield trivy


def docker_config(registry: str, login: Credentials) -> bytes:
    """A docker config with this login alone; with none where there is none."""
    entry = {"auth": login.basic.removeprefix("Basic ")} if login.basic else {}
    if login.identity_token:
        entry = {"auth": base64.b64encode(f"{login.user or '<token>'}:".encode()).decode()}
        entry |= {"identitytoken": login.identity_token}
    if login.registry_token:
        entry = {"registrytoken": login.registry_token}
    key = "https://index.docker.io/v1/" if registry == "docker.io" else registry
    return json.dumps({"auths": {key: entry} if entry else {}}).encode()


def refusal(done: Completed) -> str:
    """The reason that trivy gave, on one line, without the moment and the level of its log."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    fatal = [place for place, line in enumerate(lines) if "\tFATAL\t" in line]
    text = " ".join(lines[fatal[-1] :] if fatal else lines[-1:])
    text = text.rpartition("\tFATAL\t")[2].removeprefix("Fatal error\t") if fatal else _MOMENT.sub("", text)
    if CAUSES.search(text):  # Go's list of causes, each after a star
        causes = (each.strip() for each in CAUSES.split(text)[-1].split("\t* "))
        text = f"{DATABASE if DATABASE in text else 'error'}: {'; '.join(filter(None, causes))}"
    said = printable(" ".join(text.split())) or f"it ended with exit code {done.exit_code} and said nothing"
    return said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} … {said[-LONGEST // 2 :]}"
