"""Where things lie below a session's folder, in one place."""

from pathlib import Path

RESULTS = "results"
BATCHES = f"{RESULTS}/batches"
LEFT_OUT = f"{BATCHES}/left_out.json"
#: When batches became larger or smaller, and why.
BATCH_SIZES = f"{BATCHES}/sizes.json"
#: What is known of the table of particles that a session started from.
GIVEN_TABLE = f"{BATCHES}/table.json"
TICKS = f"{RESULTS}/ingest"
PREPROCESS = f"{RESULTS}/preprocess"
TALLY = f"{RESULTS}/tally"
SUBSETS = f"{RESULTS}/subsets"
PICKING = f"{RESULTS}/picking"
SIZE = f"{PICKING}/size.json"
SIZE_DECISIONS = f"{PICKING}/size_decisions.star"
SIZE_PICTURE = f"{PICKING}/size.png"
TRAINING = f"{PICKING}/training"
TRAINING_MICROGRAPHS = f"{TRAINING}/micrographs.star"
CONSENSUS = f"{TRAINING}/consensus.star"
CONSENSUS_DECISIONS = f"{TRAINING}/consensus_decisions.star"
AGREEMENT = f"{TRAINING}/agreement.json"
PARTICLES = f"{RESULTS}/particles"
CLASS2D = f"{RESULTS}/class2d"
ABINITIO = f"{RESULTS}/abinitio"
CLASS3D = f"{RESULTS}/class3d"
VALIDATION = f"{RESULTS}/validation"
CROSSVALIDATION = f"{VALIDATION}/crossvalidation.star"
REFINE = f"{RESULTS}/refine"
VERDICT = f"{RESULTS}/verdict.json"
GAIN = f"{RESULTS}/gain.json"
DETECTOR = f"{RESULTS}/detector"
MICROGRAPHS = f"{RESULTS}/micrographs.star"
#: That the tables, and the report, show all there was at the end of a run.
TABLES_MADE, REPORT_MADE = f"{RESULTS}/.tables.made", f"{RESULTS}/.report.made"
METRICS = f"{RESULTS}/metrics.csv"
DECISIONS = f"{RESULTS}/decisions.star"
REPORT = f"{RESULTS}/report.html"
#: A folder that RELION opens.
RELION = f"{RESULTS}/session/relion"
#: Held by the process that runs the session; says who it is.
RUN_LOCK = ".cryosnake.lock"


def batch_name(number: int) -> str:
    """`b00000`, `b00001`, ... in ledger order."""
    return f"b{number:05d}"


def batch_star(batch: str) -> str:
    """The list of movies of a batch."""
    return f"{BATCHES}/{batch}.star"


def batch_table(batch: str) -> str:
    """The rows of a preprocessed batch."""
    return f"{PREPROCESS}/{batch}/micrographs.star"


def batch_decisions(batch: str) -> str:
    """The decisions about the movies of a batch."""
    return f"{PREPROCESS}/{batch}/decisions.star"


def tick_file(number: int) -> str:
    """What one wait for movies ended with."""
    return f"{TICKS}/tick_{number:05d}.json"


def tally_file(batches: int) -> str:
    """The count of the micrographs of the first `batches` batches."""
    return f"{TALLY}/{batches:05d}.json"


def particle_tallies(version: int) -> str:
    """Where the counts of the particles lie that a version of the picking model found."""
    return f"{TALLY}/particles_v{version}"


def subset_star(milestone: str) -> str:
    """The frozen list of micrographs of a milestone."""
    return f"{SUBSETS}/micrographs_{milestone}.star"


def particle_subset(particles: int) -> str:
    """The frozen list of the first so many particles."""
    return f"{SUBSETS}/particles_{particles}.star"


def class2d_folder(particles: int) -> str:
    """The 2D classification that was started at so many particles."""
    return f"{CLASS2D}/{particles}"


def class2d_file(particles: int, name: str) -> str:
    """A file of it."""
    return f"{class2d_folder(particles)}/{name}"


def class2d_stream(particles: int, batch: str, suffix: str) -> str:
    """The particles of a batch assigned to its classes (`star`), their sums (`pt`), and how many
    went to which class (`json`)."""
    return f"{CLASS2D}/{particles}/stream/{batch}.{suffix}"


def class2d_live(suffix: str) -> str:
    """The newest state of the classes, with all particles that were assigned to them."""
    return f"{CLASS2D}/live.{suffix}"


def abinitio_folder(particles: int) -> str:
    """The ab initio volumes of the particles kept of a 2D round."""
    return f"{ABINITIO}/{particles}"


def abinitio_file(particles: int, name: str) -> str:
    """A file of them."""
    return f"{abinitio_folder(particles)}/{name}"


def class3d_folder(particles: int) -> str:
    """The 3D classification of the same particles."""
    return f"{CLASS3D}/{particles}"


def class3d_file(particles: int, name: str) -> str:
    """A file of it."""
    return f"{class3d_folder(particles)}/{name}"


def validation_file(particles: int, name: str) -> str:
    """A file of the two branches that check each other (`branch2d/round1/...`, `branch3d/...`), or
    of what came of it."""
    return f"{VALIDATION}/{particles}/{name}"


def branch2d_folder(particles: int, number: int) -> str:
    """A round, from 1, of the branch in 2D."""
    return validation_file(particles, f"branch2d/round{number}")


def branch3d_folder(particles: int) -> str:
    """The branch in 3D."""
    return validation_file(particles, "branch3d")


def refine_file(particles: int, name: str) -> str:
    """A file of the refinement."""
    return f"{REFINE}/{particles}/{name}"


def volume_decisions(particles: int) -> list[str]:
    """The decisions about a round's volumes, in the order of the steps."""
    folders = [
        class3d_folder(particles),
        branch2d_folder(particles, 1),
        branch2d_folder(particles, 2),
        branch3d_folder(particles),
        f"{VALIDATION}/{particles}",
        f"{REFINE}/{particles}/stack",
        f"{REFINE}/{particles}",
    ]
    forecast = refine_file(particles, "forecast_decisions.star")
    return [*(f"{folder}/decisions.star" for folder in folders), forecast]


def picker_star(picker: str) -> str:
    """What one picker found on the training micrographs."""
    return f"{TRAINING}/{picker}.star"


def picker_decisions(picker: str) -> str:
    """What went wrong while it looked for them."""
    return f"{TRAINING}/{picker}_decisions.star"


def model_decisions(version: int) -> str:
    """How a model was judged."""
    return f"{PICKING}/model/v{version}_decisions.star"


def coordinates_decisions(batch: str) -> str:
    """The decisions about picking a batch."""
    return f"{PICKING}/{batch}/decisions.star"


def particles_decisions(batch: str) -> str:
    """The decisions about extracting a batch."""
    return f"{PARTICLES}/{batch}/decisions.star"


def model_file(version: int, suffix: str) -> str:
    """A trained model (`pt`), or what is known about it (`json`)."""
    return f"{PICKING}/model/v{version}.{suffix}"


def coordinates_star(batch: str) -> str:
    """What was picked on the accepted micrographs of a batch."""
    return f"{PICKING}/{batch}/coordinates.star"


def picked_counts(batch: str) -> str:
    """Picks of each accepted micrograph of a batch."""
    return f"{PICKING}/{batch}/counts.csv"


def particles_star(batch: str) -> str:
    """The particles of a batch."""
    return f"{PARTICLES}/{batch}/particles.star"


def particles_stack(batch: str) -> str:
    """Their images."""
    return f"{PARTICLES}/{batch}/particles.mrcs"


def extracted_counts(batch: str) -> str:
    """Particles of each accepted micrograph of a batch."""
    return f"{PARTICLES}/{batch}/counts.csv"


def numbered(session: Path, folder: str, prefix: str = "") -> list[int]:
    """Numbers of the files `<prefix><number>.json` of a folder, sorted (one listing)."""
    try:
        names = [p.name for p in (Path(session) / folder).iterdir()]
    except FileNotFoundError:
        return []
    stems = [n[len(prefix) : -len(".json")] for n in names if n.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def closed_batches(session: Path) -> list[str]:
    """Names of the closed batches, in ledger order (one listing of one folder)."""
    try:
        names = [p.name for p in (session / BATCHES).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(n[:-5] for n in names if n.endswith(".star") and not n.startswith("."))
