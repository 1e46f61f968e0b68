"""Writers of small movies for the tests: MRC with odd headers, and EER."""

import struct

import mrcfile
import numpy as np

EER_METADATA = (
    b'<metadata><item name="sensorPixelSize.width" unit="m">%.6e</item>'
    b'<item name="sensorPixelSize.height" unit="m">%.6e</item>'
    b'<item name="totalDose" unit="e/pixel">%.4f</item>'
    b'<item name="numberOfFrames">%d</item><item name="sensorImageHeight">%d</item>'
    b'<item name="sensorImageWidth">%d</item></metadata>'
)


def write_mrc_movie(path, frames, pixel_size_angst=0.0):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(frames))
        mrc.set_image_stack()
        mrc.voxel_size = pixel_size_angst
    return path


def patch_mrc(path, offset, layout, *values):
    """Overwrite a field of an MRC header."""
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(struct.pack(layout, *values))
    return path


def eer_frame(events, shape):
    """Encode the (n, 4) events (y, x, quarter y, quarter x) of a camera frame, 7 + 2 + 2 bits."""
    position = events[:, 0] * shape[1] + events[:, 1]
    order = np.argsort(position)
    position = position[order]
    quarter = (events[order, 2] << 2 | events[order, 3]) ^ 0b1010
    gaps = np.diff(np.concatenate([[-1], position, [shape[0] * shape[1]]])) - 1
    bits = []
    for gap, sub in zip(gaps, [*quarter, 0], strict=True):
        bits.append(np.ones(7 * (gap // 127), np.uint8))
        word = gap % 127 | sub << 7
        bits.append((word >> np.arange(11) & 1).astype(np.uint8))
    bits = np.concatenate(bits)
    bits = np.concatenate([bits, np.zeros(-len(bits) % 64 + 64, np.uint8)])
    return np.packbits(bits, bitorder="little").tobytes()


def write_eer(path, frames, shape, *, pixel_size_angst=0.7, dose_e_per_px=2.0):
    """Write camera frames, each (n, 4) events as in `eer_frame`, as an EER movie."""
    metadata = EER_METADATA % (
        pixel_size_angst * 1e-10,
        pixel_size_angst * 1e-10,
        dose_e_per_px,
        len(frames),
        *shape,
    )
    with open(path, "wb") as stream:
        stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        pointer = 8
        for number, events in enumerate(frames):
            data = eer_frame(events, shape)
            entries = [
                (256, 4, 1, shape[1]),
                (257, 4, 1, shape[0]),
                (259, 3, 1, 65001),
                (273, 16, 1, stream.tell()),
                (278, 4, 1, shape[0]),
                (279, 16, 1, len(data)),
            ]
            stream.write(data)
            if number == 0:
                entries.append((65001, 7, len(metadata), stream.tell()))
                stream.write(metadata + b"\0" * (-len(metadata) % 8))
            directory = stream.tell()
            stream.write(struct.pack("<Q", len(entries)))
            for entry in entries:
                stream.write(struct.pack("<HHQQ", *entry))
            following = stream.tell()
            stream.write(struct.pack("<Q", 0))
            stream.seek(pointer)
            stream.write(struct.pack("<Q", directory))
            stream.seek(0, 2)
            pointer = following
    return path


def random_events(rng, count, shape):
    flat = rng.choice(shape[0] * shape[1], count, replace=False)
    return np.stack(
        [flat // shape[1], flat % shape[1], *rng.integers(0, 4, (2, count))], axis=1
    ).astype(np.int64)
