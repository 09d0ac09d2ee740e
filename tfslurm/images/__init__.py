"""Images as things to keep: save one as an archive that holds the very bytes that its digest names."""

from tfslurm.images.save import Saved, save_image

__all__ = ["Saved", "save_image"]
