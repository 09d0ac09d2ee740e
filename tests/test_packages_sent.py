"""The wheels of a layer on their way to a cluster: real files, the real programs of job_templates/remote."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.made import PIN, experiment, plan
from tests.made_wheels import MadeWheel, wheel
from tfslurm.errors import CommandFailed, HostError, InputError, TfslurmError
from tfslurm.host.command import Raw
from tfslurm.host.local import LocalHost
from tfslurm.image.packages import Wheel, package_lock
from tfslurm.job_plan import DerivedFrom, JobPlan
from tfslurm.spec import Mount
from tfslurm.submission.send_packages import send_wheels

WHEELS = (wheel("greet"), wheel("count-things", "2.0", {"count_things.py": "N = 3\n" * 50_000}))


class Counting(LocalHost):
    """This machine, which counts the bytes that are sent to it; the line is cut after ``cut`` of them."""

    sent = 0
    cut = -1

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        return super().execute(argv, self.counted(input), timeout_s, max_bytes)

    def counted(self, content: bytes | Iterable[bytes]) -> Iterator[bytes]:
        for piece in [content] if isinstance(content, bytes) else content:
            if 0 <= self.cut < self.sent + len(piece):
                yield piece[: self.cut - self.sent]
                self.sent = self.cut
                return
            self.sent += len(piece)
            yield piece


class Talks(LocalHost):
    """A machine whose start-up files greet, and which runs nothing."""

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        return super().execute(["echo", "welcome to alpha"], b"", timeout_s, max_bytes)


def planned(folder: Path, wheels: Sequence[MadeWheel] = WHEELS) -> JobPlan:
    named = [Wheel(w.name, w.version, w.file, w.sha256, len(w.content), f"https://h/{w.file}") for w in wheels]
    about = {"asked": "0" * 64, "python": "3.11.2", "platform": "manylinux_2_36_x86_64", "resolver": "pip 24.0"}
    lock = package_lock(named, image=PIN.digest, index="", **about)
    return replace(plan(packages=lock), root=str(folder / "root"))


def here(folder: Path, wheels: Sequence[MadeWheel] = WHEELS) -> dict[str, Path]:
    return {each.file: each.put(folder / "cache") for each in wheels}


def there(made: JobPlan) -> Path:
    assert made.packages
    return Path(made.root) / "packages" / made.packages.key / "wheels"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WHOLE = {each.file: each.content for each in WHEELS}


def test_wheels_arrive_once_and_nobody_else_can_enter(tmp_path: Path) -> None:
    made, host = planned(tmp_path), Counting("alpha")
    send_wheels(here(tmp_path), made, host)
    assert files(there(made)) == WHOLE
    for folder in (there(made), there(made).parent, there(made).parent.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    first = host.sent
    send_wheels({}, made, host)
    assert host.sent - first < 400, "it was asked which are there, and nothing was sent"


def test_nothing_is_asked_of_this_machine_where_the_layer_is_installed(tmp_path: Path) -> None:
    made = planned(tmp_path)
    (there(made).parent / "layer" / "site").mkdir(parents=True)
    (there(made).parent / "layer" / "layer.json").write_text("{}")
    send_wheels({}, made, LocalHost("alpha"))
    assert not there(made).exists()


@pytest.mark.parametrize("cut", [700, 1500])
def test_an_interrupted_transfer_goes_on_where_it_stopped(cut: int, tmp_path: Path) -> None:
    made, host = planned(tmp_path), Counting("alpha")
    host.cut = cut
    with pytest.raises(CommandFailed, match=r"the transfer was cut short; the next one goes on from there"):
        send_wheels(here(tmp_path), made, host)
    arrived = sum(path.stat().st_size for path in there(made).iterdir())
    assert arrived and not any(name.endswith(".whl") and WHOLE[name] != raw for name, raw in files(there(made)).items())
    again = Counting("alpha")
    send_wheels(here(tmp_path), made, again)
    assert files(there(made)) == WHOLE
    assert again.sent < sum(map(len, WHOLE.values())) - arrived + 1000


def test_a_wheel_that_was_damaged_there_is_sent_again(tmp_path: Path) -> None:
    made = planned(tmp_path)
    send_wheels(here(tmp_path), made, LocalHost("alpha"))
    file = there(made) / WHEELS[0].file
    file.write_bytes(b"x" * len(WHEELS[0].content))
    send_wheels(here(tmp_path), made, LocalHost("alpha"))
    assert files(there(made)) == WHOLE


def test_other_bytes_than_were_locked_are_refused_and_do_not_stay(tmp_path: Path) -> None:
    made, wheels = planned(tmp_path), here(tmp_path)
    wheels[WHEELS[0].file].write_bytes(b"y" * len(WHEELS[0].content))
    with pytest.raises(CommandFailed, match=r"greet-1\.0-py3-none-any\.whl: other bytes arrived than were sent"):
        send_wheels(wheels, made, LocalHost("alpha"))
    assert WHEELS[0].file not in files(there(made)) and f".{WHEELS[0].file}.part" not in files(there(made))


def test_a_wheel_that_is_nowhere_is_named(tmp_path: Path) -> None:
    made, wheels = planned(tmp_path), here(tmp_path)
    del wheels[WHEELS[1].file]
    with pytest.raises(TfslurmError, match=r"count_things-2\.0-py3-none-any\.whl is needed to install"):
        send_wheels(wheels, made, LocalHost("alpha"))
    assert not there(made).exists()


class Gone(dict[str, Path]):
    """Wheels that no index has any more."""

    def __contains__(self, file: object) -> bool:
        return True

    def __getitem__(self, file: str) -> Path:
        raise TfslurmError("packages: the wheels cannot be fetched: no answers==1.5; `tfslurm pin EXP.yaml --update`")


def test_a_rerun_whose_wheels_are_gone_says_what_is_lost_and_what_to_do(tmp_path: Path) -> None:
    made = planned(tmp_path)
    with pytest.raises(TfslurmError, match=r"cannot be fetched: no answers==1\.5; `tfslurm pin EXP.yaml"):
        send_wheels(Gone(), made, LocalHost("alpha"))
    again = replace(made, derived_from=DerivedFrom("alpha:7"))
    with pytest.raises(
        TfslurmError, match=r"alpha:7: \S+\.whl is needed .* here: the wheels cannot be fetched: .*; if you"
    ):
        send_wheels(Gone(), again, LocalHost("alpha"))


def test_two_submissions_at_once_leave_whole_wheels(tmp_path: Path) -> None:
    made, wheels = planned(tmp_path), here(tmp_path)
    errors: list[Exception] = []

    def send() -> None:
        try:
            send_wheels(wheels, made, LocalHost("alpha"))
        except Exception as error:
            errors.append(error)

    both = [threading.Thread(target=send) for _ in range(4)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert not errors and files(there(made)) == WHOLE


@pytest.mark.parametrize("part", ["", "wheels", "layer"])
def test_a_link_in_the_place_of_a_folder_is_refused(part: str, tmp_path: Path) -> None:
    made = planned(tmp_path)
    place = there(made).parent / part if part else there(made).parent
    place.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandFailed, match="is a link, or another user's; move it away"):
        send_wheels(here(tmp_path), made, LocalHost("alpha"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_cluster_that_answers_nonsense_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="what came does not say which wheels are there"):
        send_wheels({}, planned(tmp_path), Talks("alpha"))


@pytest.mark.parametrize("target", ["/opt", "/opt/tfslurm", "/opt/tfslurm/packages", "/opt/tfslurm/packages/x"])
def test_a_mount_or_outputs_at_the_place_of_the_packages_are_refused(target: str, tmp_path: Path) -> None:
    lock = planned(tmp_path).packages
    for change in ({"mounts": (Mount("/data/digits", target),)}, {"outputs": target}):
        plan(experiment(**change))
        with pytest.raises(InputError, match=rf"'{target}' would cover the packages \(/opt/tfslurm/packages\)"):
            plan(experiment(**change), packages=lock)


def test_tensorflow_is_asked_again_with_other_packages(tmp_path: Path) -> None:
    lock = planned(tmp_path).packages
    assert plan(packages=lock).gpu_check_key != plan().gpu_check_key
    other = planned(tmp_path, WHEELS[:1]).packages
    assert plan(packages=lock).gpu_check_key != plan(packages=other).gpu_check_key
