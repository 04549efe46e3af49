//! The page on a terminal: drawn in place, steered by keys, and the terminal left as it was found.

use std::fmt::Write as _;
use std::io::Write;

use rustix::termios::{self, OptionalActions, SpecialCodeIndex, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use super::Source;
use super::frame::{Frame, Sample};
use super::page::{self, Line, Tone};
use super::view::{Key, View};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const KEYS: &str = "q quit  s sort  r reverse  / filter  t tables  p pause  arrows scroll";
/// Keys that are typed faster than they are obeyed.
const KEYS_AHEAD: usize = 16;
/// Where a terminal does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// A terminal without echo and line editing; as it was before when this is dropped.
struct Raw<'a> {
    output: &'a mut dyn Write,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn new(output: &'a mut dyn Write) -> anyhow::Result<Self> {
        let before = termios::tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // A read returns after a tenth of a second, with nothing where nothing was typed.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 1;
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        let screen = Self { output, before };
        screen.output.write_all(ENTER.as_bytes())?;
        Ok(screen)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.output.write_all(LEAVE.as_bytes()).and_then(|()| self.output.flush());
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Two looks; none before the first.
type Looks = (Option<Sample>, Sample);

/// Shows frames until the reader has seen enough or the process is told to end.
pub(super) async fn run(source: &Source, mut view: View, output: &mut dyn Write) -> anyhow::Result<()> {
    // Before the terminal changes, so that an error is readable.
    let mut looks = (None, source.sample().await?);
    let screen = Raw::new(output)?;
    let mut keys = read_keys()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut trouble = None;
    let mut next = Box::pin(source.next());
    loop {
        draw(&mut *screen.output, &looks, trouble.as_deref(), &mut view)?;
        tokio::select! {
            _ = ended.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            _ = resized.recv() => {}
            typed = keys.recv() => match typed {
                Some(keys) if keys.iter().all(|key| view.press(*key)) => {}
                // Without keys there is no other way to end it than now.
                _ => return Ok(()),
            },
            sample = &mut next, if !view.paused => {
                trouble = match sample {
                    Ok(sample) => {
                        let earlier = std::mem::replace(&mut looks.1, sample);
                        looks.0 = Some(earlier);
                        None
                    }
                    // A gateway that is being restarted comes back.
                    Err(error) => Some(format!("{error:#}")),
                };
                next.set(source.next());
            }
        }
    }
}

/// Reads keys on a thread of its own: a terminal cannot be waited for without `unsafe` otherwise. The thread ends
/// with its reader.
fn read_keys() -> std::io::Result<Receiver<Vec<Key>>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(KEYS_AHEAD);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        let mut bytes = [0u8; 64];
        // Past the buffer of the standard library, in which half a sequence could stay.
        while !sender.is_closed()
            && let Ok(count) = rustix::io::read(std::io::stdin(), &mut bytes)
        {
            let keys = Key::parse(bytes.get(..count).unwrap_or_default());
            if !keys.is_empty() && sender.blocking_send(keys).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn draw(output: &mut dyn Write, looks: &Looks, trouble: Option<&str>, view: &mut View) -> anyhow::Result<()> {
    let (width, height) = size();
    let mut screen = String::from("\x1b[H");
    let above = match looks {
        (Some(before), after) => {
            let mut frame = Frame::between(before, after);
            view.apply(&mut frame);
            let mut above = page::summary(&frame);
            above.push(Line { text: String::new(), tone: Tone::Plain });
            let tables = page::tables(&frame, view, Some(width));
            let room = height.saturating_sub(above.len() + 1);
            view.offset = view.offset.min(tables.len().saturating_sub(room));
            above.extend(tables.into_iter().skip(view.offset).take(room));
            above
        }
        (None, _) => vec![Line { text: "measuring …".to_owned(), tone: Tone::Plain }],
    };
    for line in above.iter().take(height.saturating_sub(1)) {
        put(&mut screen, line, width);
        screen.push_str("\r\n");
    }
    screen.push_str("\x1b[J");
    let _ = write!(screen, "\x1b[{height};1H");
    put(&mut screen, &foot(trouble, view), width);
    output.write_all(screen.as_bytes())?;
    output.flush()?;
    Ok(())
}

fn foot(trouble: Option<&str>, view: &View) -> Line {
    if let Some(trouble) = trouble {
        return Line { text: trouble.replace(char::is_control, " "), tone: Tone::Bad };
    }
    let text = match (view.typing, view.filter.is_empty()) {
        (true, _) => format!("filter: {}_   (Enter keeps it, Esc forgets it)", view.filter),
        (false, true) => KEYS.to_owned(),
        (false, false) => format!("only {:?} (Esc shows all)   {KEYS}", view.filter),
    };
    let paused = if view.paused { "PAUSED  " } else { "" };
    Line { text: format!("{paused}{text}"), tone: Tone::Head }
}

/// The line without what does not fit, and without what was there before.
fn put(screen: &mut String, line: &Line, width: usize) {
    let text: String = line.text.chars().take(width).collect();
    let _ = match line.tone {
        Tone::Plain => write!(screen, "{text}\x1b[K"),
        Tone::Head => write!(screen, "\x1b[1m{text}\x1b[0m\x1b[K"),
        Tone::Bad => write!(screen, "\x1b[31m{text}\x1b[0m\x1b[K"),
    };
}

/// Columns and lines.
fn size() -> (usize, usize) {
    match termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}
