"""The sidecar: configuration, connection, worker; then a signal and an orderly end."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

from inference_sidecar.config import ConfigurationNotValid, SidecarConfig, load_configuration
from inference_sidecar.foundation.background_tasks import BackgroundTasks
from inference_sidecar.foundation.contracts import (
    DrainOrder,
    StopOrder,
    drain_subject,
    spans_subject,
    stop_subject,
)
from inference_sidecar.foundation.last_words import refuse_configuration
from inference_sidecar.foundation.log import Log, configure_log
from inference_sidecar.foundation.process_death import end_at_uncaught_exceptions
from inference_sidecar.store.counts_file import CountsFile
from inference_sidecar.store.health_file import HealthFile
from inference_sidecar.store.workplace import FolderInUse, FolderNotUsable, Workplace
from inference_sidecar.telemetry.gpu_watch import GpuWatch
from inference_sidecar.telemetry.spans import Spans
from inference_sidecar.worker.auto_reset_event import AutoResetEvent
from inference_sidecar.worker.broker import connect
from inference_sidecar.worker.heartbeat import Heartbeat
from inference_sidecar.worker.hello import Hello
from inference_sidecar.worker.lifetime import Lifetime
from inference_sidecar.worker.orchestrator_requests import WorkerName
from inference_sidecar.worker.worker import Worker

_EXIT_CONFIGURATION = 2


async def run(config: SidecarConfig, log: Log) -> None:
    """Renders until SIGTERM or SIGINT, or until the worker leaves by itself or is told to.

    Raises what made a loop, or the stop itself, fail.
    """
    lifetime = Lifetime(
        time.monotonic(),
        config.worker_idle_seconds,
        config.worker_lifetime_seconds,
        config.timings.lifetime_reserve_seconds,
    )
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
            {connecting, signalled, beating},
            timeout=lifetime.left_seconds(time.monotonic()),
            return_when="FIRST_COMPLETED",
        )
        if beating in ended:
            beating.result()
        if not ended:
            log.info("leaving", reason="it has not reached the broker in its lifetime")
        if connecting not in ended:
            return
        broker = connecting.result()
        at_the_end.push_async_callback(broker.close)
        # Once more, because the loops end before the connection does.
        at_the_end.push_async_callback(loops.stop)
        gpus = GpuWatch(log)
        at_the_end.callback(gpus.stop)
        gpus.start()

        wake_id = config.wake_id
        if config.says_hello:
            hello = Hello(broker, worker_name, config, gpus, log)
            asking = loops.start(hello.ask())
            ended, _ = await asyncio.wait(
                {asking, signalled, beating}, return_when="FIRST_COMPLETED"
            )
            if beating in ended:
                beating.result()
            if asking not in ended or (told := asking.result()) is None:
                return
            wake_id = told.wake_id or wake_id
            lifetime = lifetime.with_limits(told.idle_seconds, told.lifetime_seconds)

        spans = Spans(
            worker_name.id,
            functools.partial(broker.send_now, spans_subject(worker_name.id)),
            log,
        )
        at_the_end.push_async_callback(spans.close)
        worker = Worker(
            *(config, workplace, broker, worker_name, spans, gpus, heartbeat_due, lifetime),
            *(wake_id, log),
        )
        worker.resume_spool()
        await broker.listen(stop_subject(worker_name.id), StopOrder, worker.stop_attempt)
        await broker.listen(
            drain_subject(worker_name.id),
            DrainOrder,
            lambda order: worker.leave(f"told to, {order.reason}"),
        )
        heartbeat.begin(worker, broker)
        # A loop that ends by itself has failed, without which the worker would only seem to work;
        # or the worker has left.
        running = {*worker.start(), beating, loops.start(broker.watch())}
        log.info("sidecar started", engine=config.engine, incarnation=worker_name.incarnation)

        ended, _ = await asyncio.wait({signalled, *running}, return_when="FIRST_COMPLETED")
        log.info("sidecar stopping")
        await worker.drain()
        # No other heartbeat may follow the last one.
        beating.cancel()
        await asyncio.wait({beating})
        await heartbeat.say_gone()
        CountsFile(config.spool_dir).write(worker.counts())
    for task in ended - {signalled}:
        task.result()
    log.info("sidecar stopped")


def main() -> None:
    """Exits with 2 when the configuration is not valid, or SPOOL_DIR is used or not usable."""
    try:
        config, engine_settings = load_configuration()
    except ConfigurationNotValid as error:
        refuse_configuration(error.problems)
        if folder := os.environ.get("SPOOL_DIR"):
            HealthFile(Path(folder)).leave(" ".join(str(error).split()))
        sys.exit(_EXIT_CONFIGURATION)
    end_at_uncaught_exceptions()
    log = configure_log(config.log_level)
    settings = {} if engine_settings is None else engine_settings.model_dump(mode="json")
    log.info(
        "configuration", config={**config.model_dump(mode="json", exclude_none=True), **settings}
    )
    try:
        asyncio.run(run(config, log))
    except (FolderInUse, FolderNotUsable) as error:
        refuse_configuration([str(error)])
        sys.exit(_EXIT_CONFIGURATION)
