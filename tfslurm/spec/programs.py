"""Known programs: how shells and interpreters read their options, what runs another program, which variables are code.

Pure tables; ``program_text`` says what follows from them.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Reader(NamedTuple):
    """How an interpreter reads its options: letters of those whose word is code, and of those that take another word.

    ``takes`` and ``long`` are those whose word says what is loaded, or how text is read; a value is none of these. Any
    value may be the word of those in ``data`` and ``long_data``. ``exact``: every other option stands alone, and after
    code all words are data. ``first``: without a code option the first word is code.
    """

    code: str
    takes: str = ""
    long: tuple[str, ...] = ()
    data: str = ""
    long_data: tuple[str, ...] = ()
    exact: bool = False
    first: bool = False


def _names(text: str) -> list[str]:
    return text.split()


SHELL = Reader("c", "oO", ("--rcfile", "--init-file"), exact=True)
PYTHON = Reader("c", "WXQ", ("--check-hash-based-pycs",), exact=True)
EVAL = Reader("eEpP", "rILJlHtdcC", ("--require", "--import", "--loader", "--load"))
_AWK = Reader("eE", "fil", ("--file", "--include", "--load"), "vF", ("--assign", "--field-separator"), first=True)
_SED = Reader("e", "f", ("--file",), "l", ("--line-length",), first=True)
_CLIENT = Reader("ceEx")
_SHELLS = "sh bash rbash dash ash ksh mksh lksh oksh zsh yash posh csh tcsh elvish xonsh osh ysh hush sash bosh brush"
_EVALS = "perl ruby jruby irb node nodejs tsx deno bun lua luajit R Rscript littler octave octave-cli groovy scala ghc"
_CLIENTS = (
    "expect tclsh wish clojure racket guile elixir iex erl swift osascript emacs vim vi ex gdb mysql psql duckdb"
    " gnuplot sbcl clisp ecl dc ghci runghc ocaml utop csi gsi janet fennel gforth kotlin kotlinc wolframscript"
    " nvim rvim vimdiff emacsclient mongo mongosh jrunscript scilab scilab-cli"
)
READERS = {
    **dict.fromkeys(_names(_SHELLS), SHELL),
    **dict.fromkeys(
        _names("python pythonw pypy ipython IPython bpython ptpython micropython graalpy jython sage"), PYTHON
    ),
    **dict.fromkeys(_names(_EVALS), EVAL),
    **dict.fromkeys(_names(_CLIENTS), _CLIENT),
    **dict.fromkeys(_names("fish pwsh powershell nu"), Reader("cCeE")),
    "julia": Reader("eE", "LJH", ("--load", "--sysimage"), "tpCOg", ("--threads", "--procs")),
    "matlab": Reader("r"),
    "lldb": Reader("oOkK"),
    "php": Reader("rBRE", "cdfgzt"),
    **dict.fromkeys(_names("awk gawk mawk nawk original-awk"), _AWK),
    **dict.fromkeys(_names("sed gsed"), _SED),
}


COMMON = frozenset(_names("sh bash dash ash ksh zsh python pypy"))  # no other meaning of these is likely in a command
CODE_OPTION = re.compile(r"--?(command|eval|execute|print|source|expression|run|batch|init-command|encodedcommand|ex)")

# Launchers of the field: they have many long options of their own, whose word may well be a value.
LAUNCHERS = {
    "srun": "nNcptwxJoeAGqD",
    **dict.fromkeys(_names("mpirun mpiexec orterun prterun horovodrun"), "npNcxHf"),
    **dict.fromkeys(_names("conda mamba micromamba"), "np"),
    **dict.fromkeys(
        _names("torchrun deepspeed accelerate uv uvx poetry pipenv pipx pixi pdm hatch rye ncu valgrind"), ""
    ),
    **dict.fromkeys(_names("torch.distributed.run torch.distributed.launch accelerate.commands.launch"), ""),
    **dict.fromkeys(_names("accelerate.commands.accelerate_cli deepspeed.launcher.runner horovod.runner mpi4py"), ""),
    **dict.fromkeys(_names("npx kernprof mprof memory_profiler py-spy pyinstrument scalene viztracer"), "or"),
    **dict.fromkeys(_names("cProfile profile trace runpy coverage debugpy"), "oCrfl"),  # after `python -m`
    "nsys": "otscdykwxfpe",
    "perf": "oeFrCpc",
}
# Those of their options that stand alone: the word after one is the program.
ALONE = frozenset(
    _names(
        "standalone no-python no_python module allow-run-as-root oversubscribe use-hwthread-cpus report-bindings"
        " verbose tag-output display-map exclusive overcommit unbuffered label multi-gpu multi_gpu multi_cpu cpu tpu"
        " quiet debug use_deepspeed use_fsdp no-capture-output live-stream isolated frozen locked no-sync offline"
        " trace count"
    )
)
# Those whose word runs, or says what does: `srun --task-prolog`, `mpirun --mca plm_rsh_agent`, `horovodrun --mpi-args`.
RUNNING = re.compile(r"--(task-)?(prolog|epilog)|--export|[\w-]*(agent|exec|rsh|args|script|debugger)(=|$)")
# Programs that run another one, with the letters of their options that take a word; the other one's name comes after.
WRAPPERS = {
    "env": "uC",
    "timeout": "sk",
    "nice": "n",
    "ionice": "cnpPu",
    "chrt": "TPD",
    "stdbuf": "ioe",
    "taskset": "",
    "numactl": "NmCipPl",
    "setarch": "",
    "time": "fo",
    "exec": "a",
    "sudo": "ughpCrtTDR",
    "doas": "uC",
    "xargs": "aEILnPsd",
    "sshpass": "pfdP",
    "xvfb-run": "efnpsw",
    "cgexec": "g",
    "choom": "n",
    "systemd-run": "pu",
    "strace": "aeEIoOpPsSuUX",
    "ltrace": "adeFlnopsux",
    **LAUNCHERS,
    "busybox": "",
    **dict.fromkeys(
        _names(
            "nohup setsid command builtin toybox tini dumb-init catchsegv unbuffer chronic unshare prlimit fakeroot"
            " pkexec dbus-run-session"
        ),
        "",
    ),
    **dict.fromkeys(_names("gosu su-exec setpriv chroot nsenter setuidgid chpst runcon capsh firejail bwrap"), ""),
}
ALL_AFTER = frozenset(
    _names("eval ssh rsh dsh pdsh clush watch parallel make gmake bmake remake ninja just tmux screen entr at batch")
    + _names("sg sqlite timeit")
)
DASH_C = frozenset(
    _names("su runuser script flock sg newgrp xterm rxvt pdb")
)  # text after -c or -e, wherever that stands
# Options whose word is run, or says what is; of a long one its beginning will do.
_TAR = "-I -F --to-command --use-compress-program --checkpoint-action --rsh-command --info-script --new-volume-script"
RUN_OPTIONS = {
    **dict.fromkeys(_names("tar gtar bsdtar"), _names(_TAR)),
    "rsync": _names("-e --rsh --rsync-path"),
    **dict.fromkeys(_names("scp sftp"), _names("-S -o -D")),
    "git": _names(
        "-c -u -x -O --open-files-in-pager --extcmd --exec-path --exec --upload-pack --receive-pack --config"
        " --config-env --template"
    ),
    "sort": _names("--compress-program"),
    "split": _names("--filter"),
}
EXEC = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
VERBS = frozenset(_names("run exec launch profile record stat"))  # of `conda run`, `nsys profile`
USER_FIRST = frozenset(_names("gosu su-exec setuidgid chroot"))
SKIPPED = re.compile(r"[A-Za-z_]\w*=|[0-9][0-9.,:x-]*[smhd]?$|--?|\+")

# Variables whose value is code, or says what code is loaded before the program's own.
VARIABLES = frozenset(
    _names(
        """
        BASH_ENV ENV ZDOTDIR PS0 PS1 PS2 PS4 PROMPT_COMMAND SHELL SHELLOPTS BASHOPTS PATH IFS CDPATH FPATH INPUTRC
        EDITOR VISUAL PAGER MANPAGER BROWSER LESSOPEN LESSCLOSE MAKEFLAGS MAKEFILES GNUMAKEFLAGS VIMINIT EXINIT
        PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE PYTHONBREAKPOINT PYTHONPYCACHEPREFIX
        PYTHONWARNINGS PYTHONPLATLIBDIR PYTHONEXECUTABLE PYTEST_ADDOPTS PYTEST_PLUGINS MPLBACKEND MATPLOTLIBRC
        IPYTHONDIR JUPYTER_CONFIG_DIR JUPYTER_PATH XDG_CONFIG_HOME XDG_CONFIG_DIRS
        PERL5OPT PERL5LIB PERL5DB PERL5SHELL PERLLIB RUBYOPT RUBYLIB RUBYSHELL GEM_HOME GEM_PATH BUNDLE_GEMFILE
        NODE_OPTIONS NODE_PATH JULIA_LOAD_PATH JULIA_DEPOT_PATH JULIA_PROJECT LUA_INIT LUA_PATH LUA_CPATH TCLLIBPATH
        R_PROFILE R_PROFILE_USER R_ENVIRON R_ENVIRON_USER R_LIBS R_LIBS_USER R_LIBS_SITE R_HOME PHPRC PHP_INI_SCAN_DIR
        AWKPATH AWKLIBPATH JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH DOTNET_STARTUP_HOOKS
        GIT_SSH_COMMAND GIT_SSH GIT_EXTERNAL_DIFF GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_ASKPASS GIT_EXEC_PATH
        GIT_TEMPLATE_DIR GIT_PROXY_COMMAND RSYNC_RSH TAR_OPTIONS SSH_ASKPASS SUDO_ASKPASS GCONV_PATH LOCPATH NLSPATH
        OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES TF_PLUGGABLE_DEVICE_LIBRARY_PATH PJRT_PLUGIN_LIBRARY_PATH
        CUDA_INJECTION64_PATH NVTX_INJECTION64_PATH NCCL_NET_PLUGIN NCCL_TUNER_PLUGIN NCCL_PROFILER_PLUGIN
        NCCL_CONF_FILE VK_ICD_FILENAMES VK_LAYER_PATH OCL_ICD_VENDORS I_MPI_HYDRA_BOOTSTRAP_EXEC HYDRA_LAUNCHER_EXEC
        """
    )
)
_VARIABLE_HEADS = ("LD_", "BASH_FUNC_", "GLIBC_TUNABLES", "GIT_CONFIG", "OMPI_MCA_", "PRTE_MCA_", "PMIX_MCA_", "DYLD_")


def is_code_variable(name: str) -> bool:
    """Whether a variable's value is run, or says what is loaded."""
    return name in VARIABLES or name.startswith(_VARIABLE_HEADS) or bool(re.fullmatch(r"LUA_\w+_5_\d", name))
