"""Jobs in words: what a rule is for, and why one failed."""

import re

#: What each rule of the workflow does, with its wildcards.
_PURPOSES = {
    "ingest": "waiting for new movies",
    "preprocess": "motion, CTF and quality of batch {batch}",
    "tally": "counting accepted micrographs",
    "freeze": "freezing the micrographs for: {milestone}",
    "session_tables": "tables of the session",
    "report": "the report",
    "relion_folder": "the folder for RELION",
    "particle_size": "size of the particle",
    "training_set": "micrographs to train the picker on",
    "pick_training": "picking training micrographs with {picker}",
    "consensus": "consensus of the pickers",
    "train_picker": "training the picker (version {version})",
    "pick": "picking on batch {batch}",
    "extract": "particles of batch {batch}",
    "take_particles": "taking in the particles of batch {batch}",
    "tally_particles": "counting particles",
    "freeze_particles": "freezing the first {particles} particles",
    "class2d": "2D classes of {particles} particles",
    "assess_class2d": "judging the 2D classes of {particles} particles",
    "stream_class2d": "particles of batch {batch} assigned to 2D classes",
    "live_class2d": "newest state of the 2D classes",
    "abinitio": "first volumes from {particles} particles",
    "class3d": "3D classes of {particles} particles",
    "branch2d": "branch in 2D, round {number}, of {particles} particles",
    "branch3d": "branch in 3D of {particles} particles",
    "crossvalidate": "choosing among the volumes of {particles} particles",
    "reextract": "particles for the refinement of {particles} particles",
    "refine": "refinement of {particles} particles",
    "forecast": "forecast from {particles} particles",
    "session": "the session as a whole",
}

#: What Snakemake or SLURM say of a job's end, why that is, and what helps.
_ENDS = (
    (
        r"OUT_OF_MEMORY|OOM",
        "it needed more memory than it was given",
        "It asks for more each time it is tried. If it still fails, raise mem_mb of the rule in"
        " the profile (set-resources), and run again.",
    ),
    (
        r"TIMEOUT|DEADLINE",
        "it took longer than it was given",
        "It asks for more each time it is tried, and goes on where it was. If it still fails, raise"
        " runtime of the rule in the profile (set-resources), and run again.",
    ),
    (
        r"NODE_FAIL|BOOT_FAIL",
        "its node failed",
        "Run again. If it happens on the same node again, tell the administrator.",
    ),
    (r"PREEMPTED", "a job of higher priority took its place", "Run again."),
    (
        r"CANCELLED|REVOKED",
        "it was cancelled",
        "Find out who cancelled it (a limit, the administrator, scancel), and run again.",
    ),
    (
        r"sbatch failed|submission failed",
        "the scheduler did not take it",
        "Correct partition, account or limits in the profile as the message says, and run again.",
    ),
    (
        r"SIGKILL|exit status 137",
        "it was killed; most often the machine had no memory left (see dmesg)",
        "Give the session fewer cores (--cores) or the machine more memory, and run again.",
    ),
    (
        r"SIGTERM|SIGINT|SIGHUP|exit status (130|143)",
        "somebody or something ended it",
        "Run again.",
    ),
    (
        r"SIGSEGV|SIGBUS|SIGILL|SIGABRT|exit status (13[4-9])",
        "the program crashed",
        "Run again; if it crashes again, please report it with its log.",
    ),
)
_LOGGED = (
    (
        r"the disk is full|No space left|Disk quota exceeded",
        "the disk is full, or the quota used up",
        "Free some space and run again: what is finished is kept.",
    ),
    (
        r"Stale file handle|Input/output error|Transport endpoint|Remote I/O error",
        "the file system did not answer",
        "See that it is there (ls), and run again: what is finished is kept.",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError",
        "the GPU's memory was not enough",
        "See that nothing else uses the GPU, or lower compute.memory_mb, and run again.",
    ),
)


def purpose(rule: str, wildcards: dict[str, str]) -> str:
    """What a job does, in words; the rule's name where none are known."""
    words = _PURPOSES.get(rule, rule.replace("_", " "))
    return re.sub(r"\{(\w+)\}", lambda found: wildcards.get(found[1], "?"), words)


def wildcards_of(text: str) -> dict[str, str]:
    """The wildcards of a job, from `batch=b00003, number=1` as Snakemake prints them."""
    return dict(part.split("=", 1) for part in text.split(", ") if "=" in part)


def why_failed(problem: str, log_end: list[str]) -> tuple[str, str]:
    """Why a job failed, and what to do about it.

    Parameters
    ----------
    problem : what Snakemake says of its end.
    log_end : the last lines of its log.
    """
    logged = "\n".join(log_end)
    for pattern, why, advice in _LOGGED:
        if re.search(pattern, logged):
            return why, advice
    for pattern, why, advice in _ENDS:
        if re.search(pattern, problem):
            return why, advice
    errors = [line for line in log_end if " ERROR " in line]
    why = errors[-1].split(" ERROR ", 1)[1] if errors else problem or "its log does not say"
    return why, "Correct what the log names, and run again; what is finished is kept."
