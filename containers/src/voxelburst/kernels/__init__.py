"""Fast paths of our own. Each has a reference in plain PyTorch, which its tests hold it to."""

from .instance_norm import InstanceNormLeakyReLU, instance_norm_leaky_relu

__all__ = ["InstanceNormLeakyReLU", "instance_norm_leaky_relu"]
