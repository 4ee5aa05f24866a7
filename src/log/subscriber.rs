//! The `tracing` subscriber: one event, one line.
//!
//! Small on purpose: it runs in processes that may ask the kernel for almost nothing, so it knows no spans,
//! no files, no threads and no time.

use crate::limit::{Limiter, Verdict};
use crate::line::Severity;
use crate::sink::Sink;
use std::fmt::{self, Write};
use std::sync::Mutex;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Metadata, Subscriber, callsite, span};

/// Sends the events of this process to `sink`: `each_second` lines of one kind (from one place in the code) in
/// each second, debug events only when `verbose`.
///
/// # Errors
/// When a subscriber has been installed before.
pub fn install(sink: Box<dyn Sink>, verbose: bool, each_second: u32) -> Result<(), SetGlobalDefaultError> {
    let lines = Lines { verbose, state: Mutex::new(State { sink, each_second, limiters: Vec::new() }) };
    tracing::subscriber::set_global_default(lines)
}

struct Lines {
    verbose: bool,
    state: Mutex<State>,
}

struct State {
    sink: Box<dyn Sink>,
    each_second: u32,
    limiters: Vec<(callsite::Identifier, Limiter)>,
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
        match state.judge(&event.metadata().callsite()) {
            Verdict::Suppress => return,
            Verdict::Pass => {}
            Verdict::PassAfter(count) => {
                state.sink.line(Severity::Warning, &format!("{count} lines like the next one were left out"));
            }
        }
        state.sink.line(severity, &text.line);
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
    fn judge(&mut self, place: &callsite::Identifier) -> Verdict {
        let now = Instant::now();
        if let Some((_, limiter)) = self.limiters.iter_mut().find(|(known, _)| known == place) {
            return limiter.judge(now);
        }
        let mut limiter = Limiter::new(self.each_second, now);
        let verdict = limiter.judge(now);
        self.limiters.push((place.clone(), limiter));
        verdict
    }
}

/// The text of an event: its message, then its other fields as `name=value`.
#[derive(Default)]
struct Text {
    line: String,
    fatal: bool,
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

    struct Kept(Arc<Mutex<Vec<(Severity, String)>>>);

    impl Sink for Kept {
        fn line(&mut self, severity: Severity, text: &str) {
            self.0.lock().unwrap().push((severity, text.to_owned()));
        }
    }

    #[test]
    fn events_become_lines_and_floods_are_cut() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let state = State { sink: Box::new(Kept(kept.clone())), each_second: 10, limiters: Vec::new() };
        let lines = Lines { verbose: false, state: Mutex::new(state) };
        let begun = Instant::now();
        tracing::subscriber::with_default(lines, || {
            tracing::warn!(table = 3, "something odd");
            tracing::error!(fatal = true, "the end");
            tracing::debug!("not shown");
            for _ in 0..100 {
                tracing::info!("flood");
            }
        });
        let kept = kept.lock().unwrap();
        assert_eq!(kept[0], (Severity::Warning, "something odd table=3".to_owned()));
        assert_eq!(kept[1], (Severity::Fatal, "the end".to_owned()));
        // On a machine that is so busy that this took seconds, so many a second.
        let windows = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        let shown = kept.iter().filter(|(_, text)| text == "flood").count();
        assert!((10..=10 * windows).contains(&shown), "{shown} lines in {windows} s");
    }
}
