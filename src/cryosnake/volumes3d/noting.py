"""The poses that scored images have."""

import numpy as np
import torch

from cryosnake.alignment.likelihood import Images
from cryosnake.classes2d.expectation import CONTRAST_LIMITS, CONTRAST_SIGMA
from cryosnake.volumes3d.model import Projections
from cryosnake.volumes3d.orientations import angles_of_views
from cryosnake.volumes3d.particles import Particles
from cryosnake.volumes3d.search import Found, Level, Prior


def note(
    particles: Particles,
    chosen: np.ndarray,
    images: Images,
    found: Found,
    projections: Projections,
    level: Level,
    prior: Prior,
) -> None:
    """Keep what was found of a chunk of images: the best view and origin in each volume, the best
    pose of all, and the contrast."""
    _note_places(particles, chosen, found, projections, level)
    _note_poses(particles, chosen, images, found, projections, level, prior)


def _note_places(
    particles: Particles, chosen: np.ndarray, found: Found, projections: Projections, level: Level
) -> None:
    """The best view of each volume, with the mean origin over the shifts of that view. Volumes in
    which nothing is left keep what they had."""
    post, batch, count = found.posterior, len(chosen), found.bias.shape[1]
    volumes = particles.views.shape[1]
    device = found.energy.device
    slot = torch.div(post.columns, count * batch, rounding_mode="floor")
    rest = post.columns - slot * (count * batch)
    shift = torch.div(rest, batch, rounding_mode="floor")
    image = rest - shift * batch
    reference = found.slots[slot, image]
    mass = post.weights.sum(0)
    place = projections.volume[reference] * batch + image
    # the best column of each volume and image
    top = torch.zeros(volumes * batch, device=device).scatter_reduce(0, place, mass, "amax")
    first = torch.nonzero(mass == top[place])[:, 0].flip(0)
    winner = torch.full((volumes * batch,), -1, dtype=torch.int64, device=device)
    winner[place[first]] = first
    have = torch.nonzero(winner >= 0)[:, 0]
    best = winner[have]
    # mean origin over the columns of its slot
    own = slot == slot[winner[place]]
    part = mass * own
    weight = torch.zeros_like(top).index_add_(0, place, part)
    moved = torch.zeros((len(top), 2), device=device)
    moved.index_add_(0, place, level.shifts_px[shift] * part[:, None])
    origins = moved[have] / weight[have][:, None].clamp_min(1e-20)
    at = have - torch.div(have, batch, rounding_mode="floor") * batch
    origins += found.origins_px[found.sets[slot[best]], at]
    index = torch.from_numpy(chosen).to(device)
    volume = torch.div(have, batch, rounding_mode="floor")
    particles.views[index[at], volume] = projections.views[reference[best]]
    particles.origins_px[index[at], volume] = origins


def _note_poses(
    particles: Particles,
    chosen: np.ndarray,
    images: Images,
    found: Found,
    projections: Projections,
    level: Level,
    prior: Prior,
) -> None:
    """The best pose of all volumes; the contrast is its posterior mean given that pose."""
    post, batch = found.posterior, len(chosen)
    volumes = particles.views.shape[1]
    device = found.energy.device
    index = torch.from_numpy(chosen).to(device)
    every = torch.arange(batch, device=device)
    shares = torch.zeros((volumes, batch), device=device)
    by_slot = projections.volume[found.slots]  # (S, B)
    shares.scatter_add_(0, by_slot, post.classes)
    reference = found.slots[post.reference, every]
    volume = projections.volume[reference]
    rot, tilt = angles_of_views(projections.views[reference])
    rotation = (post.rotation + post.turn) * (360.0 / level.transform.band.rotations)
    psi = torch.remainder(rotation + 180.0, 360.0) - 180.0
    origin = particles.origins_px[index, volume] * particles.pixel
    energy = found.energy[post.reference, every]
    signal = post.best - found.bias[post.reference, post.shift, every]
    trust = 1.0 / CONTRAST_SIGMA**2
    contrast = (signal / images.contrast + trust) / (energy + trust)
    filled = post.classes.sum(0)
    share = shares[volume, every]
    empty = share < 1.0 - filled
    poses = particles.poses

    def put(name, values):
        getattr(poses, name)[chosen] = values.cpu().numpy()

    put("class_index", torch.where(empty, volumes, volume).to(torch.int32))
    put("rot_deg", rot)
    put("tilt_deg", tilt)
    put("psi_deg", psi)
    put("origin_y_angst", origin[:, 0])
    put("origin_x_angst", origin[:, 1])
    put("probability", torch.maximum(share, 1.0 - filled))
    put("contrast", contrast.clamp(*CONTRAST_LIMITS))
    volume_of_poses = prior.volume(level.transform.band.rotations, level.step_px)
    put("log_evidence", post.evidence - volume_of_poses)
    particles.seen[chosen] = True
