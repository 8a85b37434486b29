"""Data that is made or chosen: stages in a row that keep, drop or postpone, to a set that is packed."""
