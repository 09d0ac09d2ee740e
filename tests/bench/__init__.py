"""Speed beside the peers: whole processes, in one virtual environment, on the same cluster, in the same run."""
