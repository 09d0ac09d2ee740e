"""What jobs left: records, results, logs, outputs."""
