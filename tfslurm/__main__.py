"""`python -m tfslurm` is the command line."""

from tfslurm.cli import main

main()
