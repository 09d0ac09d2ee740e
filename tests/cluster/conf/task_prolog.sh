#!/bin/sh
# Slurm adds what this prints to the environment of every task, that of the batch script included.
echo "export DOCKER_HOST=$docker_host"
case "$${PATH:=$system_path}" in
$bin:*) ;;
*) echo "export PATH=$bin:$$PATH" ;;
esac
