"""Starts TensorZero's Rust gateway from its Python package, in the environment of that peer, and prints its URL.

python tensorzero_gateway.py CONFIG
"""

import importlib
import signal
import sys

# Not installed beside this program: the type checker is not to look for it.
gateway = importlib.import_module("tensorzero")._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
