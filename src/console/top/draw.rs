//! The picture of the full-screen view: a pure function of the model and the time. Every text that came from others goes
//! through [`Printable`].

use std::time::{Duration, SystemTime};

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::model::{Model, Query};
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
const KEYS: &str = "q quit  ↑↓ choose  p pause  r resume  t retry  c cancel  P R T all of them";

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
    frame.render_widget(footer(model, look), foot);
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

fn footer(model: &Model, look: Look) -> Paragraph<'static> {
    match (&model.said, &model.problem) {
        (Some(said), _) => Paragraph::new(Line::styled(said.clone(), Look::bold())),
        (None, Some(problem)) => {
            Paragraph::new(Line::styled(problem.clone(), Look::bold().patch(look.colored(Color::Red))))
        }
        (None, None) => Paragraph::new(KEYS),
    }
}

fn transfers(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let is_moving = |transfer: &&Transfer| !transfer.state.is_final();
    let (moving, all) = (model.transfers.iter().filter(is_moving).count(), model.transfers.len());
    let mut block = Block::bordered().title(format!(" Transfers: {moving} going on, {all} in all "));
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
    let rows = model.transfers.iter().map(|transfer| {
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
    let table = Table::new(rows, widths)
        .header(header)
        .block(block)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(row));
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
    let mut block = Block::bordered().title(format!(" Peers: {}{stale} ", model.peers.len()));
    let room = usize::from(area.height.saturating_sub(3));
    if model.peers.len() > room {
        block = block.title_bottom(format!(" and {} more ", model.peers.len() - room));
    }
    let me = model.status.as_ref().map(|status| status.me.id);
    let rows = model.peers.iter().take(room).map(|peer| {
        let is_me = me == Some(peer.id);
        let zone = peer.zone.map(|zone| zone.to_string()).unwrap_or_default();
        let cells = [zone, peer.name.to_string(), peer.shared_files.to_string()];
        Row::new(cells.map(Cell::from)).style(if is_me { Look::bold() } else { Style::new() })
    });
    let widths = [Constraint::Length(4), Constraint::Fill(1), Constraint::Length(6)];
    let header = Row::new(["zone", "peer", "files"]).style(Look::bold());
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

fn queries(frame: &mut Frame<'_>, area: Rect, model: &Model, now: SystemTime, look: Look) {
    let mut block = Block::bordered().title(format!(" Queries: {} running ", model.running()));
    if model.missed > 0 {
        let missed = format!(" {} came too fast to be shown ", model.missed);
        block = block.title_bottom(Line::raw(missed).alignment(Alignment::Right));
    }
    if model.queries.is_empty() {
        frame.render_widget(Paragraph::new("none since this began").block(block), area);
        return;
    }
    let room = usize::from(area.height.saturating_sub(3));
    let rows = model.queries.iter().take(room).map(|query| {
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
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
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
