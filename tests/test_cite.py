"""The citation of records: what it says is what was observed, in every form; LaTeX, BibTeX and biblatex compile."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.test_record import recorded
from tfslurm.document import read
from tfslurm.errors import InputError, RecordError
from tfslurm.export.citation import FORMS, LANGUAGES
from tfslurm.export.citation import citation as cited
from tfslurm.export.citation.settings import Authorship, settings_of
from tfslurm.export.citation.tex import breakable, special
from tfslurm.record import Record, record_json
from tfslurm.record.model import Code, Verdict, seal
from tfslurm.retrieval.cited_records import unchanged
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.record_files import read_record
from tfslurm.workspace.authorship import authorship

BY = Authorship(("Doe, Alice", "Example Lab"), "", "MIT", (("Doe, Alice", "https://orcid.org/0000-0002-1825-0097"),))
CODE = Code("https://github.com/example/digits", "c" * 40, "main", True, "4b825dc642cb6eb9a060e54bf8d69288fbee4904")
Change = Callable[[Record], Record]


def citation(records: list[Record], form: str, **options: Any) -> str:
    return cited(settings_of(records), form, **options)


def run(name: str = "tensorflow", *changes: Change) -> Record:
    record = replace(recorded(name), code=CODE)
    for change in changes:
        record = change(record)
    return record


def numbered(number: int) -> Change:
    return lambda record: replace(record, record_id=f"r{number}", job=replace(record.job, job_id=str(number)))


def inside(**changes: Any) -> Change:
    return lambda record: replace(record, environment=replace(record.environment, **changes))


def image(**changes: Any) -> Change:
    return lambda record: replace(record, image=replace(record.image, **changes))


def driver(version: str) -> Change:
    def changed(record: Record) -> Record:
        last = record.attempts[-1]
        tasks = tuple(replace(task, driver_version=version) for task in last.tasks)
        return replace(record, attempts=(*record.attempts[:-1], replace(last, tasks=tasks)))

    return changed


def many() -> list[Record]:
    usual = [run("tensorflow", numbered(number)) for number in range(20)]
    return [*usual, run("tensorflow", numbered(20), driver("535.54.03")), run("gpu", numbered(21))]


def test_the_statement_of_a_job_names_each_observed_fact() -> None:
    text = " ".join(citation([run()], "text").split())
    assert "the container image tensorflow/tensorflow:2.16.1-gpu (linux/amd64, image manifest sha256:3488ae99" in text
    assert "TensorFlow 2.16.1 (built with CUDA 12.3 and cuDNN 8) and Python 3.11.2 on Debian GNU/Linux 12" in text
    assert "1 × NVIDIA A100-SXM4-40GB (40960 MiB), with driver 550.54.14; the CPU was AMD EPYC." in text
    assert (
        "docker pull tensorflow/tensorflow@sha256:3488ae9958884c2e2e28ed64486b3f925c507342ae60c45fff2d3be277ac89e9"
        in text
    )
    assert f"commit {'c' * 40} (https://github.com/example/digits) with uncommitted changes" in text
    assert f"swh:1:dir:{CODE.tree}" in text and "10.5281/zenodo.4724125" in text


def test_what_a_page_says_of_an_image_does_not_count_beside_what_it_holds() -> None:
    """TensorFlow 2.13's own page and papers after it said Python 3.9; the image had 3.8."""
    held = run("tensorflow", inside(python="3.8.10", tensorflow="2.13.0"), image(tag="2.13.0-gpu"))
    for form in ("text", "markdown", "latex"):
        text = " ".join(citation([held], form).split())
        assert "Python 3.8.10" in text and "3.9" not in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", FORMS)
def test_what_was_not_observed_is_not_stated(form: str, language: str) -> None:
    bare = run("gpu", inside(python=None, tensorflow=None, cuda=None, cudnn=None, os=None), driver(""))
    text = citation([bare], form, language=language, by=BY)
    assert "None" not in text and not re.search(r"TensorFlow [0-9]|Python|cuDNN|driver|驱动版本", text)
    assert "{" not in text.replace("{{", "") or form not in ("text", "markdown")


def test_equal_environments_are_one_group_and_the_others_are_listed() -> None:
    text = citation(many(), "text")
    assert text.startswith("The 22 runs were made in 3 environments.\n")
    assert re.search(r"^A +20 +tensorflow/tensorflow:2.16.1-gpu +3488ae995888 .* 550.54.14$", text, re.MULTILINE)
    assert re.search(r"^B +1 +tensorflow/tensorflow:2.16.1-gpu +3488ae995888 .* 535.54.03$", text, re.MULTILINE)
    assert "Runs: alpha:20." in " ".join(text.split()) and "and 8 more." in " ".join(text.split())
    assert citation(many(), "bibtex", by=BY).count("@misc{image:") == 2, "one entry for each image"


def test_two_versions_of_the_code_are_told_with_their_runs() -> None:
    other = replace(run("tensorflow", numbered(2)), code=replace(CODE, commit=None, tree="a" * 40))
    text = " ".join(citation([run(), run("tensorflow", numbered(1)), other], "text").split())
    assert "used 2 versions of the code. 2 of the runs: The code is commit" in text
    assert f"1 of the runs: The code is the Git tree swh:1:dir:{'a' * 40}." in text


@pytest.mark.parametrize("reverse", [False, True])
def test_one_tree_is_one_version_of_the_code_named_by_the_commit_that_holds_it(reverse: bool) -> None:
    """The first run of an experiment comes before its lock file is committed; the second has the same files."""
    whole = replace(CODE, commit="d" * 40, dirty=False)
    codes = [CODE, whole, replace(whole, commit=None), replace(whole, remote=None, commit="e" * 40)]
    runs = [replace(run("tensorflow", numbered(n)), code=code) for n, code in enumerate(codes)]
    for form in FORMS:
        text = citation(runs[::-1] if reverse else runs, form, by=BY)
        shown = re.sub(r"\\allowbreak\s+", "", text)
        assert "versions of the code" not in text and "with uncommitted changes" not in text
        assert "c" * 40 not in shown and "e" * 40 not in shown
        assert "d" * 40 in shown


def test_nothing_is_stated_of_a_run_whose_image_is_not_verified() -> None:
    failed = run("tensorflow", numbered(9), lambda record: replace(
        record, verified=replace(record.verified, image=Verdict("failed", "another digest")))
    )  # fmt: skip
    with pytest.raises(RecordError, match="alpha:9: its image is not verified: another digest"):
        citation([failed], "text")
    assert "Nothing is stated of alpha:9 (its image is not verified" in " ".join(
        citation([run(), failed], "text").split()
    )
    for bad in (image(digest="sha256:zz"), lambda record: replace(record, code=replace(CODE, tree="x"))):
        with pytest.raises(RecordError, match=r"its image has no sha256 digest|its code has no Git tree"):
            citation([run("tensorflow", bad)], "bibtex")
    with pytest.raises(RecordError, match="its program has not begun"):
        citation([replace(failed, attempts=())], "latex")


def test_an_image_that_is_in_no_registry_has_no_line_to_pull_it() -> None:
    alone = run("tensorflow", image(digest_kind="config"))
    for form in FORMS:
        assert "docker pull" not in citation([alone], form, by=BY)
    assert "(linux/amd64, image id" in citation([alone], "text").replace("\n", " ")


@pytest.mark.parametrize("form", FORMS)
def test_an_anonymous_citation_names_nobody(form: str) -> None:
    planted = "planted-name"
    hostile = run(
        "tensorflow",
        image(
            registry=f"{planted}.example", repository=f"{planted}/tf", tag=planted, reference=f"{planted}.example/tf:1"
        ),
        lambda record: replace(record, job=replace(record.job, cluster=planted, user=planted, job_id="77123")),
        lambda record: replace(record, experiment=replace(record.experiment, name=planted)),
        lambda record: replace(record, code=replace(CODE, remote=f"https://{planted}/x", branch=planted)),
    )
    failed = replace(hostile, attempts=(), record_id="other")
    by = Authorship((planted,), "", "", ((planted, f"https://orcid.org/{planted}"),))
    for records in ([hostile], [hostile, run("tensorflow"), failed]):
        text = citation(records, form, anonymous=True, by=by)
        assert planted not in text and "77123" not in text and "c" * 12 not in text and "alpha" not in text
        assert hostile.image.digest[7:15] in text


def test_a_citation_file_is_read_back_as_it_was_meant() -> None:
    values = read(citation([run()], "cff", by=BY), "CITATION.cff").value
    assert values["cff-version"] == "1.2.0" and values["license"] == "MIT" and values["commit"] == "c" * 40
    assert values["authors"] == [
        {"family-names": "Doe", "given-names": "Alice", "orcid": "https://orcid.org/0000-0002-1825-0097"},
        {"name": "Example Lab"},
    ]
    container, tensorflow = values["references"]
    assert container["type"] == "software-container" and container["version"] == "2.16.1-gpu"
    assert container["identifiers"][0]["value"].endswith(run().image.digest)
    assert (tensorflow["version"], tensorflow["doi"]) == ("2.16.1", "10.5281/zenodo.4724125")
    with pytest.raises(InputError, match="has no author"):
        citation([run()], "cff")


# ------------------------------------------------------------------------------------------------------------ authors


def test_authors_come_from_the_command_line_then_the_file_then_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Git User\n")
    assert authorship(tmp_path).authors == ("Git User",)
    (tmp_path / "CITATION.cff").write_text(
        "title: 'Digits'\nlicense: Apache-2.0\nauthors:\n"
        "- {family-names: Doe, given-names: Alice, orcid: 'https://orcid.org/0000-0002-1825-0097'}\n- {name: Lab}\n"
    )
    found = authorship(tmp_path)
    assert found == Authorship(
        ("Doe, Alice", "Lab"), "Digits", "Apache-2.0", (("Doe, Alice", "https://orcid.org/0000-0002-1825-0097"),)
    )
    typed = authorship(tmp_path, ["Roe, Bob (0000-0002-1825-0097)"], "Mine", "MIT")
    assert (typed.authors, typed.title, typed.licence) == (("Roe, Bob",), "Mine", "MIT")
    assert typed.orcids == (("Roe, Bob", "https://orcid.org/0000-0002-1825-0097"),)


@pytest.mark.parametrize(
    "text",
    [
        "authors: [[1], {name: 7}, {name: \"a\\eb\"}, x]\nlicense: {a: b}\ntitle: [1]\n",
        "authors: 5\n", "- 1\n", ": :", "authors: {name: x}\n", f"authors: [{{name: {'x' * 900}}}]\n", "\x00",
    ],
)  # fmt: skip
def test_a_strangers_citation_file_gives_only_names(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "CITATION.cff").write_text(text)
    assert authorship(tmp_path) == Authorship()


def test_the_folders_own_git_settings_name_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "config", "user.name", "Stranger"], check=True)
    assert authorship(tmp_path).authors == ()


@pytest.mark.parametrize("author", ["", " ", "a\x1bb", "x" * 300])
def test_an_author_without_a_name_is_refused(author: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no name"):
        authorship(tmp_path, [author])


# -------------------------------------------------------------------------------------------------------------- files


def test_a_record_in_a_file_is_cited_only_unchanged(tmp_path: Path) -> None:
    def record_in(path: Path) -> Record:
        return unchanged(Evidence(*read_record(path)), str(path)).record

    file = tmp_path / "r.json"
    values = record_json(seal(run()))
    file.write_text(json.dumps(values))
    assert record_in(file).image.digest == run().image.digest
    values["environment"]["python"] = "3.9"
    file.write_text(json.dumps(values))
    with pytest.raises(RecordError, match="it was changed"):
        record_in(file)
    for text in ("[]", "{", '{"schema": "other"}', "[" * 100_000):
        file.write_text(text)
        with pytest.raises(InputError, match=r"is no record.*provenance JOB --json"):
            record_in(file)


# ---------------------------------------------------------------------------------------------------------------- TeX

ARTICLE = """\\documentclass[%s]{article}
\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}\\usepackage[paperwidth=%s]{geometry}
%s
\\begin{document}
%s
%s
\\end{document}
"""


def typeset(folder: Path, *programs: str) -> str:
    """What pdflatex says of paper.tex after these programs."""
    for program in programs:
        done = subprocess.run(
            [program, *(["-interaction=nonstopmode", "-halt-on-error"] if program == "pdflatex" else []), "paper"],
            cwd=folder, capture_output=True, check=False, encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout[-3000:]}{done.stderr}"
    log = (folder / "paper.log").read_text("utf-8", "replace")
    assert not re.search(r"Citation .* undefined|undefined references", log), log
    return log


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("form", ["bibtex", "biblatex"])
def test_the_statement_and_its_entries_are_typeset_within_their_columns(
    form: str, columns: str, tmp_path: Path
) -> None:
    hostile = run("tensorflow", numbered(30), lambda record: replace(
        record, experiment=replace(record.experiment, name="a_b%c&d#{e}^~\\input{x}$1$"))
    )  # fmt: skip
    by = Authorship(("Doe & Sons, A_lice", "100% {Lab}"), "", "")
    for records in ([run()], [*many(), hostile]):
        (tmp_path / "refs.bib").write_text(citation(records, form, by=by))
        if form == "bibtex":
            head, end = "", "\\nocite{*}\\bibliographystyle{plain}\\bibliography{refs}"
        else:
            head = "\\usepackage[backend=biber,style=numeric]{biblatex}\\addbibresource{refs.bib}"
            head += "\\AtBeginBibliography{\\sloppy}"
            end = "\\nocite{*}\\printbibliography"
        paper = ARTICLE % (columns, "21cm", head, citation(records, "latex"), end)
        (tmp_path / "paper.tex").write_text(paper)
        log = typeset(tmp_path, "pdflatex", "bibtex" if form == "bibtex" else "biber", "pdflatex", "pdflatex")
        over = re.findall(r"Overfull \\hbox \(([0-9.]+)pt", log)
        assert not over, f"{columns}, {form}: {over}\n{log[log.index('Overfull') :][:400]}"


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_the_chinese_statement_is_typeset_within_its_columns(columns: str, tmp_path: Path) -> None:
    for records in ([run()], many()):
        text = citation(records, "latex", language="zh")
        body = f"\\begin{{CJK*}}{{UTF8}}{{gbsn}}\n{text}\n\\end{{CJK*}}"
        bibliography = "\\nocite{*}\\bibliographystyle{plain}\\bibliography{refs}"
        (tmp_path / "refs.bib").write_text(citation(records, "bibtex", by=BY))
        paper = ARTICLE % (columns, "21cm", "\\usepackage{CJKutf8}", body, bibliography)
        (tmp_path / "paper.tex").write_text(paper)
        log = typeset(tmp_path, "pdflatex", "bibtex", "pdflatex", "pdflatex")
        assert not re.findall(r"Overfull \\hbox \(([0-9.]+)pt", log), log
        assert "gbsn" in log and "Missing character" not in log


def poisoned(value: Any, name: str = "") -> Any:
    """The same with every text that is no word of ours replaced."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: poisoned(getattr(value, each.name), each.name) for each in fields(value)})
    if isinstance(value, tuple):
        return tuple(poisoned(each, name) for each in value)
    return (
        "}\\input{x}%\n\x1b\u202e`|<b>"
        if isinstance(value, str) and name not in ("status", "digest_kind", "digest", "tree")
        else value
    )


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", FORMS)
def test_no_text_of_a_strangers_record_acts_on_a_reader(form: str, language: str) -> None:
    hostile = replace(poisoned(run()), asked=run().asked)
    text = citation([hostile, run()], form, language=language, by=BY)
    assert "\x1b" not in text and "\u202e" not in text
    if form in ("latex", "bibtex", "biblatex"):
        assert "\\input" not in text and not re.search(r"(?<!\\)(?:\\\\)*%[^ ]", text)
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    if form == "markdown":
        page = MarkdownIt("commonmark").enable("table").render(text)
        assert "&lt;b&gt;" in page and "<b>" not in page
    if form == "cff":
        read(text, "CITATION.cff")


def test_no_character_of_a_name_acts_on_tex() -> None:
    assert special("a_b%c&d#e{f}$g^h~i\\j") == (
        r"a\_b\%c\&d\#e\{f\}\$g\textasciicircum{}h\textasciitilde{}i\textbackslash{}j"
    )
    assert breakable("sha256:" + "0123456789abcdef" * 4).count(r"\allowbreak") == 8
    assert breakable("docker pull a/b").startswith("docker pull a/")
