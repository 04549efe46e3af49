//! What of a frame is shown, in which order, and how keys change that.

use super::frame::{Frame, RouteRow};

/// The column that routes are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Sort {
    /// Most requests first
    #[default]
    Requests,
    /// Most answers with 5xx first
    Errors,
    /// Slowest median first
    P50,
    /// Slowest 99th percentile first
    P99,
    /// By name
    Name,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Requests, Self::Errors, Self::P50, Self::P99, Self::Name];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL.get((at + 1) % Self::ALL.len()).copied().unwrap_or_default()
    }

    fn order(self, rows: &mut [RouteRow]) {
        let descending = |value: fn(&RouteRow) -> f64| {
            move |a: &RouteRow, b: &RouteRow| {
                value(b).total_cmp(&value(a)).then_with(|| a.route.cmp(&b.route))
            }
        };
        match self {
            Self::Requests => rows.sort_by(descending(|row| row.requests.per_s)),
            Self::Errors => rows.sort_by(descending(|row| row.requests.server_errors_per_s)),
            Self::P50 => rows.sort_by(descending(|row| row.p50_ms.unwrap_or(-1.0))),
            Self::P99 => rows.sort_by(descending(|row| row.p99_ms.unwrap_or(-1.0))),
            Self::Name => rows.sort_by(|a, b| a.route.cmp(&b.route)),
        }
    }
}

/// Which tables are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tables {
    #[default]
    Both,
    Routes,
    Upstreams,
}

/// A key of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Interrupt,
}

impl Key {
    /// The keys in what the terminal sent at once. Sequences that mean nothing here are skipped.
    pub(super) fn parse(bytes: &[u8]) -> Vec<Self> {
        let mut keys = Vec::new();
        let mut rest = String::from_utf8_lossy(bytes).into_owned();
        while let Some(first) = rest.chars().next() {
            let known = [
                ("\x1b[A", Self::Up),
                ("\x1b[B", Self::Down),
                ("\x1b[5~", Self::PageUp),
                ("\x1b[6~", Self::PageDown),
            ];
            if let Some((text, key)) = known.iter().find(|(text, _)| rest.starts_with(text)) {
                keys.push(*key);
                rest.drain(..text.len());
            } else if rest.starts_with("\x1b[") || rest.starts_with("\x1bO") {
                let end =
                    rest.char_indices().skip(2).find(|(_, one)| one.is_ascii_alphabetic() || *one == '~');
                rest.drain(..end.map_or(rest.len(), |(at, _)| at + 1));
            } else {
                keys.extend(match first {
                    '\x1b' => Some(Self::Escape),
                    '\r' | '\n' => Some(Self::Enter),
                    '\x7f' | '\x08' => Some(Self::Backspace),
                    '\x03' | '\x04' => Some(Self::Interrupt),
                    other if other.is_control() => None,
                    other => Some(Self::Character(other)),
                });
                rest.drain(..first.len_utf8());
            }
        }
        keys
    }
}

/// What the reader chose to see.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    /// Routes and upstreams whose names contain this, in whatever case.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) paused: bool,
    pub(super) tables: Tables,
    /// Lines that are scrolled away.
    pub(super) offset: usize,
}

/// A page, for the keys that scroll one.
const PAGE: usize = 10;
const LONGEST_FILTER: usize = 100;

impl View {
    /// False when the reader has seen enough.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Interrupt => return false,
            _ if self.typing => self.edit(key),
            Key::Character('q') => return false,
            Key::Character('s') => self.sort = self.sort.next(),
            Key::Character('r') => self.reversed = !self.reversed,
            Key::Character('p' | ' ') => self.paused = !self.paused,
            Key::Character('/' | 'f') => self.typing = true,
            Key::Character('t') => {
                self.offset = 0;
                self.tables = match self.tables {
                    Tables::Both => Tables::Routes,
                    Tables::Routes => Tables::Upstreams,
                    Tables::Upstreams => Tables::Both,
                };
            }
            Key::Escape => self.filter.clear(),
            Key::Up => self.offset = self.offset.saturating_sub(1),
            Key::Down => self.offset = self.offset.saturating_add(1),
            Key::PageUp => self.offset = self.offset.saturating_sub(PAGE),
            Key::PageDown => self.offset = self.offset.saturating_add(PAGE),
            Key::Character(_) | Key::Enter | Key::Backspace => {}
        }
        true
    }

    fn edit(&mut self, key: Key) {
        self.offset = 0;
        match key {
            Key::Character(one) if self.filter.len() < LONGEST_FILTER => self.filter.push(one),
            Key::Backspace => drop(self.filter.pop()),
            Key::Escape => {
                self.filter.clear();
                self.typing = false;
            }
            Key::Enter => self.typing = false,
            _ => {}
        }
    }

    /// Leaves what was chosen, in the chosen order.
    pub(super) fn apply(&self, frame: &mut Frame) {
        let wanted = self.filter.to_lowercase();
        let named = |name: &str| wanted.is_empty() || name.to_lowercase().contains(&wanted);
        frame.routes.retain(|row| named(&row.route));
        frame
            .upstreams
            .retain(|row| named(&row.upstream) || row.endpoints.iter().any(|one| named(&one.address)));
        self.sort.order(&mut frame.routes);
        if self.reversed {
            frame.routes.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(view: &mut View, bytes: &[u8]) -> bool {
        Key::parse(bytes).into_iter().all(|key| view.press(key))
    }

    #[test]
    fn keys_are_read_out_of_what_the_terminal_sends() {
        assert_eq!(Key::parse(b"q"), [Key::Character('q')]);
        assert_eq!(Key::parse(b"\x1b[A\x1b[6~s"), [Key::Up, Key::PageDown, Key::Character('s')]);
        assert_eq!(Key::parse(b"\x1b[1;5Cx"), [Key::Character('x')], "an unknown sequence is skipped whole");
        assert_eq!(Key::parse(b"\x1b"), [Key::Escape]);
        assert_eq!(Key::parse("é".as_bytes()), [Key::Character('é')]);
        assert_eq!(Key::parse(b"\x1b[12"), [], "half a sequence is no key");
    }

    #[test]
    fn letters_are_commands_until_a_filter_is_typed() {
        let mut view = View::default();
        assert!(typed(&mut view, b"ssr"));
        assert_eq!((view.sort, view.reversed), (Sort::P50, true));
        assert!(typed(&mut view, b"/quser\x7fs\r"), "q is a letter of the filter");
        assert_eq!((view.filter.as_str(), view.typing), ("quses", false));
        assert!(typed(&mut view, b"\x1b"));
        assert_eq!(view.filter, "");
        assert!(!typed(&mut view, b"q"));
    }

    #[test]
    fn an_interrupt_ends_it_even_while_a_filter_is_typed() {
        let mut view = View::default();
        assert!(typed(&mut view, b"/abc"));
        assert!(!typed(&mut view, b"\x03"));
    }
}
