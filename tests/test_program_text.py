"""A value never becomes part of a program: what is refused, and the forms that work."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.made import PIN, experiment, plan
from tfslurm.errors import InputError
from tfslurm.spec import Placeholder, Word, fill
from tfslurm.spec.parsing import parse_experiment

TEXT = "python t.py {{ a }}"

REFUSED: list[list[str]] = [
    # the text of a shell, however the shell is started
    *([shell, "-c", TEXT] for shell in ("sh", "bash", "/bin/sh", "/usr/local/bin/bash-5.2", "zsh", "ksh93", "dash")),
    *(["bash", *options, TEXT] for options in (["-lc"], ["-ec"], ["-xc"], ["-o", "pipefail", "-c"], ["--norc", "-c"])),
    *(["bash", *options, TEXT] for options in (["-euo", "pipefail", "-c"], ["-c", "-x"], ["-c", "--"], ["-ce"])),
    *(
        ["bash", *options, TEXT]
        for options in (["--rcfile", "x", "-c"], ["+o", "history", "-c"], ["-O", "extglob", "-c"])
    ),
    *(["env", *words, "sh", "-c", TEXT] for words in ([], ["FOO=1"], ["-i"], ["-u", "X", "A=b"], ["A={{ a }}"])),
    ["env", "-S", TEXT],
    ["env", "-iS", TEXT],
    ["env", "--split-string=python {{ a }}"],
    *([*words, "bash", "-c", TEXT] for words in (["timeout", "5"], ["timeout", "-s", "KILL", "5m"], ["nohup"])),
    *([*words, "bash", "-c", TEXT] for words in (["nice", "-n", "5"], ["setsid"], ["stdbuf", "-oL"], ["time"])),
    *([*words, "sh", "-c", TEXT] for words in (["taskset", "-c", "0"], ["xargs"], ["busybox"], ["exec"], ["sudo"])),
    *([*words, "sh", "-c", TEXT] for words in (["find", ".", "-exec"], ["mpirun", "-np", "2"], ["conda", "run"])),
    ["bash", "-c", '"$0" "$@"', "bash", "-c", TEXT],
    ["bash", "-c", 'exec "$@"', "bash", "sh", "-c", TEXT],
    # programs that give their words to a shell
    ["eval", TEXT],
    ["ssh", "host", TEXT],
    ["ssh", "host", "python", "{{ a }}"],
    ["su", "bob", "-c", TEXT],
    ["su", "-", "bob", "--command=python {{ a }}"],
    ["script", "-qc", TEXT, "/dev/null"],
    ["watch", TEXT],
    ["parallel", TEXT],
    ["flock", "/tmp/x", "-c", TEXT],
    ["make", "train", "LR={{ a }}"],
    ["timeout", "5", "ssh", "host", TEXT],
    # other interpreters
    *([python, "-c", "print({{ a }})"] for python in ("python", "python3.11", "/usr/bin/python3", "pypy3", "ipython")),
    *(
        ["python", *options, "print({{ a }})"]
        for options in (["-u", "-c"], ["-W", "ignore", "-c"], ["-uc"], ["-Xdev", "-c"])
    ),
    *([*words, "{{ a }}"] for words in (["perl", "-e"], ["perl", "-ne"], ["perl", "-w", "-E"], ["ruby", "-e"])),
    *([*words, "f({{ a }})"] for words in (["node", "-e"], ["node", "-p"], ["node", "--eval"], ["nodejs", "-pe"])),
    *(
        [*words, "f({{ a }})"]
        for words in (["Rscript", "-e"], ["R", "--vanilla", "-e"], ["julia", "-e"], ["php", "-r"])
    ),
    *([*words, "f({{ a }})"] for words in (["lua", "-e"], ["lua5.3", "-e"], ["deno", "eval"], ["octave", "--eval"])),
    ["perl", "-e", "1", "-e", "{{ a }}"],
    ["perl", "-e", "print 1", "{{ a }}"],
    ["perl", "-e{{ a }}"],
    ["node", "--eval={{ a }}"],
    ["awk", "{ print {{ a }} }"],
    ["gawk", "-F", ":", "{{ a }}", "file"],
    ["sed", "-e", "s/a/{{ a }}/", "file"],
    ["sed", "s/a/{{ a }}/", "file"],
    ["psql", "-c", "select {{ a }}"],
    # the program, or an option, is a value
    ["{{ shell }}", "{{ flag }}", "text"],
    ["{{ program }}"],
    ["/opt/{{ version }}/bin/train", "x"],
    ["env", "{{ a }}", "python", "t.py"],
    ["env", "PATH={{ a }}", "python", "t.py"],
    ["env", "BASH_ENV={{ a }}", "bash", "t.sh"],
    ["timeout", "5", "{{ program }}"],
    ["find", ".", "-exec", "{{ program }}", ";"],
    ["bash", "{{ flag }}", "text"],
    ["bash", "-{{ flag }}", "text"],
    ["python", "{{ script }}"],
    ["python", "-u", "{{ script }}"],
    ["python", "-m", "{{ module }}"],
    ["mpirun", "python", "{{ script }}"],
    *(["mpirun", "-np", "4", *words] for words in (["{{ program }}"], ["{{ program }}", "x"])),
    *([*words, "{{ program }}"] for words in (["srun"], ["torchrun"], ["conda", "run", "-n", "x"], ["uv", "run"])),
    *([*words, "{{ program }}"] for words in (["nsys", "profile"], ["perf", "stat", "--"], ["accelerate", "launch"])),
    *([*words, "{{ program }}"] for words in (["gosu", "bob"], ["chroot", "/x"])),
    # an option of sed's that takes no word, and programs under other names
    ["sed", "-i", "s/lr: .*/lr: {{ a }}/", "c.yaml"],
    ["sed", "-ni", "s/a/{{ a }}/p", "c.yaml"],
    ["sed", "-E", "s/a/{{ a }}/", "c.yaml"],
    *([python, "-c", "{{ a }}"] for python in ("python3-dbg", "bpython", "graalpy", "bash-static", "osh")),
    # options in other spellings, and those that say what is loaded
    *(["env", option, "bash -c", "{{ a }}"] for option in ("--split", "--split-s", "-vS", "-iS")),
    *([name, f"--{option}={{{{ a }}}}", "x"] for name, option in (("node", "require"), ("node", "import"))),
    *([name, f"--{option}={{{{ a }}}}", "x"] for name, option in (("awk", "file"), ("sed", "file"), ("julia", "load"))),
    *([*words, "f({{ a }})"] for words in (["matlab", "-r"], ["matlab", "-nodisplay", "-r"], ["octave-cli", "--eval"])),
    *([*words, "{{ a }}"] for words in (["julia", "-e"], ["julia", "-L"], ["gnuplot", "-e"], ["sbcl", "--eval"])),
    *([*words, "{{ a }}"] for words in (["lldb", "-o"], ["duckdb", "-c"], ["sqlite3", "db"], ["deno", "run"])),
    *(
        [*words, "{{ a }}"]
        for words in (["just", "train"], ["bmake"], ["sg", "lab"], ["sshpass", "-p", "x", "ssh", "h"])
    ),
    *(["find", ".", "-exec", *words, "{{ a }}", ";"] for words in (["ssh", "h"], ["make"], ["env", "-S"])),
    # modules of Python that run their words, or another program
    *(["python", *words, "{{ a }}"] for words in (["-m", "timeit"], ["-m", "timeit", "-s"], ["-um", "timeit"])),
    *(["python", "-m", *words, "{{ a }}"] for words in (["pdb", "-c"], ["IPython", "-c"], ["cProfile"], ["runpy"])),
    ["python", "-m", "cProfile", "-o", "x", "{{ program }}"],
    ["timeout", "5", "python3", "-m", "torch.distributed.run", "--standalone", "{{ program }}", "--lr", "1"],
    *(["python", *words, "{{ a }}"] for words in (["-mtimeit"], ["-umtimeit"], ["-W", "ignore", "-m", "timeit", "-s"])),
    *(["python", *words, "{{ a }}"] for words in (["-m", "mpi4py"], ["-m", "mpi4py", "-c"], ["-Xdev", "-mcProfile"])),
    *([*words, "{{ a }}"] for words in (["viztracer", "-o", "x"], ["kernprof", "-l"], ["hatch", "run"], ["uvx"])),
    *(["python", *words, TEXT] for words in (["-mIPython", "-c"], ["-mpdb", "-c"], ["-m", "IPython", "-c"])),
    # shells with options of their own, and what has python in its name
    *(["pwsh", option, TEXT] for option in ("-Command", "-com", "-EncodedCommand")),
    *([name, "-c", TEXT] for name in ("vtkpython", "pvpython", "python3.11-dbg", "hush", "nvim", "ocaml")),
    ["fish", "-C", TEXT],
    # options whose word is run
    *(
        ["git", *words]
        for words in (["grep", "-O{{ a }}", "x"], ["rebase", "-x", TEXT], ["difftool", "--extcmd={{ a }}"])
    ),
    *(["tar", *words, "-xf", "x"] for words in (["--to-command={{ a }}"], ["--to-com", "{{ a }}"], ["-I", "{{ a }}"])),
    *(["rsync", *words, "a", "b"] for words in (["-e", "ssh {{ a }}"], ["-ae", "{{ a }}"], ["--rsh={{ a }}"])),
    *(["git", *words, "status"] for words in (["-c", "{{ a }}"], ["-c", "alias.x=!{{ a }}"], ["--exec-path={{ a }}"])),
    ["scp", "-o", "ProxyCommand={{ a }}", "a", "b"],
    ["split", "--filter={{ a }}", "x"],
    # launchers: an option that stands alone, variables that are code
    *(
        [*words, "{{ program }}", "--lr", "1"]
        for words in (["torchrun", "--standalone"], ["accelerate", "launch", "-m"])
    ),
    ["mpirun", "--allow-run-as-root", "{{ program }}", "x"],
    *(["mpirun", "-x", f"{name}={{{{ a }}}}", "python", "t.py"] for name in ("BASH_ENV", "LD_PRELOAD", "PYTHONPATH")),
    *(["srun", f"--{name}={{{{ a }}}}", "python", "t.py"] for name in ("task-prolog", "export=A=1,LD_PRELOAD")),
    *(["mpirun", *words, "{{ a }}", "python", "t.py"] for words in (["--launch-agent"], ["-launcher-exec"])),
    *(["horovodrun", *words, "python", "t.py"] for words in (["--mpi-args={{ a }}"], ["--mpi-args", "{{ a }}"])),
]

TAKEN: list[list[str]] = [
    ["python", "train.py", "--lr", "{{ a }}", "{{ b }}"],
    ["python", "-u", "train.py", "-c", "{{ a }}", "-e", "{{ b }}"],
    ["python", "-W", "ignore", "train.py", "-c", "{{ a }}"],
    ["python3", "-m", "train", "-c", "{{ a }}"],
    ["python", "models/{{ a }}.py", "--lr", "{{ b }}"],
    ["python", "--", "{{ a }}"],
    ["python", "-c", "import sys; print(sys.argv[1])", "{{ a }}"],
    ["bash", "-c", 'python t.py "$1"', "bash", "{{ a }}", "-c", "{{ b }}"],
    ["sh", "-c", "echo $0", "{{ a }}"],
    ["bash", "-euo", "pipefail", "-c", 'python t.py "$1"', "bash", "{{ a }}"],
    ["bash", "train.sh", "-c", "{{ a }}"],
    ["bash", "-x", "./train.sh", "{{ a }}"],
    ["timeout", "-s", "KILL", "5m", "python", "train.py", "{{ a }}"],
    ["env", "LR={{ a }}", "-u", "X", "python", "train.py"],
    ["nice", "-n", "5", "./train", "{{ a }}"],
    ["mpirun", "-np", "{{ a }}", "-mca", "plm_rsh_agent", "ssh", "python", "train.py", "{{ b }}"],
    ["torchrun", "--nproc-per-node", "{{ a }}", "train.py", "-e", "{{ b }}"],
    ["torchrun", "--nproc-per-node=4", "train.py", "{{ b }}"],
    ["torchrun", "--nproc-per-node={{ a }}", "train.py", "{{ b }}"],
    ["srun", "-n", "{{ a }}", "./train", "{{ b }}"],
    ["conda", "run", "-n", "{{ a }}", "python", "train.py", "{{ b }}"],
    ["accelerate", "launch", "--num_processes", "4", "train.py", "--lr", "{{ a }}"],
    ["perl", "-e", "print @ARGV", "--", "{{ a }}"],
    ["perl", "-w", "train.pl", "{{ a }}"],
    ["Rscript", "--vanilla", "train.R", "{{ a }}"],
    ["julia", "--project=.", "-t", "4", "train.jl", "{{ a }}"],
    ["awk", "-v", "x={{ a }}", "{ print x }", "./{{ b }}"],
    ["python", "train.py", "eval", "{{ a }}"],
    ["python", "train.py", "--backbone", "R50", "-e", "{{ a }}"],
    ["python", "train.py", "--kernel", "nu", "{{ a }}", "--mode", "node", "{{ b }}"],
    ["./train", "-c", "{{ a }}"],
    *(["julia", *words, "t.jl", "{{ b }}"] for words in (["-p", "{{ a }}"], ["-t", "{{ a }}"], ["--threads={{ a }}"])),
    ["julia", "-p4", "./t.jl", "-e", "{{ a }}"],
    *(["awk", *words, "{ print x }", "f"] for words in (["-vx={{ a }}"], ["-F", "{{ a }}"], ["-F{{ a }}"])),
    *(
        ["timeout", *words, "python", "t.py"]
        for words in (["{{ a }}"], ["--signal=INT", "{{ a }}"], ["-k", "5", "{{ a }}"])
    ),
    *([*words, "python", "t.py"] for words in (["taskset", "-c", "{{ a }}"], ["numactl", "--cpunodebind={{ a }}"])),
    ["nsys", "profile", "-t", "cuda", "-o", "{{ a }}", "python", "t.py", "{{ b }}"],
    ["python", "-m", "torch.distributed.run", "--nproc_per_node", "{{ a }}", "train.py", "{{ b }}"],
    ["python", "-m", "cProfile", "-o", "{{ a }}", "train.py", "{{ b }}"],
    ["python", "-m", "pytest", "-k", "{{ a }}"],
    ["perf", "record", "-o", "{{ a }}", "./train"],
    ["mpirun", "-x", "LR={{ a }}", "python", "t.py"],
    *(
        ["python", *words, "{{ a }}"]
        for words in (["-mtrain", "--lr"], ["-W", "ignore", "-m", "train"], ["-mmpi4py", "t.py"])
    ),
    *([*words, "t.py", "{{ a }}"] for words in (["viztracer", "-o", "{{ b }}"], ["kernprof", "-l"], ["hatch", "run"])),
    *(
        ["mpirun", *words, "./train"]
        for words in (["-genv", "LR", "{{ a }}"], ["--mca", "btl_tcp_if_include", "{{ a }}"])
    ),
    *([*words, "./{{ a }}", "b"] for words in (["tar", "-xf"], ["rsync", "-a"], ["git", "-C"])),
]


def text_of(command: object, more: str = "") -> str:
    return f"name: a\nimage: a:1\ncommand: {json.dumps(command)}\n{more}"


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_placeholder_in_program_text_is_refused_where_it_stands(words: list[str]) -> None:
    lines = "name: a\nimage: a:1\ncommand:\n" + "".join(f"  - {json.dumps(word)}\n" for word in words)
    with pytest.raises(InputError) as caught:
        parse_experiment(lines, "exp.yaml")
    for problem in caught.value.problems:
        assert problem.key.startswith("command[")
        assert "{{" in words[problem.line - 4]
        assert problem.fix


@pytest.mark.parametrize("words", TAKEN, ids=" ".join)
def test_a_value_in_a_word_of_its_own_is_one_word_whatever_it_holds(words: list[str]) -> None:
    found = parse_experiment(text_of(words), "exp.yaml")
    value = "x; rm -rf / $(id) '\" \n -c"
    argv, _ = fill(found, {"a": value, "b": value})
    assert argv == tuple(word.replace("{{ a }}", value).replace("{{ b }}", value) for word in words)


@pytest.mark.parametrize("line", ["bash -c 'python {{ a }}'", 'timeout 5 sh -lc "{{ a }}"', "{{ a }} -c x"])
def test_so_it_is_in_a_line_and_in_set(line: str) -> None:
    with pytest.raises(InputError, match=r"command: .*(program text|what runs)"):
        parse_experiment(text_of(line), "exp.yaml")
    with pytest.raises(InputError, match=r"--set command: .*(program text|what runs)"):
        parse_experiment(text_of("true"), "exp.yaml", {"command": line})


@pytest.mark.parametrize(
    ("entrypoint", "refused"),
    [
        (("sh", "-c"), True),
        (("/bin/bash", "-lc"), True),
        (("/usr/bin/env", "bash", "-o", "pipefail", "-c"), True),
        (("python", "-c"), True),
        (("/opt/nvidia/nvidia_entrypoint.sh",), False),
        (("sh", "-c", 'exec "$@"', "sh"), False),
        ((), False),
    ],
)
def test_the_images_entrypoint_is_read_too(entrypoint: tuple[str, ...], refused: bool) -> None:
    words = (Word(("x ", Placeholder("a"))),)
    made = experiment(command=(Word(("train ",)), *words) if not refused else words)
    pin = replace(PIN, entrypoint=entrypoint)
    if refused:
        with pytest.raises(InputError, match=r"command\[0\]: .*the image's entrypoint is "):
            plan(made, pin=pin, parameters={"a": "1"})
    else:
        assert plan(made, pin=pin, parameters={"a": "1"}).command == (*entrypoint, "train ", "x 1")


@pytest.mark.slow
def test_an_entrypoint_of_many_interpreters_is_not_read() -> None:
    pin = replace(PIN, entrypoint=("perl", "-r") * 20_000)
    with pytest.raises(InputError, match="names more than 100 shells and interpreters"):
        plan(experiment(), pin=pin)


@pytest.mark.parametrize(
    "name",
    [
        *("BASH_ENV", "ENV", "PS4", "PROMPT_COMMAND", "PYTHONSTARTUP", "LD_PRELOAD", "LD_AUDIT", "PATH", "PERL5OPT"),
        *("PYTHONPYCACHEPREFIX", "NODE_OPTIONS", "LUA_INIT_5_4", "OPENSSL_CONF", "CUDA_INJECTION64_PATH", "MAKEFILES"),
    ],
)
def test_no_value_goes_into_a_variable_that_is_code(name: str) -> None:
    with pytest.raises(InputError, match=rf"exp.yaml:4: env.{name}: a value would become code"):
        parse_experiment(text_of(["true"], f'env: {{{name}: "/x/{{{{ a }}}}"}}\n'), "exp.yaml")
    parse_experiment(text_of(["true"], f'env: {{{name}: /x, LR: "{{{{ a }}}}"}}\n'), "exp.yaml")
