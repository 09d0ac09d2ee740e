"""The word that stands for a program in the plan of `tfslurm shell`, whose program is typed. Pure."""

HOLD = "tfslurm-hold"
"entry.sh in the container knows it, in front of the words of the command, if there is one."
