import type { Alert } from './alert.ts'

const cost = (period: 'day' | 'month') =>
  `infinitetalk_cost_usd{job="orchestrator",period="${period}"}`
const budget = 'infinitetalk_budget_usd{job="orchestrator",period="day"}'
const updated = 'infinitetalk_cost_updated_timestamp_seconds{job="orchestrator"}'
const bill = 'infinitetalk_bill_difference_ratio{job="orchestrator",pool="runpod"}'
/** Each replica of the orchestrator tells the whole sum. */
const today = 'max(infinitetalk_cost_usd{period="day"})'

/** What the service spends, in US dollars; without a ledger in them there is no series, and no alert. */
export const moneyAlerts = [
  {
    name: 'DailyCostSpike',
    severity: 'ticket',
    expr: `${today} > 5`,
    summary: 'Today, UTC, has cost {{ $value | printf "%.2f" }} US dollars.',
    fires: [{ why: '7', at: '2m', series: { [cost('day')]: '7x5' } }],
    quiet: [
      { why: '4', at: '2m', series: { [cost('day')]: '4x5' } },
      { why: '7 in the month', at: '2m', series: { [cost('month')]: '7x5' } },
    ],
  },
  {
    name: 'DailyCostHigh',
    severity: 'page',
    expr: `${today} > 10`,
    summary: 'Today, UTC, has cost {{ $value | printf "%.2f" }} US dollars.',
    fires: [{ why: '15', at: '2m', series: { [cost('day')]: '15x5' } }],
    quiet: [
      { why: '8', at: '2m', series: { [cost('day')]: '8x5' } },
      {
        why: '8, told by two replicas',
        at: '2m',
        series: {
          [cost('day')]: '8x5',
          'infinitetalk_cost_usd{job="orchestrator",instance="b",period="day"}': '8x5',
        },
      },
    ],
  },
  {
    name: 'BudgetReached',
    severity: 'page',
    expr:
      'max by (period) (infinitetalk_cost_usd)' +
      ' >= on (period) max by (period) (infinitetalk_budget_usd)',
    summary: 'The budget of the {{ $labels.period }} is spent: new jobs are refused.',
    fires: [{ why: '25 of 25', at: '2m', series: { [cost('day')]: '25x5', [budget]: '25x5' } }],
    quiet: [
      { why: '24 of 25', at: '2m', series: { [cost('day')]: '24x5', [budget]: '25x5' } },
      { why: 'there is no budget', at: '2m', series: { [cost('day')]: '24x5' } },
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
  {
    name: 'BillDiffers',
    severity: 'ticket',
    expr: 'max by (pool) (infinitetalk_bill_difference_ratio) > 0.05',
    summary:
      "The latest bill of pool {{ $labels.pool }} and its workers' clocks are {{ $value | humanizePercentage }} apart.",
    fires: [{ why: '8 %', at: '2m', series: { [bill]: '0.08x5' } }],
    quiet: [
      { why: '4 %', at: '2m', series: { [bill]: '0.04x5' } },
      { why: 'there is no bill', at: '2m', series: { [updated]: '0x5' } },
    ],
  },
] as const satisfies readonly Alert[]
