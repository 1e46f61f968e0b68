"""The one place where every column of the project's own is described (type, unit, meaning).

`docs/columns.md` is generated from it (`python -m cryosnake.columns`), and `tables.write_star`
refuses a `csn` column that is not here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its name, type (`string`, `integer`, `float`, `flag`), unit and meaning."""

    name: str
    type: str
    unit: str
    meaning: str


_ALL = [
    # --- the ledger: which movies there are, in order of arrival ---
    Column(
        "csnBatch", "string", "-", "batch that holds the movie or the particle, b00000, b00001, ..."
    ),
    Column(
        "csnMovieSize_bytes", "integer", "bytes", "size of the movie file when its batch closed"
    ),
    Column(
        "csnMovieMtime_s",
        "float",
        "s",
        "modification time of the movie file (Unix time) when its batch closed",
    ),
    Column(
        "csnAttempt",
        "integer",
        "-",
        "1 for the first time the movie was taken in; more when it was retried because the file changed",
    ),
    Column(
        "csnFileChanged_s",
        "float",
        "s",
        "Unix time at which the movie file last changed before its batch closed: when it had arrived",
    ),
    Column("csnArrival_s", "float", "s", "Unix time at which ingest took the movie in"),
    Column("csnProcessed_s", "float", "s", "Unix time at which the movie's row was complete"),
    Column(
        "csnTakenIn",
        "integer",
        "-",
        "particles of the given table that are in this batch and those before it",
    ),
    # --- acquisition facts ---
    Column(
        "csnAcquisitionTime",
        "string",
        "-",
        "time of acquisition as the microscope wrote it, ISO 8601, else -",
    ),
    Column("csnGridSquare", "string", "-", "grid square the movie was taken on, else -"),
    Column("csnFoilHole", "string", "-", "foil hole the movie was taken in, else -"),
    Column("csnStageX_um", "float", "um", "stage position x"),
    Column("csnStageY_um", "float", "um", "stage position y"),
    Column("csnStageTilt_deg", "float", "deg", "stage alpha tilt"),
    Column(
        "csnBeamShiftX",
        "float",
        "as the microscope writes it",
        "beam-image shift x; its clusters are the optics groups",
    ),
    Column(
        "csnBeamShiftY",
        "float",
        "as the microscope writes it",
        "beam-image shift y; its clusters are the optics groups",
    ),
    Column(
        "csnDosePerFrame_e_per_angst2",
        "float",
        "e/A^2",
        "exposure of one frame, as used for dose weighting",
    ),
    Column("csnFrames", "integer", "-", "number of frames of the movie (EER: after fractionation)"),
    # --- motion ---
    Column("csnDriftMax_angst", "float", "A", "largest frame-to-frame whole-frame shift"),
    Column("csnDriftPath_angst", "float", "A", "length of the path of the whole-frame shifts"),
    Column(
        "csnLocalMotionRms_angst",
        "float",
        "A",
        "root mean square of the local motion model over patches and frames",
    ),
    # --- CTF and spectra ---
    Column("csnDefocusMean_angst", "float", "A", "mean of DefocusU and DefocusV"),
    Column("csnAstigmatism_ratio", "float", "-", "|DefocusU - DefocusV| divided by their mean"),
    Column(
        "csnIceRingScore",
        "float",
        "-",
        "height of the ring of crystalline ice near 3.7 A over its surroundings, in standard deviations of the ring average",
    ),
    Column(
        "csnTilt_deg",
        "float",
        "deg",
        "tilt of the specimen from the per-patch defocus, where it was fitted",
    ),
    Column(
        "csnTiltAxis_deg",
        "float",
        "deg",
        "direction of the tilt axis from the x-axis, where it was fitted",
    ),
    Column(
        "csnSpectrumCorrelationMean",
        "float",
        "-",
        "mean correlation of the power spectra of the four quadrants, 10 pairs",
    ),
    Column(
        "csnSpectrumCorrelationStd",
        "float",
        "-",
        "standard deviation of the correlations of the power spectra of the four quadrants",
    ),
    Column(
        "csnStripeRatio",
        "float",
        "-",
        "power on the axes of the spectrum over that beside them; stripes of the detector raise it",
    ),
    Column(
        "csnGainPatternStrength",
        "float",
        "-",
        "how much of the gain reference's own pattern is left in the sum: 0 it fits, 1 it is wrong",
    ),
    # --- quality ---
    Column(
        "csnDose_counts_per_angst2",
        "float",
        "counts/A^2",
        "mean pixel of the first, middle and last frame divided by the pixel area",
    ),
    Column(
        "csnDoseReference_counts_per_angst2",
        "float",
        "counts/A^2",
        "running median that the dose is compared with",
    ),
    Column(
        "csnMicrographClass",
        "string",
        "-",
        "label of the micrograph: good, film, drift_crack, minor_ice, major_ice, contamination, empty",
    ),
    Column("csnMicrographClassConfidence", "float", "0-1", "confidence in the label"),
    Column("csnPassInput", "flag", "1 pass, 0 fail", "the movie could be read and corrected"),
    Column("csnPassDose", "flag", "1 pass, 0 fail, -1 not computed", "verdict of the dose filter"),
    Column(
        "csnPassDrift", "flag", "1 pass, 0 fail, -1 not computed", "verdict of the drift filter"
    ),
    Column(
        "csnPassSpectrum",
        "flag",
        "1 pass, 0 fail, -1 not computed",
        "verdict of the power spectrum filter",
    ),
    Column(
        "csnPassClass",
        "flag",
        "1 pass, 0 fail, -1 not computed",
        "verdict of the micrograph class filter",
    ),
    Column("csnPassCtf", "flag", "1 pass, 0 fail, -1 not computed", "verdict of the CTF filter"),
    Column("csnAccepted", "flag", "1 yes, 0 no", "the micrograph goes on to picking"),
    Column(
        "csnReason",
        "string",
        "-",
        "filter that rejected the movie (input, dose, drift, spectrum, class, ctf), else -",
    ),
    Column(
        "csnExplanation",
        "string",
        "-",
        "the rejection in words: value and threshold, or the error; else -",
    ),
    Column(
        "csnInputProblem",
        "string",
        "-",
        "whose fault it is that an image could not be read: file (tried again when it changes),"
        " machine (it was not there, its file system did not answer, or memory was short; tried"
        " again as it is), else -",
    ),
    Column("csnMotion_s", "float", "s", "time spent on motion correction"),
    Column("csnCtf_s", "float", "s", "time spent on the CTF fit"),
    Column("csnCuration_s", "float", "s", "time spent on quality metrics and filters"),
    # --- picking ---
    Column(
        "csnFoundBy",
        "string",
        "-",
        "pickers that found the particle, joined by +, such as log+network",
    ),
    # --- particles ---
    Column(
        "csnParticleContrast",
        "float",
        "-",
        "mean of the particle (within 0.8 of its diameter) above the background, in standard deviations of the background at a pixel of a twelfth of the diameter; white is positive",
    ),
    Column(
        "csnParticleSignalRatio",
        "float",
        "-",
        "standard deviation inside the particle's circle over that outside, at a pixel of a twelfth of the diameter; about 1 where there is nothing",
    ),
    Column(
        "csnParticleOffset_angst",
        "float",
        "A",
        "from the centre of the box to where a disc about as large as the particle covers most density, searched within half a diameter",
    ),
    Column(
        "csnNeighbourDistance_angst",
        "float",
        "A",
        "distance to the nearest other particle of the micrograph, border particles included; nan where there is none",
    ),
    Column(
        "csnParticleFlags",
        "string",
        "-",
        "what is odd about the particle (empty, off_centre, abnormal, crowded, joined by +), else -",
    ),
    Column(
        "csnPhaseFlipped",
        "flag",
        "1 yes, 0 no",
        "the particles of this optics group were multiplied by the sign of their CTF",
    ),
    # --- 2D classes and the particles in them ---
    Column("csnClassEngine", "string", "-", "engine that made the classes: native or relion"),
    Column("csnRoundParticles", "integer", "-", "particles that the round was started at"),
    Column(
        "csnMaskDiameter_angst", "float", "A", "diameter of the circular mask of a classification"
    ),
    Column("csnProblem", "string", "-", "why there is no result, else -"),
    Column("csnClassPopulation", "integer", "-", "particles whose best class this is"),
    Column(
        "csnClassEvidence",
        "float",
        "-",
        "mean log-likelihood ratio of the particles of the class against an empty image; nan where the engine does not tell",
    ),
    Column(
        "csnClassContrast",
        "float",
        "-",
        "mean scale of the particles of the class against its average; nan where the engine does not tell",
    ),
    Column(
        "csnClassProbability",
        "float",
        "0-1",
        "mean posterior probability of the class over its particles",
    ),
    Column("csnClassLabel", "string", "-", "what the class average shows: good, clip, edge, noise"),
    Column("csnClassScore", "float", "0-1", "probability that the class average is good"),
    Column(
        "csnClassScoreClip", "float", "0-1", "probability that it is cut off or has a neighbour"
    ),
    Column("csnClassScoreEdge", "float", "0-1", "probability that it is an edge or stripes"),
    Column("csnClassScoreNoise", "float", "0-1", "probability that it shows nothing"),
    Column("csnClassKept", "flag", "1 yes, 0 no", "the particles of the class go on"),
    Column(
        "csnClassReason",
        "string",
        "-",
        "why the class is kept or not: kept, label, population, override",
    ),
    Column(
        "csnLogEvidence",
        "float",
        "-",
        "log-likelihood ratio of all classes against an empty image; about 0 for noise",
    ),
    Column("csnParticleScale", "float", "-", "scale of the particle against its class average"),
    # --- volumes held against the class averages ---
    Column("csnVolumeEngine", "string", "-", "program that made the volumes"),
    Column("csnVolumePopulation", "integer", "-", "particles whose best class is this volume"),
    Column("csnVolumeEvidence", "float", "-", "mean csnLogEvidence of its particles"),
    Column(
        "csnParticleResidual",
        "float",
        "deviations",
        "what the best pose leaves unexplained at low frequency, against the other particles; above "
        "3.5 an outlier, such as an edge of film",
    ),
    Column("csnEmptyShare", "float", "0-1", "share of the particles that show none of the volumes"),
    Column("csnVolumeVerdict", "string", "-", "pass or unsure: whether the choice is clear"),
    Column("csnVolumeFeatureless", "float", "-", "score of the chosen volume made a ball"),
    Column("csnVolume", "string", "-", "name of a volume that was cross-validated"),
    Column(
        "csnVolumeScore",
        "float",
        "-",
        "mean correlation of the good class averages with their best projections of the volume",
    ),
    Column(
        "csnVolumeSpread", "float", "-", "standard deviation of that correlation over the averages"
    ),
    Column("csnVolumeError", "float", "-", "standard error of the score"),
    Column(
        "csnVolumeConfidence",
        "float",
        "0-1",
        "part of bootstrap draws of the averages in which the volume scores highest",
    ),
    Column(
        "csnVolumeHand",
        "string",
        "-",
        "against the winner: same, mirrored, unsure, different; undetermined for the winner",
    ),
    Column("csnVolumeChosen", "flag", "1 yes, 0 no", "the volume goes on"),
    # --- directions of a refined map ---
    Column("csnConeAngle_deg", "float", "deg", "half the opening of the cones about directions"),
    Column("csnConeBest_angst", "float", "A", "finest resolution of all cones; 999: none"),
    Column("csnConeWorst_angst", "float", "A", "coarsest resolution of all cones; 999: none"),
    Column("csnConeMean_angst", "float", "A", "inverse of the cones' mean frequency; 999: none"),
    Column("csnConeDeviation_angst", "float", "A", "standard deviation over the cones"),
    Column(
        "csnConeAreaRatio",
        "float",
        "0-1",
        "small over large areas below the cones' curves: 1 for an even map",
    ),
    Column(
        "csnConeResolution_angst",
        "float",
        "A",
        "resolution of a cone, where its correlation falls below 0.143; 999: none",
    ),
    Column("csnConeArea", "float", "shells", "area below the curve of a cone"),
    # --- decisions ---
    Column("csnTime", "string", "-", "time of the decision, ISO 8601, UTC"),
    Column(
        "csnSubject", "string", "-", "what the decision is about: a movie, a batch, the session"
    ),
    Column("csnRule", "string", "-", "rule that decided"),
    Column("csnVerdict", "string", "-", "pass, fail, warn, info or unsure"),
    Column("csnValue", "string", "-", "value the rule looked at, with its unit"),
    Column("csnThreshold", "string", "-", "what the value was held against"),
    Column("csnConfidence", "float", "0-1", "confidence in the verdict"),
    Column(
        "csnEvidence", "string", "-", "what an operator can look at: a file, a picture, a sentence"
    ),
]

COLUMNS: dict[str, Column] = {column.name: column for column in _ALL}

STRING_COLUMNS: list[str] = [
    "rlnMicrographMovieName",
    "rlnMicrographName",
    "rlnMicrographMetadata",
    "rlnOpticsGroupName",
    "rlnCtfImage",
    "rlnImageName",
    *(column.name for column in _ALL if column.type == "string"),
]


def as_markdown() -> str:
    """The reference page of the columns."""
    lines = [
        "# Columns",
        "",
        "Standard quantities carry RELION's `rln` labels. The project's own columns:",
        "",
        "| column | type | unit | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning.replace('|', chr(92) + '|')} |"
        for c in _ALL
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
