"""What a class average can be."""

#: `good`: particles; `clip`: cut off by the circle, or with a neighbour; `edge`: carbon, ice edges,
#: stripes; `noise`: nothing to see.
LABELS = ("good", "clip", "edge", "noise")
