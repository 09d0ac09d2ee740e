"""YAML text -> values with lines; what is refused, and in which words."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from tfslurm.document import Document, Path, Refused, dump, key_text, nearest, read, scan, show, validate
from tfslurm.document.canonical import MOST
from tfslurm.document.reading import MAX_BYTES
from tfslurm.document.reading import scan as scan_with
from tfslurm.document.syntax import MAX_DEPTH
from tfslurm.errors import InputError, Problem


def problems(text: str) -> list[str]:
    return [str(problem) for problem in scan(text, "f.yaml").problems]


def only_problem(text: str) -> str:
    (problem,) = problems(text)
    return problem


def test_values_lines_and_texts_as_written_are_kept() -> None:
    document = read('a: 1\nb:\n  - x\n  - {c: 0.10}\n\n"d": "e"\n', "f.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": 0.1}], "d": "e"}
    assert [document.line(path) for path in [("a",), ("b",), ("b", 1), ("b", 1, "c"), ("d",)]] == [1, 2, 4, 4, 6]
    assert document.shown(("b", 1, "c")) == "0.10"
    assert document.shown(("d",)) == "'e'"


def test_the_line_of_a_missing_key_is_that_of_its_holder() -> None:
    document = read("a: 1\nb:\n  c: {d: 2}\n", "f.yaml")
    assert document.line(("b", "c", "x", 3)) == 3
    assert document.line(("z",)) == 0
    assert str(document.problem(("b", "c", "x"), "is missing")) == "f.yaml:3: b.c.x: is missing"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("04:00:00", "04:00:00"),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        ("2.10", 2.1),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0", 0),
        ("+7", 7),
        ("0x1F", 31),
        ("1.2.3", "1.2.3"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("2.16.1-gpu", "2.16.1-gpu"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("y", "y"),
        ("n", "n"),
        ("None", "None"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("9007199254740991", 2**53 - 1),
        ("-0x1fffffffffffff", -(2**53) + 1),
        ("1e20", 1e20),
        ("'12:30:00'", "12:30:00"),
        ('"yes"', "yes"),
        ("'1e-4'", "1e-4"),
        ("'null'", "null"),
        ('"\\u00e9\\n"', "é\n"),
        ("a#b", "a#b"),
        ("a # b", "a"),
        ("=", "="),
        ("'<<'", "<<"),
        ("שלום", "שלום"),
        ("🧪", "🧪"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
        (">-\n  one\n  two\n", "one two"),
    ],
)
def test_scalars_that_all_readers_agree_about_are_read(text: str, value: object) -> None:
    read_value = read(f"key: {text}\n", "f.yaml").value["key"]
    assert read_value == value
    assert type(read_value) is type(value)


@pytest.mark.parametrize(
    ("text", "why", "mend"),
    [
        ("12:30:00", "the number 45000 from 12:30:00 (base 60)", 'write "12:30:00" in quotes'),
        ("1:30", "the number 90 from 1:30", 'write "1:30" in quotes'),
        ("-1:30", "the number -90", 'write "-1:30" in quotes'),
        ("1:30.5", "the number 90.5", 'write "1:30.5" in quotes'),
        ("4090:2", "the number 245402", 'write "4090:2" in quotes'),
        ("yes", "take yes as true or false", "write true or false"),
        ("Off", "take Off as true or false", '"Off" in quotes'),
        ("010", "base 8", "write 10"),
        ("-007", "base 8", '"-007" in quotes'),
        ("08", "base 8", "write 8"),
        ("00", "base 8", "write 0"),
        ("0o17", "the number 15 for some", "write 15"),
        ("0b101", "the number 5 for some", "write 5"),
        ("1_000", "the number 1000 for some", "write 1000"),
        ("1_000.5", "the number 1000.5 for some", "write 1000.5"),
        ("0x1_F", "the number 31 for some", "write 31"),
        ("2024-01-01", "a date", 'write "2024-01-01" in quotes'),
        ("2024-01-01 10:00:00", "a date", "in quotes"),
        ("2024-01-01T10:00:00Z", "a date", "in quotes"),
        ("1e999", "1e999 is not a number that JSON has", "write it as text"),
        (".inf", ".inf is not a number that JSON has", "write it as text"),
        ("-.INF", "-.INF is not a number that JSON has", "write it as text"),
        (".nan", ".nan is not a number that JSON has", "write it as text"),
        ("9007199254740992", "9007199254740992 is beyond 2^53", "write it as text"),
        ("-9007199254740992", "-9007199254740992 is beyond 2^53", "write it as text"),
        ("0x20000000000000", "0x20000000000000 is beyond 2^53", "write it as text"),
        ("9" * 5000, "a number of 5000 digits", "write it as text"),
    ],
)
def test_scalars_that_readers_disagree_about_are_refused(text: str, why: str, mend: str) -> None:
    said = only_problem(f"a: 1\nkey: {text}\n")
    assert said.startswith("f.yaml:2: key: ")
    assert why in said
    assert mend in said


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-_.:eExobTZ ~yesnof", max_size=14))
@example("1__0")
@example("0_")
@example("0b")
@example("0o8")
def test_every_plain_scalar_is_read_as_yaml_1_1_does_or_refused(text: str) -> None:
    """Or is one of those that YAML 1.1 takes for text and JSON for a number."""
    try:
        theirs = yaml.safe_load(f"key: {text}\n")
    except (yaml.YAMLError, ValueError):
        return
    document = scan(f"key: {text}\n", "f.yaml")
    if document.problems or not isinstance(theirs, dict):
        return
    ours = document.value["key"]
    assert ours == theirs["key"] or (isinstance(theirs["key"], str) and ours == float(theirs["key"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml: is empty; write at least the required keys"),
        ("# only a comment\n", "f.yaml: is empty; write at least the required keys"),
        ("---\n...\n", "f.yaml: is empty; write at least the required keys"),
        ("- a\n", "f.yaml:1: is a list, not keys with values; write `key: value` lines"),
        ("\nhello\n", "f.yaml:2: is a single value, not keys with values; write `key: value` lines"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins here; keep one document; remove the line `---`"),
        ("a: 1\na: 2\n", "f.yaml:2: a: is written twice, first on line 1; remove one of them"),
        ("a: {b: 1, 'b': 2}\n", "f.yaml:1: a.b: is written twice, first on line 1; remove one of them"),
        ("1: x\n", 'f.yaml:1: 1: a key must be a text; write "1" in quotes'),
        ("on: x\n", 'f.yaml:1: on: a key must be a text; write "on" in quotes'),
        ("? [a]\n: b\n", "f.yaml:1: a key must be a text, not a list or mapping; write a plain name before the colon"),
        ("a: {{ x }}\n", "f.yaml:1: a: {{ … }} outside quotes is read as a mapping; write the value in quotes"),
        ("<<: {x: 1}\n", "f.yaml:1: <<: the merge key << is not accepted; write the keys out here"),
        ("a: &x 1\n", "f.yaml:1: a: the anchor &x is not accepted; write each value where it is used"),
        ("&x a: 1\n", "f.yaml:1: a: the anchor &x is not accepted; write each value where it is used"),
        ("a: !!int '1'\n", "f.yaml:1: a: the tag !!int is not accepted; write the plain value"),
        ("a: !Ref x\n", "f.yaml:1: a: the tag !Ref is not accepted; write the plain value"),
        ("a:\n\tb: 1\n", "f.yaml:2: is indented with a tab; use spaces; YAML does not take tabs there"),
        ("a: [1, 2\nb: 3\n", "f.yaml:1: the list opened with [ is not closed; add the ] or the comma that is missing"),
        ("a: {b: 1\n", "f.yaml:1: the mapping opened with { is not closed; add the } or the comma that is missing"),
        ("a: b: c\n", "f.yaml:1: a `: ` stands where no key can; put the text in quotes, or check the indentation"),
        ('b: 1\na: "x\nc: 2\n', "f.yaml:2: a quote is opened and never closed; add the closing quote"),
        ("a: @x\n", "f.yaml:1: a plain text cannot begin with @; write the value in quotes"),
        ("a: `x`\n", "f.yaml:1: a plain text cannot begin with `; write the value in quotes"),
        ("a: 50%\nb: %x\n", "f.yaml:2: a plain text cannot begin with %; write the value in quotes"),
        ("a: * b\n", "f.yaml:1: a text that begins with & or * is read as an anchor; write the value in quotes"),
        (
            "b: 1\na\nc: 1\n",
            "f.yaml:2: a line without `:` stands among keys; write `key: value`, or put a long text in quotes",
        ),
        ("a: \0\n", "f.yaml:1: holds the control character U+0000; remove it"),
        (
            "\na: x\x85y\n",
            'f.yaml:2: holds the control character U+0085; remove it, or write "\\u0085" in double quotes',
        ),
        ("a: x\ud800\n", "f.yaml:1: holds bytes that are not UTF-8; save the file as UTF-8"),
        ('a: "\\0"\n', "f.yaml:1: a: holds the character '\\x00', which no value can carry; remove it"),
        (
            'a: "\\ud800"\n',
            "f.yaml:1: a backslash in double quotes names a character that does not exist; use single quotes",
        ),
        ("a: b\n\tc: d\n", "f.yaml:2: is indented with a tab; use spaces; YAML does not take tabs there"),
    ],
)
def test_a_text_that_is_no_plain_mapping_is_told_in_one_line(text: str, said: str) -> None:
    assert only_problem(text) == said


@pytest.mark.parametrize(
    ("text", "line"),
    [('a: "\\q"\n', 1), ("a: 1\n b: 2\n", 2), ("a: x\n- b\n", 2), ("a: 1\nb: |x\n c\n", 2), ("a: !<\n", 1)],
)
def test_syntax_errors_are_one_problem_at_their_line(text: str, line: int) -> None:
    (problem,) = scan(text, "f.yaml").problems
    assert problem.line == line
    assert problem.fix
    assert "while" not in problem.why


def test_an_alias_is_never_expanded() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{name}: [*a, *a]\n" for name in "bcd")
    said = problems(bomb)
    assert said[0].startswith("f.yaml:1: a: the anchor &a")
    assert len(said) == 7
    assert scan(bomb, "f.yaml").value["b"] == [None, None]


def test_all_problems_of_a_text_are_told_in_its_order() -> None:
    with pytest.raises(InputError) as refused:
        read("a: yes\nb: 010\nb: 1\nc: 2024-01-01\n", "f.yaml")
    assert [problem.line for problem in refused.value.problems] == [1, 2, 3, 4]


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    document = read("\ufeffa: 1\r\nb: 2\r\n", "f.yaml")
    assert document.value == {"a": 1, "b": 2}
    assert document.line(("b",)) == 2


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 1000 + "1", "? " * 5000 + "a", "- " * 5000])
def test_deep_nesting_is_refused_before_it_is_built(text: str) -> None:
    assert f"is nested deeper than {MAX_DEPTH} levels" in problems(text)[-1]


def test_a_text_of_more_than_a_mebibyte_is_refused() -> None:
    assert "characters" in only_problem("a: " + "x" * MAX_BYTES)
    assert not problems("a: " + "x" * (MAX_BYTES - 3))


def test_at_most_ten_lines_of_control_characters_are_listed() -> None:
    assert len(problems("a: \x01\n" * 5000)) == 10


FRAGMENTS = st.sampled_from(
    [
        *"ab[]{},\n\t'\"|>#:%@`\\~é\0\x85\ufeff\r?-&*! ",
        "\n  ",
        ": ",
        "- ",
        "? ",
        "&x ",
        "*x",
        "!t ",
        "---\n",
        "...\n",
        "1:30",
    ]
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_any_text_is_read_or_refused_and_both_loaders_read_the_same(text: str) -> None:
    slow, fast = scan_with(text, "f.yaml", yaml.SafeLoader), scan_with(text, "f.yaml", yaml.CSafeLoader)
    if not slow.problems and not fast.problems:
        assert slow == fast
        assert isinstance(slow.value, dict)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MOST, MOST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc1:- yes#~'\"{}é\n", max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(VALUES)
@example("12:30:00")
@example("1e-4")
@example("yes")
@example("a: b")
@example("x\u2028y")
@example(" a ")
@example("2024-01-01T00:00:00Z")
def test_what_is_dumped_is_read_back_equal(value: object) -> None:
    if "\0" in repr(value) or "\\x00" in repr(value):
        return
    assert read(dump({"key": value}), "f.yaml").value == {"key": value}


def test_a_dump_keeps_the_order_and_quotes_only_where_needed() -> None:
    text = dump({"schema": "tfslurm.lock/1", "image": {"tag": "2.16.1", "at": "2024-01-01", "entrypoint": ("a", "")}})
    assert text == (
        'schema: tfslurm.lock/1\nimage:\n  tag: 2.16.1\n  at: "2024-01-01"\n  entrypoint:\n    - a\n    - ""\n'
    )


def test_a_dump_refuses_what_yaml_cannot_say() -> None:
    with pytest.raises(TypeError, match="cannot be written as YAML"):
        dump({"a": object()})


class Inner(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    count: int = Field(1, ge=1, examples=[4])
    label: str = Field("", examples=["x"])


class Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = Field(examples=["digits"])
    inner: Inner = Field(default_factory=Inner, examples=[{"count": 2}])
    many: list[Inner] = Field([], examples=[[{"count": 2}]])
    ratio: float = Field(1.0, examples=[0.5])


def refusal(text: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        validate(scan(text, "f.yaml"), Model)
    return [str(problem) for problem in refused.value.problems]


def test_a_document_becomes_a_model() -> None:
    read_model = validate(read("name: a\ninner: {count: 3}\nratio: 2\n", "f.yaml"), Model)
    assert read_model == Model(name="a", inner=Inner(count=3), ratio=2.0)


def test_problems_of_text_model_and_checks_are_told_together() -> None:
    def check(document: Document) -> list[Problem]:
        return [document.problem(("many",), "is too much")]

    with pytest.raises(InputError) as refused:
        validate(scan("inner: {count: 010, labl: x}\nmany:\n  - {count: 0}\nname: 5\n", "f.yaml"), Model, check)
    assert [(problem.line, problem.key) for problem in refused.value.problems] == [
        (1, "inner.count"),
        (1, "inner.labl"),
        (2, "many"),
        (3, "many[0].count"),
        (4, "name"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inner: {}\n", "f.yaml: name: is missing; add `name: digits`"),
        ("name:\n", "f.yaml:1: name: has no value; write `name: digits`"),
        ("name: a\ninner:\n", "f.yaml:2: inner: has no value; write `inner: {count: 2}`, or remove the key"),
        ("name: a\nmany: [~]\n", "f.yaml:2: many[0]: has no value; write `{count: 2}`, or remove it"),
        ("name: 2.10\n", 'f.yaml:1: name: 2.10 is a number, not a text; write "2.10" in quotes'),
        ("name: true\n", 'f.yaml:1: name: true is a yes-or-no value, not a text; write "true" in quotes'),
        ("name: [a]\n", 'f.yaml:1: name: ["a"] is a list, not a text; write a text'),
        ("name: a\nratio: b\n", "f.yaml:2: ratio: 'b' is text; a number is wanted; write `ratio: 0.5`"),
        ("name: a\nmany: 3\n", "f.yaml:2: many: 3 is a whole number; a list is wanted; write `many: [{count: 2}]`"),
        (
            "name: a\nmany: [3]\n",
            "f.yaml:2: many[0]: 3 is a whole number; a mapping of `key: value` is wanted; write `{count: 2}`",
        ),
        ("name: a\ninner: {count: 0}\n", "f.yaml:2: inner.count: 0 is out of range: the least is 1; write `count: 4`"),
        (
            "name: a\ninner: {count: true}\n",
            "f.yaml:2: inner.count: true is a yes-or-no value; a whole number is wanted; write `count: 4`",
        ),
        (
            "name: a\nmany: [{Count: 1}]\n",
            "f.yaml:2: many[0].Count: is not a known key; did you mean `count`?",
        ),
        ("name: a\nzzz:\n", "f.yaml:2: zzz: is not a known key; the file may hold: name, inner, many, ratio"),
    ],
)
def test_a_model_s_complaint_is_told_in_the_writer_s_words(text: str, said: str) -> None:
    assert refusal(text) == [said]


def test_a_value_that_is_refused_already_is_not_refused_twice() -> None:
    assert len(refusal("name: yes\ninner: {count: 1_0}\nratio: 1:30\n")) == 3


def test_several_refusals_of_one_value_stay_several() -> None:
    together = Refused.together([Refused("one", at=(0,)), Refused("two", at=(1,))])
    assert [refused.why for refused in together.all] == ["one", "two"]


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", 0, "b"), "a[0].b"), (("a", "b", 1, 2), "a.b[1][2]")],
)
def test_a_path_is_written_as_a_reader_would(path: Path, text: str) -> None:
    assert key_text(path) == text


def test_no_key_or_value_can_break_a_message_s_line() -> None:
    text = '"a\\n\\e[31mb": 1\nname: "x\\ny"\ninner: {count: "\\e[31m"}\nmany: !<%1b> []\n'
    for problem in refusal(text):
        assert problem.isprintable()


def test_the_nearest_names_ignore_case_dashes_and_underscores() -> None:
    assert nearest("Tasks-Per-Node", ["tasks_per_node", "time"]) == "did you mean `tasks_per_node`? "
    assert nearest("xyz", ["tasks_per_node"]) == ""


@pytest.mark.parametrize("value", ["\x1b[31mred", "a\nb", "x" * 500, "\u202eevil", {"a": ["\x07"]}])
def test_a_shown_value_is_short_and_harmless_to_a_terminal(value: object) -> None:
    shown = show(value)
    assert shown.isprintable()
    assert len(shown) <= 72
