"""Who may change what a job will run: the folders that hold it are the user's alone, and those above them too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from tfslurm.errors import CommandFailed, Completed
from tfslurm.host.protocol import Host

# Each on one line, because tcsh as a login shell takes no line break within quotes.
#
# above ROOT prints mode, owner's uid, gid and name of each folder on the way to it in which somebody else can replace
# what lies there: it belongs to another user than root, or others may write in it and it has no sticky bit. A group of
# the user's own name without another member is the user. Links on the way are followed one by one.
#
# guard PARENT GROUP ACCEPT: afterwards PARENT (ROOT/runs or ROOT/code) is there, and it, runs, code and images are real
# folders that the user alone may enter; GROUP may read runs. Others cannot replace them, unless that is accepted.
GUARD = r"""no() { echo "$1" >&2; exit 1; };
alone() { row=$(getent group "$1" 2>/dev/null) && own=$(id -un) && [ "${row%%:*}" = "$own" ]
&& { [ -z "${row##*:}" ] || [ "${row##*:}" = "$own" ]; }; };
judge() { while read -r mode owner gid name; do
why=; case $mode in [1357]???) ;; *[2367]) why=y ;; *[2367]?) alone "$gid" || why=y ;; esac;
[ "$owner" = "$me" ] || [ "$owner" = 0 ] || why=y;
[ -z "$why" ] || printf '%s %s %s %s\n' "$mode" "$owner" "$gid" "$name"; done; };
above() { way=$1; me=$(id -u); hops=0; shift "$#";
while :; do p=$way; link=;
while [ -n "$p" ]; do if [ -L "$p" ]; then link=$p; fi; p=${p%/*}; set -- "$@" "${p:-/}"; done;
[ -n "$link" ] && [ "$hops" -lt 40 ] || break; hops=$((hops + 1)); to=$(readlink -- "$link");
stat --format='0 %u %g %n' -- "$link" | judge;
case $to in /*) ;; *) to=${link%/*}/$to ;; esac; way=$to${way#"$link"}; done;
stat --dereference --format='%a %u %g %n' -- "$@" "$way" | judge | sort -u; };
narrow() { find "$1/" -maxdepth 0 -uid "$(id -u)" -perm /022 ! -perm -1000 -exec chmod go-w -- '{}' ';' ; };
guard() { top=$1; root=${1%/*}; group=$2; accept=$3; me=$(id -u);
[ -d "$top" ] || [ -L "$top" ] || (umask 077; mkdir -p -- "$top") || exit 1;
narrow "$root"; set -- "$top"; for own in "$root/runs" "$root/code" "$root/images"; do
if [ -e "$own" ] || [ -L "$own" ]; then set -- "$@" "$own"; fi; done;
bad=$(find "$@" -maxdepth 0 '(' ! -type d -o ! -uid "$me" ')' -print -quit);
[ -z "$bad" ] || no "$bad is a link, or not a folder that you own; move it away, or name another root";
wide=077; [ -z "$group" ] || wide=027;
find "$@" -maxdepth 0 -perm "/$wide" -exec chmod go-rwx -- '{}' ';' ;
[ -z "$group" ] || open_to "$root" "$root/runs";
[ -z "$accept" ] || return 0; seen=$(above "$root"); [ -z "$seen" ] && return 0;
first=$(printf '%s\n' "$seen" | head -n 1); name=${first#* * * };
no "$name (mode ${first%% *}) is on the way to $root, and others can replace what lies there;
chmod go-w or +t it, or name another root, or write shared_parents: accept in the cluster file"; };
open_to() { for one in "$@"; do [ -d "$one" ] || continue; chgrp -- "$group" "$one" && chmod g=rxs,o= -- "$one"
|| no "read_group: $one cannot be given to $group; name a group of yours in the cluster file"; done; };
""".replace("\n", " ")

# $1 the run folder, $group who may read it: what is there for a reader, never the secrets.
OPEN_RUN = """[ -z "$group" ] || { open_to "$run"; chgrp -- "$group" "$run"/* && chmod g=rX -- "$run"/*;
[ ! -d "$run/secrets" ] || chmod 700 -- "$run/secrets"; };""".replace("\n", " ")

ABOVE = GUARD + ' narrow "$1"; above "$1"'


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the cluster's file says of others: the group that may read what runs leave, and whether folders in which
    others can replace it are accepted."""

    group: str = ""
    accept: bool = False

    @property
    def words(self) -> tuple[str, str]:
        """They as the scripts take them."""
        return self.group, "accept" if self.accept else ""


ALONE = Sharing()


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder on the way to a root in which somebody else can replace what lies there."""

    folder: str
    mode: str
    uid: str


def shared_above(host: Host, root: PurePosixPath) -> tuple[SharedFolder, ...]:
    """The folders above ``root`` in which others can replace what lies there; () where only the user and root can.

    Raises:
        CommandFailed: the machine does not say.
        HostError: it cannot be reached.
    """
    done = host.run(("sh", "-c", ABOVE, "sh", str(root)))
    if done.exit_code:
        raise CommandFailed(Completed(("look above", str(root)), done.exit_code, "", done.stderr, done.host))
    rows = (line.split(" ", 3) for line in done.stdout.splitlines() if line)
    return tuple(SharedFolder(row[3], row[0], row[1]) for row in rows if len(row) == 4)
