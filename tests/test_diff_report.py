"""The verdict as Markdown: what a committee reads, and nothing in it that a stranger's record could make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.made import HOSTILE
from tests.test_comparing import code, evidence
from tests.test_comparison import GPU, OTHER_MACHINE, declared, experiment, image, inside, job, metrics, seeded, task
from tfslurm.cli import run as typed
from tfslurm.cli.diff import show_diff
from tfslurm.export.diff_report import report
from tfslurm.export.diff_report.judgement import acm_lines
from tfslurm.export.difference import Diff, diff_json, never_began, verdict_lines
from tfslurm.export.markdown import block, cell, code_span, escaped, table
from tfslurm.record import Record
from tfslurm.record.model import LostFile
from tfslurm.record.verification import ANONYMOUS
from tfslurm.retrieval.comparing import of_run_and_seeds, of_sweeps, of_two

GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKDOWN = (
    *("<img src=x onerror=alert(1)>", "![](http://evil.example/a.png)", "[x](javascript:alert(1))", "@somebody"),
    *("a | b | <b>c</b>", "\\| <script>x</script> |", "\\\\| ![](x)", "|", "||", "`", "``"),
    *("`|<b>x</b>`", "a`b", "&lt;"),
    *("\n\n# Verdict\n\nreproduced", "\n```\n# out\n", "````", "~~~", "    code", "> quote", "- list", "***", "$x$"),
)


def tokens(text: str) -> list[Token]:
    """All of a document, inner ones too."""
    return [inner for each in GFM.parse(text) for inner in (each, *(each.children or ()))]


def shown_in(text: str) -> str:
    """The only text of a document that stands in code."""
    (found,) = [each.content for each in tokens(text) if each.type in ("code_inline", "fence")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("text", [*MARKDOWN, *HOSTILE[:-1]])
def test_a_text_of_any_kind_is_text(text: str) -> None:
    inert = {
        "inline",
        "text",
        "code_inline",
        "html_inline",
        "fence",
        "paragraph_open",
        "paragraph_close",
        "text_special",
    }
    for made in (code_span(text), f"word {escaped(text)} word"):
        assert {each.type for each in tokens(made)} <= inert - {"html_inline", "fence"}
    rows = tokens(table(["a", "b"], [[cell(text), "end"]]))
    assert sum(each.type == "td_open" for each in rows) == 2
    assert {each.content for each in rows if each.type == "html_inline"} <= {"<code>", "</code>"}
    assert [each.content for each in rows if each.type == "inline"][-1] == "end"
    assert not {each.type for each in rows} & {"link_open", "image", "html_block"}
    (fence,) = tokens(block(["before", text, "after"]))
    assert fence.type == "fence" and len(fence.content.splitlines()) == 3


def test_a_text_is_shown_as_it_is() -> None:
    for text in ("a`b", "``", "a *b* <c>", "C:\\x", " lead", "sha256:1"):
        assert shown_in(code_span(text)).strip() == text.strip()
        assert shown_in(block([text])) == f"{text}\n"
    assert cell("a|b\x1b[2J") == "<code>a&#124;b&#92;x1b&#91;2J</code>"
    assert code_span("\x1b]0;x\u202e") == "`\\x1b]0;x\\u202e`"
    assert len(cell("x" * 10_000)) < 300 and cell("") == code_span("") == block([]) == ""


# -------------------------------------------------------------------------------------------------------------- report


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., Diff]:
    """The verdict of two runs; ``to_b`` are B's own changes."""

    def made(*changes: Any, to_b: tuple[Any, ...] = (), files: Any = None, files_b: Any = None) -> Diff:
        files = {"w.h5": "w"} if files is None else files
        a, b = evidence(tmp_path, "1", files, *changes), evidence(tmp_path, "2", files_b or files, *changes, *to_b)
        return of_two(a, b, None, tmp_path)

    return made


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The rows of the tables of a section by their first cells."""
    part = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [[each.strip().strip("`") for each in line.strip("|").split(" | ")] for line in part.splitlines() if line]
    return {line[0]: line[1:] for line in lines if len(line) > 1}


ACC = {"metrics.json": metrics(accuracy=0.98)}


def test_the_report_has_the_verdict_with_its_rule_its_evidence_and_the_times(two: Callable[..., Diff]) -> None:
    found = two(
        declared("accuracy", 0.02), files={**ACC, "w.h5": "w", "events.out.tfevents.1": "x"},
        files_b={"metrics.json": metrics(accuracy=0.97), "w.h5": "w", "events.out.tfevents.1": "y"},
        to_b=(OTHER_MACHINE, job(user="bob", elapsed_s=77), task(cpus_schedulable=None)),
    )  # fmt: skip
    text = report(found)
    verdict, runs = rows_of(text, "Verdict"), rows_of(text, "Runs")
    assert verdict["environment"] == ["same image, other: CPU model"] and verdict["results"] == ["within tolerance"]
    assert (
        verdict["rule"][0].startswith("**tolerance**: `the seed is the same") and "not the same" in verdict["rule"][0]
    )
    assert runs["took"] == ["4 s", "77 s"] and runs["user"] == ["alice", "bob"]
    assert runs["record, sha256"][0] == found.pairs[0].records[0].integrity.record_sha256  # type: ignore[index]
    assert rows_of(text, "Environment")["CPU model"] == ["AMD EPYC", "Intel Xeon", "**differs**"]
    assert rows_of(text, "Environment")["schedulable CPUs"][2] == "not known"
    results = rows_of(text, "Results")
    assert results["accuracy"] == ["0.98", "0.97"] and results["w.h5"] == ["identical", "bytes", "", "", ""]
    assert "they differ by 0.01, and 0.02 is declared (exp.yaml)" in text
    unlike = text.partition("## What could not be compared")[2].partition("## ")[0]
    assert "`schedulable CPUs`" in unlike and "events.out.tfevents.*" in unlike
    left = text.partition("## What is left to judge")[2]
    for words in ("tolerance is strict enough", "`CPU model`", "not signed", "No seed can be seen", "`metrics.json`"):
        assert words.replace("not signed", "not all are signed") in left
    assert "*Reproducibility* (different team, same setup), if they are of different teams" in left


@pytest.mark.parametrize(
    ("changes", "to_b", "files_b", "agree"),
    [
        ((), (), {"w.h5": "other"}, False),
        ((), (job(state="FAILED"),), None, None),
        ((seeded(1),), (seeded(2),), {"w.h5": "other"}, None),
        ((), (OTHER_MACHINE,), {"w.h5": "other"}, None),
    ],
)
def test_what_does_not_agree_or_was_not_compared_is_never_called_reproduced(
    changes: tuple[Any, ...], to_b: tuple[Any, ...], files_b: Any, agree: bool | None, two: Callable[..., Diff]
) -> None:
    found = two(*changes, to_b=to_b, files_b=files_b)
    text = report(found).lower()
    assert found.agree is agree
    assert not [word for word in ("reproduced", "reproducib", "repeatab", "replicab") if word in text]
    assert "none of them applies: the results" in text
    assert agree is False or "what could not be compared" in text


@pytest.mark.parametrize(
    ("to_b", "said"),
    [
        ((), "*Repeatability* (same team, same setup), if that is one team"),
        ((job(user="bob"),), "*Reproducibility* (different team, same setup), if they are of different teams"),
        ((lambda r: replace(r, run_folder=None, unknown={"run_folder": ANONYMOUS}),), "Who ran is not in the records"),
        ((task(cpu_model=None),), "The environment is not known to be identical."),
        ((GPU,), "The environment is not identical. Whether that is the same setup is for the reviewer to say"),
        (
            (experiment(env={"X": "1"}),),
            "The inputs are not identical, so it is not known that both ran the same experiment",
        ),
    ],
)
def test_acms_words_are_those_that_could_apply(to_b: tuple[Any, ...], said: str, two: Callable[..., Diff]) -> None:
    lines = list(acm_lines(two(to_b=to_b)))
    assert any(said in line for line in lines)
    assert any("Replicability" in line for line in lines) and "does not award it" in lines[-1]


@pytest.mark.parametrize(
    ("changes", "to_b", "files_b", "rule", "why"),
    [
        ((), (), None, "bits", "all that can be compared is equal"),
        ((), (), {"w.h5": "X"}, "bits", "the environment is identical, and no tolerance is declared"),
        ((declared(None, None, ("w.h5",)),), (), {"w.h5": "X"}, "bits", "exp.yaml names the files that must be equal"),
        ((declared("accuracy", 0.1),), (), {"w.h5": "X"}, "bits", "its tolerance cannot be applied"),
        ((declared("accuracy", 0.1),), (OTHER_MACHINE,), {"w.h5": "X"}, "tolerance", "equal bits cannot be expected"),
        ((seeded(1),), (seeded(2),), {"w.h5": "X"}, "interval", "the seed is another (seed 1 / 2)"),
        ((), (job(state="FAILED"),), None, None, None),
    ],
)
def test_the_rule_says_why_it_is_the_one(
    changes: Any, to_b: Any, files_b: Any, rule: str | None, why: str | None, two: Callable[..., Diff]
) -> None:
    found = two(*changes, to_b=to_b, files_b=files_b)
    results = diff_json(found)["pairs"][0]["results"]
    assert results["rule"] == rule and (results["why_this_rule"] is None) == (why is None)
    assert (why or "") in (results["why_this_rule"] or "")
    lines = dict(verdict_lines(found))
    assert lines.get("rule") == (f"{rule}: {results['why_this_rule']}" if rule else None)


def test_where_bits_decide_the_metrics_values_are_shown_all_the_same(two: Callable[..., Diff]) -> None:
    found = two(declared("accuracy"), files={**ACC, "w.h5": "w"})
    text = report(found)
    assert rows_of(text, "Verdict")["results"] == ["bit-identical"]
    assert rows_of(text, "Results")["accuracy"] == ["0.98", "0.98"]
    assert (found.agree, found.pairs[0].comparison.results.metric) == (True, "accuracy")


def test_of_a_run_whose_container_never_started_one_line_is_shown(
    two: Callable[..., Diff], capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(record: Record) -> Record:
        last = replace(record.attempts[-1], ended_by="chain", reason="gpus: 2 GPUs are here and 1 are wanted")
        return replace(record, attempts=(last,))

    lacks = task(container=None, cpu_model=None, os=None, kernel=None)
    found = two(to_b=(job(state="FAILED"), lacks, refused))
    assert found.differences
    (line,) = never_began(found)
    assert line == "the container of alpha:2 never started: gpus: 2 GPUs are here and 1 are wanted"
    assert never_began(two(to_b=(job(state="FAILED"), lacks))) == []  # its program ended
    show_diff(found, all_code=False)
    said = capsys.readouterr().out
    assert line in said and "what differs" not in said
    assert never_began(two()) == []
    assert never_began(two(to_b=(task(container=None),))) == []  # it completed: only the fact is not known


def test_a_run_beside_itself_repeats_nothing(tmp_path: Path) -> None:
    one = evidence(tmp_path, "1", {"w.h5": "w"})
    assert next(acm_lines(of_two(one, one, None, tmp_path))).startswith("None of them applies: a run was compared")


def test_the_report_of_a_seeds_interval_has_n_and_the_interval(tmp_path: Path) -> None:
    group = [
        evidence(tmp_path, f"7_{seed}", {"metrics.json": metrics(accuracy=0.9 + seed / 1000)}, seeded(seed), declared())
        for seed in range(6)
    ]
    single = evidence(tmp_path, "8", {"metrics.json": metrics(accuracy=0.903)}, seeded(9), declared())
    text = report(of_run_and_seeds("sweep", "alpha:8", group, [single], None, tmp_path))
    assert rows_of(text, "Results")["6"] == ["0.9025", "0.00187", "0.897306 to 0.907694"]
    assert "sweep does not have the run's seed: its other seeds say how far one more may be off" in text
    assert "`sweep` is many runs" in text and "Of 100 good runs, 5 lie outside a 95 %" in text


def test_the_report_of_points_has_a_row_for_each_and_names_the_others(tmp_path: Path) -> None:
    def sweep(name: str, *points: tuple[int, str]) -> list[Any]:
        return [evidence(tmp_path, f"{name}_{seed}", {"w.h5": text}, seeded(seed)) for seed, text in points]

    one, other = sweep("1", (0, "a"), (1, "b"), (2, "c")), sweep("2", (0, "a"), (1, "X"))
    found = of_sweeps("s", "t", one, other, None, tmp_path)
    text = report(found)
    rows = rows_of(text, "Points")
    assert list(rows)[2:] == ["seed=1", "seed=0"] and rows["seed=0"][4] == "bit-identical"
    assert rows["seed=1"][:2] == ["alpha:1_1", "alpha:2_1"] and rows["seed=1"][4] == "bits differ"
    assert "- only in A: `alpha:1_2`\n" in text
    runs, record = rows_of(text, "Runs"), one[0].record
    assert (runs["records"], runs["digest"]) == (["2", "2"], [record.image.digest] * 2)
    assert runs["image"] == [record.image.reference] * 2 and runs["code"][0] == runs["code"][1]
    assert "| rule | **bits**: `all that can be compared is equal, and no other rule is needed (1 of 2)` |" in text
    lines = [line for _, line in verdict_lines(found)]
    assert any(line.startswith("alpha:1_1 / alpha:2_1: ") and "not deterministic" in line for line in lines), lines


def test_what_a_reviewer_must_judge_is_named(tmp_path: Path) -> None:
    lost = experiment(lost=(LostFile("/tmp/model.h5", "added"),))
    a = code(tmp_path, evidence(tmp_path, "1", {"w.h5": "w"}, lost), {"train.py": "a\n"})
    b = code(
        tmp_path, evidence(tmp_path, "2", {"w.h5": "w"}, image(config_digest="sha256:" + "0" * 64)), {"train.py": "b\n"}
    )
    assert b.record.code
    b = b._replace(record=replace(b.record, code=replace(b.record.code, dirty=True)))
    text = report(of_two(a, b, None, tmp_path)._replace(warnings=("alpha:1: its record was changed",)))
    for words in (
        "- **Warning**: `alpha:1: its record was changed`", "`alpha:1: /tmp/model.h5`", "| `train.py` |",
        "Whether another image is the same experiment", "The code of `alpha:2` had changes on top of its commit",
        "(`code`): B is not A once more", "changed can be trusted at all",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("evil", [f"{text}\x1b[2J\u202e\n\n# Verdict" for text in MARKDOWN])
def test_a_strangers_record_writes_no_markdown_and_acts_on_no_terminal(
    evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    made = evidence(tmp_path, "1", {evil: "x"}, experiment(parameters={evil: evil}, command=(evil,)))
    changes = (task(cpu_model=evil), inside(python=evil), job(user=evil, cluster=evil, nodes=(evil,)))
    other = evidence(tmp_path, "2", {"w.h5": "x"}, experiment(lost=(LostFile(evil, evil),)), *changes)
    for name, each in (("a", made), ("b", other)):
        Path(f"{name}.json").write_text(json.dumps(each.values))
    assert typed(["diff", "a.json", "b.json", "--format", "markdown", "--anyway"]) == 3
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\u202e" not in text
    found = tokens(text)
    titles = [after.content for each, after in pairwise(found) if each.type == "heading_open"]
    assert titles[1:] == [
        *("Verdict", "Runs", "Environment", "Inputs", "Results", "What could not be compared", "What is left to judge"),
        "ACM's words",
    ]
    assert not {each.type for each in found} & {"link_open", "image", "html_block", "blockquote_open", "code_block"}
    assert {each.content for each in found if each.type == "html_inline"} <= {"<code>", "</code>"}


def test_one_form_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["diff", "a", "b", "--json", "--format", "markdown"]) == 2
    assert "exclude each other" in capsys.readouterr().out
