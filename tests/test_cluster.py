"""Cluster files: where jobs go, how to get there, and what they may mount."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import jsonschema
import pytest
import yaml

from tfslurm.cluster import Cluster, Limits, Login, cluster_schema, parse_cluster
from tfslurm.document import dump
from tfslurm.errors import InputError

CONTRACT = """\
name: alpha
login: {host: login.alpha.example, user: alice, port: 22, proxy_jump: bastion.example, transport: paramiko}
root: /scratch/alice/tfslurm
engine: docker
mirrors: {docker.io: [registry.cn-hangzhou.aliyuncs.com/tensorflow-images]}
slurm: {partition: gpu}
mounts: {allow: [/data, /scratch/alice]}
"""
LEAST = {"name": "alpha", "root": "/scratch/tfslurm"}


def cluster(**keys: object) -> Cluster:
    return parse_cluster(dump({**LEAST, **keys}), "alpha.yaml")


def refusal(**keys: object) -> str:
    with pytest.raises(InputError) as refused:
        cluster(**keys)
    return str(refused.value)


def test_the_contract_s_example_is_read() -> None:
    read = parse_cluster(CONTRACT, "alpha.yaml")
    assert read.name == "alpha"
    assert read.login == Login("login.alpha.example", "alice", 22, "bastion.example", "paramiko")
    assert read.root == PurePosixPath("/scratch/alice/tfslurm")
    assert read.engine == "docker"
    assert read.mirrors == {"docker.io": ("registry.cn-hangzhou.aliyuncs.com/tensorflow-images",)}
    assert read.slurm == {"partition": "gpu"}
    assert read.mounts_allow == (PurePosixPath("/data"), PurePosixPath("/scratch/alice"))
    assert str(read.problem(("login", "host"), "cannot be reached")) == "alpha.yaml:2: login.host: cannot be reached"


def test_without_a_login_commands_run_here_and_nothing_may_be_mounted() -> None:
    read = cluster()
    assert read.login is None
    assert not read.allows(PurePosixPath("/data"))
    assert (read.engine, read.mirrors, read.slurm, read.environment) == ("docker", {}, {}, {})


def test_a_login_leaves_the_rest_to_ssh_s_own_configuration() -> None:
    assert cluster(login={"host": "alpha"}).login == Login("alpha", None, None, None, "paramiko")


def test_a_container_has_limits_that_the_cluster_may_change() -> None:
    assert cluster().limits == Limits(16384, 0, 0)
    asked = cluster(limits={"pids": 4096, "log_mib": 100, "layer_mib": 2048})
    assert asked.limits == Limits(4096, 100, 2048)
    for wrong in ({"pids": 1}, {"pids": 0}, {"log_mib": -1}, {"layer_mib": "2G"}, {"files": 7}):
        assert f"alpha.yaml:4: limits.{next(iter(wrong))}: " in refusal(limits=wrong)


def test_a_site_may_say_how_often_its_scheduler_is_asked() -> None:
    assert cluster().min_interval_s == 0
    assert cluster(poll={"min_interval": 30}).min_interval_s == 30
    for wrong in (-1, 3601, 0.5, "30"):
        assert "alpha.yaml:4: poll.min_interval: " in refusal(poll={"min_interval": wrong})


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/data", True),
        ("/data/x/y", True),
        ("/database", False),
        ("/", False),
        ("/scratch", False),
        ("/scratch/alice", True),
        ("/scratch/alice2", False),
        ("/data/../etc", False),
        ("data", False),
        ("/data/..", False),
    ],
)
def test_a_source_is_allowed_by_whole_components(path: str, allowed: bool) -> None:
    assert parse_cluster(CONTRACT, "a.yaml").allows(PurePosixPath(path)) is allowed


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "/var", "/var/run/docker.sock", "/proc", "/dev", "data", "/data/", "/a/.."]
)
def test_a_cluster_never_allows_what_hands_over_its_nodes(folder: str) -> None:
    assert "mounts.allow[1]" in refusal(mounts={"allow": ["/data", folder]})


@pytest.mark.parametrize(
    "host", ["alpha", "login.alpha.example", "10.0.0.1", "::1", "fe80::1%eth0", "[::1]", "my_host"]
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    read = cluster(login={"host": host})
    assert read.login is not None
    assert read.login.host == host


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a;b", "$(id)", "alice@a", "a:22", "a\nb", "été"])
def test_a_host_that_ssh_could_misread_is_refused(host: str) -> None:
    assert "login.host" in refusal(login={"host": host})


@pytest.mark.parametrize("user", ["alice", "a.b", "u-1", "alice@realm", "svc$"])
def test_a_user_name_is_read(user: str) -> None:
    assert cluster(login={"host": "a", "user": user}).login == Login("a", user)


@pytest.mark.parametrize("user", ["", "-l", "a b", "a;b", "$(id)"])
def test_a_user_that_ssh_could_misread_is_refused(user: str) -> None:
    assert "login.user" in refusal(login={"host": "a", "user": user})


@pytest.mark.parametrize("hop", ["bastion", "alice@bastion:2222", "a,b@c:1"])
def test_machines_to_jump_over_are_read(hop: str) -> None:
    assert cluster(login={"host": "a", "proxy_jump": hop}).login == Login("a", proxy_jump=hop)


@pytest.mark.parametrize("hop", ["", "a:", "a:x", "@a", "-oX", "a, b", "a,,b", "a b"])
def test_other_machines_to_jump_over_are_refused(hop: str) -> None:
    assert "login.proxy_jump" in refusal(login={"host": "a", "proxy_jump": hop})


@pytest.mark.parametrize("name", ["docker.io", "127.0.0.1:5000", "localhost:5000/a", "ghcr.io/org/a_b-c", "host"])
def test_mirrors_are_registries_or_paths_in_them(name: str) -> None:
    assert cluster(mirrors={name: [name]}).mirrors == {name: (name,)}


@pytest.mark.parametrize("name", ["", "http://a", "a/", "a/b:tag", "a@sha256:0", "/a", "a b", "a/B", "a//b", "-a"])
def test_mirrors_in_another_form_are_refused(name: str) -> None:
    assert "mirrors.docker.io[0]" in refusal(mirrors={"docker.io": [name]})


@pytest.mark.parametrize("value", ["/a b", "/$(id)", "/'\"", "/été", "/\\", "/a=b"])
def test_slurm_conf_comes_through_exactly(value: str) -> None:
    assert cluster(environment={"SLURM_CONF": value}).environment == {"SLURM_CONF": value}


PLACES = ["", "slurm", "./slurm", "~/slurm", "$HOME/x", "/a/../b", "/a/", "/", "/a\nb", "/dev/stdin", "/proc/self/fd/0"]


@pytest.mark.parametrize("value", [*PLACES, "/opt/a:/tmp/b"])
def test_a_place_of_slurm_s_is_the_same_in_every_folder(value: str) -> None:
    assert "environment.SLURM_CONF" in refusal(environment={"SLURM_CONF": value})
    assert "slurm_bin" in refusal(slurm_bin=value)


STEERING = (
    *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "LOCPATH", "NLSPATH"),
    *("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "PROMPT_COMMAND", "CDPATH", "GLOBIGNORE", "SHELL"),
    *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PERL5LIB", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "LUA_INIT"),
    *("JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "SSH_ASKPASS", "SSH_AUTH_SOCK", "EDITOR", "VISUAL"),
    *("PAGER", "LESSOPEN", "MALLOC_CHECK_", "GLIBC_TUNABLES", "TMPDIR", "HOME", "XDG_CONFIG_HOME", "KRB5_CONFIG"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "CONTAINER_HOST", "OPENSSL_CONF", "SSL_CERT_FILE", "http_proxy", "HOSTALIASES"),
    *("SLURM_PROLOG", "SLURM_TASK_PROLOG", "SLURM_EPILOG", "SLURM_SPANK_X", "SLURM_MPI_TYPE", "SLURM_CLI_FILTER"),
    *("SBATCH_EXPORT", "SBATCH_GET_USER_ENV", "SALLOC_BELL", "SACCT_FORMAT", "TZ", "LANG", "LC_ALL", "N", "A"),
    *("path", "Path", "slurm_conf", "Slurm_Conf", "SLURM_CONF ", " SLURM_CONF", "SLURM_CONF=x", "SLURM_CONF_"),
    *("BASH_FUNC_squeue%%", "BASH_FUNC_ls()", "x=() { id; }; y", "-u", "--", "a b", "a\nb", "SLURM\u200b_CONF", ""),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEERING)
def test_no_variable_but_slurm_conf_is_set_for_slurm_s_commands(name: str) -> None:
    assert "SLURM_CONF alone is" in refusal(environment={name: "/tmp/x"})
    both = refusal(environment={"SLURM_CONF": "/etc/slurm.conf", name: "/tmp/x"})
    assert "SLURM_CONF alone is" in both


def test_a_refused_variable_comes_with_what_to_do() -> None:
    assert "environment.PATH: 'PATH' is not set" in refusal(environment={"PATH": "/opt/slurm/bin"})
    assert "; name the folder of Slurm's programs: `slurm_bin: /opt/slurm/bin`" in refusal(environment={"PATH": "/x"})
    assert "; set it in your shell's start-up file there" in refusal(environment={"LD_LIBRARY_PATH": "/x"})
    assert "; did you mean `SLURM_CONF`?" in refusal(environment={"slurm_conf": "/x"})


@pytest.mark.parametrize("name", ["DOCKER_HOST", "CONTAINERS_CONF", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE"])
def test_an_engine_s_variables_come_from_the_file_alone(name: str) -> None:
    assert cluster(engine_environment={name: "unix:///a b"}).engine_environment == {name: "unix:///a b"}
    assert f"engine_environment.{name}" in refusal(engine_environment={name: "a\nb"})


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "SLURM_CONF", "docker_host", "BASH_ENV", "HOME", "DOCKER"])
def test_other_variables_are_none_of_an_engine_s(name: str) -> None:
    assert "is not a variable of a container engine" in refusal(engine_environment={name: "/x"})


def test_a_site_s_programs_are_in_one_folder() -> None:
    assert cluster(slurm_bin="/opt/slurm/bin").slurm_bin == PurePosixPath("/opt/slurm/bin")
    assert cluster().slurm_bin is None


@pytest.mark.parametrize("root", ["/", "scratch", "~/x", "/a/../b", "/a/", "/proc/x", "/dev/shm"])
def test_a_root_that_cannot_hold_runs_is_refused(root: str) -> None:
    assert "root" in refusal(root=root)


def test_options_of_tfslurm_s_own_are_refused_as_defaults_too() -> None:
    assert "use `resources: {time: …}` instead" in refusal(slurm={"time": "01:00:00"})
    assert cluster(slurm={"mail_type": "END"}).slurm == {"mail-type": "END"}


def test_the_schema_is_one_and_the_contract_s_example_fits() -> None:
    schema = cluster_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(CONTRACT))
    for mapping in [schema, *schema["$defs"].values()]:
        assert mapping["additionalProperties"] is False
        for key, field in mapping["properties"].items():
            assert field["title"] == key
            assert field["description"]
            for instance in field["examples"]:
                jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]}).validate(instance)


@pytest.mark.parametrize("path", sorted(Path("cluster_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_cluster_file_that_is_shipped_is_read(path: Path) -> None:
    assert parse_cluster(path.read_text(), path.name).name == path.stem
