"""Pages that people read: one file each, with all that it shows inside of it."""
