"""The test bed: real Slurm clusters, Docker, registries and login nodes on one machine. See README.md."""
