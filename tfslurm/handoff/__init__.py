"""Hand over a run folder and its job in one step, and find what an interrupted step left (ADR 20)."""
