"""Every way in which a job ends, on the test bed: `python -m tests.faults`, a table; a shorter form of it in pytest.

engine     what is asked of a container engine by name: which containers there are, which process attends one
job        one job of a user's with a container that runs, and what a fault is done to
case       a fault, and what has to come of it
ends, told, killed, restarted    the faults by kind
judge      what came of it
matrix     many cases at once where they do not disturb each other, the others one after another
"""
