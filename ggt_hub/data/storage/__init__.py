"""Where bytes lie, in trees of files and in archives, and how they come."""
