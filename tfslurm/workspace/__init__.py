"""This machine's side of every command: the configuration, the clock, what ships with tfslurm, connections, threads."""
