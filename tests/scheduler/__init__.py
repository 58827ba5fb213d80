"""Tests of the scheduler; a package so that module names may repeat those of other test directories."""
