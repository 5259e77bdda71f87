"""Run the simulator until it is stopped: `python -m local.stripe_simulator --port 12111 --api-key sk_test_x`."""

import argparse
import signal
from threading import Event

from local.stripe_simulator import Simulator, serve

parser = argparse.ArgumentParser(prog="python -m local.stripe_simulator")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=12111)
parser.add_argument("--api-key", help="the only key that is taken; without it, any is")
parser.add_argument("--latency", type=float, default=0.0, help="seconds that every call takes")
said = parser.parse_args()

stopped = Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stopped.set())
server = serve(Simulator(api_key=said.api_key, latency=said.latency), port=said.port, host=said.host)
print(f"Stripe simulator on http://{said.host}:{server.server_port}", flush=True)
stopped.wait()
server.shutdown()
