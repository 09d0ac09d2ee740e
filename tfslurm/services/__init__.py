"""Work in a job while it runs: commands and terminals in its container."""
