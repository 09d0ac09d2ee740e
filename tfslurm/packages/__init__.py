"""The Python packages that an experiment adds to its image: resolve them against it, and fetch their wheels.

uv, or else pip, does both: tfslurm speaks to no index itself.
"""
