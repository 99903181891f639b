"""The `fused` strategy's kernel: InstanceNorm3d and LeakyReLU as one operation on channels-last volumes."""

from .fusion import InstanceNormLeakyReLU, fuse
from .norm_activation import instance_norm_leaky_relu

__all__ = ["InstanceNormLeakyReLU", "fuse", "instance_norm_leaky_relu"]
