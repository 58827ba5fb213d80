"""A stand-in for an inference server: `python -m hostler.engines.stub --port N [flag …]`.

A real process that answers real HTTP in the shapes of the OpenAI and Anthropic APIs, and that misbehaves in
every way an engine can when told to: slow to start, gone too early, deaf to signals, talkative, broken off
in mid-answer. Standard library only, so that it starts quickly.

- **options** – the command line; some options may be given per request, in the body's `stub` object.
- **wire** – HTTP/1.1 on asyncio streams; notices when a client goes away.
- **answers** – what the endpoints say, whole (JSON) and in pieces (SSE).
- **routes** – which request gets which answer.
- **output** – everything it prints, numbered lines included.
- **websocket** – an echo on /ws.
"""
