"""Requests for models: find the model, lease it, forward, stream the answer back.

The gateway is an ASGI application that knows no server. The *upstream* client keeps pooled connections to
engines; the *relay* passes an answer's bytes on as they come.
"""
