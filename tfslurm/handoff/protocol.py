"""The run folder and sbatch in one command on the login node, and what such a command left where nobody heard its end.

Whoever gives a submission up must know that no sbatch of it comes later. The far side therefore holds a lock in the run
folder while it calls sbatch (sbatch inherits it), and calls it only while the folder is there; giving up means taking
that lock and removing the folder, or putting an empty one in its place before it arrives. See docs/adr/0020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tfslurm import slurm
from tfslurm.errors import CommandFailed, Completed, HostError, SlurmParseError, last_words
from tfslurm.host import File, Host
from tfslurm.host.files import OWN_TREE, PUT, RUN_FOLDER, as_tar, one_line, patience_s
from tfslurm.host.folders import GUARD, OPEN_RUN, Sharing
from tfslurm.plan import JobPlan
from tfslurm.slurm.values import lines_of

CODE_ABSENT = 77
HANDED = "tfslurm: sbatch ended with "
KILLED = 124  # exit codes from here on: timeout(1) or a signal ended the far side, nobody knows where

# $1 to $4 as PUT; $5 the code's folder or '', $6 its files; $7 and $8 as guard's; then sbatch and its words. The answer
# is kept in the folder before it is told, because the line may be gone by then. Of an answer without end the first
# 64 KiB are read: sbatch dies of SIGPIPE then, with an exit code above 128. A group that may read writes in none of
# these files, nor in the job's, which has this umask.
HAND_OVER = one_line(
    GUARD
    + OWN_TREE
    + """if [ -n "$5" ]; then
[ -d "$5" ] || exit 77; own_tree "$5";
there=$(find "$5" '(' -type f -o -type l ')' -printf . | wc -c);
[ "$there" -eq "$6" ] || { echo "$5 holds $there of its $6 files; was it cleaned up?
Remove it there (chmod -R u+w, rm -r), then try again" >&2;
exit 1; }; fi; guard "$1" "$7" "$8";
"""
    + PUT
    + """; run="$1/$2"; """
    + OPEN_RUN
    + """
[ -z "$7" ] || umask g=rx,o=; shift 8; exec 9>>"$run/submit.lock"; flock 9 || :;
[ -f "$run/job.sbatch" ] || { echo "another command gave it up before that" >&2; exit 1; };
: >"$run/sbatch.began"; code=0;
answer=$({ "$@" || echo "$?" >"$run/sbatch.failed"; } | head -c 65536);
[ ! -s "$run/sbatch.failed" ] || code=$(cat -- "$run/sbatch.failed");
[ "$code" -ne 0 ] || printf '%s\\n' "$answer" >"$run/sbatch.answer" || :;
printf '%s\\ntfslurm: sbatch ended with %s\\n' "$answer" "$code" """
)

# $1 parent, $2 name of the run folder.
# Over NFS a folder goes only when nobody has a file of it open. What is there and is no folder of the caller's is not
# touched, and a file of it that is none (a link, a pipe) is not opened.
LOOK_BACK = RUN_FOLDER + one_line("""set -u; export LC_ALL=C; run="$1/$2";
refuse() { echo "$1" >&2; exit 1; }; is_named "$1" "$2" || refuse "is not the name of a run folder";
rm -rf -- "$1/.$2."????????;
if [ ! -d "$run" ] && [ ! -L "$run" ]; then (umask 077; mkdir -p -- "$1");
new=$(mktemp -d -- "$1/.$2.XXXXXXXX") || exit 1;
if : >"$new/abandoned" && mv --no-target-directory -- "$new" "$run" 2>/dev/null; then echo absent; exit 0; fi;
rm -rf -- "$new"; [ -d "$run" ] || exit 1; fi;
is_mine "$1" "$2" || refuse "is no folder of yours; nothing was changed";
if [ -e "$run/abandoned" ]; then echo absent; exit 0; fi;
for one in submit.lock sbatch.answer sbatch.began; do
[ ! -L "$run/$one" ] && { [ ! -e "$run/$one" ] || [ -f "$run/$one" ]; } || refuse "its $one is no regular file"; done;
exec 9>>"$run/submit.lock" || exit 1; flock --wait 20 --conflict-exit-code 75 9;
[ "$?" -ne 75 ] || { echo busy; exit 0; };
if [ -s "$run/sbatch.answer" ]; then echo answer; head -c 65536 -- "$run/sbatch.answer";
elif [ -e "$run/sbatch.began" ]; then echo doubt; ls -- "$run" | head -c 65536;
else rm -rf -- "$run" 2>/dev/null || { exec 9>&-; rm -rf -- "$run"; } && echo absent; fi""")


class Left(NamedTuple):
    """What a submission that was cut off left: its job's id, or nothing for certain, or (both unset) a doubt."""

    job_id: str | None = None
    is_nothing: bool = False


def hand_over(host: Host, plan: JobPlan, files: Mapping[str, File]) -> Completed | None:
    """What sbatch gave, the run folder having arrived before; None where the cluster has not got the code.

    Raises:
        CommandFailed: the machine refused the run folder; sbatch was not called.
        HostError: the line was lost, or the far side was killed: sbatch may have been called or not.
    """
    content = as_tar(files, 0o700)
    code = (str(plan.code_dir), str(plan.code.files)) if plan.code else ("", "0")
    folder = (str(plan.run_dir.parent), plan.run_dir.name, "700", str(len(files)))
    argv = ("sh", "-c", HAND_OVER, "sh", *folder, *code, *sharing(plan).words, *sbatch(plan))
    done = host.run(argv, input=content, timeout_s=patience_s(len(content)))
    told, mark, code_text = done.stdout.rpartition(HANDED)
    if mark and re.fullmatch(r"[0-9]{1,3}", code_text.strip()):
        return Completed(sbatch(plan), int(code_text), told, done.stderr, done.host)
    if done.exit_code == CODE_ABSENT:
        return None
    if 0 < done.exit_code < KILLED:
        raise CommandFailed(Completed(("write", str(plan.run_dir)), done.exit_code, "", done.stderr, done.host))
    why = f"the submission was cut off there (exit {done.exit_code})"
    raise HostError(f"{host.name}: {why}; run the same command again, it first asks what came of it", transient=True)


def sharing(plan: JobPlan) -> Sharing:
    """What the cluster's file said of others when the plan was made."""
    return Sharing(plan.read_group, plan.shared_parents == "accept")


def sbatch(plan: JobPlan) -> tuple[str, ...]:
    """sbatch without the secrets: it gives its environment to the job, and a site may keep it (sacct --env-vars)."""
    hidden = [word for name in plan.secrets for word in ("-u", name)]
    return (*(("env", *hidden) if hidden else ()), *slurm.sbatch_argv(str(plan.run_dir / "job.sbatch")))


def look_back(host: Host, plan: JobPlan) -> Left:
    """What the run folder says of a submission whose end nobody heard; after this no sbatch of it can begin.

    Raises:
        HostError: it is still going on, or the machine cannot be reached or refuses.
    """
    done = host.run(("sh", "-c", LOOK_BACK, "sh", str(plan.run_dir.parent), plan.run_dir.name))
    word, _, rest = done.stdout.partition("\n")
    if done.exit_code or word == "busy":
        why = last_words(done) if done.exit_code else "sbatch is still being called there"
        raise HostError(f"{host.name}: {plan.run_dir}: {why}; try again in a moment", transient=True)
    if word == "absent":
        return Left(is_nothing=True)
    if word == "answer":
        try:
            return Left(slurm.parse_sbatch(Completed(("sbatch",), 0, rest, "", host.name)))
        except SlurmParseError:
            return Left()  # the disk was full
    # a job that began has a folder of its own, as has each task of an array
    began = {name.partition("_")[0] for name in lines_of(rest) if re.fullmatch(r"[0-9]{1,10}(_[0-9]{1,10})?", name)}
    return Left(began.pop() if len(began) == 1 and all(map(slurm.is_job_id, began)) else None)
