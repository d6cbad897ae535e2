"""The sidecar process: configuration, connection, worker; then a signal and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import uuid

from pydantic import ValidationError

from inference_sidecar.beat import beat_on
from inference_sidecar.broker import connect
from inference_sidecar.config import SidecarConfig
from inference_sidecar.log import Log, configure_log
from inference_sidecar.worker import Worker


async def run(config: SidecarConfig, log: Log) -> None:
    """Renders until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)

    incarnation = uuid.uuid4().hex
    broker = await connect(config, log)
    worker = Worker(config, broker, incarnation, log)
    worker.resume_spool()
    await broker.listen(f"ctl.stop.{config.worker_id}", worker.hear_stop)
    pulling = asyncio.create_task(worker.work())
    others = [
        asyncio.create_task(worker.process.keep_alive()),
        asyncio.create_task(worker.keep_entries()),
        asyncio.create_task(beat_on(config, broker, worker, incarnation)),
    ]
    log.info("ready", engine=config.engine)

    # A task that ends by itself has failed: without it the worker would only seem to work.
    signalled = asyncio.create_task(stopping.wait())
    ended, _ = await asyncio.wait({signalled, pulling, *others}, return_when="FIRST_COMPLETED")
    log.info("stopping")
    pulling.cancel()
    await worker.drain()
    for task in others:
        task.cancel()
    await broker.close()
    for task in ended - {signalled}:
        task.result()


def main() -> None:
    """Exit status 2 for a configuration that is not valid."""
    try:
        config = SidecarConfig()  # pyright: ignore[reportCallIssue] - from the environment
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        sys.stderr.write("The configuration is not valid:\n" + "\n".join(mistakes) + "\n")
        sys.exit(2)
    log = configure_log(config.log_level)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(config, log))


if __name__ == "__main__":
    main()
