//! How the backend does, and the line in the log for each change.

use mapkeep_log::Limiter;
use mapkeep_sys::deadline::has_passed;
use std::time::{Duration, Instant};

/// After trouble on a connection, an answer says that all is well only if nothing has happened for so long: where one of
/// several connections has trouble, the others must not say so each time.
const CALM: Duration = Duration::from_secs(10);
/// Lines in a minute. A backend that changes more often is told of by a count.
const LINES: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What state the backend is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for a connection, or none has come yet.
    Unknown,
    Well,
    Refused,
    Lost,
    Slow,
    Garbled,
}

/// Something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Connected,
    /// A connection cannot be had, for this reason.
    Refused(&'a str),
    /// Connections were closed before an answer had come.
    Lost(&'a str),
    /// No answer came for so long.
    Slow(Duration),
    /// What came was no answer.
    Garbled(&'a str),
    Answered,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Info(String),
    Warning(String),
}

/// The state, and since when.
#[derive(Debug)]
pub(crate) struct Health {
    title: String,
    state: State,
    trouble: Option<Instant>,
    lines: Limiter,
}

impl Health {
    pub(crate) fn new(title: String, now: Instant) -> Health {
        Health { title, state: State::Unknown, trouble: None, lines: Limiter::new(LINES, now).within(MINUTE) }
    }

    /// Takes note of an event. Gives a line if it changes the state.
    pub(crate) fn note(&mut self, event: Event<'_>, now: Instant) -> Option<Line> {
        let state = match event {
            Event::Connected if self.state == State::Unknown => State::Well,
            Event::Connected => return None,
            Event::Answered if self.state == State::Refused || self.is_calm(now) => State::Well,
            Event::Answered => return None,
            Event::Refused(_) => State::Refused,
            Event::Lost(_) => State::Lost,
            Event::Slow(_) => State::Slow,
            Event::Garbled(_) => State::Garbled,
        };
        if state != State::Well {
            self.trouble = Some(now);
        }
        if state == self.state {
            return None;
        }
        self.state = state;
        self.lines.passes(now).then(|| self.line(event))
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.trouble.is_none_or(|trouble| has_passed(trouble, CALM, now))
    }

    fn line(&self, event: Event<'_>) -> Line {
        let title = &self.title;
        match event {
            Event::Connected => Line::Info(format!("{title}: connected")),
            Event::Answered => Line::Info(format!("{title}: answers again")),
            Event::Refused(reason) => Line::Warning(format!(
                "{title}: cannot connect: {reason} -- its tables are temporary errors until it can be reached; check that \
                 the server runs and listens there"
            )),
            Event::Lost(reason) => Line::Warning(format!(
                "{title}: lost the connection twice before an answer: {reason} -- see the log of the server"
            )),
            Event::Slow(time) => Line::Warning(format!(
                "{title}: no answer within {} ms -- see whether the server is overloaded or hangs",
                time.as_millis()
            )),
            Event::Garbled(reason) => Line::Warning(format!(
                "{title}: invalid answer: {reason} -- the connection is closed; check that the server speaks this protocol"
            )),
        }
    }

    /// The count of changes that were left out, once their minute has ended.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<Line> {
        let count = self.lines.left_out(now)?;
        Some(Line::Warning(format!("{}: {count} more changes of its state in the last minute", self.title)))
    }

    /// When to ask for that.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.lines.due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn text(line: Option<Line>) -> String {
        match line {
            Some(Line::Info(text)) => text,
            Some(Line::Warning(text)) => format!("warning: {text}"),
            None => String::new(),
        }
    }

    #[test]
    fn each_change_is_one_line_and_what_stays_is_none() {
        let start = Instant::now();
        let mut health = Health::new("tcp h:1".to_owned(), start);
        let slow = Event::Slow(Duration::from_secs(3));
        for (seconds, event, begin) in [
            (0, Event::Connected, "tcp h:1: connected"),
            (0, Event::Connected, ""),
            (0, Event::Answered, ""),
            (1, slow, "warning: tcp h:1: no answer within 3000 ms -- "),
            (1, slow, ""),
            // One of several connections is slow, while others answer.
            (2, Event::Answered, ""),
            (8, slow, ""),
            (17, Event::Answered, ""),
            (18, Event::Answered, "tcp h:1: answers again"),
            (18, Event::Refused("no route"), "warning: tcp h:1: cannot connect: no route -- "),
            (19, Event::Refused("refused"), ""),
            (20, Event::Connected, ""),
            (20, Event::Answered, "tcp h:1: answers again"),
            (
                20,
                Event::Lost("closed"),
                "warning: tcp h:1: lost the connection twice before an answer: closed -- ",
            ),
            (20, Event::Garbled("junk"), "warning: tcp h:1: invalid answer: junk -- "),
            (30, Event::Answered, "tcp h:1: answers again"),
        ] {
            let line = text(health.note(event, after(start, seconds)));
            assert!(line.starts_with(begin) && line.is_empty() == begin.is_empty(), "{event:?}: {line}");
        }
    }

    #[test]
    fn first_attempt_that_fails_is_told_too() {
        let start = Instant::now();
        let mut health = Health::new("t".to_owned(), start);
        assert!(text(health.note(Event::Refused("no"), start)).starts_with("warning: t: cannot connect: no"));
    }

    #[test]
    fn backend_that_changes_all_the_time_is_counted() {
        let start = Instant::now();
        let mut health = Health::new("t".to_owned(), start);
        let mut told = 0;
        for _ in 0..50 {
            told += usize::from(health.note(Event::Refused("no"), start).is_some());
            told += usize::from(health.note(Event::Answered, start).is_some());
        }
        assert_eq!((told, health.left_out(start)), (20, None));
        let due = health.due().unwrap();
        assert_eq!(text(health.left_out(due)), "warning: t: 80 more changes of its state in the last minute");
    }
}
