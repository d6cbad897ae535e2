import { board } from './board.ts'
import { quantiles, toldOnce } from './expressions.ts'
import { figure, graph } from './panels.ts'

const spent = (period: 'day' | 'month') => `max(infinitetalk_cost_usd{period="${period}"})`

/** The budget is one of days: a month may cost as much as all its days. */
const budget = {
  day: 'max(infinitetalk_budget_usd{period="day"})',
  month: 'max(infinitetalk_budget_usd{period="day"}) * days_in_month()',
}

/** A period's costs as they add up, and the budget above them. */
const against = (period: 'day' | 'month') => ({
  spent: spent(period),
  budget: budget[period],
})

/** What is spent, on what, and does it stay within the budget? */
export const money = board({
  uid: 'avatar-money',
  title: 'Avatar: money',
  description:
    'What is spent, on what, and does it stay within the budget? All by the ledger, in UTC.',
  asks: ['prometheus'],
  from: 'now-24h',
  rows: {
    Now: [
      figure({
        title: 'Today',
        description:
          'Spent since midnight UTC. Above 5 $ there is a ticket, above 10 $ somebody wakes.',
        unit: 'currencyUSD',
        width: 4,
        ask: { today: spent('day') },
        limit: { above: [5, 10] },
        otherwise: 'no price is set',
      }),
      figure({
        title: 'Of today’s budget',
        description: 'At 100 % new jobs are refused until midnight.',
        unit: 'percentunit',
        width: 4,
        ask: { part: `${spent('day')} / ${budget.day}` },
        limit: { above: [0.8, 1] },
        otherwise: 'no budget is set',
      }),
      figure({
        title: 'This month',
        description: 'Spent since the first of the month.',
        unit: 'currencyUSD',
        width: 4,
        ask: { month: spent('month') },
        otherwise: 'no price is set',
      }),
      figure({
        title: 'Of this month’s budget',
        description: 'What is spent of the budgets of all its days.',
        unit: 'percentunit',
        width: 4,
        ask: { part: `${spent('month')} / (${budget.month})` },
        limit: { above: [0.8, 1] },
        otherwise: 'no budget is set',
      }),
      figure({
        title: 'Busy',
        description:
          'The part of the workers’ time that went into renders, over the time that is shown. The rest ' +
          'is loading and waiting, and is paid as well.',
        unit: 'percentunit',
        width: 4,
        ask: {
          busy: `sum(avg_over_time(infinitetalk_workers{state="rendering"}[$__range]))
            / sum(avg_over_time(infinitetalk_workers[$__range]))`,
        },
        otherwise: 'no worker',
      }),
      figure({
        title: 'Age of the figures',
        description: 'Since the ledger was last known to be read to its end.',
        unit: 's',
        width: 4,
        ask: { age: 'time() - max(infinitetalk_cost_updated_timestamp_seconds)' },
        limit: { above: [300, 900] },
        otherwise: 'no price is set',
      }),
    ],
    'Over time': [
      graph({
        title: 'The day against its budget',
        description: 'Costs add up from midnight UTC on.',
        unit: 'currencyUSD',
        width: 12,
        ask: against('day'),
      }),
      graph({
        title: 'The month against its budget',
        description: 'Costs add up from the first of the month on.',
        unit: 'currencyUSD',
        width: 12,
        ask: against('month'),
      }),
      graph({
        title: 'Cost of a job',
        description: 'What a completed job is charged, by engine.',
        unit: 'currencyUSD',
        ask: quantiles('infinitetalk_job_cost_usd_bucket', [0.5, 0.95], ['engine']),
      }),
      graph({
        title: 'Busy against idle',
        description: 'Workers by what they do. All of them are paid, those that render earn it.',
        unit: 'none',
        ask: { '{{state}}': toldOnce('infinitetalk_workers', 'state') },
        isStacked: true,
      }),
      graph({
        title: 'GPU time of today',
        description: 'Attempts, cold starts and idle time since midnight UTC.',
        unit: 's',
        ask: { 'GPU time': 'max(infinitetalk_usage_today_gpu_seconds)' },
      }),
      graph({
        title: 'Bills against clocks',
        description:
          'How far a pool’s latest bill is from its workers’ own clocks. Above 5 % one of them is wrong.',
        unit: 'percentunit',
        hasNegatives: true,
        ask: { '{{pool}}': toldOnce('infinitetalk_bill_difference_ratio', 'pool') },
        limit: { above: [0.05] },
      }),
    ],
  },
})
