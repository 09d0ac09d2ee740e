"""Nothing that runs here is missing there unsaid: what git hides or cannot read, pointers, what is left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from tests.repository import git, repository, write
from tfslurm.errors import InputError, TfslurmError
from tfslurm.snapshot import Snapshot, take
from tfslurm.snapshot.left_out import MARKER, fetched_from, marker

NOBODY = 65534


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """What root does here for a user who may not read everything: the files are his."""
    is_root = os.geteuid() == 0
    if is_root:
        for here, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                os.chown(f"{here}/{name}", NOBODY, NOBODY, follow_symlinks=False)
        os.setresuid(NOBODY, NOBODY, 0)  # the real one too: a shell takes nothing else along
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """A folder that others may enter, which pytest's own is not."""
    folder = Path(mkdtemp())
    folder.chmod(0o755)
    yield folder
    rmtree(folder)


def names(found: Snapshot) -> set[str]:
    return {entry.name for entry in found.entries}


# --- what git cannot read


@pytest.mark.parametrize(
    ("path", "mode", "inside"),
    [
        ("locked", 0o000, "locked/needed.py"),
        ("locked", 0o100, "locked/needed.py"),
        ("deep/er/locked", 0o000, "deep/er/locked/x.py"),
        (".gitignore", 0o000, ""),
        ("sub/.gitignore", 0o200, ""),
        (".git/info", 0o000, ""),
        (".git/info/exclude", 0o000, ""),
        ("nested/.git", 0o000, "nested/a.py"),
    ],
)
def test_what_git_could_not_read_is_refused(open_folder: Path, path: str, mode: int, inside: str) -> None:
    """Git complains on stderr, lists the rest (or what it should ignore), and ends with 0."""
    folder = repository(open_folder / "repo", {"t.py": "1", "sub/b.py": "b"})
    write(folder, {".gitignore": "*.log\n", "sub/.gitignore": "x\n", ".git/info/exclude": "y\n", "secret.log": "s"})
    if path.startswith("nested"):
        repository(folder / "nested", {"a.py": "a"})
    if inside:
        write(folder, {inside: "1"})
    with nobody(folder):
        before = take(folder)
        assert "secret.log" not in names(before)
        (folder / path).chmod(mode)
        try:
            with pytest.raises(TfslurmError, match=r"read|has a \.git that git cannot use|working tree"):
                take(folder)
        finally:
            (folder / path).chmod(0o700)


def test_a_gitignore_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Git does not follow it, so that everything that it names would be sent."""
    folder = repository(tmp_path / "repo", {"t.py": "1", "names": "*.log\n"})
    (folder / ".gitignore").symlink_to("names")
    with pytest.raises(InputError, match=r"cannot read all of it: unable to access '\.gitignore'"):
        take(folder)


def test_a_list_of_another_user_is_none_of_the_folders(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(open_folder / "repo", {"t.py": "1"})
    write(open_folder / "home" / ".config" / "git", {"ignore": "x"})
    monkeypatch.setenv("HOME", str(open_folder / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with nobody(open_folder):
        (open_folder / "home" / ".config").chmod(0o000)
        assert names(take(folder)) == {"t.py"}
        (open_folder / "home" / ".config").chmod(0o700)


# --- what git hides


@pytest.mark.parametrize("how", ["new", "in a folder", "renamed"])
def test_a_file_that_git_takes_for_another_is_refused(tmp_path: Path, how: str) -> None:
    """core.ignoreCase, as a repository has it that was made on a Mac."""
    folder = repository(tmp_path / "repo", {"train.py": "1", "Lib/a.py": "a"})
    git(folder, "config", "core.ignoreCase", "true")
    assert take(folder).dirty is False
    if how == "renamed":
        (folder / "train.py").rename(folder / "Train.py")
    else:
        write(folder, {"Train.py" if how == "new" else "lib/a.py": "another"})
    assert git(folder, "status", "--porcelain") in ("", "D train.py", "D train.py".strip())
    with pytest.raises(InputError, match=r"git takes '.*' for '.*' \(core\.ignoreCase\); .*ignoreCase false"):
        take(folder)
    git(folder, "config", "core.ignoreCase", "false")
    assert take(folder).dirty is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"core.untrackedCache": "true"},
        {"core.fsmonitor": "true", "core.untrackedCache": "keep"},
        {"core.ignoreStat": "true"},
        {"core.symlinks": "false"},
        {"core.splitIndex": "true"},
        {"status.showUntrackedFiles": "no"},
        {"diff.ignoreSubmodules": "all"},
        {"core.preloadIndex": "true", "feature.manyFiles": "true"},
    ],
)
def test_no_setting_hides_a_change_or_a_new_file(tmp_path: Path, settings: dict[str, str]) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1", "sub/b.py": "b"})
    for key, value in settings.items():
        git(folder, "config", key, value)
    git(folder, "update-index", "--index-version", "4")
    git(folder, "-c", "core.fsmonitor=", "update-index", "--refresh")
    (folder / ".git" / "index.lock").touch()
    assert take(folder).dirty is False
    write(folder, {"sub/b.py": "2"})
    assert take(folder).dirty is True
    write(folder, {"sub/b.py": "b", "sub/new.py": "n"})
    found = take(folder)
    assert (found.dirty, "sub/new.py" in names(found)) == (True, True)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_no_variable_of_a_hook_shows_another_repository(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1"})
    other = repository(tmp_path / "other", {"x.py": "x"})
    before = take(folder)
    end = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects"}
    monkeypatch.setenv(variable, str(other / end.get(variable, ".")))
    assert take(folder) == before


def test_a_graft_does_not_make_it_another_commit(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1"})
    write(folder, {"train.py": "2"})
    git(folder, "commit", "-q", "-am", "second")
    commit = git(folder, "rev-parse", "HEAD")
    write(folder, {".git/info/grafts": f"{commit}\n"})
    found = take(folder)
    assert (found.commit, found.dirty) == (commit, False)


def test_a_commit_that_is_missing_is_not_taken_for_none(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1"})
    commit = git(folder, "rev-parse", "HEAD")
    (folder / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    with pytest.raises(TfslurmError, match=f"git object {commit} is missing"):
        take(folder)


# --- pointers

SHA256 = hashlib.sha256(b"weights").hexdigest()
POINTERS = {
    "Git LFS": f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 7\n",
    "Git LFS, with an extension": (
        f"version https://git-lfs.github.com/spec/v1\next-0-foo sha256:{SHA256}\noid sha256:{SHA256}\nsize 7\n"
    ),
    "Git LFS of 2014": f"version https://hawser.github.com/spec/v1\noid sha256:{SHA256}\nsize 7\n",
    "Git LFS, from a zip for Windows": (
        f"version https://git-lfs.github.com/spec/v1\r\noid sha256:{SHA256}\r\nsize 7\r\n"
    ),
    "git-annex": f"/annex/objects/SHA256E-s7--{SHA256}.h5\n",
    "git-crypt": "\0GITCRYPT\0" + "x" * 5000,
    "git-fat": f"#$# git-fat {'a' * 40} {7:20d}\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("keeper", POINTERS)
@pytest.mark.parametrize("kind", ["git", "plain"])
def test_a_pointer_is_known_for_one(tmp_path: Path, keeper: str, kind: str) -> None:
    """A zip from a forge's page has pointers too, and no .git."""
    files: dict[str, str | bytes] = {"train.py": "1", "model.h5": POINTERS[keeper]}
    write(tmp_path, files)
    if kind == "git":
        repository(tmp_path)
    found = {entry.name: entry.stands_for for entry in take(tmp_path).entries}
    assert found == {"train.py": "", "model.h5": keeper.partition(",")[0].partition(" of")[0]}


@pytest.mark.parametrize(
    "text", [f"# {POINTERS['Git LFS']}", POINTERS["Git LFS"].replace(SHA256, "none") + "x" * 2000, "GITCRYPT", ""]
)
def test_a_file_that_speaks_of_pointers_is_none(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"a.md": text})
    (entry,) = take(tmp_path).entries
    assert entry.stands_for == ""


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_in_git_annex_is_refused(tmp_path: Path, is_there: bool) -> None:
    """Its link leads into .git, which is not sent."""
    folder = repository(tmp_path / "repo")
    held = ".git/annex/objects/aa/bb/KEY/KEY"
    if is_there:
        write(folder, {held: "weights"})
    (folder / "data").mkdir()
    (folder / "data" / "model.h5").symlink_to(f"../{held}")
    with pytest.raises(InputError, match=r"not in the snapshot; `git annex get` and `git annex unlock` data/model"):
        take(folder)


# --- results that were fetched, and `exclude`


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "plain"])
@pytest.mark.parametrize("where", ["alpha-20", "runs/all/alpha-20", "nested repository"])
def test_fetched_results_are_no_code_and_said(tmp_path: Path, kind: str, where: str) -> None:
    write(tmp_path, {"train.py": "1", "runs/plot.py": "p"})
    if kind == "git":
        repository(tmp_path, {})
    before = take(tmp_path)
    place = "alpha-20" if where == "nested repository" else where
    write(tmp_path, {f"{place}/model.h5": "m", f"{place}/deep/x.py": "x", f"{place}/{MARKER}": marker("alpha:20")})
    os.truncate(tmp_path / place / "model.h5", 300 * 2**20)
    if where == "nested repository":
        git(tmp_path / place, "init", "-q")
        git(tmp_path / place, "add", "deep")
    after = take(tmp_path)
    assert (after.tree, after.entries, after.dirty) == (before.tree, before.entries, before.dirty)
    assert after.left_out == (f"{place}/ (fetched from alpha:20)",)
    assert take(tmp_path / place / "deep").files == 1, "what is named is code"


@pytest.mark.parametrize(
    "text",
    ["", "tfslurm.fetched/1\n", "tfslurm.fetched/2 alpha:20\n", "tfslurm.fetched/1 \x1b[2J\n", "x" * 300, None],
)
def test_another_marker_is_a_file(tmp_path: Path, text: str | None) -> None:
    write(tmp_path, {"src/a.py": "a", "src/b": marker("alpha:1")})
    if text is None:
        (tmp_path / "src" / MARKER).symlink_to("b")
    else:
        write(tmp_path, {f"src/{MARKER}": text})
    assert fetched_from(tmp_path / "src") == ""
    found = take(tmp_path)
    assert (names(found), found.left_out) == ({"src/a.py", "src/b", f"src/{MARKER}"}, ())


@pytest.mark.slow
@pytest.mark.parametrize("of", ["file", "folder", "submodule"])
def test_a_strangers_marker_takes_away_nothing_that_git_tracks(tmp_path: Path, of: str) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1", "src/a.py": "a", "src/deep/b.py": "b"})
    if of == "submodule":
        inner = repository(tmp_path / "inner", {"lib.py": "lib"})
        git(folder, "submodule", "add", "-q", str(inner), "lib")
        git(folder, "commit", "-q", "-m", "more")
    before = take(folder)
    assert before.dirty is False
    place = {"file": ".", "folder": "src", "submodule": "lib"}[of]
    write(folder, {f"{place}/{MARKER}": marker("alpha:20")})
    if of == "file":
        assert take(folder).entries[0].name == MARKER, "the folder itself is code, and the marker a file"
    else:
        after = take(folder)
        assert (after.tree, after.dirty) == (before.tree, False)
        assert after.left_out == (f"{place}/ (fetched from alpha:20)",)


FILES = ("a.h5", "data/a.h5", "data/deep/b.h5", "docs/a.md", "notebooks/x.ipynb", "sub/notebooks/y.ipynb", "train.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "plain"])
@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*.h5", {"a.h5", "data/a.h5", "data/deep/b.h5"}),
        ("/*.h5", {"a.h5"}),
        ("data/*.h5", {"data/a.h5"}),
        ("data/**/*.h5", {"data/a.h5", "data/deep/b.h5"}),
        ("data/**", {"data/a.h5", "data/deep/b.h5"}),
        ("**/deep", {"data/deep/b.h5"}),
        ("./data/", {"data/a.h5", "data/deep/b.h5"}),
        ("notebooks", {"notebooks/x.ipynb", "sub/notebooks/y.ipynb"}),
        ("notebooks/", {"notebooks/x.ipynb", "sub/notebooks/y.ipynb"}),
        ("/notebooks", {"notebooks/x.ipynb"}),
        ("sub/*", {"sub/notebooks/y.ipynb"}),
        ("[ad]*/*.[hm][5d]", {"data/a.h5", "docs/a.md"}),
        ("train.py/", set()),
    ],
)
def test_exclude_is_read_as_gitignore_is(tmp_path: Path, kind: str, pattern: str, gone: set[str]) -> None:
    write(tmp_path, dict.fromkeys(FILES, "x"))
    if kind == "git":
        repository(tmp_path, {})
    found = take(tmp_path, [pattern])
    assert set(FILES) - names(found) == gone
    assert found.left_out[0].startswith(f"{pattern} (exclude: ")
    assert ("nothing fits" in found.left_out[0]) is not bool(gone)
    if kind == "git":
        assert found.dirty is bool(gone)
        if not pattern.startswith("./"):
            ignored = git(tmp_path, "ls-files", "--cached", "--ignored", f"--exclude={pattern}")
            assert set(filter(None, ignored.splitlines())) == gone, "git reads the pattern so"


def test_a_pattern_of_many_stars_is_read_at_once(tmp_path: Path) -> None:
    name = "a" * 200
    write(tmp_path, {f"{name}/{name}/{name}": "x"})
    assert take(tmp_path, ["*a" * 100 + "b", "**/" * 100 + "b/**/" * 100 + "c"]).files == 1


def test_a_submodule_that_is_left_out_need_not_be_there(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"lib.py": "lib"})
    folder = repository(tmp_path / "repo")
    git(folder, "submodule", "add", "-q", str(inner), "vendor/inner")
    git(folder, "commit", "-q", "-m", "submodule")
    git(tmp_path, "clone", "-q", str(folder), "clone")
    assert names(take(tmp_path / "clone", ["vendor"])) == {".gitmodules", "train.py"}


def test_all_that_is_left_out_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "a"})
    with pytest.raises(InputError, match=r"holds no file but what is left out: \*\.py \(exclude: a\.py\)"):
        take(tmp_path, ["*.py"])


@pytest.mark.parametrize("how", ["ignored", "exclude", "marker"])
def test_a_link_to_what_is_not_sent_is_said(tmp_path: Path, how: str) -> None:
    folder = repository(tmp_path / "repo", {"train.py": "1", ".gitignore": "data\n" if how == "ignored" else ""})
    write(folder, {"data/model.h5": "m", **({f"data/{MARKER}": marker("alpha:20")} if how == "marker" else {})})
    (folder / "latest").symlink_to("data")
    (folder / "same").symlink_to("train.py")
    (folder / "nowhere").symlink_to("nothing")
    found = take(folder, ["data"] if how == "exclude" else [])
    assert found.left_out[-1] == "the target of latest, which is a link to data"
    assert "same" not in str(found.left_out)
    assert "nowhere" not in str(found.left_out)
