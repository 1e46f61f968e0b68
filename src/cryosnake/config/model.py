"""The one typed model of a session's configuration.

`config/config.yaml`, `workflow/schemas/config.schema.json` and `docs/config.md` are generated from
it (`python -m cryosnake.config.generate`), and a test fails when they differ. Every setting has its
unit in its name, its range, its help and an expert level beside its default:

0 : facts of the acquisition, and what an operator chooses;
1 : thresholds a facility may tune;
2 : how a method works.
"""

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError


def setting(default: Any, help: str, *, expert: int = 1, **constraints: Any) -> Any:
    """A field of the configuration: default, help, expert level (0, 1, 2) and pydantic's ranges."""
    return Field(default, description=help, json_schema_extra={"expert": expert}, **constraints)


class Section(BaseModel):
    """Base of all sections: unknown keys are refused; a number may be text, never yes or no."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_yes_or_no(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic would read `true` as 1; numbers in text stay allowed, because Snakemake's
        # nested `--config` delivers every value as text.
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise PydanticCustomError("yes_or_no", "true or false where a value is needed")
        return value

    def _require(self, holds: bool, key: str, expected: str) -> None:
        """Refuse a value that does not fit another one; `key` is the one named in the message."""
        if not holds:
            raise PydanticCustomError(
                "does_not_fit", "{key}; expected {expected}", {"key": key, "expected": expected}
            )


class InputConfig(Section):
    """What is processed."""

    kind: Literal["movies", "micrographs", "particles"] = setting(
        "movies", "what the session starts from", expert=0
    )
    path: str = setting(
        "",
        "folder (searched with its subfolders) or glob of movies or of micrographs (MRC), or a "
        "STAR file of micrographs or particles",
        expert=0,
    )
    suffixes: list[str] = setting(
        [".tif", ".tiff", ".mrc", ".mrcs", ".eer"],
        "endings of movie files, where `path` is a folder of movies",
        expert=1,
        min_length=1,
    )

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            all(len(s) > 1 and s.startswith(".") for s in self.suffixes),
            "suffixes",
            "endings that begin with a dot, such as .tif",
        )
        self._require(
            self.kind != "particles" or not self.path or self.path.lower().endswith(".star"),
            "path",
            "a STAR file, where input.kind = particles",
        )
        return self


class AcquisitionConfig(Section):
    """Facts of the acquisition. A value given here wins over the microscope's metadata; `null`
    takes it from EPU XML, SerialEM mdoc or the movie's own header."""

    pixel_size_angst: float | None = setting(
        None,
        "pixel size of the movie as stored (super-resolution: the small pixel)",
        expert=0,
        gt=0.05,
        lt=50,
    )
    voltage_kv: float | None = setting(None, "acceleration voltage", expert=0, ge=60, le=1000)
    cs_mm: float | None = setting(None, "spherical aberration", expert=0, ge=0, le=10)
    amplitude_contrast: float = setting(0.1, "amplitude contrast", expert=0, ge=0, lt=1)
    dose_e_per_angst2_per_frame: float | None = setting(
        None,
        "exposure of one frame (EER: of one fraction after grouping)",
        expert=0,
        gt=0,
        lt=100,
    )
    pre_exposure_e_per_angst2: float = setting(
        0.0, "exposure before the first frame", expert=1, ge=0, lt=1000
    )
    gain: str | None = setting(None, "gain reference (MRC, TIFF, .gain); null: none", expert=0)
    gain_orientation: Literal[
        "auto",
        "none",
        "flip_y",
        "flip_x",
        "rotate_180",
        "rotate_90",
        "rotate_270",
        "transpose",
        "anti_transpose",
    ] = setting(
        "auto", "how the gain reference is turned onto the movie; auto tries the eight", expert=0
    )
    gain_operation: Literal["auto", "multiply", "divide"] = setting(
        "auto",
        "auto: as RELION, multiply; but divide for an EER movie with a gain in MRC or TIFF "
        "(Falcon's `.gain` files are multiplied)",
        expert=1,
    )
    defects: str | None = setting(
        None,
        "defect file: text lines `x y width height` in pixels, or a mask (MRC or TIFF)",
        expert=0,
    )
    super_resolution: Literal[1, 2] = setting(
        1, "binning of the stored movie by cropping in Fourier space", expert=0
    )
    eer_fractions: int | None = setting(
        None,
        "EER: number of fractions to group the frames into; null: from the dose",
        expert=0,
        ge=2,
        le=1000,
    )
    eer_fraction_dose_e_per_angst2: float = setting(
        1.0, "EER: exposure of a fraction where `eer_fractions` is null", expert=1, gt=0, le=10
    )
    eer_upsampling: Literal[1, 2] = setting(1, "EER: 1 for 4K, 2 for 8K rendering", expert=0)
    optics_groups: Literal["auto", "one"] = setting(
        "auto", "auto: by clustering the beam-image shifts, where they are known", expert=1
    )


class IngestConfig(Section):
    """How movies become batches."""

    mode: Literal["rerun", "watch"] = setting(
        "rerun",
        "rerun: take in what is there and stop; watch: wait for more until the session ends",
        expert=1,
    )
    batch_movies: int = setting(20, "movies in a batch", expert=1, ge=1, le=1000)
    batch_movies_max: int | None = setting(
        None,
        "movies in a batch at most, while batches wait that no job has begun; null: three times "
        "batch_movies; the same as batch_movies: all batches are alike",
        expert=1,
        ge=1,
        le=3000,
    )
    batch_particles: int = setting(
        2000, "particles in a batch, where the session starts from them", expert=1, ge=10
    )
    batch_timeout_s: float = setting(
        300, "close a smaller batch when its first movie has waited this long", expert=1, ge=0
    )
    settle_s: float = setting(
        20, "a movie counts once its size has not changed for this long", expert=1, ge=0
    )
    idle_timeout_s: float = setting(
        7200, "watch mode ends when no movie has arrived for this long", expert=0, gt=0
    )
    end_marker: str = setting(
        "END",
        "watch mode ends when a file of this name lies in the movie folder or the session",
        expert=1,
        min_length=1,
    )
    finish: bool = setting(
        False,
        "no more comes: the particles that are there make a last round in 2D and 3D, although they "
        "are fewer than the next round asks for (a watched session that has ended does so, too)",
        expert=0,
    )
    poll_s: float = setting(5, "watch mode looks for new movies this often", expert=2, gt=0)

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.batch_movies_max is None or self.batch_movies_max >= self.batch_movies,
            "batch_movies_max",
            f"not less than ingest.batch_movies = {self.batch_movies}",
        )
        return self


class MotionConfig(Section):
    """Motion correction and dose weighting."""

    bfactor_angst2: float = setting(
        150, "B-factor of the low-pass that the alignment sees", expert=2, ge=0, le=5000
    )
    max_resolution_angst: float = setting(
        4.0, "finest resolution the alignment uses", expert=2, gt=0.5, le=50
    )
    patches: tuple[int, int] | Literal["auto"] = setting(
        "auto", "local patches (rows, columns); [1, 1]: whole frame only", expert=1
    )
    max_shift_angst: float = setting(
        60,
        "a whole-frame shift beyond this against the first frame is a failed alignment",
        expert=2,
        gt=0,
    )
    dose_weighting: bool = setting(True, "weight frames by exposure in the sum", expert=1)
    save_plain_sum: bool = setting(False, "also write the sum without dose weights", expert=1)
    output_float16: bool = setting(
        False,
        "write micrographs as 16-bit float (MRC mode 12): half the disk, but RELION reads "
        "them from version 4 on",
        expert=1,
    )

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.patches == "auto" or min(self.patches) >= 1, "patches", "counts of 1 or more"
        )
        return self


class CtfConfig(Section):
    """The CTF fit."""

    fit: bool = setting(
        True,
        "fit the CTF, where it is not given with the micrographs; false: images are taken as they "
        "are, as if nothing had transferred them (denoised images)",
        expert=1,
    )
    resolution_low_angst: float = setting(30, "coarsest resolution fitted", expert=1, gt=5, le=200)
    resolution_high_angst: float = setting(4.0, "finest resolution fitted", expert=1, gt=1, le=20)
    defocus_min_angst: float = setting(2000, "smallest defocus searched", expert=1, ge=0)
    defocus_max_angst: float = setting(50000, "largest defocus searched", expert=1, gt=0)
    astigmatism_max_angst: float = setting(
        5000, "largest astigmatism |U - V| searched", expert=2, ge=0
    )
    tile_px: int = setting(512, "side of the periodogram tiles", expert=2, ge=128, le=2048)
    phase_plate: bool = setting(False, "also fit a phase shift", expert=0)
    tilted: bool = setting(False, "fit the tilt from the defocus of patches", expert=0)

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.resolution_high_angst < self.resolution_low_angst,
            "resolution_high_angst",
            f"less than ctf.resolution_low_angst = {self.resolution_low_angst:g}",
        )
        self._require(
            self.defocus_min_angst < self.defocus_max_angst,
            "defocus_min_angst",
            f"less than ctf.defocus_max_angst = {self.defocus_max_angst:g}",
        )
        return self


class CurationConfig(Section):
    """Quality filters."""

    mode: Literal["sequence", "all"] = setting(
        "all",
        "sequence: stop at the first filter that rejects; all: compute every one on every movie",
        expert=1,
    )
    reject_by: list[Literal["dose", "drift", "spectrum", "class", "ctf"]] = setting(
        ["drift", "spectrum", "class", "ctf"],
        "filters that reject; the others only monitor",
        expert=1,
    )
    dose_tolerance: float = setting(
        0.05, "largest deviation from the running median", expert=1, gt=0, lt=1
    )
    dose_first_movies: int = setting(
        20, "movies of the first reference; later ones update it", expert=2, ge=3
    )
    dose_window_movies: int = setting(50, "latest movies watched for faults", expert=2, ge=5)
    dose_faulty_fraction: float = setting(
        0.3, "warn when more than this part of the window is faulty", expert=1, gt=0, lt=1
    )
    drift_max_angst: float = setting(10, "largest frame-to-frame shift", expert=1, gt=0)
    drift_path_angst: float = setting(45, "longest path of the shifts", expert=1, gt=0)
    spectrum_min_mean: float = setting(
        0.35, "smallest mean correlation of the quadrants' spectra", expert=1, ge=-1, le=1
    )
    spectrum_max_std: float = setting(
        0.15, "largest standard deviation of those correlations", expert=1, gt=0, le=1
    )
    stripes_max_ratio: float = setting(
        3.0,
        "largest power of detector stripes (axes of the spectrum) over their surroundings; part "
        "of the power spectrum filter",
        expert=1,
        gt=1,
    )
    gain_max_strength: float = setting(
        0.3,
        "largest part of the gain reference's pattern left in the sum (1: the reference is turned "
        "wrongly); part of the power spectrum filter",
        expert=1,
        gt=0,
        le=1,
    )
    classes_kept: list[
        Literal["good", "film", "drift_crack", "minor_ice", "major_ice", "contamination", "empty"]
    ] = setting(["good", "minor_ice"], "micrograph classes that are kept", expert=1, min_length=1)
    ctf_max_resolution_angst: float = setting(
        6.0, "the CTF must fit at least this far", expert=1, gt=1, le=50
    )
    defocus_min_angst: float = setting(1000, "smallest defocus accepted", expert=1, ge=0)
    defocus_max_angst: float = setting(40000, "largest defocus accepted", expert=1, gt=0)
    astigmatism_max_ratio: float = setting(
        0.1, "largest |U - V| divided by their mean", expert=1, gt=0, le=2
    )

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.defocus_min_angst < self.defocus_max_angst,
            "defocus_min_angst",
            f"less than curation.defocus_max_angst = {self.defocus_max_angst:g}",
        )
        self._require(
            self.drift_max_angst <= self.drift_path_angst,
            "drift_max_angst",
            f"not more than curation.drift_path_angst = {self.drift_path_angst:g}",
        )
        return self


class MilestonesConfig(Section):
    """Numbers of micrographs at which stages start; a subset is frozen at each."""

    tally_every_batches: int = setting(
        5, "count what is accepted every this many batches", expert=2, ge=1
    )
    size_micrographs: int = setting(
        100, "micrographs that pass the stringent filter, for the particle size", expert=1, ge=1
    )
    stringent_ctf_angst: float = setting(
        5.0, "stringent filter: CTF fit better than this", expert=1, gt=1, le=50
    )
    stringent_defocus_min_angst: float = setting(
        10000, "stringent filter: smallest defocus", expert=1, ge=0
    )
    stringent_defocus_max_angst: float = setting(
        30000, "stringent filter: largest defocus", expert=1, gt=0
    )
    training_micrographs: int = setting(
        250, "accepted micrographs, for the pool that the picker is trained on", expert=1, ge=1
    )

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.stringent_defocus_min_angst < self.stringent_defocus_max_angst,
            "stringent_defocus_min_angst",
            "less than milestones.stringent_defocus_max_angst"
            f" = {self.stringent_defocus_max_angst:g}",
        )
        return self


class WorkflowConfig(Section):
    """How far a session goes."""

    until: Literal["curation", "picking", "particles", "class2d", "class3d", "refine"] = setting(
        "refine",
        "last stage: curated micrographs, coordinates, extracted particles, 2D classes, 3D "
        "classes, or a refined map",
        expert=0,
    )


class PickingConfig(Section):
    """Particle size, training of the picker, picking."""

    diameter_angst: float | None = setting(
        None, "diameter of the particle; null: estimated from the data", expert=0, gt=10, lt=3000
    )
    size_micrographs: int = setting(
        8, "micrographs of the size milestone, drawn at random, that are measured", expert=1, ge=1
    )
    size_min_angst: float = setting(60, "smallest diameter looked for", expert=1, gt=10, lt=3000)
    size_max_angst: float = setting(600, "largest diameter looked for", expert=1, gt=10, lt=3000)
    pickers: list[Literal["log", "correlation", "network"]] = setting(
        ["log", "correlation", "network"],
        "template-free pickers whose consensus the model is trained on",
        expert=1,
        min_length=1,
    )
    denoise: bool = setting(
        False,
        "let the log and correlation pickers look at training micrographs denoised by a "
        "pretrained network",
        expert=1,
    )
    training_micrographs: int = setting(
        25,
        "micrographs of the training milestone that the model is trained on, balanced over defocus",
        expert=1,
        ge=2,
    )
    consensus: Literal["ilp", "k_of_n", "and", "or"] = setting(
        "ilp",
        "ilp: integer programme with reliabilities estimated from the agreement; or by count",
        expert=1,
    )
    consensus_k: int = setting(2, "pickers that must agree, for k_of_n", expert=2, ge=1, le=3)
    train: bool = setting(
        True, "train a model on this sample; false: the best of what there is without", expert=1
    )
    model_version: int = setting(
        1,
        "raise it to train a new model on request; all micrographs are picked anew",
        expert=1,
        ge=1,
    )

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.size_min_angst < self.size_max_angst,
            "size_min_angst",
            f"less than picking.size_max_angst = {self.size_max_angst:g}",
        )
        self._require(
            len(set(self.pickers)) == len(self.pickers), "pickers", "each picker at most once"
        )
        return self


class ParticlesConfig(Section):
    """Extraction of particles."""

    box_px: int | None = setting(
        None,
        "side of the box on the micrograph; null: from the particle's long axis",
        expert=1,
        ge=16,
        le=4096,
        multiple_of=2,
    )
    output_px: int = setting(
        128,
        "side of the extracted image after rescaling (never finer than the micrograph)",
        expert=1,
        ge=16,
        le=2048,
        multiple_of=2,
    )
    output_float16: bool = setting(
        False,
        "write stacks as 16-bit float (MRC mode 12): half the disk, but RELION reads them from "
        "version 4 on",
        expert=1,
    )
    phase_flip: bool = setting(False, "multiply by the sign of the CTF", expert=2)


class Class2dRound(Section):
    """A 2D classification of the first particles of a session."""

    particles: int = setting(..., "it starts when there are so many", expert=1, ge=20)
    classes: int = setting(..., "number of classes", expert=1, ge=2, le=1000)


class Class2dConfig(Section):
    """2D classification, in rounds while particles arrive, and which classes go on."""

    engine: Literal["native", "relion"] = setting(
        "native", "native, or relion_refine of an installed RELION", expert=0
    )
    rounds: list[Class2dRound] = setting(
        [
            Class2dRound(particles=25000, classes=50),
            Class2dRound(particles=50000, classes=50),
            Class2dRound(particles=75000, classes=100),
            Class2dRound(particles=100000, classes=100),
        ],
        "numbers of particles at which all so far are classified anew, and the number of classes",
        expert=1,
        min_length=1,
    )
    streaming: bool = setting(
        True, "assign the particles of each batch to the classes of the last round", expert=1
    )
    mask_diameter_angst: float | None = setting(
        None, "of the circular mask; null: 1.25 times the particle's long axis", expert=1, gt=20
    )
    resolution_angst: float = setting(
        8.0,
        "finest resolution used (native engine; never beyond 2.1 pixels)",
        expert=2,
        gt=1,
        lt=50,
    )
    good_threshold: float = setting(
        0.5, "a class average goes on when it is good with this probability", expert=1, gt=0, lt=1
    )
    most_populated: int | None = setting(
        None, "of the classes, only so many of the most populated go on; null: all", expert=1, ge=1
    )
    overrides: str = setting(
        "class2d_overrides.csv",
        "file of labels given by hand (round,class,label), in the session's folder; may be missing",
        expert=1,
        min_length=1,
    )
    relion_command: str = setting(
        "relion_refine", "program of the engine relion", expert=1, min_length=1
    )
    relion_iterations: int = setting(
        25, "iterations of expectation-maximisation (RELION before 4.0)", expert=2, ge=1, le=999
    )

    ranker: Literal["native", "relion", "2dassess"] = setting(
        "native",
        "who judges class averages: the model of this project, RELION's class ranker (on RELION's "
        "classes), or 2DAssess",
        expert=1,
    )
    ranker_command: str | None = setting(
        None, "program of another ranker; null: relion_class_ranker or 2dassess", expert=1
    )
    ranker_model: str | None = setting(None, "2DAssess: file of its weights", expert=1)

    @model_validator(mode="after")
    def _fits(self):
        self._require(
            self.ranker != "relion" or self.engine == "relion",
            "ranker",
            "native or 2dassess, where class2d.engine = native",
        )
        self._require(
            self.ranker != "2dassess" or self.ranker_model is not None,
            "ranker_model",
            "a file, where class2d.ranker = 2dassess",
        )
        numbers = [one.particles for one in self.rounds]
        self._require(
            all(a < b for a, b in pairwise(numbers)),
            "rounds",
            "rounds of more and more particles",
        )
        self._require(
            all(one.particles >= 10 * one.classes for one in self.rounds),
            "rounds",
            "at least 10 particles for each class",
        )
        return self


class AbInitioConfig(Section):
    """Volumes from the particles of good 2D classes alone, without template and symmetry."""

    engine: Literal["native", "relion"] = setting(
        "native", "native, or the initial model of an installed RELION", expert=0
    )
    volumes: int = setting(2, "volumes that compete for the particles", expert=1, ge=1, le=20)
    restarts: int = setting(
        3,
        "random starts of which the most probable goes on (native engine)",
        expert=2,
        ge=1,
        le=20,
    )


class Class3dConfig(Section):
    """3D classification from the ab initio volumes; the most populated class goes on."""

    engine: Literal["native", "relion"] = setting(
        "native", "native, or relion_refine of an installed RELION", expert=0
    )
    rounds: list[int] | None = setting(
        None, "2D rounds, by their number of particles, that 3D follows; null: all", expert=1
    )
    particles_max: int = setting(
        200000, "at most so many particles are classified, drawn at random", expert=1, ge=100
    )
    relion_command: str = setting(
        "relion_refine", "program of the engine relion, here and ab initio", expert=1, min_length=1
    )
    relion_iterations: int = setting(
        25, "iterations of RELION's 3D classification", expert=2, ge=1, le=999
    )


class Branch2dRound(Section):
    """A 2D classification of the particles kept in 3D."""

    classes: int = setting(..., "number of classes, fewer where particles are few", expert=1, ge=2)
    most_populated: int = setting(..., "so many of them may go on", expert=1, ge=1)


class ValidationConfig(Section):
    """Two branches from the same particles, in 2D and in 3D, that check each other."""

    rounds2d: list[Branch2dRound] = setting(
        [
            Branch2dRound(classes=100, most_populated=40),
            Branch2dRound(classes=50, most_populated=20),
        ],
        "2D classifications one after the other; the good ones of the most populated go on",
        expert=1,
        min_length=1,
        max_length=2,
    )
    volumes: int = setting(
        3, "ab initio volumes of the 3D branch, sorted by a 3D classification", expert=1, ge=1
    )
    known_map: str | None = setting(
        None,
        "MRC file of a map to compare the result with (a control sample); used for nothing else",
        expert=1,
    )


class RefineConfig(Section):
    """Refinement of the volume that agrees best with the 2D averages."""

    engine: Literal["native", "relion"] = setting(
        "native", "native, or auto-refine of an installed RELION", expert=0
    )
    postprocess: Literal["native", "relion"] = setting(
        "native", "FSC, mask and sharpening: native, or relion_postprocess", expert=1
    )
    pixel_size_angst: float = setting(
        1.5,
        "particles are extracted again at this pixel size, or the micrograph's if that is coarser",
        expert=1,
        gt=0.1,
        lt=20,
    )
    symmetry: str = setting(
        "C1", "point group that is applied: C1, C2, ..., D2, ..., T, O, I", expert=0
    )
    per_particle_defocus: bool = setting(
        False, "refine the defocus of each particle (native engine)", expert=1
    )
    target_angst: float = setting(
        3.5, "resolution that the forecast is made for", expert=0, gt=1, lt=50
    )
    relion_command: str = setting(
        "relion_refine_mpi", "program of the engine relion", expert=1, min_length=1
    )
    relion_mpi: str = setting(
        "mpirun --oversubscribe -n 3", "starts that program", expert=1, min_length=1
    )
    postprocess_command: str = setting(
        "relion_postprocess", "program of the postprocessing by RELION", expert=1, min_length=1
    )

    @field_validator("symmetry")
    @classmethod
    def _group(cls, value: str) -> str:
        if not re.fullmatch(r"C[1-9]\d?|D[2-9]|D[1-9]\d|T|O|I", value):
            raise PydanticCustomError("point_group", "a point group: C1, C7, D2, T, O, I, ...")
        return value


class ComputeConfig(Section):
    """Seed, devices and budgets."""

    seed: int = setting(1, "seed of everything random", expert=1, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto: a GPU where the job was given one", expert=0
    )
    threads: int = setting(2, "CPU threads of a job that computes", expert=0, ge=1, le=256)
    memory_mb: int = setting(
        6000,
        "for a job that classifies or refines: half of it is for buffers, besides what particles "
        "and volumes take",
        expert=0,
        ge=500,
    )


class ReportConfig(Section):
    """What people read."""

    title: str = setting("cryosnake session", "title of the report", expert=0, min_length=1)
    gallery: int = setting(
        24, "micrographs shown of the accepted and of the rejected, each", expert=1, ge=0, le=500
    )
    low_acceptance: float = setting(
        0.6, "a filter that accepts less than this part is shown in red", expert=1, ge=0, le=1
    )


class Config(Section):
    """A session's configuration."""

    input: InputConfig = Field(default_factory=InputConfig)
    acquisition: AcquisitionConfig = Field(default_factory=AcquisitionConfig)
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    motion: MotionConfig = Field(default_factory=MotionConfig)
    ctf: CtfConfig = Field(default_factory=CtfConfig)
    curation: CurationConfig = Field(default_factory=CurationConfig)
    milestones: MilestonesConfig = Field(default_factory=MilestonesConfig)
    picking: PickingConfig = Field(default_factory=PickingConfig)
    particles: ParticlesConfig = Field(default_factory=ParticlesConfig)
    class2d: Class2dConfig = Field(default_factory=Class2dConfig)
    abinitio: AbInitioConfig = Field(default_factory=AbInitioConfig)
    class3d: Class3dConfig = Field(default_factory=Class3dConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    refine: RefineConfig = Field(default_factory=RefineConfig)
    workflow: WorkflowConfig = Field(default_factory=WorkflowConfig)
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @model_validator(mode="after")
    def _volumes_follow_rounds(self):
        numbers = [one.particles for one in self.class2d.rounds]
        self._require(
            set(self.class3d.rounds or []) <= set(numbers),
            "class3d.rounds",
            f"some of class2d.rounds: {', '.join(map(str, numbers))}",
        )
        return self
