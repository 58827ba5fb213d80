"""What happened, what is happening, what it costs.

A *record* is one request for a model while it runs; the *row* is what stays of it in the *activity* store.
A *capture* is its bytes, kept for a look or a *replay*. *Events* tell listeners; *families* of numbers are
for Prometheus; *samples* are the machine's own numbers over time. The *usage tap* finds in the bytes of an
answer what it says about tokens. The *observatory* owns all of them.
"""
