"""Example cluster files, the test bed's own among them, and starter files; shipped as tfslurm.cluster_configs."""
