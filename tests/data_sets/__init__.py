"""Tests of `ggt_hub.data`. (`tests/data` holds golden files.)"""
