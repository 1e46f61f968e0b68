"""Settings of the acquisition simulator: what is on the grid, what the microscope does, what goes
wrong, and how the movies are written."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCENARIOS = (
    "good",
    "drift",
    "crack",
    "ice_minor",
    "ice_major",
    "contamination",
    "film",
    "empty",
    "thick_ice",
    "astigmatism",
    "dose_low",
    "aggregation",
    "no_particles",
    "truncated",
    "half_written",
)
ScenarioName = Literal[
    "good",
    "drift",
    "crack",
    "ice_minor",
    "ice_major",
    "contamination",
    "film",
    "empty",
    "thick_ice",
    "astigmatism",
    "dose_low",
    "aggregation",
    "no_particles",
    "truncated",
    "half_written",
]


def option(default: Any, help: str, **constraints: Any) -> Any:
    """A field with its help and pydantic's ranges."""
    return Field(default, description=help, **constraints)


class Options(BaseModel):
    """Base: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Species(Options):
    """One kind of particle."""

    structure: str = option(
        "proteasome",
        "proteasome, half_proteasome, double_proteasome, nanodisc, or a PDB or mmCIF file",
    )
    weight: float = option(1.0, "share of the particles, relative to the other species", gt=0)


class SimulationConfig(Options):
    """One acquisition."""

    # --- what is written ---
    movies: int = option(20, "movies of this acquisition", ge=1, le=100_000)
    seed: int = option(1, "seed of everything random; same seed, same bytes", ge=0, lt=2**31)
    height_px: int = option(512, "rows of a movie", ge=64, le=16384)
    width_px: int = option(512, "columns of a movie", ge=64, le=16384)
    frames: int = option(20, "frames of a movie", ge=1, le=2000)
    pixel_size_angst: float = option(1.5, "pixel size", gt=0.2, lt=20)

    # --- microscope ---
    voltage_kv: float = option(300.0, "acceleration voltage", ge=60, le=1000)
    cs_mm: float = option(2.7, "spherical aberration", ge=0, le=10)
    amplitude_contrast: float = option(0.1, "amplitude contrast", ge=0, lt=1)
    dose_e_per_angst2_per_frame: float = option(
        2.0, "exposure of the specimen in one frame", gt=0, lt=100
    )
    defocus_min_angst: float = option(5000.0, "smallest defocus", ge=0)
    defocus_max_angst: float = option(30000.0, "largest defocus", gt=0)
    astigmatism_max_angst: float = option(300.0, "largest |U - V| of a good movie", ge=0)
    tilt_deg: float = option(0.0, "stage tilt", gt=-75, lt=75)
    tilt_axis_deg: float = option(90.0, "direction of the tilt axis, from x", ge=-360, le=360)
    envelope_bfactor_angst2: float = option(
        40.0, "decay of the signal: coherence, charging, residual motion", ge=0, le=5000
    )
    illumination_gradient: float = option(
        0.02, "fall of the beam from one corner to the other, relative", ge=0, lt=1
    )
    dose_decay_per_movie: float = option(
        0.0, "relative loss of beam from one movie to the next", ge=0, lt=0.1
    )
    dose_step_movie: int | None = option(
        None, "from this movie on the beam is weaker by `dose_step_factor`", ge=1
    )
    dose_step_factor: float = option(0.8, "what is left of the beam after the step", gt=0, le=2)

    # --- specimen ---
    species: list[Species] = option([Species()], "kinds of particles", min_length=1)
    particles_per_um2: float = option(2500.0, "particles on the grid", ge=0, le=50_000)
    min_distance_angst: float = option(
        120.0, "smallest distance between centres (not when aggregated)", ge=0
    )
    views: Literal["random", "side", "top"] = option(
        "random",
        "orientations: uniform, or most of them with the particle's z in or along the beam",
    )
    ice_thickness_angst: float = option(350.0, "thickness of good ice", ge=0, le=5000)
    ice_motion_angst2_per_e_per_angst2: float = option(
        0.33, "beam-induced Brownian motion of water, variance along one axis", ge=0, le=10
    )
    contrast_scale: float = option(
        1.0, "factor on the particles' scattering; 1 is physical", ge=0, le=20
    )

    # --- motion ---
    drift_scale: float = option(1.0, "factor on the measured whole-frame drift", ge=0, le=50)
    local_motion_angst: float = option(
        2.0, "local motion at the corners of the field in the end, root mean square", ge=0, le=50
    )

    # --- detector ---
    gain_rms: float = option(0.04, "spread of the pixels' sensitivity, relative", ge=0, lt=0.3)
    hot_pixels: int = option(20, "pixels that count far too much", ge=0, le=10_000)
    dead_columns: int = option(1, "columns that count nothing (zero in the gain)", ge=0, le=100)
    gain_orientation: Literal[
        "none",
        "flip_y",
        "flip_x",
        "rotate_180",
        "rotate_90",
        "rotate_270",
        "transpose",
        "anti_transpose",
    ] = option("none", "how the gain file must be turned to fit the movies")

    # --- what goes wrong ---
    probabilities: dict[ScenarioName, float] = option(
        {}, "chance of each scenario, per movie; the rest is good"
    )
    counts: dict[ScenarioName, int] = option(
        {}, "exact number of movies of each scenario, in random order; the rest by chance or good"
    )

    # --- files ---
    format: Literal["tiff", "mrc", "eer"] = option("tiff", "format of the movies")
    tiff_compression: Literal["lzw", "zip", "none"] = option("lzw", "compression of TIFF")
    eer_frames_per_frame: int | None = option(
        None,
        "EER: camera frames on disk for each frame of the simulation; null: as many as keep "
        "the loss of coinciding electrons below some 4 %",
        ge=1,
        le=500,
    )
    metadata: Literal["epu", "serialem", "none"] = option(
        "epu", "EPU's folders with XML, SerialEM's mdoc beside each movie, or nothing"
    )
    gain_format: Literal["mrc", "tiff", "gain", "none"] = option(
        "mrc",
        "format of the gain reference (`.gain`: rows as in EER; to be multiplied with, but the "
        "MRC or TIFF of an EER session is to be divided by, as RELION has it)",
    )
    squares: int = option(2, "grid squares that the acquisition visits", ge=1, le=1000)
    beam_shift_grid: int = option(
        3, "beam-image shift: holes reached from one stage position, along each side", ge=1, le=15
    )
    pace_s: float = option(0.0, "seconds from movie to movie; 0: as fast as it can", ge=0)
    write: Literal["rename", "in_place"] = option(
        "rename", "rename: a movie appears complete; in_place: it grows under its name"
    )
    half_written_for_movies: int = option(
        2, "a half-written movie is completed after this many further movies", ge=1
    )
    clean_micrographs: bool = option(
        False, "also keep the phase of the particles alone, before the CTF, beside the truth"
    )
    end_marker: bool = option(False, "leave a file END in the folder at the end")
    workers: int = option(1, "processes that compute movies", ge=1, le=256)

    @model_validator(mode="after")
    def _consistent(self) -> "SimulationConfig":
        if self.defocus_max_angst < self.defocus_min_angst:
            raise ValueError(
                f"defocus_max_angst = {self.defocus_max_angst} is below "
                f"defocus_min_angst = {self.defocus_min_angst}"
            )
        if sum(self.probabilities.values()) > 1.0 + 1e-9:
            raise ValueError(f"probabilities add up to {sum(self.probabilities.values())} > 1")
        if min([*self.probabilities.values(), *self.counts.values()], default=0) < 0:
            raise ValueError("probabilities and counts must not be negative")
        if sum(self.counts.values()) > self.movies:
            raise ValueError(
                f"counts add up to {sum(self.counts.values())} > movies = {self.movies}"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height_px, self.width_px


BUILT_IN = ("proteasome", "half_proteasome", "double_proteasome", "nanodisc")


def settings_table() -> str:
    """The settings as a table in Markdown, for docs/simulator.md."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, entry in SimulationConfig.model_fields.items():
        default = "one species `proteasome`" if name == "species" else f"`{entry.default}`"
        lines.append(f"| `{name}` | {default} | {entry.description} |")
    return "\n".join(lines)
