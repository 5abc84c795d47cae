"""The machine as data: what is there, and how fast it was measured to be."""
