"""What a placement costs: peak bytes per device and seconds per token, scalar and for many at once."""
