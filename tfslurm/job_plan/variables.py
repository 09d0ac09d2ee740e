"""The program's variables: those that tfslurm adds, and those that decide which GPUs TensorFlow finds."""

from __future__ import annotations

from tfslurm.spec import Experiment

LOADER_VARIABLES = ("CUDA_", "LD_", "NVIDIA_", "PATH", "PYTHON", "TF_", "XLA_")  # the beginnings of their names
# Of a program: what Python prints is in the log at once, however the job ends. No part of what is loaded.
OWN_VARIABLES = {"PYTHONUNBUFFERED": "1"}


def gpu_check(experiment: Experiment) -> str:
    """How the tasks of an array see whether TensorFlow finds their GPUs: each by itself, where their variables differ
    in what can change it."""
    names = [name for name, word in experiment.env.items() if word.names and name.startswith(LOADER_VARIABLES)]
    differ = [name for name in names if name not in OWN_VARIABLES]
    return "always" if differ and experiment.gpu_check == "cached" else experiment.gpu_check
