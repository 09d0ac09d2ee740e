"""The raw files that real jobs of the test bed left, one JSON document per job; see record.py."""
