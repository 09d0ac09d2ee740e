"""tfslurm: run a pinned TensorFlow image as a Slurm job and keep a record that a reviewer can check."""

__version__ = "0.1.0"
