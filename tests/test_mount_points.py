"""node.sh by itself, in bash: where a mount is made, what comes along with it, and what becomes of a wrong one."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.node_side import sourced
from tests.test_node_functions import NODE_SH, TASK_SH, bash

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
# mount::admit looks as often as always, and pauses no time between two looks.
UNPAUSED = 'read() { [[ $* == *"-t 0.02"* ]] || builtin read "$@"; }'


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A job's folders with links that an earlier attempt left, data that is mounted, and folders that are neither."""
    for folder in ("job/out/set", "home/0", "data/set/deep", "more", "victim"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/file").write_text("x")
    for folder in ("job/out", "home/0", "data"):
        (tmp_path / folder / "link").symlink_to(tmp_path / "victim")
        (tmp_path / folder / "gone").symlink_to(tmp_path / "victim" / "new")
        (tmp_path / folder / "up").symlink_to("..")
    return tmp_path


def below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if "facts" not in path.parts)


def pointed(node: Path, target: str, source: str = "more", *more: str) -> str:
    """What mount::_point says of a target, with data mounted at /m beside it."""
    script = f"""
user=alice home_dir={node}/home/0 job_dir={node}/job outputs=/out
mounts=({node}/data /m rw {" ".join(more)}) mount_files=()
exec {{file}}<{node}/data/.; mount_files+=("$file")
mount::_point {node}/{source} "{target}"
echo went on
"""
    return bash(node, script).strip()


@pytest.mark.parametrize("base", ["/out", "/home/alice", "/m"])
@pytest.mark.parametrize("way", ["link/x", "link/x/y", "gone", "gone/x", "up/victim/x", "link"])
def test_nothing_is_made_behind_a_link(way: str, base: str, node: Path) -> None:
    before = below(node)
    said = pointed(node, f"{base}/{way}", "data/file" if way == "gone" else "more")
    assert f"mounts: {base}/{way} lies in {base}, where {way} is missing, of another kind, or behind a link" in said
    assert below(node) == before


@pytest.mark.parametrize(("base", "folder"), [("/out", "job/out"), ("/home/alice", "home/0")])
def test_in_the_jobs_own_folders_the_user_makes_what_is_missing(base: str, folder: str, node: Path) -> None:
    assert pointed(node, f"{base}/a b/c") == "went on"
    assert (node / folder / "a b/c").is_dir()
    assert pointed(node, f"{base}/a b/-f", "data/file") == "went on"
    assert (node / folder / "a b/-f").is_file()
    assert pointed(node, f"{base}/a b/-f", "data/file") == "went on", "once more, as another attempt does"


@pytest.mark.parametrize(
    ("target", "source", "fits"),
    [
        ("/m/set", "more", True), ("/m/set/deep", "more", True), ("/m/file", "data/file", True),
        ("/m2/x", "more", True),
        ("/m/new", "more", False), ("/m/set/new", "more", False), ("/m/set/new", "data/file", False),
        ("/m/file", "more", False), ("/m/set", "data/file", False), ("/m/file/x", "more", False),
    ],
)  # fmt: skip
def test_in_what_is_mounted_nothing_is_made(target: str, source: str, fits: bool, node: Path) -> None:
    before = below(node)
    assert (pointed(node, target, source) == "went on") is fits
    assert below(node) == before


def in_namespace(node: Path, script: str) -> str:
    """What a script prints that has node.sh's functions, where file systems are mounted below the data."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody have a mount namespace")
    whole = f"""
set -euo pipefail
{sourced()}
own_dir=/nowhere
mkdir -p "{node}/data/a 7" {node}/m
mount -t tmpfs tmpfs "{node}/data/a 7"; mkdir "{node}/data/a 7/in"; mount -t tmpfs tmpfs "{node}/data/a 7/in"
mount -t tmpfs tmpfs {node}/data/set
{script}
"""
    done = subprocess.run([*NAMESPACE, "bash", "-c", whole], capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip()


def test_what_is_mounted_below_a_read_only_source_is_mounted_read_only_too(node: Path) -> None:
    script = f"mounts=({node}/data /m ro {node}/more /m/set rw) mount_sources=({node}/data {node}/more) create=()\n"
    said = in_namespace(node, script + "mount::_below 0; printf '%s\\n' \"${create[@]}\"")
    assert said.splitlines() == [
        line
        for place in ("a 7", "a 7/in")
        for line in ("--mount", f"type=bind,source={node}/data/{place},target=/m/{place},readonly")
    ]


@pytest.mark.parametrize(
    ("remount", "mode", "wrong"),
    [
        ("", "ro", True), ("", "run", True), ("", "rw", False), ("'a 7' set", "ro", True),
        ("'a 7/in' 'a 7'", "ro", True),
        ("'a 7' 'a 7/in' set", "ro", False),
    ],
)  # fmt: skip
def test_a_read_only_mount_that_can_be_written_anywhere_is_noticed(
    remount: str, mode: str, wrong: bool, node: Path
) -> None:
    script = f"""
mount --rbind {node}/data {node}/m
{"mount -o remount,bind,ro " + str(node / "m") if mode != "rw" else ":"}
for place in {remount}; do mount -o remount,bind,ro "{node}/m/$place"; done
mounts=({node}/data {node}/m {mode}) admit_targets=({node}/m) admit_files=() mount_wrong='' mount_fix=''
exec {{file}}<{node}/data/.; admit_files+=("$file")
mount::_compare $$
echo "said $mount_wrong"
"""
    said = in_namespace(node, script)
    assert ("can be written, which lies in the read-only" in said) is wrong
    assert wrong or said == "said"


def test_a_container_with_another_mount_is_killed_whatever_its_shell_would_do(node: Path) -> None:
    (node / "program").mkdir()
    (node / "program/waiting").touch()
    script = f"""
program_dir={node}/program container_id=c0ffee mounts=() stopped='' client=$$
admit_targets=(/nowhere) admit_files=(0)
engine::process() {{ echo $$; }}
engine::signal() {{ echo "$*" >{node}/told; }}
exec {{lifeline}}>{node}/lifeline; LIFELINE=(0 "$lifeline")
mount::admit
echo "$mount_wrong"
"""
    assert "/nowhere is no mount in the container" in bash(node, script)
    assert (node / "told").read_text() == "KILL c0ffee\n"
    assert (node / "lifeline").read_text() == ""


def test_a_client_that_is_gone_before_it_is_let_in_ends_no_task(node: Path) -> None:
    (node / "program").mkdir()
    (node / "program/waiting").touch()
    script = f"""
program_dir={node}/program container_id=c0ffee mounts=() stopped='' admit_targets=(/a) admit_files=(0)
engine::process() {{ echo $$; }}
mount::_compare() {{ :; }}
coproc LIFELINE {{ :; }}
client=$!
until ! kill -0 "$client" 2>/dev/null; do read -r -t 0.01 <> <(:) || :; done
[[ ! -v LIFELINE ]]
mount::admit
echo "went on$mount_wrong"
"""
    assert bash(node, script) == "went on\n"


@pytest.mark.parametrize("source", ["", "/code-1", "/.."])
def test_what_is_remembered_on_a_node_is_not_mounted(source: str, node: Path) -> None:
    script = f"""
user=alice run_dir={node}/root/runs/a-0123456789ab own_dir=$run_dir packages_key=''
code_dir='' outputs=/out roots=() mounts_allow=(/tmp)
mkdir --mode=0700 --parents "/tmp/tfslurm-$EUID"; touch "/tmp/tfslurm-$EUID/code-1"
mounts=("/tmp/tfslurm-$EUID{source}" /m rw)
mount::check
"""
    said = bash(node, script, HOME=str(node / "home"))
    assert "is, holds or lies in a folder of tfslurm's own (/tmp/tfslurm-" in said


def test_a_shell_that_does_not_say_that_it_waits_is_looked_at_all_the_same(node: Path) -> None:
    (node / "program").mkdir()
    script = f"""
program_dir={node}/program container_id=c0ffee mounts=() stopped='' client=$$ asked={node}/asked
admit_targets=(/nowhere) admit_files=(0)
{UNPAUSED}
engine::process() {{ if [[ -e $asked ]]; then echo $$; else echo 0 | tee "$asked"; fi; }}
engine::signal() {{ echo "$*" >{node}/told; }}
exec {{lifeline}}>{node}/lifeline; LIFELINE=(0 "$lifeline")
mount::admit
echo "$mount_wrong"
"""
    assert "/nowhere is no mount in the container" in bash(node, script)
    assert (node / "told").read_text() == "KILL c0ffee\n"
    assert (node / "lifeline").read_text() == ""


def test_a_process_that_cannot_be_looked_at_yet_is_waited_for(node: Path) -> None:
    """The runtime's own, before it has become the image's program; here one that does not exist."""
    (node / "program").mkdir()
    script = f"""
program_dir={node}/program container_id=c0ffee mounts=() stopped='' client=$$ asked={node}/asked
admit_targets=(/nowhere) admit_files=(0)
{UNPAUSED}
engine::process() {{ if [[ -e $asked ]]; then echo $$; else echo 4194304 | tee "$asked"; fi; }}
engine::signal() {{ :; }}
exec {{lifeline}}>{node}/lifeline; LIFELINE=(0 "$lifeline")
mount::admit
echo "$mount_wrong"
"""
    assert "/nowhere is no mount in the container" in bash(node, script)


@pytest.mark.parametrize(
    ("kind", "fits"), [("file", True), ("pipe", False), ("socket", False), ("gone", False), ("set", False)]
)
def test_what_took_a_files_place_is_not_waited_for(kind: str, fits: bool, node: Path, tmp_path: Path) -> None:
    os.mkfifo(node / "data/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node / "data/socket"))
    script = f"""
source <(sed 's/^readonly [A-Z_]*PATIENCE_S=.*//' {TASK_SH})
mount::_open_file {node}/data/{kind}
file=$opened_file
echo "file ${{file:+$(readlink /proc/self/fd/$file)}} children $(jobs -p)"
"""
    whole = f"set -euo pipefail; source {NODE_SH}; OPEN_PATIENCE_S={0.1 if kind == 'pipe' else 30}; {script}"
    done = subprocess.run(["bash", "-c", whole], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == f"file {node}/data/file children" if fits else "file  children"


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        ('volume "/m/x"', "/m"), ('volume "/m/x/"', "/m"), ('volume "/q/../m//x"', "/m"), ('volume "/m/in/x"', "/m/in"),
        ('volume "/out/x"', "/out"), ('volume "/workspace/lib"', "/workspace"),
        ('volume "/home/alice/x"', "/home/alice"),
        ('volume "workspace/lib"', "/workspace"), ('volume "./out//x"', "/out"), ('volume "../m/x"', "/m"),
        ('volume "/run/tfslurm/x"', "/run/tfslurm"), (r'volume "/a \"b\"/x"', '/a "b"'),
        ('volume "/m"', ""), ('volume "/m/in"', ""), ('volume "/m2"', ""), ('volume "/"', ""), ('volume "/out/"', ""),
        ('"volume "/m/x"', ""), ('workdir "/m/x"', ""),
    ],
)  # fmt: skip
def test_an_images_volume_does_not_lie_over_what_is_mounted(place: str, refused: str, node: Path) -> None:
    script = f"""
user=alice home_dir={node}/home/0 job_dir={node}/job run_dir={node} own_dir=$run_dir packages_key=''
outputs=/out code_dir=/code layer_mib=0
admit_targets=()
mounts=(/data /m rw /more /m/in ro /data '/a "b"' ro)
image_has=(linux/amd64 '[]' '{place}')
mount::image_places
echo went on
"""
    said = bash(node, script)
    assert (f"lies in {refused}, and would take what is written there" in said) is bool(refused)
    assert ("went on" in said) is (not refused)


@pytest.mark.parametrize(
    ("line", "waits"), [('volume "/v/x"', "/home/alice"), ('volume "/out"', "/home/alice"), ('workdir "/v"', "")]
)
def test_a_container_of_an_image_with_volumes_waits_until_they_were_looked_at(
    line: str, waits: str, node: Path
) -> None:
    script = f"""
user=alice home_dir={node}/home/0 job_dir={node}/job run_dir={node} own_dir=$run_dir packages_key=''
outputs=/out code_dir='' layer_mib=0 mounts=()
image_has=(linux/amd64 '[]' '{line}') admit_targets=() admit_files=()
mount::image_places
echo "waits for ${{admit_targets[*]-}}"
[[ -z ${{admit_files-}} || /proc/$$/fd/$admit_files -ef {node}/home/0 ]] && echo of the job
"""
    assert bash(node, script) == f"waits for {waits}\nof the job\n"


@pytest.mark.parametrize(
    ("place", "wrong"), [("out", True), ("out/set", True), ("home/0", True), ("m/in", True), ("more", False)]
)
def test_an_images_volume_behind_a_link_is_noticed(place: str, wrong: bool, node: Path) -> None:
    """The image says /v/x; where its link leads is known once the engine has mounted it."""
    volume = node / "volumes" / ("0a" * 32) / "_data"
    volume.mkdir(parents=True)
    (node / "m/in").mkdir(parents=True, exist_ok=True)
    (node / "out/set").mkdir(parents=True)
    script = f"""
user={node.name}-nobody code_dir='' outputs={node}/out mount_wrong='' mount_fix=''
mounts=({node}/data {node}/m rw {node}/data {node}/home/0 rw) admit_targets=() admit_files=()
mount --bind {volume} {node}/{place}
mount::_compare $$
echo "said $mount_wrong"
"""
    said = in_namespace(node, script)
    assert (f"a volume of the image's lies at {node}/{place}, by a link of its own" in said) is wrong
    assert wrong or said == "said"


@pytest.mark.parametrize(("volume", "fits"), [("/cache", False), ("/out", True)])
def test_an_images_volume_is_not_written_past_the_limit(volume: str, fits: bool, node: Path) -> None:
    script = f"""
user=alice home_dir={node}/home/0 run_dir={node} own_dir=$run_dir packages_key=''
outputs=/out code_dir='' layer_mib=10 mounts=() admit_targets=()
image_has=(linux/amd64 '[]' 'volume "{volume}"')
mount::image_places
echo went on
"""
    said = bash(node, script)
    assert ("its volume /cache can be written without limit" in said) is not fits
    assert ("went on" in said) is fits


@pytest.mark.parametrize(
    ("workdir", "made", "fits"),
    [
        ("/m/new", "data/new", False), ("/m/link/x", "victim/x", False), ("/m/set", "", True), ("/m", "", True),
        ("/app", "", True), ("", "", True), ("/x/../m/new", "data/new", False),
    ],
)  # fmt: skip
def test_an_images_working_folder_is_not_made_as_root_in_what_is_mounted(
    workdir: str, made: str, fits: bool, node: Path
) -> None:
    script = f"""
user=alice home_dir={node}/home/0 job_dir={node}/job run_dir={node} own_dir=$run_dir packages_key=''
outputs=/out code_dir='' admit_targets=()
mounts=({node}/data /m rw) mount_files=()
exec {{file}}<{node}/data/.; mount_files+=("$file")
image_has=(linux/amd64 '[]' 'workdir "{workdir}"')
mount::image_places
echo went on
"""
    said = bash(node, script)
    assert ("went on" in said) is fits
    assert not made or not (node / made).exists()


@pytest.mark.parametrize(
    ("engine", "text", "refused"),
    [
        ("podman", '{"Annotations":{"run.oci.keep_original_groups":"1"}}', "run.oci.keep_original_groups"),
        ("podman", '{"Annotations":{"a":"}","org.systemd.property.X":"1"}}', "org.systemd.property.X"),
        ("podman", '{"Annotations":{"nvidia.cdi.k8s.io/a":"nvidia.com/gpu=all"}}', "nvidia.cdi.k8s.io/a"),
        ("podman", '{"Annotations":{"io.katacontainers.config.hypervisor.path":"/x"}}', "io.katacontainers."),
        ("podman", '{"Annotations":{"io.podman.annotations.cid-file":"/home/alice/x"}}', "io.podman."),
        ("podman", '{"Annotations":{"io.containers.trace-syscall":"of:/x"}}', "io.containers.trace-syscall"),
        ("podman", '{"Annotations":{"org.criu.config":"/x"}}', "org.criu.config"),
        ("podman", '{"Annotations":{"dev.gvisor.flag.debug-log":"/x"}}', "dev.gvisor.flag.debug-log"),
        ("podman", '{"Config":{"Labels":{"io.containers.capabilities":"CHOWN","io.containers.autoupdate":"x"}}}', ""),
        ("podman", '{"Annotations":{"org.opencontainers.image.title":"run.oci.x"},"Env":["A=run.oci.x:"]}', ""),
        ("docker", '{"Config":{"Labels":{"run.oci.keep_original_groups":"1"}}}', ""),
    ],
)  # fmt: skip
def test_an_image_gives_no_orders_to_the_runtime(engine: str, text: str, refused: str, node: Path) -> None:
    said = bash(node, f"image_json='{text}'; engine::refuse_image; echo went on", engine=engine)
    assert (f"its annotation {refused}" in said) is bool(refused)
    assert ("went on" in said) is (not refused)
