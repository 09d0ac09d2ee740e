"""The check for real GPUs: tfslurm's own node side and the test bed's stand-ins beside NVIDIA's driver, on one machine.

What runs here needs Python 3.9, its standard library, bash and coreutils; no Slurm, no network and no package of PyPI.
"""
