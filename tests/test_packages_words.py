"""What uv 0.13 and pip 23 and 24 said when they found no solution, and the settings that they were given: as texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tfslurm.image.facts import ImageFacts
from tfslurm.packages.programs import Indexes, for_pip, for_uv, indexes, without_logins
from tfslurm.packages.refusals import refusal
from tfslurm.packages.targets import pip_words, uv_words
from tfslurm.spec.requirements import requirement

FACTS = ImageFacts("3.11.2", "2.36", "x86_64", {"numpy": "1.26.4", "tensorflow": "2.16.1"})
NO = "error: No solution found when resolving dependencies\n  cause: Because "
END = ", we can conclude that your requirements are unsatisfiable."
SAID = {
    "a typo": (f"{NO}pandsa was not found in the package registry and you require pandsa{END}", "pandsa", "`pandas`"),
    "a typo, folders alone": (
        f"{NO}sklearn was not found in the provided package locations and you require sklearn{END}",
        "sklearn",
        "`scikit-learn`",
    ),
    "no such name": (f"{NO}qqqqq was not found in the package registry{END}", "qqqqq", "an index may want a login"),
    "no wheel": (
        f"{NO}all versions of docopt have no usable wheels and you require docopt{END}\n\nhint: Wheels "
        "are required for `docopt` because building from source is disabled for all packages (i.e., with `--no-build`)",
        "docopt",
        "find-links FOLDER",
    ),
    "no version": (
        f"{NO}there is no version of pandas==99 and you require pandas==99{END}",
        "pandas",
        "another version",
    ),
    "too old": (f"{NO}only numpy<=2.5.5 is available and you require numpy>=2.5.9{END}", "numpy", "another version"),
    "two that differ": (f"{NO}you require pandas<2 and pandas>2{END}", "pandas", "ask for other versions"),
    "against the image": (
        f"{NO}modern==1.0 depends on numpy>=2 and you require numpy==1.26.4, we can conclude that modern==1.0 "
        f"cannot be used. And because only modern==1.0 is available and you require modern{END}",
        "modern",
        "the image holds numpy 1.26.4",
    ),
    "a login": (
        f"{NO}pytz was not found in the package registry{END}\n\nhint: An index URL (http://lab.example/simple) could "
        "not be queried due to a lack of valid authentication credentials (401 Unauthorized)",
        "",
        "~/.netrc",
    ),
    "no answer": (
        "error: Request failed after 3 retries in 3.8s\n  cause: Failed to fetch: `http://127.0.0.1:9/simple/six/`\n"
        "  cause: error sending request for url",
        "",
        "`pip config list`",
    ),
    "pip: no such name": (
        "ERROR: Could not find a version that satisfies the requirement pandsa (from versions: none)\n"
        "ERROR: No matching distribution found for pandsa",
        "pandsa",
        "`pandas`",
    ),
    "pip: no version": (
        "ERROR: Could not find a version that satisfies the requirement pandas==9 (from versions: 2.1.0, 3.0.0)\n"
        "ERROR: No matching distribution found for pandas==9",
        "pandas",
        "name one of these",
    ),
    "pip: against the image": (
        "ERROR: Cannot install modern==1.0 because these package versions have conflicting dependencies.\n\n"
        "The conflict is caused by:\n    modern 1.0 depends on numpy>=2\n"
        "    The user requested (constraint) numpy==1.26.4\n"
        "\nTo fix this you could try to:\n1. loosen\nERROR: ResolutionImpossible: for help visit https://pip.pypa.io/",
        "modern",
        "the image holds numpy 1.26.4",
    ),
    "pip: a login": (
        "ERROR: HTTP error 403 while getting http://lab.example/x\nERROR: 403 Client Error: Forbidden for url",
        "",
        "~/.netrc",
    ),
    "words of its own": ("error: a value is required for '--index-strategy'", "", "the UV_ variables"),
}


@pytest.mark.parametrize("case", SAID)
def test_each_refusal_names_its_package_and_what_to_do(case: str) -> None:
    said, name, fix = SAID[case]
    found = refusal(said, [requirement("pandas"), requirement("modern"), requirement("numpy")], FACTS)
    assert found.name == name and fix in found.fix and "\n" not in found.why + found.fix
    assert found.outside == (case in ("a login", "no answer", "pip: a login", "words of its own"))


def test_tags_are_those_of_the_image_and_none_of_a_newer_system() -> None:
    words = pip_words(FACTS)
    assert words[:6] == ("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11.2")
    assert {"manylinux_2_36_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "cp311", "abi3"} < set(words)
    assert "manylinux_2_37_x86_64" not in words
    assert uv_words(FACTS)[:4] == ("--python-version", "3.11.2", "--python-platform", "x86_64-manylinux_2_36")
    platforms = {"2.27": "2_17", "2.30": "2_28", "2.43": "2_40", "2.12": "2_17"}
    for glibc, known in platforms.items():
        old = ImageFacts("3.8.10", glibc, "aarch64", {})
        assert uv_words(old)[3] == f"aarch64-manylinux_{known}"


def a_pip(folder: Path, *lines: str) -> tuple[str, ...]:
    """A program whose answer to `config list` is these lines: a stand-in for pip."""
    (folder / "said").write_text("".join(f"{line}\n" for line in lines))
    return (sys.executable, "-c", f"print(open({str(folder / 'said')!r}).read())")


def test_settings_are_pips_own_and_variables_of_uv_that_name_an_index_stand_over_them(tmp_path: Path) -> None:
    pip = a_pip(
        tmp_path,
        "global.index-url='https://me:pw@lab.example/simple'",
        "install.index-url='https://lab.example/install'",
        ":env:.find-links='/w1\\n/w2'",
        "global.cert='/ca.pem'",
        "global.proxy='http://p:3128'",
        "global.trusted-host='a b'",
        "freeze.index-url='no'",
        "a line of something else",
        "global.constraint=[not a text",
    )
    found = indexes(pip, {})
    assert found == Indexes(
        "https://lab.example/install", (), ("/w1", "/w2"), "/ca.pem", "http://p:3128", ("a", "b"), (), True
    )
    variables = for_uv(found, ["/stubs"])
    assert (
        variables["UV_DEFAULT_INDEX"] == "https://lab.example/install" and variables["HTTPS_PROXY"] == "http://p:3128"
    )
    assert variables["UV_FIND_LINKS"] == "/stubs,/w1,/w2" and variables["SSL_CERT_FILE"] == "/ca.pem"
    assert "UV_INDEX_STRATEGY" not in variables
    over = indexes(pip, {"UV_INDEX": "lab=https://u:p@a/simple https://b/simple", "UV_FIND_LINKS": "/x,/y"})
    assert (over.first, over.more, over.folders, over.merged) == (
        "https://pypi.org/simple",
        ("https://u:p@a/simple", "https://b/simple"),
        ("/x", "/y"),
        False,
    )
    assert for_pip(over, FACTS)["PIP_EXTRA_INDEX_URL"] == "https://u:p@a/simple https://b/simple"
    nothing = indexes(a_pip(tmp_path, "global.no-index='yes'", "global.extra-index-url='https://c/simple'"), {})
    assert (nothing.first, nothing.more) == ("", ()) and for_pip(nothing, FACTS)["PIP_NO_INDEX"] == "1"
    both = Indexes("https://a/simple", ("https://b/simple",))
    assert for_uv(both)["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_a_login_is_taken_out_of_a_text() -> None:
    text = "Looking in indexes: https://me:pw%40x@lab.example/simple, http://token@b/; a@b.example, 'file:///a@b'"
    assert (
        without_logins(text) == "Looking in indexes: https://lab.example/simple, http://b/; a@b.example, 'file:///a@b'"
    )
