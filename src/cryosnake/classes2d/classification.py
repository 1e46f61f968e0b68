"""A classification: its classes, its particles' poses, and what more particles are held against."""

from dataclasses import asdict, dataclass, fields

import torch

from cryosnake.alignment.polar import Band
from cryosnake.classes2d import saved
from cryosnake.classes2d.averages import class_averages
from cryosnake.classes2d.contribution import Contribution
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.result import ClassAverages, ParticlePoses
from cryosnake.classes2d.schedule import Schedule
from cryosnake.classes2d.window import window_for

_KIND = "2D classification"


@dataclass(frozen=True)
class Classification:
    """Classes of a stack, with what is needed to assign more particles to them.

    Parameters
    ----------
    classes : what is known of the classes; the last one is of particles that show nothing.
    poses : of the particles that were classified, in their order; not of those added later.
    model : references and noise that new particles are scored against. They stay as they are when
        particles are added.
    contribution : sums of all particles so far.
    pixel_size_angst, diameter_angst, resolution_angst, box_px : of the particles.
    schedule : how particles are searched.
    """

    classes: ClassAverages
    poses: ParticlePoses
    model: Model
    contribution: Contribution
    pixel_size_angst: float
    diameter_angst: float
    resolution_angst: float
    box_px: int
    schedule: Schedule

    def save(self, path) -> None:
        """Write it, whole or not at all: sums, references and poses (the images of the averages are
        made anew from these)."""
        content = {name: getattr(self, name) for name in _PLAIN}
        content["poses"] = {
            one.name: torch.from_numpy(getattr(self.poses, one.name))
            for one in fields(ParticlePoses)
        }
        content["model"] = {
            "parts": self.model.parts.cpu(),
            "noise": self.model.noise.cpu(),
            "band": asdict(self.model.band),
            "empty": self.model.empty,
        }
        content["contribution"] = self.contribution.content()
        content["schedule"] = asdict(self.schedule)
        saved.write(path, _KIND, content)


_PLAIN = ("pixel_size_angst", "diameter_angst", "resolution_angst", "box_px")


def load_classification(path, device: torch.device | str = "cpu") -> Classification:
    """Read what `Classification.save` wrote; it assigns particles as the one that was saved.

    Raises
    ------
    BadInputError : missing, damaged, or something else.
    """
    content = saved.read(path, _KIND)
    of_model = content["model"]
    model = Model(
        of_model["parts"].to(device),
        of_model["noise"].to(device),
        band=Band(**of_model["band"]),
        empty=of_model["empty"],
    )
    return classification_from(
        model,
        Contribution.from_content(content["contribution"]),
        ParticlePoses(**{name: part.numpy() for name, part in content["poses"].items()}),
        schedule=Schedule(**content["schedule"]),
        **{name: content[name] for name in _PLAIN},
    )


def classification_from(
    model: Model,
    contribution: Contribution,
    poses: ParticlePoses,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    resolution_angst: float,
    box_px: int,
    schedule: Schedule,
) -> Classification:
    """A classification whose classes are what `contribution` says."""
    window = window_for(box_px, pixel_size_angst, diameter_angst, resolution_angst)
    geometry = Geometry(window, diameter_angst, model.parts.device)
    return Classification(
        classes=class_averages(geometry, model, contribution, schedule.trust),
        poses=poses,
        model=model,
        contribution=contribution,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        resolution_angst=resolution_angst,
        box_px=box_px,
        schedule=schedule,
    )
