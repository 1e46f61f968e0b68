# A GPU for a job that can use one.
job_gpu = 0 if settings.compute.device == "cpu" else 1

# What the rules wait for. The answers are in cryosnake.session.dag; here they meet the checkpoints.


def training_pick_gpu(wildcards):
    """A GPU for the networks; the other pickers have no use for one."""
    uses = wildcards.picker == "network" or settings.picking.denoise
    return job_gpu if uses else 0


def next_tick(wildcards):
    """The wait for movies that this run needs; nothing once it takes in no more."""
    number = session.next_tick()
    return [] if number is None else checkpoints.ingest.get(tick=f"{number:05d}").output


def batch_tables(wildcards):
    """The tables of all batches that are closed by now."""
    return session.tables()


def due_tallies(wildcards):
    """Tallies that are due and not there yet; finished ones need not be asked for."""
    return [
        f"results/tally/{covered:05d}.json" for covered in session.missing_tallies()
    ]


def ask_tally(covered):
    """Make the DAG wait for the tally over this many batches."""
    checkpoints.tally.get(batches=f"{covered:05d}")


def subset_of(milestone):
    """An input function that gives the milestone's subset once it can be frozen."""
    return lambda wildcards: session.subset(milestone, ask_tally)


def subset_tables(wildcards):
    """The tables of the batches of a subset; that they are touched later changes nothing."""
    tables = session.subset_tables(wildcards.milestone, ask_tally)
    if not tables:
        next_tick(wildcards)  # more may come
        raise WorkflowError(
            f"milestone {wildcards.milestone} is not reached by this session"
        )
    return ancient(tables)


def tally_input(wildcards):
    """The batches that a tally counts, and the tally before it."""
    return session.tally_inputs(int(wildcards.batches))


def picking_model(wildcards):
    """The model to pick with, once it can be trained."""
    return session.model(ask_tally)


def batch_coordinates(wildcards):
    """What is picked on all batches, once picking has started."""
    return session.coordinates(ask_tally)


def batch_particles(wildcards):
    """The particles of all batches, likewise."""
    return session.particles(ask_tally)


def all_tables(wildcards):
    """What the session's tables are made of: all batches, and the files left out."""
    next_tick(wildcards)
    return session.tables() + session.left_out()


def session_tables(wildcards):
    """The tables of the session, once this run takes in no more and there is something to show."""
    return (
        ["results/micrographs.star"]
        if all_tables(wildcards) and session.batches()
        else []
    )


def session_report(wildcards):
    """The report, likewise."""
    return ["results/report.html"] if session_tables(wildcards) else []
