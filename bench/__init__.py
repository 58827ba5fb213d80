"""The benchmark suite: what Hostler costs beside other proxies, on this machine, in this run.

- **subject** – what is measured: `direct` (no proxy), `nginx`, `haproxy`, `hostler`, all in front of the same
  two upstreams (`lab`): nginx's static answer for whole answers, `upstream` for streams.
- **round** – every measurement once on every subject, each time in another order. A figure is the median over
  the rounds (`suite`), a ratio that of the medians.
- **bar** – what a figure of Hostler may be at most (`bars`).

`./scripts/bench` runs it; docs/benchmarks.md says how each figure is taken.
"""
