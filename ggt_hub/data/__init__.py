"""Data: the record of a pair, and a room for each step from bytes to finished data sets.

`storage` (where bytes lie), `recognising` (what belongs together), `sources` (builders), `reading` (rows and
decoded pairs), `work` (what is done with whole sets): each imports only from those before it.
"""
