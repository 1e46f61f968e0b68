# What a job asks for: gpu, mem_mb and runtime from its work, and what the profile says of jobs with a
# GPU (docs/slurm.md).
asks = Requests(Path.cwd(), settings, workflow.resource_settings.default_resources)

# What the rules wait for. The answers are in cryosnake.session.dag; here they meet the checkpoints.


def next_tick(wildcards):
    """The wait for movies that this run needs; nothing once it takes in no more."""
    number = session.next_tick()
    return [] if number is None else checkpoints.ingest.get(tick=f"{number:05d}").output


def batch_tables(wildcards):
    """The tables of all batches that are closed by now."""
    return session.tables()


def due_tallies(wildcards):
    """Counts of micrographs that are due and not there yet; finished ones need not be asked for."""
    return session.due_tallies()


def due_particle_tallies(wildcards):
    """Counts of particles, likewise."""
    return session.due_particle_tallies(ask_tally)


def ask_tally(tallies, covered):
    """Make the DAG wait for the count of micrographs or particles over this many batches."""
    if tallies is session.particle_tallies:
        version = settings.picking.model_version
        checkpoints.tally_particles.get(version=version, batches=f"{covered:05d}")
    else:
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
    """The batches that a count of micrographs is of, and the count before it."""
    return session.micrograph_tallies.inputs(int(wildcards.batches))


def particle_tally_input(wildcards):
    """The batches that a count of particles is of, and the count before it."""
    return session.particle_tallies.inputs(int(wildcards.batches))


def round_tables(wildcards):
    """The particles of a round; that they are touched later changes nothing."""
    batches = session.round_batches(int(wildcards.particles), ask_tally)
    if not batches:
        next_tick(wildcards)  # more may come
        raise WorkflowError(f"this session has no {wildcards.particles} particles")
    return ancient([f"results/particles/{batch}/particles.star" for batch in batches])


def round_start(wildcards):
    """The round that a round starts from; that it is done again changes nothing."""
    return ancient(session.rounds.before(int(wildcards.particles)))


def classes2d(wildcards):
    """The classes of every round that has its particles."""
    return session.classes2d(ask_tally)


def rounds_so_far(wildcards):
    """The classes and volumes of rounds that wait for no count; others may be due for long."""
    return session.rounds_so_far()


def streamed(wildcards):
    """The batches that are assigned to the classes of the newest round."""
    return session.streamed(ask_tally)


def label_overrides(wildcards):
    """Labels of classes given by hand, if there are any."""
    return session.rounds.overrides()


def branch2d_particles(wildcards):
    """What a round of the branch in 2D takes: the particles of the 3D class, or of the round
    before."""
    return session.volume_rounds.branch2d_input(
        int(wildcards.particles), int(wildcards.number)
    )


def branch2d_classes(wildcards):
    """The classes of all rounds of the branch in 2D."""
    return session.volume_rounds.branch2d_classes(int(wildcards.particles))


def refine_start(wildcards):
    """The refinement of the round before; that it is done again changes nothing."""
    return ancient(session.volume_rounds.refined_before(int(wildcards.particles)))


def volumes(wildcards):
    """What is wanted in 3D of every round that has its particles."""
    return session.volumes(ask_tally)


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
    all_tables(wildcards)  # more may come
    return ["results/.tables.made"] if session.batches() else []


def relion_folder(wildcards):
    """The folder that RELION opens, once there are particles to open it with."""
    next_tick(wildcards)  # more may come
    return ["results/session/relion/README.txt"] if classes2d(wildcards) else []


def session_report(wildcards):
    """The report, likewise."""
    return ["results/.report.made"] if session_tables(wildcards) else []
