"""voxelburst: the stages that run in containers, or as processes on one machine."""

__version__ = "0.1.0"
