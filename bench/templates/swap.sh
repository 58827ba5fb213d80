# Notes when it was started, then becomes the engine.
echo "spawned $$EPOCHREALTIME" >>"$$1"
exec "$python" -S -E "$engine" --notes "$$@"
