"""A picking model of the sample at hand: the pretrained detector, trained on a session's picks."""
