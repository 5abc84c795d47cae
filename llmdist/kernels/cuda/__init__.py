"""The CUDA sources and the packing that they read."""
