"""The flow: an experiment's files -> a plan -> a job in the queue -> what became of it.

prepare   the user's files -> what will be sent
send      intent -> files -> sbatch -> id; what was left half-sent is found again
follow    what the scheduler, or the job's own end file, says of jobs; their records
local     the same job here and now, without a scheduler
"""
