"""DICOM series to volumes. pydicom reads and decodes; what a series must be is decided here."""

from .series import Series, read_series

__all__ = ["Series", "read_series"]
