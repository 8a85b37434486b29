"""Tests of ggt-hub; the folders mirror the package."""
