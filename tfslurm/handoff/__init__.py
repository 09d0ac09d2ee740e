"""A run folder and its job, in one step; what a step that was cut off left, found again (ADR 20)."""
