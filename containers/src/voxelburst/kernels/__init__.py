"""The `fused` strategy's kernels: InstanceNorm3d and LeakyReLU as one operation, the first convolution, and
the augmentation of a batch."""

from .fusion import InstanceNormLeakyReLU, fuse, fuse_stem, fuse_upsamples
from .norm_activation import instance_norm_leaky_relu

__all__ = ["InstanceNormLeakyReLU", "fuse", "fuse_stem", "fuse_upsamples", "instance_norm_leaky_relu"]
