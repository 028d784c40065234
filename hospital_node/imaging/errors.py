"""What can be wrong with this hospital's images, apart from a single file.

A file that cannot be used is no error: it goes to quarantine (`hospital_node.imaging.quarantine`).
"""

from hospital_node.errors import CohortError, NodeError


class ImagingError(NodeError):
    """Images or labels at this hospital must be put right before work can go on."""


class FolderError(ImagingError):
    """A folder of images is missing, empty or cannot be read, or may not be written to."""


class LabelsError(ImagingError):
    """A labels file cannot be read as the table it has to be."""


class ConsentError(ImagingError):
    """What patients have said cannot be read, so nobody's images may be touched."""


class SourceImageError(ImagingError):
    """Files that a labels file names as images are none."""


class ScanError(ImagingError):
    """A scan cannot be carried out here and now."""


class PixelsError(ImagingError):
    """An indexed image is no longer what it was when it was indexed."""


class ReleaseError(ImagingError):
    """A file cannot be let out of quarantine, or not by this name."""


class CopyError(ImagingError):
    """No de-identified copy of a file can be made, or written."""


class EmptyCohortError(CohortError):
    """No indexed image answers to what a cohort asks for."""


class OneClassError(CohortError):
    """Every training patient of the cohort carries the same answer: there is nothing to learn."""
