"""`python -m tfslurm` is the command line.

Python puts the current folder first on its search path then, where a stranger's click.py or yaml.py may lie. It is
taken off before anything but this package is imported. What Python imports before that is out of reach: in a folder
that you do not know, type `tfslurm`, which never has it there.
"""

import sys

if not getattr(sys.flags, "safe_path", sys.flags.isolated):
    del sys.path[0]

from tfslurm.cli import main

main()
