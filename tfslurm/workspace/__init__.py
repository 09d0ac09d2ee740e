"""The user's machine: configuration, clock, packaged files, connections and threads of a command."""
