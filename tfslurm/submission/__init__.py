"""The files a user wrote -> jobs in a queue."""
