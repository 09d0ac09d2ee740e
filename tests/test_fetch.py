"""A job's outputs brought here: real commands on this machine, real files, hostile names."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tfslurm.cli.fetch import as_value, plain, summary
from tfslurm.document.tree import printable
from tfslurm.errors import CommandFailed, HostError, InputError, TfslurmError
from tfslurm.host import Host
from tfslurm.host.command import Raw
from tfslurm.host.local import LocalHost
from tfslurm.retrieval.destination import Destination, part_of
from tfslurm.retrieval.fetch import Fetch, Progress, fetch
from tfslurm.retrieval.selection import Selection, stays_inside
from tfslurm.tracker import TrackedJob

ODD = (
    "line\nbreak",
    "with space",
    "-n",
    "--files-from=x",
    "é",
    os.fsdecode(b"raw-\xff"),
    "back\\slash",
    "*?[a]",
    "'\"$x`",
)
LONG = "n" * 255
BIG = 5 * 2**20 + 3


class CountingHost(LocalHost):
    """This machine, with what each answer held; ``after`` may be progress before each command."""

    def __init__(self, before: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.answers: list[int] = []
        self.before = before

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        if self.before:
            self.before(len(self.answers))
        raw = super().execute(argv, input, timeout_s, max_bytes)
        self.answers.append(len(raw.stdout))
        return raw


class Job:
    """The folder of a job: `out`, and what its attempts recorded of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.dest = folder / "job", folder / "job" / "out", folder / "here"
        self.out.mkdir(parents=True)
        self.said: list[str] = []

    def has(self, **files: bytes) -> Job:
        for name, content in files.items():
            self.put(name, content)
        return self

    def put(self, name: str, content: bytes) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def record(self, attempt: int = 1) -> None:
        """What node.sh writes at the end of an attempt."""
        folder = self.folder / f"attempt-{attempt}"
        folder.mkdir(exist_ok=True)
        names = "find . -type f -printf '%P\\0' | sort --zero-terminated"
        script = f'cd "$0" && {names} | xargs --null --no-run-if-empty sha256sum --zero --'
        (folder / "outputs.sha256").write_bytes(LocalHost().run_bytes(["sh", "-c", script, str(self.out)]))

    def fetch(
        self, host: Host | None = None, dest: Path | None = None, pauses_s: Sequence[float] = (1.0,), **selection: Any
    ) -> Fetch:
        wanted = Selection(**selection)
        progress = Progress(lambda what, done, total: None, self.said.append, pauses_s)
        return fetch(host or LocalHost(), PurePosixPath(self.folder), dest or self.dest, wanted, progress)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def statuses(done: Fetch) -> dict[str, str]:
    return {each.path: each.status for each in done.outcomes}


def why(done: Fetch, path: str) -> str:
    (found,) = [each.why for each in done.outcomes if each.path == path]
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def noise(size: int) -> bytes:
    return os.urandom(size)


# --- what arrives


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_everything_arrives_as_it_was_whatever_its_name(job: Job, recorded: bool) -> None:
    for name in (*ODD, LONG, "deep/er/" + ODD[0] + "/x"):
        job.put(name, os.fsencode(name) * 3)
    job.has(empty=b"", big=noise(BIG))
    (job.out / "big").chmod(0o750)
    os.utime(job.out / "big", ns=(1, 1_700_000_000_123_456_789))
    if recorded:
        job.record()
    host = CountingHost()
    done = job.fetch(host)
    assert done.good
    assert set(statuses(done).values()) == {"fetched"}
    assert all(each.recorded is recorded for each in done.outcomes)
    assert tree(job.dest) == tree(job.out)
    status = (job.dest / "big").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o750, 1_700_000_000_123_456_789)
    assert len(host.answers) <= 6, "one list, perhaps hashes, one tar, and the large file's pieces"


def test_what_is_here_is_not_sent_again(job: Job) -> None:
    job.has(a=b"a", big=noise(BIG)).record()
    job.fetch()
    host = CountingHost()
    again = job.fetch(host)
    assert statuses(again) == {"a": "present", "big": "present"}
    assert (len(host.answers), sum(host.answers) < 1000) == (1, True)


@pytest.mark.slow
def test_thousands_of_small_files_need_few_commands(job: Job) -> None:
    for number in range(2500):
        job.put(f"d{number % 7}/f{number}", b"x" * number)
    job.record()
    host = CountingHost()
    assert job.fetch(host).good
    assert tree(job.dest) == tree(job.out)
    assert len(host.answers) <= 6


def test_empty_folders_and_links_that_stay_inside_arrive_and_others_are_named(job: Job) -> None:
    job.has(**{"sub/file": b"x"}).record()
    (job.out / "assets").mkdir()
    links = {
        "latest": "sub/file",
        "sub/up": "../sub/file",
        "out": "/etc/passwd",
        "sub/far": "../../x",
        "trick": "sub/..",
    }
    for name, target in links.items():
        (job.out / name).symlink_to(target)
    os.mkfifo(job.out / "pipe")
    done = job.fetch()
    assert done.good
    assert (job.dest / "assets").is_dir()
    for name in ("latest", "sub/up"):
        assert str((job.dest / name).readlink()) == links[name]
    for name in ("out", "sub/far", "trick", "pipe"):
        assert statuses(done)[name] == "skipped"
        assert not os.path.lexists(job.dest / name)
    assert "to /etc/passwd; it is not followed" in why(done, "out")
    assert statuses(job.fetch())["latest"] == "present"


@pytest.mark.parametrize(
    ("path", "target", "stays"),
    [
        *(("a", "b", True), ("d/a", "../b", True), ("a", "./b/c", True), ("d/e/a", "../../b", True)),
        *(("a", "..", False), ("a", "../b", False), ("d/a", "../../b", False)),
        *(("a", "/b", False), ("a", "b/../c", False), ("a", "", False)),
    ],
)
def test_a_link_stays_inside_or_not(path: str, target: str, stays: bool) -> None:
    assert stays_inside(path, target) is stays


def test_include_and_exclude_choose(job: Job) -> None:
    job.has(**{"model.h5": b"m", "ckpt/1.h5": b"1", "ckpt/1.txt": b"t", "log": b"l"}).record()
    assert tree_after(job, "a", include=["*.h5"]) == {"model.h5", "ckpt/1.h5"}
    assert tree_after(job, "b", exclude=["ckpt/"]) == {"model.h5", "log"}
    assert tree_after(job, "c", include=["ckpt"], exclude=["*.txt"]) == {"ckpt/1.h5"}


def tree_after(job: Job, name: str, **selection: Any) -> set[str]:
    folder = job.dest.parent / name
    assert job.fetch(dest=folder, **selection).good
    return set(tree(folder))


def test_a_dry_run_writes_nothing_and_says_what_would_come(job: Job) -> None:
    job.has(a=b"12345", b=b"b").record()
    done = job.fetch(dry_run=True)
    assert statuses(done) == {"a": "wanted", "b": "wanted"}
    assert not job.dest.exists()
    assert summary(Path("here"), done) == "2 files, 6 bytes would be fetched into ./here"


# --- what is here already


def test_a_file_with_other_content_is_never_overwritten_unasked(job: Job) -> None:
    job.has(same=b"1234", short=b"56", fine=b"f").record()
    job.dest.mkdir()
    (job.dest / "same").write_bytes(b"abcd")
    (job.dest / "short").write_bytes(b"mine")
    done = job.fetch()
    assert not done.good
    assert statuses(done) == {"same": "conflict", "short": "conflict", "fine": "fetched"}
    assert "`--overwrite` replaces it" in why(done, "same")
    assert tree(job.dest) == {"same": b"abcd", "short": b"mine", "fine": b"f"}
    assert job.fetch(overwrite=True).good
    assert tree(job.dest) == tree(job.out)


def test_what_else_has_the_name_stays_even_when_overwriting(job: Job, tmp_path: Path) -> None:
    job.has(folder=b"1", link=b"2", pipe=b"3", **{"way/file": b"4"}).record()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    job.dest.mkdir()
    (job.dest / "folder").mkdir()
    (job.dest / "link").symlink_to(elsewhere / "mine")
    os.mkfifo(job.dest / "pipe")
    (job.dest / "way").symlink_to(elsewhere)
    done = job.fetch(overwrite=True)
    assert set(statuses(done).values()) == {"conflict"}
    assert tree(elsewhere) == {"mine": b"mine"}
    assert (job.dest / "way").is_symlink()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "second name"])
def test_a_partial_file_that_is_none_is_not_written_through(job: Job, tmp_path: Path, kind: str) -> None:
    job.has(a=b"1").record()
    (tmp_path / "mine").write_text("mine")
    job.dest.mkdir()
    part = job.dest / ".a.tfslurm-part"
    if kind == "second name":
        part.hardlink_to(tmp_path / "mine")
    else:
        part.symlink_to(tmp_path / "mine") if kind == "link" else os.mkfifo(part) if kind == "pipe" else part.mkdir()
    assert statuses(job.fetch()) == {"a": "conflict"}
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_has_the_name_of_a_partial_file_there_is_refused_whatever_it_is(job: Job) -> None:
    for name in "abcd":
        job.put(name, name.encode())
    job.put(".a.tfslurm-part", b"2")
    job.put("sub/.x.tfslurm-part/y", b"3")
    (job.out / ".b.tfslurm-part").symlink_to("a")
    (job.out / ".c.tfslurm-part").mkdir()
    os.mkfifo(job.out / ".d.tfslurm-part")
    job.record()
    done = job.fetch()
    bad = {".a.tfslurm-part", ".b.tfslurm-part", ".c.tfslurm-part", ".d.tfslurm-part", "sub/.x.tfslurm-part/y"}
    assert {path for path, status in statuses(done).items() if status == "failed"} == bad
    assert {path for path, status in statuses(done).items() if status == "fetched"} == set("abcd")
    assert why(done, ".b.tfslurm-part") == "has the name of a partial file of tfslurm; rename it"


def test_other_names_that_end_like_it_are_a_jobs_own(job: Job) -> None:
    job.has(**{"a.tfslurm-part": b"1", ".tfslurm-part": b"2", "b.tfslurm-part/c": b"3"}).record()
    assert job.fetch().good
    assert tree(job.dest) == tree(job.out)


# --- who may read what arrives


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nothing_is_open_to_more_than_it_was_there(job: Job, umask: int) -> None:
    modes = {"private": 0o600, "closed/open": 0o644, "shared/group": 0o664, "shared/tool": 0o6755, "read-only": 0o444}
    for name, mode in modes.items():
        job.put(name, name.encode() * 10)
        (job.out / name).chmod(mode)
    (job.out / "shared" / "big").write_bytes(noise(BIG))
    (job.out / "shared" / "big").chmod(0o600)
    for name, mode in {"closed": 0o700, "shared": 0o3775, "empty": 0o1777, "hidden": 0o700}.items():
        (job.out / name).mkdir(exist_ok=True)
        (job.out / name).chmod(mode)
    job.record()
    before = os.umask(umask)
    try:
        assert job.fetch().good
    finally:
        os.umask(before)
    assert tree(job.dest) == tree(job.out)
    assert stat.S_IMODE(job.dest.stat().st_mode) == 0o700, "as the folder of a job there"
    for path in job.dest.rglob("*"):
        there = stat.S_IMODE((job.out / path.relative_to(job.dest)).stat().st_mode) & 0o777
        own = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == (there | own) & ~umask, path


def test_what_was_begun_open_to_others_is_closed_before_it_goes_on(job: Job) -> None:
    job.has(big=noise(BIG)).record()
    (job.out / "big").chmod(0o600)
    job.dest.mkdir()
    part = job.dest / ".big.tfslurm-part"
    part.write_bytes((job.out / "big").read_bytes()[:1000])
    part.chmod(0o666)
    assert job.fetch().good
    assert stat.S_IMODE((job.dest / "big").stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o700, 0o710, 0o755, 0o777, 0o1777, 0o2770])
def test_a_folder_that_others_may_enter_opens_nothing_that_was_closed_there(job: Job, mode: int) -> None:
    job.has(**{"a": b"1", "closed/b": b"2", "big": noise(BIG)}).record()
    (job.out / "closed").chmod(0o755)
    job.dest.mkdir()
    job.dest.chmod(mode)
    assert job.fetch().good
    seen = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in job.dest.rglob("*")}
    assert seen == ({0} if mode != 0o700 else {0o044, 0o055})
    assert stat.S_IMODE(job.dest.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("size", [10, BIG])
def test_a_partial_file_of_whoever_prepared_the_folder_is_not_written(job: Job, size: int) -> None:
    job.has(a=noise(size)).record()
    part = job.dest / ".a.tfslurm-part"
    job.dest.mkdir()
    part.write_bytes(b"")
    for path in (job.dest, part):
        os.chown(path, 65534, 65534)
    done = job.fetch()
    assert statuses(done) == {"a": "conflict"}
    assert part.read_bytes() == b""
    assert sorted(tree(job.dest)) == [".a.tfslurm-part"]
    part.unlink()
    assert job.fetch().good, "a folder of somebody else's is a destination all the same"
    assert (job.dest / "a").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["results", "results/job", "nested/results"])
def test_a_destination_is_not_reached_through_a_link_of_the_folder_one_stands_in(
    job: Job, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.has(**{".bash_profile": b"evil"}).record()
    (tmp_path / "home").mkdir()
    (tmp_path / "repository" / "nested").mkdir(parents=True)
    for link in ("results", "nested/results"):
        (tmp_path / "repository" / link).symlink_to(tmp_path / "home")
    monkeypatch.chdir(tmp_path / "repository")
    with pytest.raises(InputError, match=r"results: is a symbolic link to .*home', and tfslurm writes through none"):
        job.fetch(dest=Path(name))
    assert not tree(tmp_path / "home")
    assert job.fetch(dest=tmp_path / "repository" / "results" / "new").good, "an absolute path is the user's own word"


# --- files with holes


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_a_file_with_holes_arrives_with_holes_and_does_not_load_the_line(job: Job, recorded: bool) -> None:
    """64 MiB of which a few KiB are used: holes at the beginning, in the middle and at the end."""
    size, data = 2**26, {300: b"begin", 5 * 2**20: noise(70_000), 2**25 + 1: b"x" * 100}
    with (job.out / "sparse").open("wb") as file:
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
        file.truncate(size)
    job.has(zeros=bytes(2 * 2**20), small=bytes(70_000))
    if recorded:
        job.record()
    host = CountingHost()
    done = job.fetch(host)
    assert set(statuses(done).values()) == {"fetched"}
    status = (job.dest / "sparse").stat()
    assert (status.st_size, status.st_blocks * 512 < 2**20) == (size, True)
    assert sum(host.answers) < 4 * 2**20
    with (job.dest / "sparse").open("rb") as file:
        for offset, content in data.items():
            file.seek(offset)
            assert file.read(len(content)) == content
    assert job.fetch().outcomes[0].status == "present"


@pytest.mark.parametrize("sizes", [[2**43], [2**43, 2**43], [2**37] * 3])
def test_holes_without_end_are_named_and_the_rest_comes(
    job: Job, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program makes them for nothing; to hash them would take for ever."""
    hashed: list[int] = []

    def hash_nothing(host: Host, folder: PurePosixPath, beginnings: Sequence[tuple[str, int]]) -> list[str]:
        hashed.extend(count for _, count in beginnings)
        return [""] * len(beginnings)

    monkeypatch.setattr("tfslurm.retrieval.fetch.sums", hash_nothing)
    for place, size in enumerate(sizes):
        with (job.out / f"{place}").open("wb") as file:
            file.truncate(size)
    done = job.fetch()
    assert sum(hashed) <= 2**38
    assert "more holes than are fetched; `--exclude` it" in why(done, str(len(sizes) - 1))


def test_a_file_with_holes_that_was_cut_off_is_gone_on_with(job: Job) -> None:
    content = bytes(3 * 2**20) + noise(1000) + bytes(9 * 2**20)
    with (job.out / "sparse").open("wb") as file:
        file.seek(3 * 2**20)
        file.write(content[3 * 2**20 : 3 * 2**20 + 1000])
        file.truncate(len(content))
    job.record()

    def cut(count: int) -> None:
        if count == 2:
            raise HostError("the line was lost", transient=True)

    with pytest.raises(HostError):
        job.fetch(CountingHost(cut), pauses_s=())
    part = job.dest / ".sparse.tfslurm-part"
    assert 0 < part.stat().st_size < len(content)
    assert job.fetch().good
    assert (job.dest / "sparse").read_bytes() == content


ANSWERS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no gzip": lambda: b"no gzip",
    "too many zeros": lambda: gzip.compress(bytes(2**26), 1),
    "too many letters": lambda: gzip.compress(b"x" * 2**26, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_no_piece_or_a_larger_one_is_not_believed(job: Job, answers: Callable[[], bytes]) -> None:
    """Of what unpacks to more than was asked for, no more is unpacked."""
    answer = answers()

    class LyingHost(LocalHost):
        def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
            raw = super().execute(argv, input, timeout_s, max_bytes)
            return Raw(0, answer, b"") if argv[-2:] == ("gzip", "-1") else raw

    with (job.out / "sparse").open("wb") as file:
        file.write(b"1")
        file.truncate(3 * 2**20)
    job.record()
    try:
        assert statuses(job.fetch(LyingHost(), pauses_s=())) in ({"sparse": "failed"}, {"sparse": "mismatch"})
    except HostError as error:
        assert "it arrived damaged" in str(error)
    part = job.dest / ".sparse.tfslurm-part"
    assert not part.exists() or part.stat().st_size <= 3 * 2**20


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "a//b", "."])
def test_a_machine_that_lists_a_path_outside_is_not_believed(job: Job, name: str) -> None:
    class LyingHost(LocalHost):
        """A login node that is not to be trusted."""

        def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
            raw = super().execute(argv, input, timeout_s, max_bytes)
            return Raw(0, raw.stdout.replace(b"NAME", os.fsencode(name)), raw.stderr)

    job.has(NAME=b"1").record()
    done = job.fetch(LyingHost())
    assert statuses(done) == {name: "failed"}
    assert tree(job.dest.parent) == {f"job/{path}": text for path, text in tree(job.folder).items()}


def test_two_fetches_into_one_folder_do_not_mix(job: Job) -> None:
    job.has(a=b"1").record()
    with Destination(job.dest, make=True), pytest.raises(TfslurmError, match="another `tfslurm fetch` is writing here"):
        job.fetch()
    assert job.fetch().good


# --- after a cut


def cut(job: Job, name: str, size: int) -> Path:
    """As a killed fetch leaves a file of which so many bytes came."""
    job.dest.mkdir(exist_ok=True)
    part = job.dest / os.fsdecode(part_of(os.fsencode(name)))
    part.write_bytes((job.out / name).read_bytes()[:size])
    return part


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("size", [1, 3 * 2**20, BIG - 1, BIG])
def test_a_partial_file_is_gone_on_with(job: Job, size: int, recorded: bool) -> None:
    job.has(big=noise(BIG))
    if recorded:
        job.record()
    part = cut(job, "big", size)
    host = CountingHost()
    assert statuses(job.fetch(host)) == {"big": "fetched"}
    assert tree(job.dest) == tree(job.out)
    assert sum(host.answers) < BIG - size + 1000
    assert not part.exists()


def test_a_partial_file_of_other_bytes_is_begun_anew(job: Job) -> None:
    job.has(big=noise(BIG), small=noise(900)).record()
    cut(job, "big", 2**21).write_bytes(noise(2**21))
    cut(job, "small", 400).write_bytes(noise(5000))
    assert job.fetch().good
    assert tree(job.dest) == tree(job.out)


@pytest.mark.slow
def test_a_line_that_is_lost_is_taken_up_where_it_was(job: Job) -> None:
    job.has(big=noise(BIG), small=b"s").record()

    def lose(number: int) -> None:
        if number == 3 and not job.said:
            raise HostError("alpha: the line was lost; try again", transient=True)

    host = CountingHost(lose)
    assert job.fetch(host).good
    assert job.said == ["alpha: the line was lost; try again; asking again in 1 s"]
    assert tree(job.dest) == tree(job.out)
    assert sum(host.answers) < BIG + 12_000


def test_a_line_that_stays_away_keeps_what_came(job: Job) -> None:
    job.has(big=noise(BIG)).record()

    def lose(number: int) -> None:
        if number >= 2:
            raise HostError("alpha: the line was lost", transient=True)

    with pytest.raises(
        HostError, match="tfslurm keeps what has arrived, and the same command continues from there"
    ) as caught:
        job.fetch(CountingHost(lose), pauses_s=(0.0, 0.0))
    assert caught.value.transient
    assert len(job.said) == 2
    (part,) = job.dest.iterdir()
    assert part.read_bytes() == (job.out / "big").read_bytes()[: 2**21]
    host = CountingHost()
    assert job.fetch(host).good
    assert sum(host.answers) < BIG - 2**21 + 1000


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may become larger: the nearest to a full disk that needs no disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_machine_that_takes_no_more_says_so_in_a_line_and_what_came_is_kept(job: Job) -> None:
    job.has(big=noise(BIG)).record()
    with (
        largest_file(3 * 2**20),
        pytest.raises(TfslurmError, match=r"here/\.big\.tfslurm-part: File too large; tfslurm keeps what has arrived"),
    ):
        job.fetch()
    assert 2**21 <= (job.dest / ".big.tfslurm-part").stat().st_size <= 3 * 2**20
    assert job.fetch().good
    assert tree(job.dest) == tree(job.out)


def test_a_destination_that_cannot_be_is_refused(job: Job) -> None:
    job.has(a=b"1").record()
    job.dest.write_text("a file")
    with pytest.raises(InputError, match=r"here: cannot be the destination: .*; name another"):
        job.fetch()


# --- what is not as it was recorded


def test_other_bytes_than_the_job_recorded_are_named_and_kept_aside_and_the_rest_comes(job: Job) -> None:
    job.has(small=b"good", big=noise(BIG), fine=b"f").record()
    job.has(small=b"evil", big=noise(BIG))
    done = job.fetch()
    assert not done.good
    assert statuses(done) == {"small": "mismatch", "big": "mismatch", "fine": "fetched"}
    assert (
        "not what the job recorded at its end; the file that arrived is kept beside it as .small.tfslurm-part"
        in why(done, "small")
    )
    assert (job.dest / ".small.tfslurm-part").read_bytes() == b"evil"
    assert not (job.dest / "big").exists()
    assert statuses(job.fetch()) == {"small": "mismatch", "big": "mismatch", "fine": "present"}


def test_the_last_attempt_says_what_was_recorded(job: Job) -> None:
    job.has(a=b"1").record(2)
    job.has(a=b"2").record(10)
    (job.folder / "attempt-x").mkdir()
    assert job.fetch().outcomes[0].recorded
    (job.folder / "attempt-11").mkdir()
    assert not job.fetch().outcomes[0].recorded


def test_a_file_that_is_appended_to_is_brought_as_it_was_listed(job: Job) -> None:
    job.has(log=b"1\n" * 100, events=b"e" * BIG)

    def append(number: int) -> None:
        for name in ("log", "events"):
            with (job.out / name).open("ab") as file:
                file.write(b"more\n")

    done = job.fetch(CountingHost(append))
    assert done.good
    listed = {each.path: each.bytes for each in done.outcomes}
    assert tree(job.dest) == {name: (job.out / name).read_bytes()[: listed[name]] for name in ("log", "events")}


@pytest.mark.parametrize("size", [10, BIG])
def test_a_file_that_is_rewritten_meanwhile_is_a_mismatch_and_comes_the_next_time(job: Job, size: int) -> None:
    job.has(a=noise(size))

    def rewrite(number: int) -> None:
        if number == 2:
            job.has(a=noise(size))

    done = job.fetch(CountingHost(rewrite))
    assert statuses(done) == {"a": "mismatch"}
    assert "changed there while it was fetched; fetch again" in why(done, "a")
    assert job.fetch().good
    assert tree(job.dest) == tree(job.out)


@pytest.mark.parametrize("size", [10, BIG])
@pytest.mark.parametrize("left", [None, 3])
def test_a_file_that_goes_or_shrinks_meanwhile_is_named_and_the_rest_comes(
    job: Job, size: int, left: int | None
) -> None:
    job.has(a=noise(size), b=b"b").record()

    def shrink(number: int) -> None:
        if number == 1 and left is None:
            (job.out / "a").unlink()
        elif number == 1:
            os.truncate(job.out / "a", left or 0)

    done = job.fetch(CountingHost(shrink))
    assert statuses(done)["b"] == "fetched"
    assert statuses(done)["a"] in ("failed", "mismatch")


def test_a_job_without_folder_or_outputs_is_an_error_and_makes_nothing(job: Job) -> None:
    job.out.rmdir()
    with pytest.raises(HostError, match=r"job/out: is not there"):
        job.fetch()
    job.out.symlink_to("/etc")
    with pytest.raises(HostError, match=r"job/out: is not there"):
        job.fetch()
    job.out.unlink()
    job.folder.rmdir()
    with pytest.raises(HostError, match=r"job: is not there"):
        job.fetch()
    assert not job.dest.exists()


def test_a_machine_without_tar_says_so(job: Job, tmp_path: Path) -> None:
    job.has(a=b"1").record()
    (tmp_path / "bin").mkdir()
    for program in ("bash", "find", "head"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    with pytest.raises(CommandFailed, match="tar: command not found"):
        job.fetch(LocalHost("alpha", {"PATH": str(tmp_path / "bin")}))


# --- how it is progress


def test_the_document_and_the_line(job: Job) -> None:
    raw = os.fsdecode(b"raw-\xff")
    job.has(a=b"1" * 2048, **{raw: b"2"}).record()
    job.fetch(include=["a"])
    done = job.fetch()
    assert summary(Path("alpha-1"), done) == "2 files, 2.0 KiB in ./alpha-1, sha256 verified (1 was here already)"
    known = TrackedJob("alpha", "1", "", "p", "n", "COMPLETED", True, {})
    value = as_value(known, Path("alpha-1"), done)
    assert (value["job"], value["dest"], value["counts"]) == ("alpha:1", "alpha-1", {"fetched": 1, "present": 1})
    assert value["files"][1] == {
        "path": "raw-\\xff",
        "bytes": 1,
        "sha256": hashlib.sha256(b"2").hexdigest(),
        "recorded": True,
        "status": "fetched",
        "why": None,
    }


def test_a_name_does_nothing_to_a_terminal() -> None:
    assert printable(plain("a\x1b[31m\nb" + os.fsdecode(b"\xff"))) == "a\\x1b[31m\\nb\\xff"


def test_a_list_of_more_files_than_fit_in_memory_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfslurm.host.fetching.MOST_FILES", 5)
    job.has(a=b"1", b=b"2", c=b"3").record()
    assert statuses(job.fetch(LocalHost())) == dict.fromkeys("abc", "fetched")
    job.has(d=b"4", e=b"5", f=b"6").record()
    with pytest.raises(HostError, match=r"holds more than 5 files; pack them there"):
        job.fetch(LocalHost())
