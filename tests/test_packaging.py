from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

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
        "--wheel-dir",
        str(source / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (built,) = (source / "dist").glob("*.whl")
    return built


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
    assert modules | files | {"tfslurm/py.typed"} <= names
    assert any(name.endswith("LICENSE") for name in names)


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
        "from tfslurm.submit.prepare import packaged, NODE_SIDE\n"
        "from tfslurm.cli.files import starter\n"
        "found = all(packaged(name) for name in ('job.sbatch.j2', *NODE_SIDE))\n"
        "print(tfslurm.__file__, found, bool(starter('exp.yaml')))"
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
