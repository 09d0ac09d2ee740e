"""The file of points that a node reads, byte for byte, by the function of bash that reads it there."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from tests.node_side import packed
from tfslurm.sweeps.points import point_of
from tfslurm.sweeps.points_file import LINE, Entry, encode

POINT_SH = packed(points=True) / "node.sh"
POINTS = 10_000
HOSTILE = (
    "",
    " ",
    "a b",
    "a\nb\n",
    "\n",
    "$(touch /tmp/x) `id` ${HOME}",
    "'\"\\",
    "*",
    "-n",
    "\t\r\x01\x7f",
    "äöü 学习 \u2028",
    "\udcff\udc80",  # bytes that are not UTF-8
    "0000000000000000 000000027",
    "x" * 3000,
    "%s%n",
    "!!",
    "\\0",
    "=",
)
SHOW = """
set -euo pipefail
source {script}
for place in {places}; do
    point::read {file} {count} "$place" || {{ printf '%s' "$point_error"; exit 9; }}
    printf '%s\\0' "$point_id" "$point_parameters" "${{#point_env[@]}}" ${{point_env[@]+"${{point_env[@]}}"}} \
        "${{#point_argv[@]}}" ${{point_argv[@]+"${{point_argv[@]}}"}}
done
"""


def entry(number: int) -> Entry:
    word = HOSTILE[number % len(HOSTILE)]
    point = point_of({"seed": number, "text": word.encode("utf-8", "replace").decode()})
    env = {"LR": word, "EMPTY": ""} if number % 3 else {}
    return Entry(point.id, point.text, env, ["python", word, f"--seed={number}", *HOSTILE[: number % 4], word])


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return [entry(number) for number in range(POINTS)]


@pytest.fixture(scope="module")
def file(entries: list[Entry], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "points"
    path.write_bytes(encode(entries))
    return path


def read(file: Path, places: str, count: int = POINTS) -> subprocess.CompletedProcess[bytes]:
    script = SHOW.format(script=POINT_SH, file=file, count=count, places=places)
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return subprocess.run(["bash", "-c", script], env=env, capture_output=True)


def expected(each: Entry) -> bytes:
    variables = [f"{name}={value}" for name, value in each.env.items()]
    words = [each.id, each.text, str(len(variables)), *variables, str(len(each.argv)), *each.argv]
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


@pytest.mark.slow
def test_a_node_reads_every_kind_of_value_byte_for_byte_from_anywhere(file: Path, entries: list[Entry]) -> None:
    places = [*range(60), *range(997, POINTS, 997), POINTS - 1]
    done = read(file, " ".join(map(str, places)))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(expected(entries[place]) for place in places)


def test_the_last_of_ten_thousand_is_read_as_fast_as_the_first(file: Path) -> None:
    # CPU time and not the clock: what the machine does besides is not the function's.
    timed = "TIMEFORMAT='%U %S'; source {}; time {{ for _ in {{1..20}}; do point::read {} {} {}; done; }}"
    spent = []
    for place in (0, POINTS - 1):
        script = timed.format(POINT_SH, file, POINTS, place)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        spent.append(sum(map(float, done.stderr.split())) / 20)
    assert max(spent) < 0.020, spent


@pytest.mark.parametrize("place", ["10000", "-1", "", "1x", "007", "a[$(id)]", "99999999999999999999"])
def test_a_point_that_is_not_there_is_not_read(file: Path, place: str) -> None:
    done = read(file, f"'{place}'")
    assert (done.returncode, done.stderr) == (9, b"")
    assert done.stdout.decode() == f"there is no point {place} among {POINTS}"


def test_a_file_that_was_cut_or_is_not_there_is_never_half_a_point(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) - 40, LINE * POINTS, LINE * (POINTS - 1) + 5):
        cut.write_bytes(whole[:length])
        done = read(cut, str(POINTS - 1))
        assert (done.returncode, done.stderr) == (9, b""), length
        assert b"is not whole" in done.stdout or b"cannot be read at point 9999" in done.stdout
    done = read(tmp_path / "none", "0")
    assert done.returncode == 9
    assert b"No such file" in done.stdout


def test_more_points_than_the_file_has_are_not_read_out_of_its_records(tmp_path: Path) -> None:
    line = b"%016d %09d\n" % (LINE, 60)
    path = tmp_path / "points"
    path.write_bytes(encode([Entry("id", "{}", {}, ["x", line.decode() * 9])]))
    for place in range(1, 5):
        done = read(path, str(place), count=10)
        assert done.returncode == 9
        assert b"is not whole" in done.stdout or b"cannot be read" in done.stdout


def test_a_word_that_no_argument_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode([Entry("id", "{}", {}, ["a\0b"])])


def test_no_points_are_an_empty_file() -> None:
    assert encode([]) == b""


@pytest.mark.parametrize("case", ["as sent", "swapped", "another's", "not there", "known"])
def test_the_file_that_was_looked_at_is_the_one_that_is_read(case: str, entries: list[Entry], tmp_path: Path) -> None:
    """Who can replace a folder above puts his own file there in between, or changes his own after the look."""
    few = encode(entries[:3])
    (tmp_path / "points").write_bytes(few)
    (tmp_path / "other").write_bytes(encode([Entry("x", "{}", {}, ["evil"])] * 3))
    if case == "another's":
        if os.geteuid() != 0:
            pytest.skip("root alone gives a file away")
        os.chown(tmp_path / "points", 12345, -1)
    elif case == "not there":
        (tmp_path / "points").unlink()
    swap = f"mv {tmp_path}/other {tmp_path}/points" if case in ("swapped", "known") else ":"
    script = f"""
set -euo pipefail
source {POINT_SH}
run_dir={tmp_path} own_dir=$run_dir points=3 points_per_job=1 points_sha256={sha256(few).hexdigest()}
environment=() SLURM_ARRAY_TASK_ID=1
known::is() {{ [[ "{case}" == known && -n $2 ]] && {{ {swap}; }}; }}
known::keep() {{ {swap}; }}
node::_point
printf '%s\\0' "${{command[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True)
    if case in ("another's", "not there"):
        assert done.returncode == 78
        assert b"is not the file that was sent" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"".join(word.encode() + b"\0" for word in entries[1].argv)
