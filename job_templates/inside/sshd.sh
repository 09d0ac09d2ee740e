#!/bin/sh
# One ssh connection into the container of a job, over standard input and output (`tfslurm exec --ssh-config`): nothing
# listens. sshd needs no root for the user's own connection.
#
#   sh -c 'this text' sshd [KEY…]
#
# Each KEY is a public key of the user's, of whom alone input and output are. First it prints `key ` and the server's
# public key, or `no ` and the reason there is none; without a KEY that is all. Private key and variables are in the
# container's own memory.
#
# POSIX sh: the image's shell may be any. Every name here has a prefix, for variables of the program are exported.
tfslurm_env=$(export -p) # before any name here is another's
tfslurm_umask=$(umask)
umask 077
tfslurm_ssh=/dev/shm/tfslurm-ssh

tfslurm_no() {
    printf 'no %s\n' "$1"
    exit 0
}

# The program's variables, for the commands that come over ssh: sshd itself gives them none.
tfslurm_note() {
    printf '%s\n' "$tfslurm_env" >"$tfslurm_ssh/env.$$" && mv "$tfslurm_ssh/env.$$" "$tfslurm_ssh/env"
    cat >"$tfslurm_ssh/session.$$" <<END
umask $tfslurm_umask
tfslurm_term=\${TERM-}
. $tfslurm_ssh/env
END
    cat >>"$tfslurm_ssh/session.$$" <<'END'
if [ -n "${SSH_TTY-}" ]; then export TERM="$tfslurm_term"; fi
if [ -n "${SSH_ORIGINAL_COMMAND-}" ]; then exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"; fi
if command -v bash >/dev/null 2>&1; then exec bash; fi
exec /bin/sh
END
    mv "$tfslurm_ssh/session.$$" "$tfslurm_ssh/session"
}

# One for all connections to this container: whoever makes it first.
tfslurm_make_key() {
    [ -s "$tfslurm_ssh/key" ] && return
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$tfslurm_ssh/key.$$" </dev/null >/dev/null || tfslurm_no 'ssh-keygen makes no key in it'
    ln "$tfslurm_ssh/key.$$" "$tfslurm_ssh/key" 2>/dev/null
    rm -f "$tfslurm_ssh/key.$$" "$tfslurm_ssh/key.$$.pub"
}

mkdir "$tfslurm_ssh" 2>/dev/null
if [ -L "$tfslurm_ssh" ] || [ ! -O "$tfslurm_ssh" ]; then tfslurm_no "$tfslurm_ssh cannot be written in the container"; fi
tfslurm_sshd=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin && command -v sshd) || tfslurm_no 'the image has no sshd'
command -v ssh-keygen >/dev/null || tfslurm_no 'the image has no ssh-keygen'
tfslurm_note || tfslurm_no "$tfslurm_ssh cannot be written in the container"
tfslurm_make_key
tfslurm_line=$(ssh-keygen -y -f "$tfslurm_ssh/key") || tfslurm_no 'its key cannot be read'
printf 'key %s\n' "$tfslurm_line"
[ "$#" = 0 ] && exit 0
printf '%s\n' "$@" >"$tfslurm_ssh/keys.$$"
trap 'rm -f "$tfslurm_ssh/keys.$$"' EXIT
for tfslurm_line in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec; do
    if [ -x "$tfslurm_line/sftp-server" ]; then break; fi
done
"$tfslurm_sshd" -i -e -f /dev/null -o HostKey="$tfslurm_ssh/key" -o AuthorizedKeysFile="$tfslurm_ssh/keys.$$" \
    -o AuthenticationMethods=publickey -o MaxAuthTries=50 -o StrictModes=no -o UsePAM=no -o LogLevel=ERROR -o PidFile=none \
    -o ForceCommand="/bin/sh $tfslurm_ssh/session" -o Subsystem="sftp $tfslurm_line/sftp-server" \
    -o AllowTcpForwarding=local -o AllowStreamLocalForwarding=local -o AllowAgentForwarding=no -o X11Forwarding=no \
    -o PermitTunnel=no -o PermitUserRC=no -o PrintMotd=no -o PrintLastLog=no -o UseDNS=no
