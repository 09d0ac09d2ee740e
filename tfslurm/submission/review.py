"""Everything that an experiment file could touch, for somebody who got it from somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from tfslurm.job_plan import own_variables
from tfslurm.spec import Experiment, Mount, Option
from tfslurm.spec.program_text import program_texts
from tfslurm.spec.programs import is_code_variable
from tfslurm.submission.code_folder import code_folder, private_files, some
from tfslurm.submission.prepare import Asked, Prepared, find_templates
from tfslurm.workspace.project import own_folders

WELL_KNOWN = (
    r"AWS_|AZURE_|ARM_|GOOGLE_|GCP_|GCLOUD_|CLOUDSDK_|DIGITALOCEAN_|CLOUDFLARE_|GITHUB_|GH_|GITLAB_|GL_|CI_|BITBUCKET_"
    r"|SSH_|GPG_|GNUPG|KRB5|KUBE|DOCKER_|NPM_|NODE_AUTH|PYPI_|TWINE_|POETRY_|UV_PUBLISH|CARGO_|CONDA_|HF_|HUGGING"
    r"|OPENAI_|ANTHROPIC_|VAULT_|CONSUL_|NOMAD_|TF_VAR_|DATABASE_|DB_|PG|MYSQL_|REDIS|MONGO|SLACK_|DISCORD_|TELEGRAM_"
    r"|STRIPE_|TWILIO_|SENDGRID_|SMTP_|SUDO_|XDG_|DBUS_|SENTRY_|.*(PASSWORD|PASSWD|PRIVATE_KEY|CREDENTIAL)"
)
"Beginnings of variables that hold credentials of other services than an experiment's own."
REACHING = {
    "mail-user": "Slurm sends mail about the job to this address",
    "dependency": "the job waits for other jobs",
    "reservation": "the job uses nodes that were set aside",
    "nodelist": "the job asks for these nodes",
    "exclusive": "the job takes whole nodes",
    "reboot": "the nodes are started again first",
    "licenses": "the job takes licences",
    "extra": "a text for the site's own programs",
    "network": "how the nodes' network is used",
    "propagate": "limits of your shell go along",
    "constraint": "the site may change nodes for this",
}
OUTSIDE = "code that runs on the node as you, OUTSIDE the container"


def review_of(asked: Asked, job: Prepared) -> dict[str, Any]:
    """The program that would run and all that it could reach, as plain values.

    ``warnings`` are what a reader should look at first. A value of None, or an empty list, says that there is none.
    """
    plan, experiment = job.plan, asked.experiment
    command = [*plan.pin.entrypoint, *map(str, experiment.command)] if plan.points else list(plan.command)
    env = written_env(experiment) if plan.points else dict(plan.env)
    found = {
        "file": str(asked.file),
        "job": {"name": plan.name, "cluster": plan.cluster, "user": plan.user, "root": plan.root},
        "clusters": list(experiment.clusters),
        "points": plan.points.count if plan.points else None,
        "image": image_of(job),
        "build": asdict(plan.build) if plan.build else None,
        "packages": [asdict(wheel) for wheel in plan.packages.wheels] if plan.packages else [],
        "command": command,
        "parameters": dict(asked.parameters or experiment.parameters),
        "sweep": experiment.sweep,
        "reproduce": asdict(plan.reproduce) if plan.reproduce else None,
        "scan": asdict(experiment.scan) if experiment.scan else None,
        "program_texts": program_texts(command),
        "env": env,
        "secrets": list(experiment.secrets),
        "mounts": [asdict(mount) for mount in plan.mounts],
        "code": code_of(asked, job),
        "outputs": plan.outputs,
        "network": plan.network,
        "resources": asdict(plan.resources),
        "gpu_check": plan.gpu_check,
        "prepull": plan.prepull,
        "template": template_of(asked),
        "slurm": dict(plan.options),
        "plugin_options": dict(plan.plugin_options),
        "checkpoint": asdict(plan.checkpoint) if plan.checkpoint else None,
    }
    return {**found, "warnings": list(warnings_of(found))}


def written_env(experiment: Experiment) -> dict[str, str]:
    """The variables of the program as they are written, and tfslurm's own."""
    return {**own_variables(experiment), **{name: str(word) for name, word in experiment.env.items()}}


def image_of(job: Prepared) -> dict[str, Any]:
    """The image, who is asked for it, and what the lock file says of it."""
    pin = job.plan.pin
    return {
        "reference": pin.reference,
        "digest": pin.digest,
        "digest_kind": pin.digest_kind,
        "pin_kind": pin.pin_kind,
        "pinned_at": pin.pinned_at,
        "served_by": pin.served_by,
        "asked": list(job.plan.image_sources),
        "entrypoint": list(pin.entrypoint),
        "environment": dict(pin.environment),
    }


def code_of(asked: Asked, job: Prepared) -> dict[str, Any] | None:
    """The folder that is sent, and which of its files look private."""
    if job.code is None or job.plan.code is None:
        return None
    own = own_folders(asked.file.parent.resolve())
    return {
        "folder": str(job.code.folder),
        "is_beside_file": any(job.code.folder.is_relative_to(each) for each in own),
        "writable": job.plan.code.writable,
        "files": job.code.files,
        "size_bytes": job.code.bytes,
        "remote": job.code.remote,
        "private_looking": private_files(job.code),
        "left_out": list(job.code.left_out),
    }


def template_of(asked: Asked) -> dict[str, str] | None:
    """A template of the file's own, with its whole text."""
    texts, name = find_templates(asked)
    return {"name": name, "text": texts[name]} if asked.experiment.template else None


def warnings_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The findings to look at first, the gravest before the others."""
    if found["template"]:
        yield f"template: {found['template']['name']} is {OUTSIDE}; read all of it"
    yield from map(of_secret, found["secrets"])
    code = found["code"]
    if code and not code["is_beside_file"]:
        yield f"code: {code['folder']} did not come with the file"
    if code and code["private_looking"]:
        yield f"code: files that look private are sent: {some(code['private_looking'])}"
    for mount in found["mounts"]:
        if not mount["read_only"]:
            yield f"mounts: the program can change {mount['source']}"
    image = found["image"]
    if image["pin_kind"] == "image-id":
        yield f"image: the lock file names an image's id on the node; nothing says that it is {image['reference']}"
    if image["entrypoint"]:
        yield f"image: the lock file puts this before the command: {' '.join(image['entrypoint'])}"
    for name in found["env"]:
        if is_code_variable(name):
            yield f"env: {name} says what runs, or what is loaded, before the program"
    if found["gpu_check"] == "off":
        yield "gpu_check: off: tfslurm does not check whether TensorFlow finds the GPUs"
    if found["network"] == "host":
        yield "network: host: the program reaches what the node reaches, services of the node among it"
    for name in found["slurm"]:
        if name in REACHING:
            yield f"slurm: {name}: {REACHING[name]}"
    for name in found["plugin_options"]:
        yield f"plugin_options: {name}: a plugin of the site acts on this, and tfslurm does not know how"


def quoted(text: str) -> str:
    """The text as one word of a line: in quotes where it could be read as several."""
    return text if text.isprintable() and not re.search(r"[\s'\"]|^$", text) else repr(text)


def mount_text(mount: Mount) -> str:
    """One mount, with its mode."""
    name = f"{quoted(mount.name)} = " if mount.name and mount.name != mount.source else ""
    mode = f"{'ro' if mount.read_only else 'rw'}{', hashed' if mount.hash else ''}"
    return f"{name}{quoted(mount.source)} -> {quoted(mount.target)} ({mode})"


def option_texts(options: Mapping[str, Option]) -> list[str]:
    """sbatch options as one would type them; one that is off is told of."""
    return [option_text(key, value) for key, value in options.items()]


def option_text(key: str, value: Option) -> str:
    """One of them."""
    if value is False:
        return f"--{key} left out"
    return f"--{key}" if value is True or value == "" else f"--{key}={quoted(str(value))}"


def of_secret(name: str) -> str:
    """What the program can do with a secret."""
    if re.match(WELL_KNOWN, name):
        return f"secrets: {name} is a credential of other services: the program can do there what you may do"
    return f"secrets: the program gets your {name}"


def reaching(experiment: Experiment) -> Iterator[str]:
    """What reaches beyond the container, without the text of it: for a run that begins at once."""
    if experiment.template:
        yield f"template: {experiment.template} is {OUTSIDE}"
    yield from map(of_secret, experiment.secrets)
    yield from (f"mounts: the program can change {each.source}" for each in experiment.mounts if not each.read_only)


def reached(asked: Asked, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Line by line what a plan should not hide: where the code is, variables, secrets, network, template."""
    experiment: Experiment = asked.experiment
    if experiment.code:
        yield "folder", str(code_folder(experiment, asked.file))
    yield "env", " ".join(f"{name}={value!r}" for name, value in env.items()) or "none"
    yield "secrets", " ".join(experiment.secrets) or "none"
    yield "network", experiment.network
    name = find_templates(asked)[1] if experiment.template else ""
    yield "template", f"{name}: {OUTSIDE} (plan --review shows it)" if name else "built in"
