//! The picture of the full-screen view: a pure function of the model and the time. Every text that came from others goes
//! through [`Printable`].

use std::time::{Duration, SystemTime};

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, BorderType, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    list::window,
    model::{List, Model, Query},
};
use crate::{
    console::view::{index, pace, size, state, word},
    protocol::{
        action::{ActivityKind, Connection, Direction, Status, Transfer, TransferState},
        name::Printable,
    },
};

/// Smallest window in which the lists still say something.
pub const MIN_SIZE: (u16, u16) = (60, 16);
/// Cells of a bar.
const BAR: usize = 10;
const KEYS: &str = "q quit  Tab list  ↑↓ choose  p pause  r resume  t retry  c cancel  P R T all";
const WIDE_KEYS: &str = "q quit  Tab next list  ↑↓ PgUp PgDn Home End choose  p pause  r resume  t retry  c cancel  P R T all of them";
/// In lists that have nothing to be done with.
const MOVE_KEYS: &str = "q quit  Tab next list  ↑↓ PgUp PgDn Home End move";
/// Lines of a list that are no rows: its frame and its header.
const FRAME_ROWS: u16 = 3;

/// Draws the whole window.
pub fn draw(frame: &mut Frame<'_>, model: &Model, now: SystemTime) {
    let area = frame.area();
    let (columns, rows) = MIN_SIZE;
    if area.width < columns || area.height < rows {
        let said = format!(
            "This window is {}x{}; floodplain top needs {columns}x{rows}. Make it larger, or press q.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(said).wrap(Wrap { trim: true }), area);
        return;
    }
    let areas = Layout::vertical([
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    let [head, upper, lower, foot] = areas.areas(area);
    let [left, right] = Layout::horizontal([Constraint::Percentage(36), Constraint::Fill(1)]).areas(lower);
    let look = Look { has_color: model.has_color };
    frame.render_widget(Paragraph::new(heading(model, look)), head);
    transfers(frame, upper, model, look);
    peers(frame, left, model);
    queries(frame, right, model, now, look);
    frame.render_widget(footer(model, look, area.width), foot);
}

/// How things are set off from each other; all of it is told in words too.
#[derive(Debug, Clone, Copy)]
struct Look {
    has_color: bool,
}

impl Look {
    fn colored(self, color: Color) -> Style {
        if self.has_color { Style::new().fg(color) } else { Style::new() }
    }

    fn bold() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn of(self, state: &TransferState) -> Style {
        match state {
            TransferState::Running | TransferState::Verifying => self.colored(Color::Green),
            TransferState::Failed(_) => self.colored(Color::Red),
            TransferState::Waiting | TransferState::Paused => self.colored(Color::Yellow),
            TransferState::Done | TransferState::Cancelled => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

fn heading(model: &Model, look: Look) -> Vec<Line<'static>> {
    let Some(status) = &model.status else {
        return vec![Line::styled("floodplain top: asking the peer ...", Look::bold())];
    };
    let Status { me, counters, .. } = status;
    let zone = match me.zone {
        Some(zone) => format!("zone {zone}, {} peers", status.zone_peers),
        None => "in no zone".into(),
    };
    let style = match status.connection {
        Connection::Connected => Look::bold(),
        Connection::Reconnecting | Connection::Disconnected | Connection::Revoked => {
            Look::bold().patch(look.colored(Color::Red))
        }
    };
    let standing = match status.connection {
        Connection::Connected => "connected to",
        Connection::Reconnecting => "looking for",
        Connection::Disconnected => "left",
        Connection::Revoked => "shut out by",
    };
    let registry = Printable(&status.registry);
    let up = short(status.uptime);
    vec![
        Line::styled(format!("{}  {zone}  {standing} {registry}  up {up}", me.name), style),
        Line::raw(format!(
            "shared {}  sent {}, {}/s  received {}, {}/s",
            index(&status.index),
            size(counters.bytes_up),
            size(model.rates.up),
            size(counters.bytes_down),
            size(model.rates.down),
        )),
        Line::raw(format!(
            "searches {}  queries answered {}  refused {}  duplicates dropped {}",
            counters.searches,
            counters.queries_answered,
            counters.queries_refused,
            counters.duplicates_dropped,
        )),
    ]
}

fn footer(model: &Model, look: Look, columns: u16) -> Paragraph<'static> {
    match (&model.said, &model.problem) {
        (Some(said), _) => Paragraph::new(Line::styled(said.clone(), Look::bold())),
        (None, Some(problem)) => {
            Paragraph::new(Line::styled(problem.clone(), Look::bold().patch(look.colored(Color::Red))))
        }
        (None, None) => Paragraph::new(match model.list {
            List::Transfers if usize::from(columns) >= WIDE_KEYS.chars().count() => WIDE_KEYS,
            List::Transfers => KEYS,
            List::Peers | List::Queries => MOVE_KEYS,
        }),
    }
}

/// The frame of a list: a thick one around that which keys move in.
fn framed(list: List, model: &Model, title: String) -> Block<'static> {
    let kind = if model.list == list { BorderType::Thick } else { BorderType::Plain };
    Block::bordered().border_type(kind).title(title)
}

/// Rows that have room in a list of this height.
fn room(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(FRAME_ROWS))
}

/// Says where the chosen row is in a list that is not shown whole.
fn place(block: Block<'_>, rows: usize, area: Rect, chosen: usize) -> Block<'_> {
    if rows > room(area) { block.title_bottom(format!(" {} of {rows} ", chosen + 1)) } else { block }
}

/// Draws the rows that are shown; the chosen one is set off where keys move in the list.
fn table(frame: &mut Frame<'_>, area: Rect, table: Table<'_>, chosen: Option<usize>) {
    let table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}

fn transfers(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let is_moving = |transfer: &&Transfer| !transfer.state.is_final();
    let (moving, all) = (model.transfers.iter().filter(is_moving).count(), model.transfers.len());
    let title = format!(" Transfers: {moving} going on, {all} in all ");
    let mut block = framed(List::Transfers, model, title);
    let row = model.selected_row();
    if let Some(transfer) = row.and_then(|row| model.transfers.get(row)) {
        let said = Line::raw(format!(" {}: {} ", transfer.id, state(transfer)));
        block = block.title_bottom(said);
    }
    if model.transfers.is_empty() {
        let empty = "nothing is on its way; `floodplain get` and `floodplain send` start something";
        frame.render_widget(Paragraph::new(empty).wrap(Wrap { trim: true }).block(block), area);
        return;
    }
    let chosen = row.unwrap_or_default();
    if all > room(area) {
        block =
            block.title_bottom(Line::raw(format!(" {} of {all} ", chosen + 1)).alignment(Alignment::Right));
    }
    let shown = window(all, room(area), chosen);
    let rows = model.transfers[shown.clone()].iter().map(|transfer| {
        let pace = pace_of(transfer);
        let cells = [
            transfer.id.to_string(),
            way(transfer.direction).into(),
            Printable(&transfer.name).to_string(),
            bar(transfer.percent()),
            transfer.percent().map(|percent| format!("{percent:>3} %")).unwrap_or_default(),
            pace.0,
            pace.1,
            with(transfer),
        ];
        Row::new(cells.map(Cell::from)).style(look.of(&transfer.state))
    });
    // What a bar shows, the number beside it tells.
    let (bar, with) = if area.width < 78 { (0, 10) } else { (10, 14) };
    let widths = [
        Constraint::Length(4),
        Constraint::Length(4),
        Constraint::Fill(1),
        Constraint::Length(bar),
        Constraint::Length(5),
        Constraint::Length(11),
        Constraint::Length(6),
        Constraint::Length(with),
    ];
    let header = Row::new(["no", "way", "file", "", "", "speed", "left", "with"]).style(Look::bold());
    let chosen = row.filter(|_| model.list == List::Transfers).map(|row| row - shown.start);
    table(frame, area, Table::new(rows, widths).header(header).block(block), chosen);
}

fn pace_of(transfer: &Transfer) -> (String, String) {
    let speed = Some(transfer.bytes_per_second).filter(|_| !pace(transfer).is_empty());
    (
        speed.map(|speed| format!("{}/s", size(speed))).unwrap_or_default(),
        transfer.eta().map(short).unwrap_or_default(),
    )
}

/// Where it stands, unless its bytes flow: then with whom.
fn with(transfer: &Transfer) -> String {
    match transfer.state {
        TransferState::Running => Printable(&transfer.sources.join(", ")).to_string(),
        _ => word(transfer),
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Download => "get",
        Direction::Upload => "give",
        Direction::Send => "send",
        Direction::Receive => "take",
        Direction::Put => "put",
    }
}

fn bar(percent: Option<u8>) -> String {
    let Some(percent) = percent else { return String::new() };
    let full = usize::from(percent.min(100)) * BAR / 100;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

fn peers(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let stale = if model.is_stale { ", as last heard" } else { "" };
    let block = framed(List::Peers, model, format!(" Peers: {}{stale} ", model.peers.len()));
    let row = model.peer.row();
    let block = place(block, model.peers.len(), area, row);
    let shown = window(model.peers.len(), room(area), row);
    let me = model.status.as_ref().map(|status| status.me.id);
    let rows = model.peers[shown.clone()].iter().map(|peer| {
        let is_me = me == Some(peer.id);
        let zone = peer.zone.map(|zone| zone.to_string()).unwrap_or_default();
        let cells = [zone, peer.name.to_string(), peer.shared_files.to_string()];
        Row::new(cells.map(Cell::from)).style(if is_me { Look::bold() } else { Style::new() })
    });
    let widths = [Constraint::Length(4), Constraint::Fill(1), Constraint::Length(6)];
    let header = Row::new(["zone", "peer", "files"]).style(Look::bold());
    let chosen = (model.list == List::Peers && !shown.is_empty()).then(|| row - shown.start);
    table(frame, area, Table::new(rows, widths).header(header).block(block), chosen);
}

fn queries(frame: &mut Frame<'_>, area: Rect, model: &Model, now: SystemTime, look: Look) {
    let mut block = framed(List::Queries, model, format!(" Queries: {} running ", model.running()));
    if model.missed > 0 {
        let missed = format!(" {} came too fast to be shown ", model.missed);
        block = block.title_bottom(Line::raw(missed).alignment(Alignment::Right));
    }
    if model.queries.is_empty() {
        frame.render_widget(Paragraph::new("none since this began").block(block), area);
        return;
    }
    let row = model.query.row();
    let block = place(block, model.queries.len(), area, row);
    let shown = window(model.queries.len(), room(area), row);
    let rows = model.queries.range(shown.clone()).map(|query| {
        let is_running = query.last.kind == ActivityKind::Began;
        let style = if is_running { look.colored(Color::Green) } else { Style::new() };
        Row::new(query_cells(model, query, now).map(Cell::from)).style(style)
    });
    let widths = [
        Constraint::Length(5),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(5),
        Constraint::Length(7),
    ];
    let header = Row::new(["ago", "query", "from", "asked", "hits"]).style(Look::bold());
    let chosen = (model.list == List::Queries && !shown.is_empty()).then(|| row - shown.start);
    table(frame, area, Table::new(rows, widths).header(header).block(block), chosen);
}

fn query_cells(model: &Model, query: &Query, now: SystemTime) -> [String; 5] {
    let last = &query.last;
    let hits = match last.kind {
        ActivityKind::Began => "...".into(),
        ActivityKind::Answered => last.hits.to_string(),
    };
    [
        short(now.duration_since(query.began).unwrap_or_default()),
        Printable(&last.text).to_string(),
        last.from.map_or_else(|| "here".into(), |from| model.name(&from)),
        last.asked.len().to_string(),
        hits,
    ]
}

/// A span of time in at most six characters.
pub fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 1000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests;
