"""The templates and the node side; shipped as tfslurm.job_templates."""
