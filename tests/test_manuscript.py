"""`cite --check`: what a manuscript says that the records do not, with its line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.test_cite import citation, inside, run
from tfslurm.export.manuscript import checked
from tfslurm.export.manuscript.reading import read_manuscript
from tfslurm.record import Record
from tfslurm.record.model import Determinism, Package

DIGEST = "8162f7439e88a9fefcb5cc239ef65fa3e69b891d2941816b26cc0b237a929b3d"
BROKEN = r"\allowbreak ".join(DIGEST[at : at + 8] for at in range(0, 64, 8))


def observed(**changes: Any) -> Record:
    """A run of the article's example: TensorFlow 2.13, whose image has Python 3.8."""
    versions = {"tensorflow": "2.13.0", "python": "3.8.10", "cuda": "11.8", "cudnn": "8", "os": "Ubuntu 20.04.6 LTS"}
    found = (Package("numpy", "1.24.3"), Package("keras", "2.13.1"))
    record = run("tensorflow", inside(**versions, packages=found))
    image = replace(record.image, digest=f"sha256:{DIGEST}", tag="2.13.0-gpu", repository="tensorflow/tensorflow")
    seeds = Determinism({}, {"seed": changes.pop("seed", 0)}, 4)
    return replace(record, image=image, determinism=seeds, **changes)


def with_gpu(record: Record, name: str, memory_mib: int = 40960, driver: str = "550.54.14") -> Record:
    (attempt,) = record.attempts
    (task,) = attempt.tasks
    assert task.gpus
    gpus = tuple(replace(gpu, name=name, memory_mib=memory_mib) for gpu in task.gpus)
    return replace(record, attempts=(replace(attempt, tasks=(replace(task, gpus=gpus, driver_version=driver),)),))


def bad(text: str, *records: Record, metrics: list[dict[str, Any]] | None = None, is_tex: bool = True) -> list[str]:
    """Line and words of each claim that differs."""
    found = checked(text, records or (observed(),), metrics or [], is_tex=is_tex)
    return [f"{each.line}: {each.words}" for each in found if each.status != "agrees"]


def count(text: str, *records: Record, metrics: list[dict[str, Any]] | None = None) -> int:
    return len(checked(text, records or (observed(),), metrics or [], is_tex=True))


def test_the_python_of_the_published_page_is_found_and_the_images_own_is_shown() -> None:
    text = "We used the image\n\\texttt{tensorflow/tensorflow:2.13.0-gpu}\nwith Python~3.9 and CUDA~11.8."
    (wrong,) = [each for each in checked(text, [observed()], [], is_tex=True) if each.status == "differs"]
    assert (wrong.line, wrong.words, wrong.records) == (3, "Python 3.9", "3.8.10")


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{DIGEST}",
        rf"\texttt{{sha256:{BROKEN}}}",
        "sha256:\n" + "\n".join(DIGEST[at : at + 8] for at in range(0, 64, 8)),
        f"sha256:{DIGEST[:12]}\\dots",
        r"TensorFlow 2.13.0, TF 2.13 and \textsc{Python} 3.8, Python (version 3.8.10), cuDNN 8.6.0",
        r"NumPy 1.24.3, Keras~2.13; Ubuntu 20.04 LTS; CUDA toolkit 11.8, CUDA 11",
        "swh:1:dir:4b825dc642cb6eb9a060e54bf8d69288fbee4904; swh:1:rev:" + "c" * 40,
        "tensorflow/tensorflow:2.13.0-gpu. The seed was 0. Another image is nvcr.io/nvidia/cuda:12.0.1-base.",
    ],
)
def test_what_the_records_say_agrees_however_it_is_typed(text: str) -> None:
    assert count(text) > 0
    assert bad(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n\nsha256:" + DIGEST[:-1] + "0", "3: sha256:" + DIGEST[:-1] + "0"),
        (rf"\texttt{{sha256:{BROKEN[:-1]}e}}", "1: sha256:" + DIGEST[:-1] + "e"),
        ("tensorflow/tensorflow:2.13.0", "1: tensorflow/tensorflow:2.13.0"),
        ("TF~2.16", "1: TF 2.16"),
        ("TensorFlow v2.1", "1: TensorFlow v2.1"),
        ("Python version 3.11.2", "1: Python version 3.11.2"),
        ("CUDA 12.3", "1: CUDA 12.3"),
        ("cuDNN 9", "1: cuDNN 9"),
        ("numpy==1.26.4", "1: numpy==1.26.4"),
        ("Ubuntu 22.04", "1: Ubuntu 22.04"),
        ("swh:1:dir:" + "0" * 40, "1: swh:1:dir:" + "0" * 40),
        ("% a comment with Python 3.7\nPython 3.7", "2: Python 3.7"),
        ("\\section{x}\n\n%\n\\emph{driver}\nversion 535.104", "4: driver version 535.104"),
    ],
)
def test_what_they_do_not_say_is_found_with_its_line(text: str, words: str) -> None:
    assert bad(text, with_gpu(observed(), "NVIDIA A100-SXM4-40GB")) == [words]


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("four NVIDIA A100 GPUs", True),
        ("A100-SXM4-40GB", True),
        ("an A100 (40 GB)", True),
        ("an A100 80GB", False),
        ("A100 PCIe", False),
        ("NVIDIA V100", False),
        ("GeForce RTX 3090", False),
        ("driver 550.54.14", True),
        ("NVIDIA driver version 550", True),
        ("driver 535.54.14", False),
    ],
)
def test_gpus_and_drivers_are_compared_by_what_is_typed_of_them(text: str, agrees: bool) -> None:
    record = with_gpu(observed(), "NVIDIA A100-SXM4-40GB")
    if text == "NVIDIA driver version 550":
        assert count(text, record) == 0, "a number without a dot may be anything"
        return
    assert count(text, record) == 1
    assert (bad(text, record) == []) is agrees


def test_names_of_gpus_are_read_as_the_driver_writes_them() -> None:
    rtx = with_gpu(observed(), "NVIDIA GeForce RTX 4090", 24564)
    assert bad("RTX 4090, RTX4090 (24 GB)", rtx) == []
    assert bad("Tables A4, L4 and T4; Section P4; the L40 norm", rtx) == []
    assert bad("an NVIDIA T4, an L4 GPU", rtx) == ["1: NVIDIA T4", "1: L4 GPU"]
    without = replace(
        observed(),
        attempts=tuple(
            replace(each, tasks=tuple(replace(task, gpus=()) for task in each.tasks)) for each in observed().attempts
        ),
    )
    (found,) = checked("on an A100", [without], [], is_tex=True)
    assert (found.status, found.records) == ("differs", "the runs had no GPU")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("seeds 0--4", []),
        ("seeds $0$, $1$ and $2$", []),
        ("random seeds 0 to 4", []),
        ("five different seeds", []),
        ("5 seeds", []),
        ("seed = 3", []),
        ("seed 42", ["1: seed 42"]),
        ("seeds 0, 1, and 7", ["1: seeds 0, 1, and 7"]),
        ("ten random seeds", ["1: ten random seeds"]),
        ("seeds 0 to 9", ["1: seeds 0 to 9"]),
        ("a seed 95\\% of the time", []),
    ],
)
def test_seeds_are_those_of_the_runs(text: str, wrong: list[str]) -> None:
    assert bad(text, *(observed(seed=seed) for seed in range(5))) == wrong


VALUES = [{"accuracy": value, "val_loss": 1 - value} for value in (0.9711, 0.9778, 0.9844, 0.9778, 0.98)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("an accuracy of 0.9844", []),
        ("accuracy 98.4\\%", []),
        ("a mean accuracy of $97.8 \\pm 0.5$\\%", []),
        ("a mean accuracy of $0.978 \\pm 0.005$", []),
        ("97.1\\% accuracy", []),
        ("val\\_loss of 0.0156", []),
        ("accuracy\n of 0.9911", ["2: accuracy of 0.9911"]),
        ("accuracy of 99.1\\%", ["1: accuracy of 99.1%"]),
        ("a mean accuracy of $0.978 \\pm 0.05$", ["1: accuracy of 0.978 ± 0.05"]),
        ("99.1\\% test accuracy", ["1: 99.1% test accuracy"]),
        ("accuracy over 5 runs in Table 3. The rate was 0.5", []),
        ("accuracy of 0.9911 % tfslurm: not ours", []),
        ("inaccuracy of 0.5", []),
        ("\\label{accuracy 0.5}\\cite[accuracy 0.7]{x}", []),
    ],
)
def test_values_of_metrics_are_those_of_a_run_or_of_all_together(text: str, wrong: list[str]) -> None:
    assert bad(text, *(observed(seed=seed) for seed in range(5)), metrics=VALUES) == wrong


def test_a_fact_that_no_record_has_is_said_to_be_that_and_differs_from_nothing() -> None:
    (found,) = checked("CUDA 11.8", [run("tensorflow", inside(cuda=None, cuda_present=None))], [], is_tex=True)
    assert (found.status, found.records) == ("not observed", "no record has it")


@pytest.mark.parametrize("form", ["latex", "markdown", "text"])
def test_the_own_statement_agrees_with_its_records(form: str) -> None:
    record = with_gpu(observed(), "NVIDIA A100-SXM4-40GB")
    found = checked(citation([record], form), [record], [], is_tex=form == "latex")
    assert {each.kind for each in found} >= {"digest", "python", "tensorflow", "cuda", "driver", "gpu", "code"}
    assert [each for each in found if each.status == "differs"] == []


def test_lines_are_those_of_the_source() -> None:
    source = "one\n\n% two %\nthree \\cite{a\nb} four~five\n\\\\ six"
    manuscript = read_manuscript(source, is_tex=True)
    assert manuscript.text.split() == ["one", "three", "four", "five", "six"]
    assert [manuscript.line(manuscript.text.index(word)) for word in manuscript.text.split()] == [1, 4, 5, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["sha256:", "0123456789abcdef ", "accuracy 0.", "seed 1, ", "\\cite[", "{" * 9, "A100-", "driver ("]
)
def test_a_hostile_manuscript_is_read_in_a_time_that_grows_with_its_length(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    checked(text, [observed()], VALUES[:1], is_tex=True)
