"""tfslurm from Python, on the bed: the program of docs/python.md, and what it does where a job fails."""

from __future__ import annotations

import re

from .desk import USER, Desk
from .install import CHECKOUT
from .users import run_as

SAYS = "echo {{ lr }}; echo '{\"accuracy\": {{ lr }}}' >/out/metrics.json"
FAILS = """
import tfslurm
from pathlib import Path

job = tfslurm.submit(Path("fails.yaml"), cluster="alpha", settings={"resources.time": "00:02:00"})
try:
    job.wait(check=True)
except tfslurm.JobFailed as error:
    print(error.job == job.key, error.state, error.job_exit_code, str(error).splitlines()[-1])
print(tfslurm.job(job.key).record.job.exit_code, job.key in [each.key for each in tfslurm.jobs()])
print(job._repr_html_().count("<tr>"), "FAILED" in repr(job))
stopped = tfslurm.submit("sleeps.yaml", cluster="alpha")
print(stopped.cancel().wait().state)
try:
    tfslurm.submit("fails.yaml", cluster="nowhere")
except tfslurm.InputError as error:
    print("nowhere" in str(error))
"""


def python(desk: Desk, program: str) -> str:
    """What a Python program of the user's printed."""
    file = desk.write("program.py", program)
    argv = [str(desk.program.parent / "python"), str(file)]
    done = run_as(USER, argv, cwd=desk.folder, env=desk.environment("alpha"), timeout_s=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_docs_runs(desk: Desk) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs" / "python.md").read_text(), re.DOTALL)
    says = 'command: [sh, -c, \'echo "$1"; echo "{\\"accuracy\\": $1}" >/out/metrics.json\', sh, "{{ lr }}"]'
    file = desk.experiment("exp", "true")
    file.write_text(re.sub('(?m)^command: .*$|"command": [^\n]*$', lambda found: says, file.read_text()))
    lines = python(desk, program).splitlines()
    assert re.fullmatch(r"alpha:\d+ [A-Z]+", lines[0])
    assert lines[1] == "0.1"
    assert re.fullmatch("sha256:[0-9a-f]{64}", lines[3 if not lines[2] else 2])
    assert lines[-3].endswith("out")
    assert sorted(lines[-2:]) == ["0.01 COMPLETED 0.01", "0.1 COMPLETED 0.1"]
    assert (desk.folder / "out" / "metrics.json").exists()


def test_a_job_that_fails_is_an_error_with_its_last_words(desk: Desk) -> None:
    desk.experiment("fails", ["sh", "-c", "echo too bad >&2; exit 7"])
    desk.experiment("sleeps", ["sleep", "300"])
    lines = python(desk, FAILS).splitlines()
    assert lines == ["True FAILED 7 too bad", "7 True", "2 True", "CANCELLED", "True"]
