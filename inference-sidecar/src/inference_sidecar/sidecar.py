"""The sidecar: configuration, connection, worker; then a signal and an orderly end."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from contextlib import AsyncExitStack

from inference_sidecar.config import ConfigurationNotValid, SidecarConfig, load_configuration
from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import StopOrder, stop_subject
from inference_sidecar.foundation.log import Log, configure_log
from inference_sidecar.store.health_file import HealthFile
from inference_sidecar.store.workplace import FolderInUse, Workplace
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.broker import connect
from inference_sidecar.worker.heartbeat import Heartbeat
from inference_sidecar.worker.orchestrator_requests import WorkerName
from inference_sidecar.worker.worker import Worker

_EXIT_CONFIGURATION = 2


async def run(config: SidecarConfig, log: Log) -> None:
    """Renders until SIGTERM or SIGINT. Raises what made a loop, or the stop itself, fail."""
    async with AsyncExitStack() as at_the_end:
        loops = BackgroundTasks()
        stopping, heartbeat_due = asyncio.Event(), AutoResetEvent()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stopping.set)

        workplace = Workplace(config.spool_dir)
        at_the_end.callback(workplace.close)
        at_the_end.push_async_callback(loops.stop)
        signalled = loops.start(stopping.wait())
        worker_name = WorkerName(workplace.worker_id(config.worker_id), uuid.uuid4().hex)
        log = log.bind(workerId=worker_name.id)
        heartbeat = Heartbeat(HealthFile(config.spool_dir), heartbeat_due, config.timings)
        beating = loops.start(heartbeat.run())
        connecting = loops.start(connect(config, worker_name.id, log))
        ended, _ = await asyncio.wait(
            {connecting, signalled, beating}, return_when="FIRST_COMPLETED"
        )
        if beating in ended:
            beating.result()
        if connecting not in ended:
            return
        broker = connecting.result()
        at_the_end.push_async_callback(broker.close)
        # Once more, because the loops end before the connection does.
        at_the_end.push_async_callback(loops.stop)

        worker = Worker(config, workplace, broker, worker_name, heartbeat_due, log)
        worker.resume_spool()
        await broker.listen(stop_subject(worker_name.id), StopOrder, worker.stop_attempt)
        heartbeat.begin(worker, broker)
        # A loop that ends by itself has failed: without it the worker would only seem to work.
        running = {*worker.start(), beating, loops.start(broker.watch())}
        log.info("sidecar started", engine=config.engine, incarnation=worker_name.incarnation)

        ended, _ = await asyncio.wait({signalled, *running}, return_when="FIRST_COMPLETED")
        log.info("sidecar stopping")
        await worker.drain()
    for task in ended - {signalled}:
        task.result()
    log.info("sidecar stopped")


def main() -> None:
    """Exits with 2 when the configuration is not valid or another sidecar uses the folder."""
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
