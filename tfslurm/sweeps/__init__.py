"""Make points from axes, place them on clusters, and write the file that their tasks read. Pure."""
