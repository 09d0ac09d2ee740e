"""What uv and pip say when they find no solution -> one problem in words that say what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tfslurm.document import nearest
from tfslurm.image.facts import ImageFacts, normalized
from tfslurm.spec.requirements import Requirement

KNOWN = (
    *("pandas", "scikit-learn", "scikit-image", "matplotlib", "opencv-python-headless", "tensorflow-datasets", "keras"),
    *(
        "tensorflow-probability",
        "tensorflow-hub",
        "tensorflow-addons",
        "transformers",
        "wandb",
        "mlflow",
        "tqdm",
        "pillow",
    ),
    *(
        "seaborn",
        "pyarrow",
        "polars",
        "xgboost",
        "lightgbm",
        "statsmodels",
        "optuna",
        "hydra-core",
        "pyyaml",
        "requests",
    ),
    *(
        "numpy",
        "scipy",
        "h5py",
        "jupyterlab",
        "ipython",
        "plotly",
        "networkx",
        "sympy",
        "numba",
        "rich",
        "click",
        "pydantic",
    ),
)
"Names that are typed often: a typo is compared with them."
_MODULES = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "pil": "pillow",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "hydra": "hydra-core",
    "attr": "attrs",
}
"Modules whose package has another name."
_NAME = r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_UNKNOWN = (rf"{_NAME} was not found in the (?:package registry|provided package locations)",)
_NO_WHEEL = (
    rf"(?:all versions of )?{_NAME}(?:[=<>!~]\S+)? ha(?:s|ve) no (?:usable )?(?:wheels|source distribution)",
    r"Wheels are required for `([^`]+)`",
)
_NO_VERSION = (rf"there (?:is|are) no versions? of {_NAME}", rf"only {_NAME}[=<>]\S+ is available")
_NETWORK = (
    r"Failed to fetch|error sending request|Could not connect|Connection refused|Network is unreachable|Retrying \("
    r"|Temporary failure in name resolution|Name or service not known|SSLError|CERTIFICATE_VERIFY|timed out"
)
FULL = r"No space left on device|Disk quota exceeded"
_LOGIN = r"40[13] (?:Client Error|Unauthorized|Forbidden)|authentication credentials|User for "
ENDLESS = r"memory allocation of [0-9]+ bytes failed|\bMemoryError\b"
ENDLESS_WHY = "an index, or a file on it, is larger than the memory that uv and pip may use"
ENDLESS_FIX = "ask whoever runs the index; `pip config list` names its address"
FULL_FIX = "free some space there, or set XDG_CACHE_HOME (`uv cache dir` and `pip cache dir` name them)"
NO_WHEEL = (
    "name a version that has one (its page on the index lists the files), or build it once: "
    "`pip wheel --no-deps NAME -w FOLDER` on a machine like the image, then `pip config set global.find-links FOLDER`"
)


class Refusal(NamedTuple):
    """Why no wheels were found, and what to do. ``name``: of the package, '' for all; ``outside``: of the network."""

    name: str
    why: str
    fix: str
    outside: bool = False


def refusal(said: str, asked: Sequence[Requirement], facts: ImageFacts) -> Refusal:
    """The refusal in the output of a resolver."""
    text = re.sub(r"\s+", " ", said)
    if re.search(_LOGIN, text):
        fix = "put the login into ~/.netrc, or into the address in pip's settings (`pip config edit`)"
        return Refusal("", f"the index refuses the login, or there is none: {_short(text)}", fix, outside=True)
    if re.search(FULL, text):
        return Refusal("", "the disk of uv's and pip's caches is full", FULL_FIX, outside=True)
    if re.search(ENDLESS, text):
        return Refusal("", ENDLESS_WHY, ENDLESS_FIX, outside=True)
    if "DO NOT MATCH THE HASHES" in text:
        found = _first((rf" {_NAME}==[^ ]+ from ",), text)
        why = f"the index serves other bytes of {found or 'a wheel'} than its own page says"
        return Refusal(found, why, "ask whoever runs it")
    if found := _first(_UNKNOWN, text):
        return _unknown(found, text, facts)
    if found := _first(_NO_WHEEL, text):
        meant = f"did you mean `{_MODULES[found]}`?" if found in _MODULES else NO_WHEEL
        return Refusal(found, f"{found} has no wheel for {of_image(facts)}, and none is built here", meant)
    if re.search(_NETWORK, text):
        return _silent(text)
    if found := _first((rf"No matching distribution found for {_NAME}",), text):
        return _no_match(found, text, facts)
    if not re.search(r"\bdepends? on\b", text) and (found := _first(_NO_VERSION, text)):
        why = f"the index has no version of {found} that is asked for and suits {of_image(facts)}"
        return Refusal(found, f"{why}: {_short(text)}", "name another version")
    if re.search(r"No solution found|conflicting dependencies|ResolutionImpossible", text):
        return _conflict(text, asked, facts)
    return Refusal(
        "", f"no wheels could be chosen: {_short(text)}", "see `pip config list` and the UV_ variables", True
    )


def _silent(text: str) -> Refusal:
    """An index that does not answer, or a proxy that does not lead to it. pip names the cause in a warning alone."""
    broken = re.search(r"after connection broken by '(.*?)': (/\S*)", text)
    why = f"{re.sub(r'<[^<>]*>: ', '', broken[1])[:400]} ({broken[2][:200]})" if broken else _short(text)
    fix = "see `pip config list` for its address"
    if re.search(r"ProxyError|[Pp]roxy authorization required|tunnel error", text):
        fix = "see HTTPS_PROXY, NO_PROXY, and `proxy` in `pip config list`; a proxy's login is http://USER:PASSWORD@…"
    return Refusal("", f"the index does not answer: {why}", fix, True)


def of_image(facts: ImageFacts) -> str:
    """``the image's Python 3.11 (manylinux_2_36_x86_64)``."""
    return f"the image's Python {facts.python.rpartition('.')[0]} ({facts.platform})"


def _first(forms: Sequence[str], text: str) -> str:
    found = next((match for form in forms if (match := re.search(form, text))), None)
    return normalized(found[1]) if found else ""


def _unknown(name: str, text: str, facts: ImageFacts) -> Refusal:
    module = _MODULES.get(name, "")
    near = f"did you mean `{module}`? " if module else nearest(name, sorted({*KNOWN, *facts.packages} - {name}))
    return Refusal(
        name,
        f"no index has a package {name!r}",
        near.strip() or "correct its name, or see `pip config list`; an index may want a login",
    )


def _no_match(name: str, text: str, facts: ImageFacts) -> Refusal:
    versions = re.search(r"\(from versions: ([^)]*)\)", text)
    if versions and versions[1].strip() not in ("", "none"):
        have = ", ".join(versions[1].split(", ")[-5:])
        return Refusal(
            name, f"no such version of {name} for {of_image(facts)}; there are …, {have}", "name one of these"
        )
    near = _unknown(name, text, facts).fix
    why = f"no index has a package {name!r}, or none of its wheels is for {of_image(facts)}"
    return Refusal(name, why, near if near.startswith("did you") else NO_WHEEL)


def _conflict(text: str, asked: Sequence[Requirement], facts: ImageFacts) -> Refusal:
    """Two requirements, or one and the image, that nothing satisfies."""
    why = _short(text)
    named = [each for each in asked if re.search(rf"\b{re.escape(each.name)}\b", why)]
    in_image = [name for name in facts.packages if re.search(rf"(?<![\w.-]){re.escape(name)}==", why)]
    held = ", ".join(f"{name} {facts.packages[name]}" for name in in_image[:4])
    fix = "ask for other versions"
    if held:
        fix = (
            f"the image holds {held}: ask for a version that goes with it, use another image, or name the other "
            f"version of {in_image[0]} in `packages` yourself"
        )
    return Refusal(named[0].name if named else "", f"cannot be had together: {why}", fix)


def _short(text: str) -> str:
    """The cause in one line: what follows `cause:` or `ERROR:`, without its hints."""
    if caused := re.search(r"The conflict is caused by: (.*?) (?:Additionally|To fix this)", text):  # pip
        return caused[1][:600]
    text = text.partition(" hint: ")[0]
    cause = re.search(r"(?:cause|ERROR|error): (?!No solution)(.*)", text)
    bare = (cause[1] if cause else text).replace(" we can conclude that your requirements are unsatisfiable.", "")
    return re.sub(r"ERROR: ResolutionImpossible.*", "", bare).strip(" ,.")[:600]
