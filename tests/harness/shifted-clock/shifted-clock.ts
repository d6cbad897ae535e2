/**
 * A preload for Node: the wall clock of this process is CLOCK_AHEAD_SECONDS ahead, as on a machine whose
 * clock is set wrong. The monotonic clock, and with it every timer, is left alone.
 */
const aheadMs = Number(process.env['CLOCK_AHEAD_SECONDS'] ?? 0) * 1000
const trueNow = Date.now

Date.now = () => trueNow() + aheadMs
globalThis.Date = new Proxy(Date, {
  construct: (target, given) => Reflect.construct(target, given.length > 0 ? given : [Date.now()]),
})
