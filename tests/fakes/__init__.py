"""Stand-ins for what a laptop has not: Slurm's programs, a login node. Each is as strict as what it stands for."""
