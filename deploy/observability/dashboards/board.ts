import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard'
import type { Datasource, Panel } from './panels.ts'

export type Board = {
  /** Part of its address: `/d/<uid>`. */
  readonly uid: string
  readonly title: string
  readonly description: string
  readonly asks: readonly Datasource[]
  /** Text boxes above the panels, which stand in queries as `$name`. */
  readonly boxes?: Readonly<Record<string, { label: string; description: string }>>
  /** The time that is shown at first. */
  readonly from: string
  readonly rows: Readonly<Record<string, readonly Panel[]>>
}

const tag = 'avatar'
/** No row has so many panels. */
const numbersPerRow = 100

/** The builder of the SDK puts links into a menu that Grafana 11 and earlier do not have. */
const otherBoards = {
  build: (): dashboard.DashboardLink => ({
    title: 'Avatar',
    type: dashboard.DashboardLinkType.Dashboards,
    icon: 'dashboard',
    tooltip: 'The other dashboards',
    tags: [tag],
    asDropdown: false,
    targetBlank: false,
    includeVars: false,
    keepTime: true,
  }),
}

/**
 * Builds one dashboard. A panel's number follows from its row and its place there, and links to panels
 * hold the number: add panels at the end of a row, and rows at the end of a dashboard.
 */
export function board({ uid, title, description, asks, boxes = {}, from, rows }: Board) {
  const built = new dashboard.DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([tag])
    .timezone('browser')
    .readonly()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .time({ from, to: 'now' })
    .refresh('30s')
    .link(otherBoards)
  for (const type of asks)
    built.withVariable(
      new dashboard.DatasourceVariableBuilder(type)
        .label(type)
        .type(type)
        // The datasources of our own provisioning have their type as uid.
        .current({ text: type, value: type }),
    )
  for (const [name, box] of Object.entries(boxes))
    built.withVariable(
      new dashboard.TextBoxVariableBuilder(name)
        .label(box.label)
        .description(box.description)
        .defaultValue(''),
    )
  for (const [at, [name, panels]] of Object.entries(rows).entries()) {
    const number = (at + 1) * numbersPerRow
    built.withRow(new dashboard.RowBuilder(name).id(number))
    for (const [place, panel] of panels.entries()) built.withPanel(panel.id(number + place + 1))
  }
  return built.build()
}
