"""Images as text and values: the reference grammar, pins and lock files, driver verdicts."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from tests import made
from tfslurm.errors import InputError
from tfslurm.image import (
    Pin,
    Reference,
    driver_verdict,
    false_claims,
    kept_environment,
    lock_text,
    mirror_names,
    moved,
    parse_lock,
    parse_reference,
    pin_from_json,
    pin_to_json,
    quoted,
    quoted_list,
    refuse_moving,
    sources,
)
from tfslurm.image.pin import pin_mistakes

A, B, C = ("sha256:" + letter * 64 for letter in "abc")

PIN = Pin(
    reference="tensorflow/tensorflow:2.16.1-gpu",
    registry="docker.io",
    repository="tensorflow/tensorflow",
    tag="2.16.1-gpu",
    digest=A,
    digest_kind="index",
    pin_kind="registry",
    platform="linux/amd64",
    manifest_digest=B,
    config_digest=C,
    size_bytes=3_400_000_000,
    media_type="application/vnd.oci.image.index.v1+json",
    created="2024-03-08T20:12:55.123456789Z",
    served_by="docker.io/tensorflow/tensorflow",
    pinned_at="2026-11-23T08:00:00Z",
    entrypoint=("/opt/nvidia/nvidia_entrypoint.sh",),
    environment={"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "cuda>=12.3 brand=tesla,driver>=470,driver<471"},
)


@pytest.mark.parametrize(
    ("typed", "registry", "repository", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", ""),
        ("tensorflow/tensorflow:2.16.1-gpu", "docker.io", "tensorflow/tensorflow", "2.16.1-gpu", ""),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("index.docker.io/a/b:1", "docker.io", "a/b", "1", ""),
        ("localhost/a", "localhost", "a", "", ""),
        ("localhost:5000/a:1", "localhost:5000", "a", "1", ""),
        ("localhost:5000", "docker.io", "library/localhost", "5000", ""),
        ("registry.example:5000/a/b/c", "registry.example:5000", "a/b/c", "", ""),
        ("[::1]:5000/a", "[::1]:5000", "a", "", ""),
        ("127.0.0.1:5000/a@" + A, "127.0.0.1:5000", "a", "", A),
        ("nvcr.io/nvidia/tensorflow:24.03-tf2-py3@" + A, "nvcr.io", "nvidia/tensorflow", "24.03-tf2-py3", A),
        ("a/b_c/d__e/f-g/h--i/j.k", "docker.io", "a/b_c/d__e/f-g/h--i/j.k", "", ""),
        ("HOST/a", "HOST", "a", "", ""),
        ("a:" + "t" * 128, "docker.io", "library/a", "t" * 128, ""),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    typed: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    assert parse_reference(typed) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "no image is named"),
        (" ubuntu", "white space"),
        ("/apps/ngc/tensorflow_22.03.sif", "a file cannot be pinned"),
        ("containers/tf.sqsh", "push the image that it was made from to a registry"),
        ("./tf.tar.gz", "a file cannot be pinned"),
        ("~/tf", "a file cannot be pinned"),
        ("nvcr.io#nvidia/tensorflow:24.03", "write 'nvcr.io/nvidia/tensorflow:24.03'"),
        ("docker://nvcr.io#nvidia/tensorflow:24.03", "write 'nvcr.io/nvidia/tensorflow:24.03'"),
        ("library://lab/tf:1", "Singularity's own library"),
        ("docker-archive:tf.tar", "names a file or folder"),
        ("containers-storage:tf", "the images of one machine"),
        ("https://docker.io/a", "no scheme"),
        ("https://me:hidden@h:5000/a:1", "write 'h:5000/a:1'"),
        ("me:hidden@h:5000/a@sha256:" + "a" * 64, "run `docker login`, and write the name without it"),
        ("TensorFlow", "lower case"),
        ("docker.io/Tensor/flow:1", "lower case"),
        ("a:", "the tag after `:` is empty"),
        ("a:.b", "is not a tag"),
        ("a:" + "t" * 129, "is not a tag"),
        ("a@", "begins with `sha256:`"),
        ("a@sha256:abc", "this one has 3 characters"),
        ("a@sha256:" + "A" * 64, "lower case"),
        ("a@sha512:" + "a" * 128, "not with 'sha512'"),
        ("a@" + A + "@" + A, "64 hexadecimal digits"),
        ("a" * 64, "bare image id"),
        ("a" * 256, "at most 255"),
        ("a//b", "not a repository name"),
        ("a/-b", "not a repository name"),
        ("a___b", "not a repository name"),
        ("/a", "a file cannot be pinned"),
        ("docker.io/", "not a repository name"),
        ("-host.example/a", "not a registry host"),
        ("host.example:port/a", "not a registry host"),
        ("a\n", "white space"),
        ("ä/b", "not a repository name"),
    ],
)
def test_a_text_that_names_no_image_is_refused_with_its_reason(typed: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_reference(typed)
    assert why in str(caught.value) and "hidden" not in str(caught.value)


def test_a_refusal_stands_where_the_caller_says() -> None:
    with pytest.raises(InputError) as caught:
        parse_reference("A", file="exp.yaml", line=3)
    assert str(caught.value) == "exp.yaml:3: image: 'A': a repository name is lower case; write 'library/a'"


def test_a_reference_prints_in_full() -> None:
    assert str(parse_reference(f"ubuntu:22.04@{A}")) == f"docker.io/library/ubuntu:22.04@{A}"


@pytest.mark.parametrize(
    "typed", ["a", "a:latest", "a:latest-gpu", "a:nightly", "a:nightly-gpu", "a:2.17-nightly", "a:Nightly"]
)
def test_a_tag_that_is_meant_to_move_is_refused_with_a_fix(typed: str) -> None:
    reason = refuse_moving(parse_reference(typed))
    assert reason is not None
    assert "name a release such as 2.16.1-gpu" in reason


@pytest.mark.parametrize("typed", ["a:2.16.1-gpu", f"a@{A}", f"a:latest@{A}", "a:midnightly1"])
def test_a_release_or_a_digest_may_be_pinned(typed: str) -> None:
    assert refuse_moving(parse_reference(typed)) is None


def test_a_pin_survives_the_lock_file_and_json() -> None:
    assert pin_from_json(json.loads(json.dumps(pin_to_json(PIN)))) == PIN
    assert parse_lock(lock_text(PIN), "exp.lock.yaml", PIN.reference) == PIN
    assert parse_lock(lock_text(PIN), "exp.lock.yaml", "docker.io/tensorflow/tensorflow:2.16.1-gpu") == PIN


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (A, "sha256:abc", "image.digest: 'sha256:abc': a sha256 digest has 64"),
        ("digest_kind: index", "digest_kind: config", "image.digest_kind: 'config' is not one of index, manifest"),
        ("size_bytes: 3400000000", "size_bytes: many", "image.size_bytes: is not a number of bytes"),
        ("  pin_kind: registry\n", "", "image.pin_kind: is missing"),
        ("pin_kind: registry", "pin: registry", "image.pin: is not a field of a pinned image"),
        ("repository: tensorflow/tensorflow", "repository: evil/tensorflow", "image.repository: is 'evil/tensorflow'"),
        ("tfslurm.lock/1", "tfslurm.lock/9", "schema: 'tfslurm.lock/9' is not a schema"),
        ("platform: linux/amd64", "platform: amd64", "image.platform: 'amd64' is not OS/ARCHITECTURE"),
        (
            "2026-11-23T08:00:00Z",
            "2026-13-45T08:00:00Z",
            "image.pinned_at: '2026-13-45T08:00:00Z' is not a time in UTC",
        ),
        ("2026-11-23T08:00:00Z", "yesterday", "image.pinned_at: 'yesterday' is not a time in UTC"),
    ],
)
def test_a_lock_file_that_was_edited_wrongly_is_told_with_its_line(old: str, new: str, told: str) -> None:
    text = lock_text(PIN)
    assert old in text
    with pytest.raises(InputError) as caught:
        parse_lock(text.replace(old, new, 1), "exp.lock.yaml")
    assert told in str(caught.value)
    assert re.search(r"; (`tfslurm pin exp\.yaml --update` writes this file again|write )", str(caught.value))
    if new:
        line = next(number for number, one in enumerate(text.replace(old, new, 1).splitlines(), 1) if new in one)
        assert f"exp.lock.yaml:{line}: {told}" in str(caught.value)


def test_a_lock_of_another_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"exp\.lock\.yaml:\d+: image\.reference: .*`tfslurm pin exp\.yaml --update`"):
        parse_lock(lock_text(PIN), "exp.lock.yaml", "tensorflow/tensorflow:2.17.0-gpu")


@pytest.mark.parametrize(
    "text", ["", "[]", ": broken [", "schema: tfslurm.lock/1", "schema: tfslurm.lock/1\nimage: 3\n"]
)
def test_a_text_that_is_no_lock_file_is_refused_with_the_command_that_writes_one(text: str) -> None:
    with pytest.raises(
        InputError, match=r"my dir/exp\.lock\.yaml(:\d+)?: .*; `tfslurm pin 'my dir/exp\.yaml' --update` "
    ):
        parse_lock(text, "my dir/exp.lock.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"reference": f"tensorflow/tensorflow:2.16.1-gpu@{B}"},
        {"digest_kind": "manifest"},
        {"pin_kind": "image-id", "digest_kind": "config"},
        {"entrypoint": "sh"},
        {"size_bytes": True},
        {"environment": {"A": 1}},
    ],
)
def test_a_pin_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    assert pin_mistakes({**pin_to_json(PIN), **change})
    assert not pin_mistakes(pin_to_json(PIN))


def test_mirrors_come_first_in_order_and_the_origin_last() -> None:
    name = "docker.io/tensorflow/tensorflow"
    assert mirror_names(name, {}) == (name,)
    assert mirror_names(name, {"docker.io": ["127.0.0.1:5000", "m.example/hub/"]}) == (
        "127.0.0.1:5000/tensorflow/tensorflow",
        "m.example/hub/tensorflow/tensorflow",
        name,
    )


def test_a_mirror_stands_for_whole_components_and_the_longest_prefix_counts() -> None:
    name = "docker.io/tensorflow/tensorflow"
    mirrors = {"docker.io": ["a"], "docker.io/tensorflow": ["b/tf"], "docker.io/tensor": ["c"], "docker": ["d"]}
    assert mirror_names(name, mirrors) == ("b/tf/tensorflow", name)
    assert mirror_names(name, {name: ["e/x"]}) == ("e/x", name)
    assert mirror_names(name, {"docker.io": ["docker.io", "a", "a"]}) == ("a/tensorflow/tensorflow", name)


def test_what_a_node_pulls_is_never_a_tag() -> None:
    alone = dataclasses.replace(PIN, digest_kind="manifest", manifest_digest=A)
    assert sources(alone, {"docker.io": ["m:5000"]}) == (
        f"m:5000/tensorflow/tensorflow@{A}",
        f"docker.io/tensorflow/tensorflow@{A}",
    )
    assert sources(PIN, {"docker.io": ["m:5000"]}) == (
        f"m:5000/tensorflow/tensorflow@{A}",
        f"m:5000/tensorflow/tensorflow@{PIN.manifest_digest}",
        f"docker.io/tensorflow/tensorflow@{A}",
        f"docker.io/tensorflow/tensorflow@{PIN.manifest_digest}",
    )
    local = dataclasses.replace(PIN, pin_kind="image-id", digest_kind="config", digest=C, manifest_digest="")
    assert sources(local, {"docker.io": ["m:5000"]}) == (C,)


def test_a_tag_that_moved_is_told_with_both_digests_and_times() -> None:
    later = dataclasses.replace(PIN, digest=B, pinned_at="2026-12-01T00:00:00Z")
    assert moved(PIN, PIN) == ""
    for word in (A, B, PIN.pinned_at, later.pinned_at, PIN.reference):
        assert word in moved(PIN, later)


def test_only_variables_that_matter_are_kept_and_no_secret() -> None:
    entries = ["CUDA_VERSION=12.3.0", "HOME=/root", "PATH=/bin", "NVIDIA_API_KEY=x", "TF_TOKEN=x", "PYTHONPATH=a=b"]
    assert kept_environment(entries) == {"CUDA_VERSION": "12.3.0", "PATH": "/bin", "PYTHONPATH": "a=b"}


# The variables as the nvidia/cuda images carry them; the lists of brands are shortened.
CUDA_11_8 = {"CUDA_VERSION": "11.8.0", "NVIDIA_REQUIRE_CUDA": "cuda>=11.8 brand=tesla,driver>=450,driver<451"}
CUDA_12_3 = {
    "CUDA_VERSION": "12.3.0",
    "NVIDIA_REQUIRE_CUDA": "cuda>=12.3 brand=tesla,driver>=470,driver<471 brand=geforce,driver>=535,driver<536",
}


@pytest.mark.parametrize(
    ("environment", "driver", "status", "reason"),
    [
        (CUDA_12_3, "545.23.06", "full", "545.23.06, which came with CUDA 12.3.0"),
        (CUDA_12_3, "580.65.06", "full", "545.23.06"),
        (CUDA_12_3, "535.104.05", "minor-version compatible", "begins at 525.60.13"),
        (CUDA_12_3, "535.104.05", "minor-version compatible", "brand=geforce and driver>=535"),
        (CUDA_12_3, "530.30.02", "too old", "NVIDIA_REQUIRE_CUDA admits no driver 530.30.02"),
        (CUDA_12_3, "470.57.02", "unknown", "forward-compatibility package"),
        (CUDA_12_3, "418.39", "too old", "NVIDIA_REQUIRE_CUDA"),
        (CUDA_11_8, "520.61.05", "full", ""),
        (CUDA_11_8, "520.61.04", "too old", "cuda>=11.8"),
        ({"CUDA_VERSION": "11.8.0"}, "470.42.01", "minor-version compatible", "450.80.02"),
        ({"CUDA_VERSION": "11.8.0"}, "450.80.01", "too old", "450.80.02"),
        ({"CUDA_VERSION": "12.3.1"}, "545.23.06", "minor-version compatible", "545.23.08"),
        ({"CUDA_VERSION": "12.5"}, "555.42.02", "full", ""),
        ({"CUDA_VERSION": "13.0.0"}, "580.10", "minor-version compatible", "580"),
        ({"CUDA_VERSION": "13.9.0"}, "700.10", "minor-version compatible", "not in the table"),
        ({"CUDA_VERSION": "14.0.0"}, "700.10", "unknown", "not in the table"),
        ({"CUDA_VERSION": "10.2.89"}, "440.33", "full", ""),
        ({"CUDA_VERSION": "10.2.89"}, "440.32", "too old", "440.33"),
        ({"CUDA_VERSION": "8.0"}, "440.33", "unknown", "not in the table"),
        ({"CUDA_VERSION": "twelve"}, "545.23.06", "unknown", "is not a version"),
        ({}, "545.23.06", "unknown", "does not say which CUDA"),
        (CUDA_12_3, "", "unknown", "not observed"),
        (CUDA_12_3, "[N/A]", "unknown", "not observed"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "driver<540"}, "545.23.06", "too old", "driver<540"),
        ({"CUDA_VERSION": "12.3.0", "NVIDIA_REQUIRE_CUDA": "cuda>=12.3 gibberish"}, "530.41", "minor", "gibberish"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12.3"}, "530.41", "too old", "cuda>=12.3"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12.3"}, "545.23.08", "unknown", "not a version"),
    ],
)
def test_a_driver_is_judged_by_nvidias_rules(
    environment: dict[str, str], driver: str, status: str, reason: str
) -> None:
    verdict = driver_verdict(environment, driver)
    assert verdict.status.startswith(status)
    assert reason in verdict.reason


# ------------------------------------------------------------------------------------------------ what a lock file says


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("digest_kind", "index", "is 'index', but the image has 'manifest'"),
        ("platform", "linux/arm64", "is 'linux/arm64', but the image has 'linux/amd64'"),
        ("manifest_digest", "sha256:" + "0" * 64, "but the image has"),
        ("config_digest", "sha256:" + "0" * 64, "but the image has"),
        ("size_bytes", 1, "is 1, but the image has 214000000"),
        ("media_type", "text/html", "is 'text/html'"),
        ("created", "1999-01-01T00:00:00Z", "but the image has '2024-03-08T12:00:00Z'"),
        ("entrypoint", ("sh", "-c"), "is ['sh', '-c'], but the image has []"),
        ("environment", {"CUDA_VERSION": "11.0"}, "has CUDA_VERSION='11.0', but the image has '12.3.0'"),
        ("environment", {"CUDA_VERSION": "12.3.0", "NVIDIA_DISABLE_REQUIRE": "1"}, "but the image has none"),
        ("environment", {}, "lacks CUDA_VERSION, but the image has '12.3.0'"),
    ],
)
def test_every_field_that_decides_is_compared_with_the_image(field: str, value: object, words: str) -> None:
    claimed = dataclasses.replace(made.PIN, **{field: value})  # type: ignore[arg-type]
    ((name, why),) = false_claims(claimed, made.PIN)
    assert name == field and words in why


def test_a_lock_file_that_says_less_says_nothing_wrong() -> None:
    less = dataclasses.replace(made.PIN, config_digest="", size_bytes=0, created="", media_type="")
    more = {**made.PIN.environment, "NV_LIBNCCL_VERSION": "2.19"}
    found = dataclasses.replace(made.PIN, environment=more, served_by="elsewhere", pinned_at="2026-01-01T00:00:00Z")
    assert list(false_claims(less, found)) == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        # What the test bed's docker printed for `docker version --format '{{printf "%+q" …}}'`.
        ("", '""'),
        ("a b", '"a b"'),
        ("<é>&", '"<\\u00e9>&"'),
        ('"\\', '"\\"\\\\"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\0\x1f\x7f", '"\\x00\\x1f\\x7f"'),
        ("\x80\u2028\U0001f600", '"\\u0080\\u2028\\U0001f600"'),
        ("\ud800", '"\\ufffd"'),
    ],
)
def test_texts_are_quoted_as_both_engines_quote_them(text: str, written: str) -> None:
    assert quoted(text) == written
    assert quoted_list(["sh", text]) == f'["sh" {written}]'
    assert quoted_list([]) == "[]"
