"""The lock of an experiment's packages as text and values: what is kept, what is refused, what names a layer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.made import PIN, plan
from tfslurm.errors import InputError
from tfslurm.image import PackageLock, Wheel, lock_text, parse_lock, read_lock
from tfslurm.image.lock import Lock
from tfslurm.image.packages import package_lock, package_mistakes, packages_to_json, requirements_sha256, wrong_url
from tfslurm.job_plan import from_json, identify, to_json
from tfslurm.run_folder.plan_file import checked_plan

SIX = Wheel("six", "1.17.0", "six-1.17.0-py2.py3-none-any.whl", "ab" * 32, 11050, "https://pypi.org/f/six-1.17.0.whl")
PYTZ = Wheel("pytz", "2025.2", "pytz-2025.2-py2.py3-none-any.whl", "cd" * 32, 509225, "file:///opt/wheels/pytz.whl")


def lock(*wheels: Wheel) -> PackageLock:
    return package_lock(
        wheels,
        image=PIN.digest,
        asked=requirements_sha256(["pytz", "six"]),
        python="3.11.2",
        platform="manylinux_2_36_x86_64",
        resolver="uv 0.13.9",
        index="https://pypi.org/simple",
    )


def test_a_lock_file_with_packages_is_read_back_and_one_without_has_the_bytes_of_before() -> None:
    text = lock_text(PIN, lock(SIX, PYTZ))
    assert read_lock(text, "exp.lock.yaml", PIN.reference) == Lock(PIN, lock(PYTZ, SIX))
    assert parse_lock(text, "exp.lock.yaml") == PIN
    assert text.startswith(lock_text(PIN)) and read_lock(lock_text(PIN), "exp.lock.yaml").packages is None


def test_a_layer_is_named_by_its_image_python_and_wheels_alone() -> None:
    base = lock(SIX, PYTZ)
    moved = replace(base, wheels=tuple(replace(wheel, url="") for wheel in base.wheels))
    again = package_lock(
        moved.wheels, image=base.image, asked="0" * 64, python=base.python, platform="", resolver="", index=""
    )
    assert again.key == base.key
    others = (
        lock(SIX).key,
        lock(replace(SIX, sha256="ef" * 32), PYTZ).key,
        package_lock(
            base.wheels, image="sha256:" + "0" * 64, asked="", python="3.11.2", platform="", resolver="", index=""
        ).key,
        package_lock(base.wheels, image=base.image, asked="", python="3.12.2", platform="", resolver="", index="").key,
    )
    assert len({base.key, *others}) == 5


def test_a_secret_in_an_address_is_not_in_the_error() -> None:
    for url in ("https://me:hidden@h/x.whl", "https://h/x.whl?token=hidden", "https://me:hid@den@h/x.whl?hidden"):
        (mistake,) = package_mistakes(packages_to_json(lock(replace(SIX, url=url))))
        assert mistake.field == "wheels[0].url" and "hid" not in mistake.why and "den" not in mistake.why


HOSTILE = {
    "image": ("sha256:12", "packages.image: "),
    "python": ("3.11; rm", "packages.python: "),
    "platform": ("../../etc", "packages.platform: "),
    "index": ("https://me:secret@pypi.example/simple", "packages.index: "),
    "sha256": ("0" * 64, "packages.sha256: is not the hash of these wheels"),
    "wheels": ("six", "packages.wheels: is not a list"),
}
HOSTILE_WHEEL: dict[str, tuple[Any, str]] = {
    "name": ("../six", "name: "),
    "version": ("1.0;x", "version: "),
    "file": ("../six-1.17.0-py3-none-any.whl", "file: "),
    "sha256": ("AB" * 32, "sha256: "),
    "bytes": (-1, "bytes: "),
    "url": ("ftp://pypi.org/six.whl", "url: "),
}


@pytest.mark.parametrize("field", HOSTILE)
def test_a_field_that_no_resolver_wrote_is_told_with_its_line(field: str) -> None:
    value, told = HOSTILE[field]
    text = lock_text(PIN) + json.dumps({"packages": {**packages_to_json(lock(SIX)), field: value}})[1:-1]
    with pytest.raises(InputError, match=r"exp\.lock\.yaml:[0-9]+: ") as caught:
        read_lock(text, "exp.lock.yaml")
    assert told in str(caught.value) and "tfslurm pin exp.yaml --update" in str(caught.value)


@pytest.mark.parametrize("field", HOSTILE_WHEEL)
def test_a_wheel_that_no_resolver_wrote_is_told_with_its_place(field: str) -> None:
    value, told = HOSTILE_WHEEL[field]
    wheel = replace(SIX, **{field: value})
    wrong = package_mistakes(packages_to_json(lock(wheel)))
    assert any(f"{mistake.field}: ".startswith(f"wheels[0].{told}") for mistake in wrong), wrong


def test_a_size_that_is_no_number_is_told_as_one() -> None:
    odd = replace(SIX, bytes=1.5)  # type: ignore[arg-type]
    assert package_mistakes(packages_to_json(lock(odd)))[0].why == "is not a whole number"


def test_two_wheels_of_one_name_and_a_wheel_of_another_name_are_refused() -> None:
    assert package_mistakes(packages_to_json(lock(SIX, SIX)))[0].why == "are not sorted by name, each name once"
    other = replace(SIX, file=PYTZ.file)
    assert "is not a wheel of six 1.17.0" in package_mistakes(packages_to_json(lock(other)))[0].why


def test_a_plan_holds_its_packages_and_is_the_same_wherever_their_wheels_came_from() -> None:
    bare, full = plan(), plan(packages=lock(SIX))
    assert "packages" not in to_json(bare) and plan(packages=lock()) == bare
    assert full.plan_sha256 != bare.plan_sha256
    assert from_json(json.loads(json.dumps(to_json(full)))) == full
    elsewhere = plan(packages=lock(replace(SIX, url="https://mirror.example/six.whl")))
    assert (elsewhere.plan_sha256 == full.plan_sha256) and (elsewhere.plan_id != full.plan_id)


def test_a_run_folders_plan_with_packages_of_another_image_is_refused() -> None:
    whole = plan(packages=lock(SIX))
    assert checked_plan(json.dumps(to_json(whole)).encode()) == whole
    forged = identify(replace(whole, packages=replace(lock(SIX), sha256="0" * 64)))
    with pytest.raises(Exception, match=r"packages\.sha256: is not the hash"):
        checked_plan(json.dumps(to_json(forged)).encode())


@pytest.mark.parametrize(
    "url", ["http://lab:8080", "https://lab/simple/", "file:///w/a%20b.whl", "https://lab/a@b.whl"]
)
def test_an_address_without_a_login_is_kept(url: str) -> None:
    assert wrong_url(url) == ""


@pytest.mark.parametrize(
    "url", ["https://me@lab/x", "https://me:pw@lab/x", "https://lab/x?sig=1", "ftp://lab/x", "/w/x.whl", "file://lab/x"]
)
def test_an_address_that_may_hold_a_login_is_kept_nowhere(url: str) -> None:
    assert "without a login" in wrong_url(url)
