//! The `tracing` subscriber: one event, one line.
//!
//! Small on purpose: it runs in processes that may ask the kernel for almost nothing, so it knows no spans,
//! no files, no threads and no time.

use crate::kinds::Kinds;
use crate::line::Severity;
use crate::sink::Sink;
use std::fmt::{self, Write};
use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// How soon a sink with queued lines is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// The state of the subscriber that [`install`] has installed.
static INSTALLED: OnceLock<&'static Mutex<State>> = OnceLock::new();

/// Sends the events of this process to `sink`: `each_second` lines of one kind (from one place in the code, and with
/// the same value of the field `subject`, which is not shown) in each second, debug events only when `verbose`. Dropped
/// lines are counted; the event loop must call [`settle`] for the count to be written.
///
/// # Errors
/// If a subscriber has been installed before.
pub fn install(sink: Box<dyn Sink>, verbose: bool, each_second: u32) -> io::Result<()> {
    let state: &'static Mutex<State> =
        Box::leak(Box::new(Mutex::new(State { sink, kinds: Kinds::new(each_second) })));
    tracing::subscriber::set_global_default(Lines { verbose, state }).map_err(io::Error::other)?;
    let _ = INSTALLED.set(state);
    Ok(())
}

/// Writes what has become due: counts of lines dropped in a second that has ended, and lines that the sink could not
/// take at once. Must be called in every turn of an event loop; returns the latest time for the next call.
pub fn settle(now: Instant) -> Option<Instant> {
    INSTALLED.get()?.lock().ok()?.settle(now)
}

struct Lines {
    verbose: bool,
    state: &'static Mutex<State>,
}

struct State {
    sink: Box<dyn Sink>,
    kinds: Kinds,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= if self.verbose { Level::DEBUG } else { Level::INFO }
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let severity = match (*event.metadata().level(), text.fatal) {
            (_, true) => Severity::Fatal,
            (Level::ERROR, _) => Severity::Error,
            (Level::WARN, _) => Severity::Warning,
            _ => Severity::Info,
        };
        let Ok(mut state) = self.state.lock() else { return };
        let now = Instant::now();
        state.settle(now);
        if state.kinds.passes(&event.metadata().callsite(), text.subject, &text.line, now) {
            state.sink.line(severity, &text.line);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl State {
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        let State { sink, kinds } = self;
        let next = kinds.settle(now, |note| sink.line(Severity::Warning, note));
        let retry = if sink.flush() { None } else { now.checked_add(RETRY) };
        next.into_iter().chain(retry).min()
    }
}

/// The text of an event: its message, then its other fields as `name=value`.
#[derive(Default)]
struct Text {
    line: String,
    fatal: bool,
    /// What the line is about, so that lines about one thing do not use up the limit of another.
    subject: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => {
                let rest = std::mem::take(&mut self.line);
                write!(self.line, "{value:?}{rest}")
            }
            name => write!(self.line, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "subject" {
            value.clone_into(&mut self.subject);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        } else {
            self.record_debug(field, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Told = Arc<Mutex<Vec<(Severity, String)>>>;

    struct Kept(Told);

    impl Sink for Kept {
        fn line(&mut self, severity: Severity, text: &str) {
            self.0.lock().unwrap().push((severity, text.to_owned()));
        }
    }

    fn lines() -> (Lines, Told) {
        let kept = Told::default();
        let state = State { sink: Box::new(Kept(kept.clone())), kinds: Kinds::new(10) };
        (Lines { verbose: false, state: Box::leak(Box::new(Mutex::new(state))) }, kept)
    }

    #[test]
    fn events_become_lines_and_floods_are_cut() {
        let (lines, kept) = lines();
        let state = lines.state;
        let begun = Instant::now();
        tracing::subscriber::with_default(lines, || {
            tracing::warn!(table = 3, "something odd");
            tracing::error!(fatal = true, "the end");
            tracing::debug!("not shown");
            for _ in 0..100 {
                tracing::info!("flood");
            }
        });
        let windows = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        let shown = kept.lock().unwrap().iter().filter(|(_, text)| text == "flood").count();
        // On a busy machine this may take seconds, and the limit applies to each second.
        assert!((10..=10 * windows).contains(&shown), "{shown} lines in {windows} s");
        // The count is written when the second has ended, even if there is no further line.
        let end = Instant::now() + Duration::from_secs(2);
        assert_eq!(state.lock().unwrap().settle(end), None);
        let kept = kept.lock().unwrap();
        assert_eq!(kept[0], (Severity::Warning, "something odd table=3".to_owned()));
        assert_eq!(kept[1], (Severity::Fatal, "the end".to_owned()));
        let told = |text: &str| text.split(' ').next().unwrap().parse::<usize>().unwrap();
        let counted: usize = kept
            .iter()
            .filter(|(_, text)| text.ends_with("suppressed: flood"))
            .map(|(_, text)| told(text))
            .sum();
        assert_eq!(shown + counted, 100, "{kept:#?}");
    }

    #[test]
    fn subjects_do_not_share_a_limit() {
        let (lines, kept) = lines();
        tracing::subscriber::with_default(lines, || {
            for table in ["a", "b"] {
                for number in 0..10 {
                    tracing::warn!(subject = table, "table {table}, line {number}");
                }
            }
        });
        let kept: Vec<String> = kept.lock().unwrap().iter().map(|(_, text)| text.clone()).collect();
        assert_eq!(kept.len(), 20, "{kept:#?}");
        assert_eq!((kept[0].as_str(), kept[19].as_str()), ("table a, line 0", "table b, line 9"));
    }
}
