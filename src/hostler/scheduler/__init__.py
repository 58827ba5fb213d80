"""Who may run, who waits, who must go: events in, commands out, nothing else.

A *ticket* is one request's place; a *grant* is its right to use a ready model. A *policy* (groups or
matrix) says which running models a target cannot share the machine with.
"""
