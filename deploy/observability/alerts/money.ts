import type { Alert } from './alert.ts'

const cost = (kind: string, period = 'day') =>
  `infinitetalk_cost_usd{job="orchestrator",period="${period}",kind="${kind}"}`
const budget = 'infinitetalk_budget_usd{job="orchestrator",period="day"}'
const updated = 'infinitetalk_cost_updated_timestamp_seconds{job="orchestrator"}'
/** Each replica of the orchestrator tells the whole sum. */
const today = 'sum(max by (kind) (infinitetalk_cost_usd{period="day"}))'

/** What the service spends, in US dollars; without a ledger in them there is no series, and no alert. */
export const moneyAlerts = [
  {
    name: 'DailyCostSpike',
    severity: 'ticket',
    expr: `${today} > 5`,
    summary: 'Today, UTC, has cost {{ $value | printf "%.2f" }} US dollars.',
    fires: [
      {
        why: '5 for GPUs and 2 for storage',
        at: '2m',
        series: { [cost('gpu')]: '5x5', [cost('storage')]: '2x5' },
      },
    ],
    quiet: [
      { why: '3 and 1', at: '2m', series: { [cost('gpu')]: '3x5', [cost('storage')]: '1x5' } },
      { why: '7 in the month', at: '2m', series: { [cost('gpu', 'month')]: '7x5' } },
    ],
  },
  {
    name: 'DailyCostHigh',
    severity: 'page',
    expr: `${today} > 10`,
    summary: 'Today, UTC, has cost {{ $value | printf "%.2f" }} US dollars.',
    fires: [{ why: '15 for GPUs', at: '2m', series: { [cost('gpu')]: '15x5' } }],
    quiet: [
      { why: '8', at: '2m', series: { [cost('gpu')]: '8x5' } },
      {
        why: '8, told by two replicas',
        at: '2m',
        series: {
          [cost('gpu')]: '8x5',
          'infinitetalk_cost_usd{job="orchestrator",instance="b",period="day",kind="gpu"}': '8x5',
        },
      },
    ],
  },
  {
    name: 'BudgetReached',
    severity: 'page',
    expr:
      'sum by (period) (max by (period, kind) (infinitetalk_cost_usd))' +
      ' >= on (period) max by (period) (infinitetalk_budget_usd)',
    summary: 'The budget of the {{ $labels.period }} is spent: new jobs are refused.',
    fires: [{ why: '25 of 25', at: '2m', series: { [cost('gpu')]: '25x5', [budget]: '25x5' } }],
    quiet: [
      { why: '24 of 25', at: '2m', series: { [cost('gpu')]: '24x5', [budget]: '25x5' } },
      { why: 'there is no budget', at: '2m', series: { [cost('gpu')]: '24x5' } },
    ],
  },
  {
    name: 'CostUnknown',
    severity: 'ticket',
    expr: 'time() - max(infinitetalk_cost_updated_timestamp_seconds) > 900',
    summary: 'What the service costs has not been known for {{ $value | humanizeDuration }}.',
    fires: [{ why: '20 minutes', at: '20m', series: { [updated]: '0x30' } }],
    quiet: [{ why: '12 minutes', at: '12m', series: { [updated]: '0x30' } }],
  },
] as const satisfies readonly Alert[]
