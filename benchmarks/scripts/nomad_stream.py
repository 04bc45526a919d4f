"""When the bare event stream tells of ends: ``nomad_stream.py N HOST IDS``; as nomad_ends.py does.

It says so when it is subscribed, and ends with the N-th job whose id begins so.
"""

from __future__ import annotations

import json
import sys
import time
from http.client import HTTPConnection


def main() -> None:
    amount, host, beginning = sys.argv[1:]
    connection = HTTPConnection(host)
    connection.request("GET", "/v1/event/stream?topic=Allocation")
    answer = connection.getresponse()
    seen: dict[str, float] = {}
    answer.readline()
    print("subscribed", flush=True)
    while len(seen) < int(amount):
        for event in json.loads(answer.readline()).get("Events", ()):
            alloc = event["Payload"]["Allocation"]
            ended = alloc["ClientStatus"] in ("complete", "failed", "lost")
            if ended and alloc["JobID"].startswith(beginning):
                seen.setdefault(alloc["JobID"], time.time())
    print(json.dumps(seen))


main()
