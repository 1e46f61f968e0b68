"""What scored images add to the sums of projections."""

import torch

from cryosnake.alignment.likelihood import Images
from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.posterior import weighted_sums
from cryosnake.alignment.workspace import Workspace
from cryosnake.volumes3d.model import SliceSums
from cryosnake.volumes3d.search import Found

_BLOCK_FLOATS = 4_000_000  # of turned images that are added at a time


def add_all(
    sums: SliceSums,
    found: Found,
    images: Images,
    transform: PolarTransform,
    workspace: Workspace,
) -> None:
    """Add what a chunk of images says to the sums of all projections; `found` of `found_all`."""
    number = len(found.slots)
    products = weighted_sums(transform, found.posterior, found.orders[0], number, workspace)
    sums.images += products.permute(2, 0, 1, 3)
    shares = found.posterior.classes
    sums.weights += shares @ (images.squared * images.contrast.square()).T
    sums.counts += shares.sum(1)


def add_near(sums: SliceSums, found: Found, images: Images, transform: PolarTransform) -> None:
    """Add what a chunk of images says to the sums of each one's own projections."""
    post, batch = found.posterior, len(images)
    count = found.bias.shape[1]
    column = post.columns
    slot = torch.div(column, count * batch, rounding_mode="floor")
    row = column - slot * (count * batch)
    image = row % batch
    reference = found.slots[slot, image]
    group = found.sets[slot]
    band = transform.band
    step = max(1, _BLOCK_FLOATS // (band.orders * 2 * band.rings))
    for which, orders in enumerate(found.orders):
        mine = torch.nonzero(group == which)[:, 0]
        # (T B, O, 2, R): an image's numbers side by side
        rows = orders.flatten(3).permute(3, 0, 1, 2).contiguous()
        for part in torch.split(mine, step):
            turned = (transform.turn_back @ post.weights[:, part]).T  # (J, 2 O)
            turned = turned.reshape(len(part), band.orders, 2, 1)
            taken = rows.index_select(0, row[part])
            real, imaginary = taken[:, :, 0], taken[:, :, 1]
            out = turned * real[:, :, None]
            out[:, :, 0].addcmul_(turned[:, :, 1], imaginary, value=-1.0)
            out[:, :, 1].addcmul_(turned[:, :, 0], imaginary)
            sums.images.index_add_(0, reference[part], out)
    weight = images.squared * images.contrast.square()  # (R, B)
    slot, image = torch.nonzero(post.classes > 0, as_tuple=True)
    share, reference = post.classes[slot, image], found.slots[slot, image]
    sums.weights.index_add_(0, reference, weight.T[image] * share[:, None])
    sums.counts.index_add_(0, reference, share)
