"""entry.sh and the part of node.sh that reads its report, together: what the experiment can make node.sh believe.

The shell stands here where a container's would: the three paths that are mounted there lead into the test's own folder.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.node_side import sourced

INSIDE = Path(__file__).parent.parent / "job_templates" / "inside"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
SEES = f"#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: {UUID})'\n"
# Root would see and end other processes than these, and read what nobody may: as in a container, it has neither here.
ALONE = ["unshare", "--pid", "--fork", "--kill-child", "setpriv", "--bounding-set=-all", "--inh-caps=-all"]
ALONE = ALONE if os.geteuid() == 0 else []
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]

SOURCE = sourced()
NODE = """\
set -euo pipefail
{source}
facts={facts} where=alpha1 engine=docker job=145 rank=0 client='' covered={covered} tensorflow_ask={ask} slow_facts=''
report::make
env --ignore-environment PATH={image} {start} {entry} 1 0027 "" {arguments} \\
    >{folder}/stdout 2>{folder}/stderr </dev/null {{report}}>&- &
client=$!
(
    node::_deaf
    facts::_report
    facts::_report
) &
slow_facts=$!
exec {{report}}>&-
state_code=0
wait $client || state_code=$?
wait $slow_facts
EX_CODE=$state_code; state_code=78
report::wait
echo "code $EX_CODE"
echo "report $report_end"
echo "gpus $gpu_check"
echo "no $report_no"
"""


@dataclass(frozen=True)
class Seen:
    """How the first program of a container ended, and what node.sh made of its report."""

    folder: Path
    said: dict[str, str]

    def fact(self, name: str) -> str | None:
        path = self.folder / "facts" / "container" / name
        return path.read_text() if path.exists() else None

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()


def entered(
    tmp_path: Path,
    *program: str,
    gpus: str = UUID,
    loader: tuple[str, ...] = (),
    other: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
    tools: dict[str, str] | None = None,
    ask: str = "",
    covered: str = "",
    packages: str = "",
    shell: str = "dash",
) -> Seen:
    """The program's run under entry.sh; ``tools`` are programs of the image, ``ask`` mounts the check of TensorFlow."""
    for name in ("facts/container", "image", "notes", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    for name, text in {"nvidia-smi": SEES, **(tools or {})}.items():
        if text:
            (tmp_path / "image" / name).write_text(text)
            (tmp_path / "image" / name).chmod(0o755)
    if ask:
        shutil.copy(INSIDE / "gpu_check.py", tmp_path / "gpu-check.py")
    text = (INSIDE / "entry.sh").read_text()
    # The lifeline's watcher ends every process that it may: in a container those of the job, here everybody's.
    for signal in ("TERM", "KILL"):
        assert text.count(f"    kill -{signal} -1\n") == 1
        text = text.replace(f"    kill -{signal} -1\n", "    :\n")
    for signal in ("HUP", "KILL"):  # of a command's own group
        text = text.replace(f'    kill -{signal} "-$$"\n', "    :\n")
    assert "kill -" not in text, "never run on a machine that is no container"
    places = {"-report": "facts/report.pipe", "-secrets": "secrets", "-gpu-check.py": "gpu-check.py", "": "notes"}
    for place, ours in places.items():
        text = text.replace(f"/run/tfslurm{place}", str(tmp_path / ours))
    # The tools of this machine stand in for the image's, and /usr/bin for nothing of it.
    text = text.replace("PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH", f"PATH={tmp_path / 'image'}:$PATH")
    (tmp_path / "entry.sh").write_text(text)
    words = [gpus, packages, *secrets, "--", *loader, "--", *other, "--", *program]
    start = {"dash": "dash", "bash": "bash --posix", "busybox": "busybox sh"}[shell]
    script = NODE.format(
        source=SOURCE, facts=tmp_path / "facts", image=f"{tmp_path / 'image'}:/usr/bin:/bin",
        start=start, entry=tmp_path / "entry.sh", folder=tmp_path, arguments=shlex.join(words), ask=ask,
        covered=shlex.quote(covered),
    )  # fmt: skip
    done = subprocess.run([*ALONE, "bash", "-c", script], capture_output=True, text=True, timeout=60)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    return Seen(tmp_path, said)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_report_is_whole_before_the_program_starts_and_nothing_after_it_counts(shell: str, tmp_path: Path) -> None:
    forge = f"""
for text in 'gpus ok' 'nvidia-smi GPU 7: H200 (UUID: GPU-forged)' 'tensorflow ok: forged' 'no image: forged' end; do
    timeout 0.1 sh -c 'echo "$1" >{tmp_path}/facts/report.pipe' sh "$text" 2>/dev/null & # nobody reads it: it waits
done
wait; exit 78"""
    seen = entered(tmp_path, "sh", "-c", forge, gpus="", tools={"nvidia-smi": "#!/bin/sh\n"}, shell=shell)
    assert seen.said == {"code": "78", "report": "whole", "gpus": "ok", "no": ""}
    assert seen.fact("tensorflow-gpu.txt") is None and seen.fact("nvidia-smi-L.txt") is None


@pytest.mark.parametrize("shell", SHELLS)
def test_variables_reach_the_program_byte_for_byte_and_steer_no_check(shell: str, tmp_path: Path) -> None:
    """Whoever loads the library that LD_PRELOAD names complains: it is not there. The PATH has its own nvidia-smi."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "nvidia-smi").write_text(SEES.replace("GPU-1", "GPU-9"))
    (tmp_path / "mine" / "nvidia-smi").chmod(0o755)
    loader = ("LD_PRELOAD=/nowhere.so", f"PATH={tmp_path}/mine:/usr/bin:/bin")
    other = (
        "IFS=G", "ENV=/nowhere", "BASH_ENV=/nowhere", "tfslurm_expected=GPU-0", "tfslurm_secrets=x", "tfslurm_line=",
        "tfslurm_path=/", "SPACES= a  b\n\n", "QUOTES='\"$(exit 3)`exit 3`\\", "EMPTY=", "OPTIND=7", "PS4=$(exit 3)",
        "tfslurm_packages=/nowhere", "tfslurm_value=x",
    )  # fmt: skip
    seen = entered(tmp_path, "env", "--null", loader=loader, other=other, shell=shell)
    assert seen.said["gpus"] == "ok", seen.said
    assert UUID in (seen.fact("nvidia-smi-L.txt") or "")
    assert set(seen.stdout.split("\0")) >= {*loader, *other}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("path", "code"), [("/nowhere", "78"), ("/usr/bin:/bin", "0")])
def test_a_service_of_an_image_without_python_says_so(shell: str, path: str, code: str, tmp_path: Path) -> None:
    service = [
        "/usr/bin/env",
        "PATH=/usr/bin:/bin",
        "sh",
        "-c",
        ":",
        "python3",
        f"{tmp_path}/notes-service.py",
    ]  # its place here
    seen = entered(tmp_path, *service, other=("IFS=p", f"PATH={path}"), shell=shell)
    assert seen.said["code"] == code
    assert ("the image has no python3" in (tmp_path / "stderr").read_text()) == (code == "78")


def test_a_secret_that_cannot_be_read_and_a_variable_that_the_shell_keeps_are_refused_by_name(tmp_path: Path) -> None:
    seen = entered(tmp_path / "a", "true", secrets=("WANDB",))
    assert (seen.said["code"], seen.said["no"]) == ("78", "secrets: WANDB cannot be read in the container")
    seen = entered(tmp_path / "b", "true", other=("UID=7",), shell="bash")
    assert seen.said["no"] == "env: UID cannot be set, because the image's shell keeps it for itself"
    assert seen.fact("program-started-at.txt") is None


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("sleep", [":", "exit 2"])
def test_the_watcher_ends_everything_also_where_no_process_can_be_started(shell: str, sleep: str) -> None:
    """As a program has it that uses up all pids and ignores SIGTERM: the shell cannot start sleep, and ends."""
    text = (INSIDE / "entry.sh").read_text()
    watch = "tfslurm_watch() {" + text.partition("tfslurm_watch() {")[2].partition("\n(tfslurm_watch ")[0]
    for signal in ("TERM", "KILL"):
        assert watch.count(f"    kill -{signal} -1\n") == 1
        watch = watch.replace(f"    kill -{signal} -1\n", f"    echo {signal}\n")
    assert "kill -" not in watch, "never run on a machine that is no container"
    start = {"dash": "dash", "bash": "bash --posix", "busybox": "busybox sh"}[shell].split()
    script = f"tfslurm_grace=0; exec 3</dev/null\nsleep() {{ {sleep}; }}\n{watch}\n(tfslurm_watch &)\n"
    done = subprocess.run([*start, "-c", script], capture_output=True, text=True, timeout=20)
    assert done.stdout.split() == ["TERM", "KILL"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_beside_the_program_has_its_variables_and_ends_with_its_lifeline(shell: str, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "TOKEN").write_text("s3cret\n\n")
    os.mkfifo(tmp_path / "line")
    text = (INSIDE / "entry.sh").read_text()
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("kill -")] == [
        *('kill -HUP "-$$"', 'kill -KILL "-$$"'),  # of the group that this test gives it
        *("kill -TERM -1", "kill -KILL -1"),
    ]
    text = text.replace("    kill -TERM -1\n", "    :\n").replace("    kill -KILL -1\n", "    :\n")
    assert text.count("    sleep 1\n") == 1  # what the group has between HUP and KILL
    text = text.replace("    sleep 1\n", "    :\n")
    text = text.replace("/run/tfslurm-secrets", str(tmp_path / "secrets")).replace("/run/tfslurm/", f"{tmp_path}/")
    (tmp_path / "entry.sh").write_text(text)
    start = {"dash": "dash", "bash": "bash --posix", "busybox": "busybox sh"}[shell].split()
    program = 'trap \'\' HUP; umask; printf \'%s|\' "$A" "$TOKEN" "$1"; exec sleep 1000'
    words = ["0027", "line", "", "TOKEN", "--", "A=b c\n", "--", "B=--", "--", "sh", "-c", program, "sh", "a b"]
    lifeline = os.open(tmp_path / "line", os.O_RDWR)
    command = [*start, str(tmp_path / "entry.sh"), "exec", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        wanted = b"0027\nb c\n|s3cret\n\n|a b|"
        assert process.stdout.read(len(wanted)) == wanted
        os.close(lifeline)
        assert process.wait(30) == -SIGKILL
        assert process.stdout.read() == b""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("left", "code"), [("3\n", 3), ("", 129)], ids=["a code", "nothing"])
def test_a_held_container_ends_with_the_code_that_is_left_in_its_pipe(
    shell: str, left: str, code: int, tmp_path: Path
) -> None:
    text = (INSIDE / "entry.sh").read_text()
    hold = "tfslurm_hold() {" + text.partition("tfslurm_hold() {")[2].partition("\n}\n")[0] + "\n}\n"
    hold = hold.replace("sleep 600", "false").replace("/run/tfslurm", str(tmp_path))
    start = {"dash": "dash", "bash": "bash --posix", "busybox": "busybox sh"}[shell].split()
    with subprocess.Popen([*start, "-c", f"{hold}\ntfslurm_hold\n"]) as process:
        while not (tmp_path / "hold").is_fifo():
            assert process.poll() is None
        (tmp_path / "hold").write_text(left)  # which waits for who reads
        assert process.wait(30) == code


def test_other_gpus_than_were_granted_are_refused(tmp_path: Path) -> None:
    seen = entered(tmp_path, "touch", str(tmp_path / "ran"), gpus="GPU-other")
    assert seen.said["code"] == "78" and not (tmp_path / "ran").exists()
    assert seen.said["gpus"] == f"failed: GPU-other is granted and not visible, {UUID} is visible and not granted"


PYTHON = """#!/bin/sh
[ -n "$PYTHONPATH" ] && . "$PYTHONPATH/evil"
echo 'ok: TensorFlow 2.18.0 lists 1 of 1 granted GPU'
"""
EVIL = {
    "claims other GPUs": ("echo 'nvidia-smi GPU 1: H200 (UUID: GPU-forged)' >$pipe", False),
    "claims another verdict": ("echo 'gpus failed: the node is broken' >$pipe", False),
    "claims a refusal": ("echo 'no image: the node is broken' >$pipe", False),
    "claims the end": ("printf 'tensorflow ok: forged\\nend\\n' >$pipe", True),
    "cuts a line": ("printf 'tensor' >$pipe", False),
    "writes control characters": ("printf 'tensorflow unknown: \\033[2J\\033]0;x\\007\\nend\\n' >$pipe", True),
    "refuses in its own words": ("printf 'tensorflow failed: the node is broken\\nend\\n' >$pipe", True),
    "takes what was said": ("cat $pipe >$folder/stolen", True),
    "writes without end": ("yes x | tr -d '\\n' | head -c 9999999 >$pipe", False),
    "writes lines without end": ("yes tensorflow ok | head -c 9999999 >$pipe", False),
}


@pytest.mark.parametrize("case", EVIL)
def test_the_experiments_own_modules_cannot_change_what_was_seen_before_them(case: str, tmp_path: Path) -> None:
    """They run in TensorFlow's check. What they say of TensorFlow is theirs to say; the GPUs are as they were seen."""
    evil, is_whole = EVIL[case]
    run = tmp_path / "run"
    (tmp_path / "evil").write_text(f"pipe={run}/facts/report.pipe folder={tmp_path}\n( {evil} ) 2>/dev/null\n")
    seen = entered(run, "true", loader=(f"PYTHONPATH={tmp_path}",), tools={"python3": PYTHON}, ask="yes")
    assert (seen.said["report"] == "whole") is is_whole, seen.said
    listed = seen.fact("nvidia-smi-L.txt")
    assert listed == (f"GPU 0: NVIDIA A100 (UUID: {UUID})\n" if is_whole else None)
    assert seen.said["gpus"] == ("ok" if is_whole else "") and seen.said["no"] == ""
    said = seen.fact("tensorflow-gpu.txt") or ""
    assert said.replace("\n", "").isprintable() and not said.startswith("failed")


def test_without_a_variable_that_says_so_the_check_of_tensorflow_runs_outside_of_the_code(tmp_path: Path) -> None:
    tools = {"python3": '#!/bin/sh\necho "unknown: in $PWD with ${SEED-no} seed"\n'}
    seen = entered(tmp_path / "a", "true", other=("SEED=7",), tools=tools, ask="yes")
    assert seen.fact("tensorflow-gpu.txt") == "unknown: in / with no seed\n"
    seen = entered(tmp_path / "b", "true", loader=("TF_X=1",), tools=tools, ask="yes")
    assert seen.fact("tensorflow-gpu.txt") == f"unknown: in {Path.cwd()} with no seed\n"


def test_where_the_experiment_covers_the_checks_own_programs_their_word_is_no_proof(tmp_path: Path) -> None:
    seen = entered(tmp_path, "true", covered="/usr/bin")
    assert seen.fact("cgroup.txt") is None
    assert seen.said["gpus"] == "unknown: /usr/bin is mounted over what the check consists of"
    assert seen.fact("nvidia-smi-L.txt") is None


@pytest.mark.parametrize(
    ("target", "covers"),
    [
        ("/usr/bin", True), ("/usr", True), ("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", True), ("/bin/sh", True),
        ("/etc", True), ("/etc/ld.so.preload", True), ("/data", False), ("/opt/usr", False), ("/userdata", False),
        ("/etc/ssl", False), ("", False),
    ],
)  # fmt: skip
def test_folders_that_the_checks_run_from_are_known(target: str, covers: bool, tmp_path: Path) -> None:
    script = f"{SOURCE}; covered=''; report::covered {shlex.quote(target)}; echo \"$covered\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (target if covers else "")


@pytest.mark.parametrize(
    ("variable", "target", "covers"),
    [
        ("PATH=/usr/bin:/opt/conda/bin", "/opt/conda/bin", True), ("PATH=/opt/conda/bin:/bin", "/opt", True),
        ("LD_LIBRARY_PATH=/opt/lib", "/opt/lib/x.so", True), ("LD_LIBRARY_PATH=/usr/lib:", "/workspace", True),
        ("PATH=bin", "/workspace", True), ("PATH=/usr/bin:/bin", "/workspace", False), ("TF_X=/opt", "/opt", False),
    ],
)  # fmt: skip
def test_folders_in_which_the_image_has_programs_looked_for_are_known(
    variable: str, target: str, covers: bool, tmp_path: Path
) -> None:
    image = f"image_has=(linux/amd64 '[]' '\"{variable}\"')"
    script = f"{SOURCE}; {image}; covered=''; report::covered {target}; echo \"$covered\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (target if covers else "")


LAYER = "/opt/tfslurm/packages"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("loader", "python", "path"),
    [
        ((), LAYER, ":/usr/bin:/bin:"),
        (("PYTHONPATH=/workspace/own", "PATH=/usr/bin"), f"/workspace/own:{LAYER}", "/usr/bin:"),
        (("PYTHONPATH=",), LAYER, ":/usr/bin:/bin:"),
        ((f"PYTHONPATH={LAYER}:/x",), f"{LAYER}:/x", ":/usr/bin:/bin:"),
    ],
)
def test_packages_are_found_behind_the_experiments_own_modules_and_before_the_images(
    loader: tuple[str, ...], python: str, path: str, shell: str, tmp_path: Path
) -> None:
    seen = entered(tmp_path, "env", "--null", loader=loader, packages=LAYER, shell=shell)
    found = dict(entry.partition("=")[::2] for entry in (tmp_path / "stdout").read_text().split("\0") if entry)
    assert seen.said["no"] == "" and found["PYTHONPATH"] == python
    assert found["PATH"].endswith(f"{path}{LAYER}/bin")


def test_without_packages_nothing_is_added(tmp_path: Path) -> None:
    entered(tmp_path, "env", "--null")
    found = (tmp_path / "stdout").read_text()
    assert "PYTHONPATH" not in found and "tfslurm" not in found.replace(str(tmp_path), "")


def test_tensorflow_is_asked_with_the_packages(tmp_path: Path) -> None:
    tools = {"python3": '#!/bin/sh\necho "unknown: from $PYTHONPATH"\n'}
    seen = entered(tmp_path, "true", packages=LAYER, tools=tools, ask="yes")
    assert seen.fact("tensorflow-gpu.txt") == f"unknown: from {LAYER}\n"
