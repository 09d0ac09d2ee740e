"""What a run folder holds, below ROOT/runs/NAME-PLAN_ID, and the one reader of each file in it. Pure."""
