"""Between poses in three dimensions and the columns of a particle table."""

import numpy as np
import pandas as pd

from cryosnake.volumes3d.result import VolumePoses

#: What the native engine knows of a particle and others may not.
_EVIDENCE = {"csnLogEvidence": 0.0, "csnParticleScale": 1.0}


def pose_columns(poses: VolumePoses) -> dict[str, np.ndarray]:
    """What is known of each particle, as columns of its table.

    `rlnClassNumber` counts from 1; it is K + 1 where the particle shows none of K volumes, and 0
    for images that cannot be used.
    """
    return {
        "rlnClassNumber": poses.class_index + 1,
        "rlnAngleRot": poses.rot_deg,
        "rlnAngleTilt": poses.tilt_deg,
        "rlnAnglePsi": poses.psi_deg,
        "rlnOriginXAngst": poses.origin_x_angst,
        "rlnOriginYAngst": poses.origin_y_angst,
        "rlnMaxValueProbDistribution": poses.probability,
        "csnLogEvidence": poses.log_evidence,
        "csnParticleScale": poses.contrast,
        "rlnRandomSubset": poses.half.astype(np.int32) + 1,
    }


def poses_of(table: pd.DataFrame) -> VolumePoses:
    """The poses in a particle table, all of one volume.

    Where a table has no evidence and no scale (those of other programs) they are 0 and 1; the class
    is 0, or -1 for images that cannot be used.
    """

    def values(column: str) -> np.ndarray:
        if column in _EVIDENCE and column not in table:
            return np.full(len(table), _EVIDENCE[column], np.float32)
        return table[column].to_numpy(np.float32)

    return VolumePoses(
        class_index=np.where(table["rlnClassNumber"].to_numpy() > 0, 0, -1).astype(np.int32),
        rot_deg=values("rlnAngleRot"),
        tilt_deg=values("rlnAngleTilt"),
        psi_deg=values("rlnAnglePsi"),
        origin_x_angst=values("rlnOriginXAngst"),
        origin_y_angst=values("rlnOriginYAngst"),
        probability=values("rlnMaxValueProbDistribution"),
        contrast=values("csnParticleScale"),
        log_evidence=values("csnLogEvidence"),
        half=(table["rlnRandomSubset"].to_numpy() - 1).astype(np.int8),
    )
