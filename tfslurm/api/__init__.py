"""tfslurm from Python: jobs and sweeps as objects, each of whose calls does what the command of its name does.

One session serves a whole program: each cluster is logged in to once, and left when Python ends. Messages go to the
logger `tfslurm`. The session belongs to the thread that makes the first call, as its tracker does.
"""
