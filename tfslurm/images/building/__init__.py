"""Images of one's own: an engine builds them, they are laid out anew, pushed, and only then pinned."""
