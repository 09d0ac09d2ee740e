"""Turn the files that a user wrote into jobs in a queue."""
