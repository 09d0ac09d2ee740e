"""Who may change what a job will run: the folders that hold it are the user's alone, and those above them too."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import CommandFailed, Completed
from tfslurm.host.protocol import Host

# Each on one line, because tcsh as a login shell takes no line break within quotes.
#
# above ROOT prints mode, owner's uid, gid and name of each folder on the way to it in which somebody else can replace
# what lies there: it belongs to another user than root, or others may write in it and it has no sticky bit. A group of
# the user's own name without another member is the user. Links on the way are followed one by one.
#
# guard PARENT GROUP ACCEPT: afterwards PARENT (ROOT/runs or ROOT/code) is there, and it, runs, code and images are real
# folders that the user alone may enter; GROUP may read runs. Others cannot replace them, unless that is accepted. One
# stat asks for all of them.
GUARD = r"""no() { echo "$1" >&2; exit 1; }; me=$(id -u);
rows() { way=$root; hops=0; set -- "$root" "$@";
while :; do p=$way; link=;
while [ -n "$p" ]; do if [ -L "$p" ]; then link=$p; fi; p=${p%/*}; set -- "$@" "${p:-/}"; done;
[ -n "$link" ] && [ "$hops" -lt 40 ] || break; hops=$((hops + 1)); to=$(readlink -- "$link");
stat --format='0 %u %g link %n' -- "$link"; case $to in /*) ;; *) to=${link%/*}/$to ;; esac; way=$to${way#"$link"};
set -- "$@" "$way"; done;
stat --dereference --format='%a %u %g %d.%i %n' -- "$@"; };
alone() { row=$(getent group "$gid" 2>/dev/null) && own=$(id -un) && [ "${row%%:*}" = "$own" ]
&& { [ -z "${row##*:}" ] || [ "${row##*:}" = "$own" ]; }
&& case $(LC_ALL=C ls -Lld -- "$name") in ??????????+*) false ;; esac; };
shared() { [ "$owner" = "$me" ] || [ "$owner" = 0 ] || return 0;
case $mode in [1357]???) return 1 ;; *[2367]) return 0 ;; *[2367]?) ! alone ;; *) return 1 ;; esac; };
narrow() { [ "$owner" = "$me" ] || return 0;
case $mode in [1357]???) ;; *[2367]|*[2367]?) chmod go-w -- "$name"; same=$id ;; esac; };
each() { same=; while read -r mode owner gid id name; do
[ "$name" != "$root" ] || narrow; [ "$id" != "$same" ] || continue; "$@" || exit 1; done; };
tell() { ! shared || printf '%s %s %s %s\n' "$mode" "$owner" "$gid" "$name"; };
above() { root=$1; rows | each tell | sort -u; };
judge() { case $name in "$top"|"$root/runs"|"$root/code"|"$root/images")
[ -d "$name" ] && [ "$owner" = "$me" ] || no "$name is not a folder that you own; move it away, or name another root";
case $name:$mode in *00|"$open":*) ;; *) chmod go-rwx -- "$name" ;; esac; return ;; esac;
[ -z "$accept" ] || return 0; ! shared
|| no "$name (mode $mode) is on the way to $root, and others can replace what lies there;
chmod go-w or +t it, or name another root, or write shared_parents: accept in the cluster file"; };
guard() { top=$1; root=${1%/*}; group=$2; accept=$3; open=; set -- "$top";
[ -d "$top" ] || [ -L "$top" ] || (umask 077; mkdir -p -- "$top") || exit 1;
[ -z "$group" ] || open=$root/runs;
for own in "$root/runs" "$root/code" "$root/images"; do
if [ "$own" != "$top" ] && [ -e "$own" ]; then set -- "$@" "$own"; fi;
[ ! -L "$own" ] || no "$own is a link; move it away, or name another root"; done;
rows "$@" | each judge || exit 1; [ -z "$group" ] || open_to "$root" "$open"; };
open_to() { for one in "$@"; do [ -d "$one" ] || continue; chgrp -- "$group" "$one" && chmod g=rxs,o= -- "$one"
|| no "read_group: $one cannot be given to $group; name a group of yours in the cluster file"; done; };
""".replace("\n", " ")

# $1 the run folder, $group who may read it: what is there for a reader, never the secrets.
OPEN_RUN = """[ -z "$group" ] || { open_to "$run"; find "$run" -mindepth 1 -maxdepth 1 ! -name secrets
-exec chgrp -- "$group" '{}' + -exec chmod g=rX,o= -- '{}' + ; };""".replace("\n", " ")

ABOVE = GUARD + ' above "$1"'


class Sharing(NamedTuple):
    """What the cluster's file says of others: the group that may read what runs leave, and whether folders in which
    others can replace it are accepted."""

    group: str = ""
    accept: bool = False

    @property
    def words(self) -> tuple[str, str]:
        """They as the scripts take them."""
        return self.group, "accept" if self.accept else ""


ALONE = Sharing()


class SharedFolder(NamedTuple):
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
