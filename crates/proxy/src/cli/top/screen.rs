//! The view on the terminal, and its keys.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::feed::Update;
use super::picture::{Picture, Section};

/// The time for which keys are awaited before news are looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// The lines of a table besides its rows: the title and the head.
const FRAME: usize = 2;

/// The columns of the terminal between two columns of a table.
const SPACING: u16 = 2;

/// The rows by which a page key scrolls.
const PAGE: usize = 10;

/// Shows the picture and its updates until the user quits. The terminal is then as it was before.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn show(picture: Picture, updates: &Receiver<Update>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = Screen { picture, top: 0 }.run(&mut terminal, updates);
    let restored = ratatui::try_restore();
    shown.and(restored)
}

struct Screen {
    picture: Picture,
    /// The first client that is shown.
    top: usize,
}

impl Screen {
    fn run(mut self, terminal: &mut DefaultTerminal, updates: &Receiver<Update>) -> io::Result<()> {
        loop {
            loop {
                match updates.try_recv() {
                    Ok(update) => self.picture.apply(update),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            let clients = self.picture.clients().rows.len();
            self.top = self.top.min(clients.saturating_sub(1));
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(PATIENCE)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && self.press(key) == Pressed::Quit
            {
                return Ok(());
            }
        }
    }

    fn press(&mut self, key: KeyEvent) -> Pressed {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Pressed::Quit,
            KeyCode::Char('c') if is_control => return Pressed::Quit,
            KeyCode::Down | KeyCode::Char('j') => self.top = self.top.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.top = self.top.saturating_add(PAGE),
            KeyCode::PageUp => self.top = self.top.saturating_sub(PAGE),
            KeyCode::Home => self.top = 0,
            KeyCode::End => self.top = usize::MAX,
            _ => {}
        }
        Pressed::Other
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let sections = [self.picture.listeners(), self.picture.upstreams(), self.picture.refused()];
        let height = |section: &Section| match section.rows.len() {
            0 => 0,
            rows => u16::try_from(rows + FRAME).unwrap_or(u16::MAX),
        };
        let [one, two, three] = [0, 1, 2].map(|at: usize| sections.get(at).map_or(0, height));
        let areas: [Rect; 6] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(one),
            Constraint::Length(two),
            Constraint::Length(three),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let [head, listeners, upstreams, refused, clients, foot] = areas;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let [first, second, third] = self.picture.headline().map(Line::from);
        frame.render_widget(Paragraph::new(vec![first.style(bold), second, third]), head);
        for (section, area) in sections.iter().zip([listeners, upstreams, refused]) {
            draw_table(frame, section, 0, area);
        }
        draw_table(frame, &self.picture.clients(), self.top, clients);
        frame.render_widget(self.foot(), foot);
    }

    fn foot(&self) -> Line<'static> {
        match self.picture.offline() {
            Some(why) => Line::styled(format!("offline, trying again: {why}"), alarm()),
            None => Line::styled(
                "q quit   arrows and page keys scroll the clients",
                Style::new().add_modifier(Modifier::DIM),
            ),
        }
    }
}

/// The effect of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pressed {
    Quit,
    Other,
}

fn draw_table(frame: &mut Frame<'_>, section: &Section, top: usize, area: Rect) {
    let shown = columns_that_fit(&section.widths(), usize::from(area.width));
    let widths = shown.iter().map(|(_, width)| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let row = |cells: &Vec<String>| {
        let row = Row::new(shown.iter().filter_map(|(column, _)| cells.get(*column)).cloned());
        // The state of an upstream.
        if cells.get(1).is_some_and(|cell| cell.starts_with("down")) { row.style(alarm()) } else { row }
    };
    let rows = section.rows.iter().skip(top).map(row);
    let title = Line::styled(format!("{} ", section.title), Style::new().add_modifier(Modifier::BOLD));
    let head = shown.iter().filter_map(|(column, _)| section.head.get(*column)).copied();
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::DIM));
    let block = Block::new().borders(Borders::TOP).title(title);
    let table = Table::new(rows, widths).column_spacing(SPACING).header(head).block(block);
    frame.render_widget(table, area);
}

/// Returns the columns that fit a terminal, with their widths. The others are left out: half of a number would be
/// another number. The first column names the row, and is always there.
fn columns_that_fit(widths: &[usize], room: usize) -> Vec<(usize, usize)> {
    let mut used = 0;
    let fits = |(column, width): &(usize, usize)| {
        let needed = if *column == 0 { *width } else { width + usize::from(SPACING) };
        let fits = *column == 0 || used + needed <= room;
        used += if fits { needed } else { 0 };
        fits
    };
    widths.iter().copied().enumerate().filter(fits).collect()
}

/// The style of what needs attention. It is bold too, because a terminal may have no colours.
fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::super::feed::Lists;
    use super::*;

    fn screen() -> Screen {
        let mut picture = Picture::new("127.0.0.1:9377".to_owned());
        picture.set_sample(json!({"listeners": [{"name": "public"}], "upstreams": [{"name": "main", "up": false, "kind": "refused"}]}));
        let clients: Vec<_> =
            (1..=40).map(|id| json!({"id": id, "address": format!("192.0.2.{id}:1")})).collect();
        picture.set_lists(Lists { status: json!({}), clients: json!({"clients": clients, "matched": 40}) });
        Screen { picture, top: 0 }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_clients_fill_the_rest_and_scroll() {
        let mut screen = screen();
        let shown = drawn(&screen, 100, 24);
        for part in ["public", "down (refused)", "192.0.2.1:1", "192.0.2.12:1", "q quit"] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        assert!(!shown.contains("192.0.2.20:1"), "{shown}");
        screen.press(KeyCode::PageDown.into());
        assert!(drawn(&screen, 100, 24).contains("192.0.2.20:1"));
        screen.press(KeyCode::Home.into());
        assert!(screen.press(KeyCode::Char('q').into()) == Pressed::Quit && screen.top == 0);
    }

    #[test]
    fn a_narrow_terminal_shows_whole_columns() {
        let widths = [6, 7, 10, 8];
        for (room, columns) in
            [(3, vec![0]), (15, vec![0, 1]), (24, vec![0, 1]), (25, vec![0, 1, 3]), (37, vec![0, 1, 2, 3])]
        {
            let shown: Vec<usize> =
                columns_that_fit(&widths, room).into_iter().map(|(column, _)| column).collect();
            assert_eq!(shown, columns, "{room}");
        }
        let shown = drawn(&screen(), 40, 24);
        for part in ["down (refused)", "P99", "192.0.2.12:1"] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        assert!(!shown.contains("DENIED"), "{shown}");
    }

    #[test]
    fn a_proxy_that_is_away_is_named_and_a_tiny_terminal_is_no_fault() {
        let mut screen = screen();
        screen.picture.apply(Update::Offline("no proxy answers on 127.0.0.1:9377".to_owned()));
        assert!(drawn(&screen, 80, 24).contains("offline, trying again: no proxy answers on 127.0.0.1:9377"));
        for (width, height) in [(1, 1), (10, 3), (20, 5)] {
            drawn(&screen, width, height);
        }
    }
}
