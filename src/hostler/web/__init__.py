"""The HTTP surface: the only package that knows uvicorn and Starlette."""
