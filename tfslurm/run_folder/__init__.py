"""The files of a run folder, ROOT/runs/NAME-PLAN_ID, and the one reader of each of them. Pure."""
