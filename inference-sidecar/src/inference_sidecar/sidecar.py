"""The sidecar: configuration, connection, worker; then a signal and an orderly end."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid

from inference_sidecar.config import ConfigurationNotValid, SidecarConfig, load_configuration
from inference_sidecar.foundation.contracts import stop_subject
from inference_sidecar.foundation.log import Log, configure_log
from inference_sidecar.store.workplace import FolderInUse, Workplace
from inference_sidecar.worker.broker import connect
from inference_sidecar.worker.heartbeat import beat_on
from inference_sidecar.worker.orchestrator_requests import WorkerName
from inference_sidecar.worker.worker import Worker

_EXIT_CONFIGURATION = 2


async def run(config: SidecarConfig, log: Log) -> None:
    """Renders until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    signalled = asyncio.create_task(stopping.wait())

    workplace = Workplace(config.spool_dir)
    worker_name = WorkerName(workplace.worker_id(config.worker_id), uuid.uuid4().hex)
    log = log.bind(workerId=worker_name.id)
    connecting = asyncio.create_task(connect(config, worker_name.id, log))
    await asyncio.wait({connecting, signalled}, return_when="FIRST_COMPLETED")
    if not connecting.done():
        connecting.cancel()
        return
    broker = connecting.result()

    worker = Worker(config, workplace, broker, worker_name, log)
    worker.resume_spool()
    await broker.listen(stop_subject(worker_name.id), worker.hear_stop)
    working = asyncio.create_task(worker.work())
    companions = [
        asyncio.create_task(worker.process.keep_alive()),
        asyncio.create_task(worker.handles.keep()),
        asyncio.create_task(beat_on(broker, worker, config.timings)),
        asyncio.create_task(broker.watch()),
    ]
    log.info("sidecar started", engine=config.engine, incarnation=worker_name.incarnation)

    # A task that ends by itself has failed: without it the worker would only seem to work.
    ended, _ = await asyncio.wait({signalled, working, *companions}, return_when="FIRST_COMPLETED")
    log.info("sidecar stopping")
    companions[0].cancel()
    await worker.drain()
    await asyncio.wait({working})
    for task in companions:
        task.cancel()
    await broker.close()
    workplace.close()
    for task in ended - {signalled}:
        task.result()
    log.info("sidecar stopped")


def main() -> None:
    """Exit status 2 when the configuration is not valid or the folder is another sidecar's."""
    try:
        config, engine_settings = load_configuration()
    except ConfigurationNotValid as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_EXIT_CONFIGURATION)
    log = configure_log(config.log_level)
    settings = {} if engine_settings is None else engine_settings.model_dump(mode="json")
    log.info(
        "configuration", config={**config.model_dump(mode="json", exclude_none=True), **settings}
    )
    try:
        asyncio.run(run(config, log))
    except FolderInUse as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_EXIT_CONFIGURATION)
