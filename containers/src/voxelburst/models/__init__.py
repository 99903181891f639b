"""Networks behind one function: `build(network)` gives the nn.Module of a plan's network block."""

from .unet3d import UNet3d
from .weights import WEIGHTS_FILE, load_weights, save_weights
from .zoo import build, parameter_count

__all__ = ["WEIGHTS_FILE", "UNet3d", "build", "load_weights", "parameter_count", "save_weights"]
