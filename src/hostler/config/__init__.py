"""Configuration: YAML text -> `Config`, or every problem at once.

Everything but `load` is pure. `load` is the only reader of files.
"""
