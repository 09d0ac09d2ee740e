from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parent.parent
SHIPPED = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "tfslurm", "job_templates", "cluster_configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(source / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_carries_every_module_template_and_example_cluster(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "tfslurm").rglob("*.py")}
    folders = {"job_templates": "tfslurm/job_templates", "cluster_configs": "tfslurm/cluster_configs"}
    files = {
        f"{inside}/{path.relative_to(CHECKOUT / folder)}"
        for folder, inside in folders.items()
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert modules | files | {"tfslurm/py.typed", "tfslurm/workspace/known_images.json"} <= names
    assert any(name.endswith("LICENSE") for name in names)


def requirements() -> dict[str, SpecifierSet]:
    """What setup.cfg asks for, development included, by canonical name."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    lines = f"{setup['options']['install_requires']}\n{setup['options.extras_require']['dev']}".splitlines()
    found = [Requirement(line) for line in lines if line.strip()]
    return {canonicalize_name(each.name): each.specifier for each in found}


def test_what_ci_installs_is_locked_by_hashes_and_is_all_that_setup_cfg_asks_for() -> None:
    text = (CHECKOUT / "requirements-ci.txt").read_text("utf-8")
    blocks = [block for block in re.split(r"\n(?=[a-zA-Z])", text.replace("\\\n", " ")) if "==" in block]
    locked: dict[str, list[str]] = {}
    for block in blocks:
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", block)
        assert found, block
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block)) >= 1, found[1]
        locked.setdefault(canonicalize_name(found[1]), []).append(found[2])
    for name, specifier in requirements().items():
        assert name in locked, f"{name} is not locked; run make lock"
        assert all(version in specifier for version in locked[name]), f"{name}: {locked[name]}; run make lock"
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|^-e|/opt/", text, re.MULTILINE)


KNOWN_VULNERABLE = {  # the last version with a known vulnerability; https://osv.dev
    "click": "8.3.2",  # CVE-2026-7246
    "jinja2": "3.1.5",  # CVE-2025-27516
    "paramiko": "4.0.0",  # CVE-2026-44405
    "requests": "2.32.5",  # CVE-2026-25645
    "urllib3": "2.6.3",  # CVE-2026-44431
    "cryptography": "48.0.0",  # GHSA-537c-gmf6-5ccf
    "certifi": "2024.6.2",  # CVE-2024-39689
    "idna": "3.14",  # CVE-2026-45409
    "pygments": "2.19.2",  # CVE-2026-4539
    "pynacl": "1.6.1",  # CVE-2025-69277
    "pydantic": "2.3.0",  # CVE-2024-3772
    "pyyaml": "5.3.1",  # CVE-2020-14343
    "pytest": "9.0.2",  # CVE-2025-71176
    "setuptools": "82.0.1",  # PYSEC-2026-3447
}


@pytest.mark.parametrize("name", KNOWN_VULNERABLE)
def test_no_version_with_a_known_vulnerability_is_good_enough(name: str) -> None:
    assert KNOWN_VULNERABLE[name] not in requirements()[name]
    if name == "setuptools":
        assert f"setuptools{requirements()[name]}" in (CHECKOUT / "pyproject.toml").read_text("utf-8")


@pytest.mark.slow
def test_an_installed_wheel_finds_its_templates_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=True, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import tfslurm\n"
        "from tfslurm.workspace.packaged_files import packaged, node_side\n"
        "from tfslurm.cli.files import starter\n"
        "found = packaged('job.sbatch.j2') and all(node_side('docker', points=True).values())\n"
        "print(tfslurm.__file__, bool(found), bool(starter('exp.yaml')))"
    )
    parent = next(path for path in sys.path if path.endswith("site-packages"))
    reach = f"import sys; sys.path.append({parent!r})\n"  # the libraries, not the checkout
    done = subprocess.run(
        [python, "-I", "-c", reach + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [f"{site}/tfslurm/__init__.py", "True", "True"], done.stderr
