"""The HTTP surface: the only package that knows uvicorn and Starlette."""

from hostler.web.fronts import leave_unopened

# uvicorn's own front is its command line: click, a process manager, 2 MB and 20 ms for nothing.
leave_unopened("uvicorn", Config="uvicorn.config", Server="uvicorn.server")
