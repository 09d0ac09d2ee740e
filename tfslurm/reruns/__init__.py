"""A run once more from its record: a workspace is made of the record, and submitted as one that a user wrote."""
