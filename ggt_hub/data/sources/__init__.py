"""Data sets as builders of `datasets`: one file each for those with a name, and for each way to keep pairs."""
