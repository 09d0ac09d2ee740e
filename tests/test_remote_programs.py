"""The programs that run on a login node, in the real shells; what they do is tested with what sends them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tfslurm.host.command import remote_line, shown
from tfslurm.remote_programs import PART, SHELLS, lines_of, one_line, program, text_of

CHECKOUT = Path(__file__).parent.parent
FILES = sorted(path.stem for path in (CHECKOUT / "job_templates" / "remote").iterdir())
PROGRAMS = [name for name in FILES if text_of(name).startswith("#!")]
ON_ONE_LINE = ("marked", "eval-program", "unescaped")


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_is_one_word_that_its_shell_reads_back_as_the_file(name: str) -> None:
    argv = program(name, "a b")
    assert (argv[:-4], argv[-3], argv[-1]) == ((*SHELLS[text_of(name).splitlines()[0]], "-c"), f"{name}.sh", "a b")
    assert not any("\n" in word for word in argv)
    back = subprocess.run([argv[0], "-c", 'printf %b "$1"', "sh", argv[-2]], capture_output=True, text=True, check=True)
    assert back.stdout.splitlines() == list(lines_of(name, set()))
    subprocess.run([argv[0], "-n"], input=back.stdout, text=True, check=True)


def test_what_travels_is_ascii_and_each_file_is_sent_or_is_part_of_one_that_is() -> None:
    package = "".join(path.read_text("utf-8") for path in (CHECKOUT / "tfslurm").rglob("*.py"))
    sent = set(re.findall(r'(?:program|one_line)\(\s*"([a-z-]+)"', package))
    parts = {found[1] for name in FILES for line in text_of(name).splitlines() if (found := PART.fullmatch(line))}
    assert sent | parts == set(FILES)
    assert [name for name in FILES if not one_line(name).isascii()] == []


@pytest.mark.parametrize("name", ON_ONE_LINE)
def test_what_a_login_shell_reads_itself_has_no_line_that_needs_its_end(name: str) -> None:
    *lines, last = lines_of(name, set())
    assert all(line.endswith(";") for line in lines) and "\n" not in one_line(name) + last


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "zsh", "tcsh", "fish") if shutil.which(name)])
def test_words_and_backslashes_arrive_through_any_login_shell(shell: str, tmp_path: Path) -> None:
    odd = tmp_path / "it's \\n a $HOME !\\"
    odd.write_bytes(b"0123456789")
    line = remote_line(program("read-part", str(odd), "3", "4"), {}, 10)
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True)
    assert "2345" in done.stdout, done.stderr


SHELLS_HERE = [name for name in ("sh", "bash", "zsh", "tcsh", "csh", "fish", "ksh", "mksh") if shutil.which(name)]


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS_HERE)
@pytest.mark.parametrize("word", ["a\nb", "\n", "a\n\n", "'a'\n\\n!x $HOME `id` \\", "# no\n; echo x > /dev/null"])
def test_a_word_with_line_breaks_arrives_through_any_login_shell(shell: str, word: str) -> None:
    line = remote_line(("printf", "%s|", word, "b", ""), {"A": "x\ny"}, 10)
    assert "\n" not in line
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True)
    assert f">{word}|b||<" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS_HERE)
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_has_a_line_break_on_its_way_and_each_login_shell_starts_it(name: str, shell: str) -> None:
    line = remote_line(program(name, "a", "b"), {}, 10)
    assert "\n" not in line
    only_read = ["-nc"] if shell not in ("fish",) else ["--no-execute", "-c"]
    done = subprocess.run([shell, *only_read, line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_message_names_the_program_and_not_its_text() -> None:
    assert shown(program("get", "/scratch/a b", "1")) == "get.sh '/scratch/a b' 1"


# --- the last attempt of a job


def last_attempt(folder: Path) -> str:
    """What the programs take for the number of the last attempt."""
    text = "\n".join(lines_of("last-attempt", set()))
    command = ["bash", "-c", f'set -eu\n{text}\nlast_attempt "$1"\necho "$last"', "bash", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder of a job with attempts, and what else may have such a name."""
    for name in ("attempt-1", "attempt-2", "attempt-10", "attempt-", "attempt-9x", "attempt-1234567"):
        (tmp_path / "17" / name).mkdir(parents=True)
    (tmp_path / "17" / "attempt-11").symlink_to(tmp_path)
    return tmp_path / "17"


def test_latest_names_the_last_attempt_and_the_folders_are_not_asked(job: Path) -> None:
    (job / "latest").write_text("attempt-2\n")
    assert last_attempt(job) == "2"


def test_a_run_folder_of_an_older_version_has_no_latest(job: Path, tmp_path: Path) -> None:
    assert last_attempt(job) == "10"
    assert last_attempt(tmp_path / "nothing") == "0"


TEXTS = (
    *(b"", b"\n", b"attempt-1", b"1\n", b"attempt-\n", b"attempt-0\n", b"attempt-01\n", b"attempt--1\n"),
    *(b"attempt-1 \n", b" attempt-1\n", b"attempt-1\nattempt-2\n", b"attempt-1\r\n", b"attempt-3\n", b"attempt-11\n"),
    *(b"attempt-1234567\n", b"attempt-1/../attempt-2\n", b"../17/attempt-1\n", b"attempt-$n\n", b"x" * 2**22),
)
UNBELIEVED: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("named"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    **{repr(text[:20]): partial(Path.write_bytes, data=text) for text in TEXTS},
}


@pytest.mark.parametrize("kind", UNBELIEVED)
def test_a_latest_that_no_node_script_writes_is_not_believed(job: Path, kind: str) -> None:
    (job / "named").write_text("attempt-1\n")
    UNBELIEVED[kind](job / "latest")
    assert last_attempt(job) == "10"


def test_every_program_asks_it_and_none_counts_itself() -> None:
    users = {name for name in PROGRAMS if ". ./last-attempt.sh" in text_of(name)}
    assert users == {"began", "endings", "exec-step", "exit-files", "list-outputs", "log-tails", "results"}
    assert [name for name in PROGRAMS if "attempt-*" in text_of(name)] == ["list-runs"]


# --- the logs of a job


def tails(folder: Path, *words: object) -> tuple[str, bytes]:
    """The first line, and what follows it; ``words`` are those from $3 on."""
    argv = program("log-tails", str(folder), str(folder.parent / "slurm-17.out"), *map(str, words))
    head, _, body = subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout.partition(b"\n")
    return head.decode(), body


@pytest.fixture
def logs(job: Path) -> Path:
    """The logs of two attempts, of which the second was started."""
    for number in (1, 2):
        (job / f"attempt-{number}" / "stdout.log").write_text(f"out of {number}\n")
        (job / f"attempt-{number}" / "stderr.1.log").write_text(f"err of {number}, task 1\n")
    facts = job / "attempt-2" / "facts" / "task-0"
    facts.mkdir(parents=True)
    (facts / "container-id.txt").write_text("0123\n")
    (job / "latest").write_text("attempt-2\n")
    (job.parent / "slurm-17.out").write_text("batch\n")
    return job


def test_logs_are_read_on_from_where_they_were_left_and_anew_in_another_attempt(logs: Path) -> None:
    assert tails(logs, 0, 0, 0, 100, 0, 0, 0, 0) == ("2 9 0 0", b"out of 2\n")
    assert tails(logs, 0, 0, 0, 4, 2, 3, 0, 0) == ("2 4 0 0", b" of ")
    assert tails(logs, 0, 0, 0, 100, 1, 3, 0, 0) == ("2 9 0 0", b"out of 2\n")
    assert tails(logs, 2, 1, 0, 100, 2, 0, 4, 6) == ("2 0 13 0", b"of 2, task 1\n")


def test_what_the_batch_script_said_is_given_where_no_program_began_or_it_was_asked_for(logs: Path) -> None:
    assert tails(logs, 1, 0, 0, 100, 0, 0, 0, 0) == ("1 9 0 6", b"out of 1\nbatch\n")
    assert tails(logs, 0, 0, 1, 100, 0, 0, 0, 2) == ("2 0 0 4", b"tch\n")
    (logs / "attempt-2" / "facts" / "task-0" / "refused.txt").write_text("no\n")
    assert tails(logs, 0, 0, 0, 100, 2, 9, 0, 0) == ("2 0 0 6", b"batch\n")


def test_logs_that_are_links_and_folders_that_are_gone_hold_nothing(logs: Path, tmp_path: Path) -> None:
    (logs / "attempt-2" / "stderr.log").symlink_to(tmp_path / "slurm-17.out")
    assert tails(logs, 0, 0, 0, 100, 0, 0, 0, 0) == ("2 9 0 0", b"out of 2\n")
    (tmp_path / "run").symlink_to(tmp_path)
    assert tails(tmp_path / "run" / "17", 0, 0, 0, 100, 0, 0, 0, 0) == ("-1 0 0 0", b"")
    (tmp_path / "18").symlink_to(logs)
    assert tails(tmp_path / "18", 0, 0, 0, 100, 0, 0, 0, 0) == ("0 0 0 0", b"")
    assert tails(tmp_path / "gone" / "17", 0, 0, 0, 100, 0, 0, 0, 0) == ("-1 0 0 0", b"")


# --- small ones


def test_a_root_is_made_for_the_user_alone_and_one_that_is_there_is_left(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o750)
    for name in ("there", "a/b"):
        subprocess.run(program("make-root", str(tmp_path / name)), check=True)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("there", "a", "a/b")] == [0o750, 0o700, 0o700]


def test_a_point_is_one_line_of_the_users_own_file(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "digits-0123456789ab").mkdir(parents=True)
    file = runs / "digits-0123456789ab" / "points.jsonl"
    file.write_text('{"index": 0}\n{"index": 1}\n')

    def point(name: str, line: int) -> tuple[str, str]:
        done = subprocess.run(program("point", str(runs), name, str(line)), capture_output=True, text=True, timeout=20)
        return done.stdout.strip(), done.stderr.strip()

    assert point("digits-0123456789ab", 2) == ('{"index": 1}', "")
    assert point("digits-0123456789ab", 3) == ("", "")
    assert point("digits", 1) == ("", "is in no run folder of yours")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert point("digits-0123456789ab", 1) == ("", "is no regular file")
