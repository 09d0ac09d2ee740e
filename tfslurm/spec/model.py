"""The keys of an experiment file as pydantic models: types, rules, help and examples. The schema comes from here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from tfslurm.spec import names, places, quantities, words
from tfslurm.spec.axes import Axis, Scalar, Sweep
from tfslurm.spec.elsewhere import elsewhere
from tfslurm.spec.scan import Scan


def packages(value: object) -> str | tuple[str, ...]:
    """The path of a requirements file, or requirements in their one form."""
    from tfslurm.spec import requirements

    return requirements.packages(value)


def comparer(value: object) -> object:
    """``"*.parquet": compare.py`` is short for ``"*.parquet": {script: compare.py}``."""
    return {"script": value} if isinstance(value, str) else value


def _text(pattern: str = "") -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {})})


Memory = Annotated[int, PlainValidator(quantities.memory_mib), _text("^[0-9]+[KMGTkmgt]$")]
JobMemory = Annotated[int, PlainValidator(quantities.job_memory_mib), _text("^([0-9]+[KMGTkmgt]|all)$")]
Time = Annotated[
    int,
    PlainValidator(quantities.time_s),
    WithJsonSchema({"type": ["string", "integer"], "pattern": "^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$", "minimum": 1}),
]
Gpus = Annotated[
    tuple[int, str | None],
    PlainValidator(quantities.gpus),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": quantities.MAX_GPUS,
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*:[1-9][0-9]*$",
        }
    ),
]
Command = Annotated[
    tuple[words.Parts, ...],
    PlainValidator(words.command),
    WithJsonSchema(
        {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1},
    ),
]
Packages = Annotated[
    str | tuple[str, ...],
    PlainValidator(packages),
    WithJsonSchema({"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1}),
]
Template = Annotated[words.Parts, PlainValidator(words.argument), _text()]
Options = dict[
    Annotated[str, AfterValidator(names.option)],
    Annotated[Any, PlainValidator(names.option_value), WithJsonSchema({"type": ["string", "integer", "boolean"]})],
]
PluginOptions = dict[
    Annotated[str, AfterValidator(names.plugin_option)],
    Annotated[Any, PlainValidator(names.option_value), WithJsonSchema({"type": ["string", "integer", "boolean"]})],
]
Image = Annotated[str, AfterValidator(names.image), _text(r"^[^\s-]\S*$")]
Name = Annotated[str, AfterValidator(names.name), _text("^[a-z0-9][a-z0-9-]{0,63}$")]
Target = Annotated[str, AfterValidator(places.target), _text("^/.")]


class Keys(BaseModel):
    """A mapping with fixed keys: every other key is a mistake, and no type is turned into another."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Code(Keys):
    """The folder whose snapshot is the working directory, /workspace."""

    path: Annotated[str, AfterValidator(names.local_path)] = Field(
        description="The folder, relative to this file.", examples=["."]
    )
    writable: bool = Field(
        False, description="true gives each attempt a private copy; false mounts it read-only.", examples=[True]
    )
    exclude: list[Annotated[str, AfterValidator(names.left_out)]] = Field(
        [],
        max_length=100,
        description="Patterns of files and folders that are not sent, as in .gitignore but without `!`.",
        examples=[["notebooks/", "*.h5"]],
    )


class Mount(Keys):
    """One folder or file of the cluster inside the container."""

    source: Annotated[str, AfterValidator(places.source), _text("^(/.|[a-z0-9][a-z0-9_-]*:)")] = Field(
        description="The absolute path on the cluster, whose file lists what may be mounted; NAME:PATH, a path below "
        "a folder that the cluster's file names; or run:CLUSTER:JOB/out, what a run left in its outputs, read-only.",
        examples=["/data/digits", "moons:train", "run:alpha:1234/out"],
    )
    target: Target = Field(description="The absolute path in the container.", examples=["/data"])
    read_only: bool = Field(True, description="false lets the program write there.", examples=[True])
    hash: bool = Field(
        False,
        description="true puts the sha256 of the files into the record, as they are before the program starts; "
        "the mount must be read-only.",
        examples=[True],
    )


class _Answering(Keys):
    """Keys in whose place users write sbatch's options and other tools' names."""

    @staticmethod
    def elsewhere(key: str, shown: str) -> str:
        """What to write in place of a key that is not known; '' where its name tells nothing."""
        return elsewhere(key, shown)


class Resources(_Answering):
    """The resources that one job asks Slurm for."""

    gpus: Gpus | None = Field(
        None, description="GPUs per node, or type:count; 0 is a CPU job; absent: 1.", examples=[1, "a100:2"]
    )
    cpus: int | None = Field(None, ge=1, le=65536, description="CPUs per node, shared by its tasks.", examples=[4])
    memory: JobMemory | None = Field(
        None,
        description="Memory per node with its unit (K, M, G, T), or all of a node's; absent: the site's default.",
        examples=["16G", "all"],
    )
    time: Time | None = Field(
        None,
        description='Time limit: "HH:MM:SS", "D-HH:MM:SS", or minutes; absent: the partition\'s default.',
        examples=["02:00:00"],
    )
    nodes: int = Field(1, ge=1, le=100000, description="How many nodes.", examples=[1])
    tasks_per_node: int = Field(1, ge=1, le=4096, description="How many containers run on each node.", examples=[1])
    shm: Memory | None = Field(None, description="Size of /dev/shm; absent: docker's default, 64M.", examples=["8G"])


class Checkpoint(Keys):
    """The warning that the program gets before its time is up."""

    signal: Literal["USR1", "USR2", "TERM", "INT", "HUP"] = Field(
        "USR1", description="The signal that the program gets.", examples=["USR1"]
    )
    before_end: int = Field(
        60, ge=1, le=65535, description="How many seconds before the time limit the program gets it.", examples=[120]
    )
    requeue: bool = Field(
        False, description="true requeues the job when its time ends or its node fails.", examples=[True]
    )
    max_requeues: int = Field(20, ge=1, le=10000, description="How often the job may be requeued.", examples=[20])


class Comparer(Keys):
    """How files of the outputs are compared: by a script, or by their numbers within a tolerance."""

    script: Annotated[str, AfterValidator(names.code_file)] | None = Field(
        None, description="A program below `code` that compares two files.", examples=["compare.py"]
    )
    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="How far two numbers may be apart.", examples=[1e-6]
    )
    relative: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="How far two numbers may be apart, as a part of the larger one.", examples=[1e-5]
    )


class Reproduce(Keys):
    """The measure by which `tfslurm diff` compares another run with this one."""

    metric: Annotated[str, AfterValidator(names.metric)] | None = Field(
        None, description="The metric, as `tfslurm results` names it.", examples=["accuracy"]
    )
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="How far the metric of a run with the same seed may be off.", examples=[0.02]
    )
    files: list[Annotated[str, AfterValidator(names.output_file)]] = Field(
        [],
        max_length=100,
        description="Files of the outputs that are the same to the bit where seed and environment are.",
        examples=[["model.weights.h5"]],
    )
    compare: dict[
        Annotated[str, AfterValidator(names.output_file)],
        Annotated[Comparer, BeforeValidator(comparer, json_schema_input_type=str | Comparer)],
    ] = Field(
        {},
        max_length=100,
        description="How outputs that a glob names are compared: by a script of the code, or within a tolerance.",
        examples=[{"*.npz": {"absolute": 1e-6}, "*.parquet": "compare.py"}],
    )


class Build(Keys):
    """An image of your own, which `tfslurm image build` makes: a base, and what is added to it."""

    base: Image = Field(
        description="The image that it is made of: repository:tag or repository@sha256:…; a tag is resolved once.",
        examples=["tensorflow/tensorflow:2.16.1-gpu"],
    )
    pip: Packages | None = Field(
        None,
        description="Python packages: a requirements file beside this one, or a list; their hashes are locked "
        "before the build.",
        examples=[["opencv-python-headless"], "requirements.txt"],
    )
    apt: list[Annotated[str, AfterValidator(names.debian_package)]] = Field(
        [],
        max_length=1000,
        description="Packages of the base's own distribution, which its apt-get installs.",
        examples=[["libgl1"]],
    )
    dockerfile: Annotated[str, AfterValidator(names.beside_file)] | None = Field(
        None,
        description="A Dockerfile beside this one, for the rest; its last stage is made of the base.",
        examples=["Dockerfile"],
    )


class Experiment(_Answering):
    """One experiment: a pinned image, a command, and what it needs."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["image"]}, {"required": ["build"]}]})

    name: Name = Field(description="Names the job: a-z, 0-9 and -.", examples=["digits-cnn"])
    image: Image | None = Field(
        None,
        description="repository:tag or repository@sha256:…; a tag is resolved once, by `tfslurm pin`. Either this or "
        "`build`.",
        examples=["tensorflow/tensorflow:2.16.1-gpu"],
    )
    build: Build | None = Field(
        None,
        description="An image of your own, in place of `image`: `tfslurm image build` makes it, pushes it and pins it.",
        examples=[{"base": "tensorflow/tensorflow:2.16.1-gpu", "pip": ["opencv-python-headless"]}],
    )
    command: Command = Field(
        description="A line, split like a shell line but run without a shell; or a list, the exact argv. "
        "{{ name }} is replaced by a parameter.",
        examples=["python train.py --out /out", ["python", "train.py"]],
    )
    code: Annotated[
        Code | None,
        BeforeValidator(names.code_path, json_schema_input_type=str | Code),
    ] = Field(
        None,
        description="The folder whose snapshot is the working directory /workspace; absent: no code.",
        examples=[".", {"path": ".", "writable": True}],
    )
    packages: Packages | None = Field(
        None,
        description="Python packages that the image lacks: a requirements file beside this one, or a list. "
        "`tfslurm pin` locks their wheels with hashes.",
        examples=["requirements.txt", ["pandas==2.2.3"]],
    )
    mounts: list[Mount] = Field(
        [],
        max_length=1000,
        description="Folders and files of the cluster inside the container.",
        examples=[[{"source": "/data/digits", "target": "/data"}]],
    )
    outputs: Target | None = Field(None, description="The container path whose files tfslurm keeps.", examples=["/out"])
    env: dict[Annotated[str, AfterValidator(names.variable)], Template] = Field(
        {}, description="Environment variables; numbers in quotes.", examples=[{"TF_DETERMINISTIC_OPS": "1"}]
    )
    secrets: list[Annotated[str, AfterValidator(names.variable)]] = Field(
        [],
        description="Names of variables whose values come from your environment and are never recorded.",
        examples=[["WANDB_API_KEY"]],
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="What the job asks Slurm for, per node.",
        examples=[{"gpus": 1, "time": "02:00:00"}],
    )
    network: Literal["bridge", "host", "none"] | None = Field(
        None,
        description="The containers' network; absent: host if several tasks run, else bridge.",
        examples=["bridge"],
    )
    prepull: bool = Field(
        False,
        description="true makes every node pull the image before the first of several tasks starts.",
        examples=[True],
    )
    gpu_check: Literal["off", "cached", "always"] = Field(
        "cached",
        description="Whether TensorFlow must list every granted GPU before the program starts: each time, "
        'or once per image, node, driver and kind of GPU. Write "off" in quotes.',
        examples=["always"],
    )
    template: Annotated[str, AfterValidator(names.template_file)] | None = Field(
        None, description="A job template of your own that extends the built-in one.", examples=["my.sbatch.j2"]
    )
    slurm: Options = Field(
        {},
        description="Any other long sbatch option, such as partition and account.",
        examples=[{"partition": "gpu", "account": "lab"}],
    )
    plugin_options: PluginOptions = Field(
        {},
        description="Options that a plugin of the site adds to sbatch; sbatch itself has none of these names.",
        examples=[{"quotatype": "spot"}],
    )
    checkpoint: Checkpoint | None = Field(
        None,
        description="The signal before the time limit, and whether the job is queued again.",
        examples=[{"signal": "USR1", "before_end": 120, "requeue": True}],
    )
    clusters: list[Name] = Field(
        [], description="Where it may run; absent: the only cluster configured.", examples=[["alpha", "beta"]]
    )
    parameters: dict[Axis, Scalar] = Field(
        {},
        description="The values of {{ name }} that neither --set nor a sweep gives; a program may read them, "
        "as JSON, in TFSLURM_PARAMS too.",
        examples=[{"lr": 0.01, "seed": 0}],
    )
    reproduce: Reproduce | None = Field(
        None,
        description="What `tfslurm diff` compares another run by.",
        examples=[{"metric": "accuracy", "tolerance": 0.02}],
    )
    scan: Scan | None = Field(
        None,
        description="Which known vulnerabilities of the image hold a job.",
        examples=[{"fail_on": "CRITICAL", "max_age": "30d"}],
    )
    sweep: Sweep | None = Field(
        None, description="Many jobs from this one experiment.", examples=[{"grid": {"lr": [0.1, 0.01]}}]
    )
