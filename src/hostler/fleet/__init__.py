"""The fleet: the single writer that joins scheduler and processes.

A *lease* is the right of one request to use a ready run; it ends with the body of the response.
"""
