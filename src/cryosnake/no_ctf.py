"""Images that are taken as they are, without a CTF: denoised ones, say."""

#: The CTF parameters that say so in tables. -sin(0 + asin(1)) = -1 at every frequency, here as in
#: RELION: the sign of underfocus, by which a particle is dark on its micrograph and, inverted at
#: extraction, white; classification and reconstruction then multiply by +1.
NO_CTF: dict[str, float] = {
    "rlnSphericalAberration": 0.0,
    "rlnAmplitudeContrast": 1.0,
    "rlnDefocusU": 0.0,
    "rlnDefocusV": 0.0,
    "rlnDefocusAngle": 0.0,
    "rlnPhaseShift": 0.0,
}
