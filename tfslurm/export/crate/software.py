"""The software of a run: the container image by its digest, and the program that ran in it."""

from __future__ import annotations

from urllib.parse import quote

from tfslurm.errors import InputError
from tfslurm.export.crate.contents import CODE, Crate, Run
from tfslurm.export.crate.entities import Entity, Graph, local, mark, one_or_all, uri
from tfslurm.image import read_lock
from tfslurm.image.reference import DOCKER_HUB
from tfslurm.record import Record
from tfslurm.record.model import Code

HERITAGE = "https://archive.softwareheritage.org/"
DOCKER_HUB_API = "registry-1.docker.io"
DOCKER_IMAGE = "https://w3id.org/ro/terms/workflow-run#DockerImage"


def image(graph: Graph, record: Record, version: str) -> Entity:
    """The image as Process Run Crate describes one, with what a probe found in it; sha256 has no prefix there."""
    about, inside = record.image, record.environment
    digest = about.digest.removeprefix("sha256:")
    found = {
        "Python": inside.python,
        "TensorFlow": inside.tensorflow,
        "CUDA that TensorFlow was built with": inside.cuda,
    }
    found |= {
        "cuDNN that TensorFlow was built with": inside.cudnn,
        "operating system": inside.os,
        "glibc": inside.glibc,
    }
    held = [graph.value("software", name, value) for name, value in found.items() if value]
    named = ", ".join(filter(None, (f"sha256 is the digest of the image's {about.digest_kind}", about.platform)))
    entity: Entity = {
        "@id": local("image", digest[:16]),
        "@type": "ContainerImage",
        "additionalType": {"@id": DOCKER_IMAGE},
        "registry": about.registry,
        "name": about.repository,
        "tag": about.tag,
        "sha256": digest,
        "description": f"Container image {about.reference}; {named}.{built(record)}",
        "additionalProperty": one_or_all(held) if held else None,
    }
    if version != "1.1":  # there a contextual entity is to have a type of schema.org as well
        page = f"https://{about.registry}/{about.repository}"
        entity |= {
            "@type": ["ContainerImage", "SoftwareApplication"],
            "url": page,
            "version": about.tag or about.digest,
        }
    return graph.add(entity)


def built(record: Record) -> str:
    """A sentence for an image that tfslurm made."""
    made = record.asked.build if record.asked else None
    if not made:
        return ""
    return (
        f" It was built on {made.base.reference} ({made.base.digest}) by {made.builder} from a Dockerfile with the "
        f"sha256 {made.dockerfile_sha256}; exp.lock.yaml holds its text, and what was added."
    )


def program(graph: Graph, run: Run, crate: Crate) -> Entity:
    """The program: the code as a whole, named after the file of it that the command names; without code, the image's.

    Its id is an address, as the profile recommends: that by which Software Heritage knows such a tree, whether or not
    it has it, or that of the image's manifest by the protocol of registries.
    """
    record = run.record
    code, command = record.code, record.experiment.command
    if code is None:
        about = {"name": command[0] if command else "the command of the image", "version": record.image.digest}
        described = f"It is in the container image {record.image.reference}."
        entity = {"@type": "SoftwareApplication", **about, "url": manifest(record), "description": described}
        return graph.add({"@id": f"{manifest(record)}#{mark(about)}", **entity})
    folder = f"{CODE}{code.tree}/"
    script = next((word for word in command if folder + word.removeprefix("./") in crate.by_path), "")
    origin = code.remote if (code.remote or "").startswith(("https://", "http://")) else None
    whole: Entity = {
        "@id": f"{HERITAGE}swh:1:dir:{code.tree}" + (f"#{quote(script)}" if script else ""),
        "@type": "SoftwareApplication",
        "name": script or f"code of {record.experiment.name}",
        "description": told(code),
        "url": origin or f"swh:1:dir:{code.tree}",
        "codeRepository": origin,
        "version": (code.commit or code.tree) + ("-dirty" if code.commit and code.dirty else ""),
        "hasPart": {"@id": uri(folder)} if uri(folder) in graph.entities else None,
    }
    return graph.add(whole)


def manifest(record: Record) -> str:
    """The address of the image's manifest. Source: OCI distribution specification, pulling manifests."""
    about = record.image
    registry = DOCKER_HUB_API if about.registry == DOCKER_HUB else about.registry
    return f"https://{registry}/v2/{about.repository}/manifests/{about.digest}"


def told(code: Code) -> str:
    """What names the code."""
    commit = f", from commit {code.commit}{' with changes' if code.dirty else ''}" if code.commit else ""
    return f"Git tree {code.tree} of the files as they were on disk{commit}."


def requirements_of(record: Record) -> str:
    """The wheels that are added to the image as a requirements file of pip; '' where there are none."""
    try:
        lock = read_lock(record.asked.lock, "exp.lock.yaml").packages if record.asked else None
    except InputError:
        return ""
    return "".join(f"{each.name}=={each.version} --hash=sha256:{each.sha256}\n" for each in lock.wheels) if lock else ""
