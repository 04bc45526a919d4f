"""Jobs watched by batchbridge."""

from __future__ import annotations

from collections.abc import Iterator

import watched

from batchbridge import Client, as_completed


def watch(address: str, ids: list[str]) -> Iterator[str]:
    with Client("nomad", settings={"address": address}) as client:
        refs = [client.engine.ref(("default",), id) for id in ids]
        for job in as_completed([client.attach(ref) for ref in refs]):
            yield job.ref.id


watched.main(watch)
