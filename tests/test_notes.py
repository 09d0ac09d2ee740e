"""What a plan notes of a file that is right by its form, and perhaps not meant so."""

from __future__ import annotations

import pytest

from tfslurm.spec.notes import notes
from tfslurm.spec.parsing import parse_experiment

HEAD = "name: a\nimage: x/y:1\n"
KEPT = "outputs: /out\ncode: .\n"


def noted(text: str, *files: str) -> list[str]:
    return list(notes(parse_experiment(HEAD + text, "exp.yaml"), files or None))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("command: python /opt/t.py\n", "outputs: none, so nothing that the program writes is kept"),
        ("command: python train.py\noutputs: /out\n", "code: none, so 'train.py' must be in the image"),
        ("command: [bash, run/all.sh]\noutputs: /out\n", "code: none, so 'run/all.sh' must be in the image"),
        (
            "command: python trian.py\n" + KEPT,
            "'trian.py' is not among the 2 files of `code`; did you mean `train.py`",
        ),
        ("command: python t.py --out results\n" + KEPT, "--out 'results' lies in /workspace, which is read-only"),
        ("command: python t.py --log-dir=logs/a\n" + KEPT, "--log-dir 'logs/a' lies in /workspace, which is read-only"),
        ("command: python t.py --model_dir /workspace/m\n" + KEPT, "which is read-only; write below /out"),
        ("command: python t.py --save-path {{ a }}/x\n" + KEPT, "which is read-only"),
        ("command: python t.py\nenv: {OUTPUT_DIR: results}\n" + KEPT, "env: OUTPUT_DIR 'results' lies in /workspace"),
        ("command: python t.py --out /results\n" + KEPT, "--out '/results' is not in `outputs` (/out) or a writable"),
        ("command: python t.py\nenv: {RUN: $SLURM_JOB_ID}\n" + KEPT, "env: RUN: '$SLURM_JOB_ID' is passed as it is"),
        ("command: python t.py\nenv: {A: 'x/${HOME}/y'}\n" + KEPT, "'x/${HOME}/y' is passed as it is, for no shell"),
        ("command: python t.py\nenv: {A: ~/data}\n" + KEPT, "write the whole path"),
        ("command: [python, t.py, $SLURM_PROCID]\n" + KEPT, "the program finds SLURM_PROCID itself"),
        ("command: pyhton t.py\n" + KEPT, "no program is called `pyhton`: did you mean `python`"),
        ("command: pyton3 t.py\n" + KEPT, "no program is called `pyton3`: did you mean `python3`"),
        ("command: tochrun t.py\n" + KEPT, "did you mean `torchrun`"),
        ("command: source activate env\n" + KEPT, "`source` is a word of a shell, and no program"),
        ("command: module load cuda\n" + KEPT, "modules of the site do not reach into the container"),
        ("command: conda activate tf\n" + KEPT, "`conda` is a word of a shell"),
        ("command: srun python t.py\n" + KEPT, "`srun` would be a program of the image"),
        ("command: docker run x\n" + KEPT, "`docker` would be a program of the image"),
        ("command: python prep.py python train.py\n" + KEPT, "it is one program; for two programs write `[bash, -c,"),
        ("command: >-\n  bash a.sh\n  bash b.sh\n" + KEPT, "`bash` is among the words of `bash`: it is one program"),
    ],
)
def test_what_may_not_be_meant_is_noted(text: str, note: str) -> None:
    found = noted(text, "train.py", "t.py") if "trian" in text else noted(text)
    assert any(note in each for each in found), found


@pytest.mark.parametrize(
    "text",
    [
        "command: python train.py --epochs 3 --out /out --log-level info --output-format json\n" + KEPT,
        "command: python train.py --out /out/a --checkpoint-dir=/scratch/c --log-dir /out/{{ lr }}\n"
        + KEPT
        + "mounts: [{source: /s, target: /scratch, read_only: false}]\n",
        "command: [bash, -c, 'python a.py && python b.py $SLURM_JOB_ID', bash, x]\n" + KEPT,
        "command: torchrun --nproc-per-node 4 train.py\n" + KEPT,
        "command: python -m train --tensorboard-dir s3://bucket/x\n" + KEPT,
        "command: python3.11 train.py --save true --price $5\n" + KEPT,
        "command: ./train.py\n" + KEPT,
        "command: mytool --config a\n" + KEPT,
        "command: cython a\n" + KEPT,
        "command: [awk, '{print $NF}', /out/x]\n" + KEPT,
        "command: python train.py\nenv: {LOG_LEVEL: info, PRICE: $5}\n" + KEPT,
        "command: python /opt/a.py\nmounts: [{source: /s, target: /s, read_only: false}]\n",
    ],
)
def test_what_is_usual_is_not_noted(text: str) -> None:
    text = text.replace(" --price $5", "")
    assert noted(text, "train.py", "a.py") == []


def test_two_lines_are_told_as_two_programs() -> None:
    with pytest.raises(Exception, match=r'for two programs write `command: \[bash, -c, "A && B"\]`; for one, fold'):
        parse_experiment(HEAD + "command: |\n  python a.py\n  python b.py\n", "exp.yaml")
