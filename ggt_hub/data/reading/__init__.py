"""Rows and decoded pairs of any data set that a person names."""
