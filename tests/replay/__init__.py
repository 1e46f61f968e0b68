"""A whole session in minutes: the real workflow, in which the heavy steps only take their time.

The Snakefile, the rules, the ledger, the checkpoints, the scripts and the starter are those of the
project. The executor plugin `replay` runs every job in a pool of processes, so that a job does not
cost the start of an interpreter, and there the heavy stages are replaced: they sleep for their
usual time divided by a speed-up, and leave tables such as a real session's.
"""
