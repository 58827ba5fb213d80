"""The command line: `main` parses and dispatches, one module per group of commands does the work.

A command is a function from parsed arguments to an exit code. Its module is imported when the command is
chosen, so `hostler --help` costs no more than parsing. What went wrong for a reason the user can mend is a
`CommandError`: one line on stderr, never a traceback.
"""
