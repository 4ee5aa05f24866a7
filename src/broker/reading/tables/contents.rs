//! The contents of one table that the broker keeps, and which of them workers get.
//!
//! Workers judge: they switch to a content, or they refuse it, or they die of it. One of them may be hijacked and
//! lie, and one may die of something else meanwhile; so the word of one against a content is not final, and the word of
//! one for it is: whatever that one content is, it goes to workers only, and each of them judges for itself.

use mapkeep_broker_snapshot::{Identity, Snapshot};
use std::cell::Cell;
use std::rc::Rc;

/// One content of a table, handed to every worker that needs it.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) snapshot: Snapshot,
    /// Rises with each content of its table.
    pub(crate) generation: u32,
    /// Whether a worker has switched to it.
    proven: Cell<bool>,
    /// Whether the log has been told that workers disagree about it.
    disputed: Cell<bool>,
}

impl Content {
    /// Whether a worker has switched to it.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.get()
    }
}

/// Why no worker switches to a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// A worker says that it does not parse.
    Refused,
    /// A worker ended, or had to be ended, while it was loading it.
    Died,
}

/// What a worker's judgement comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing changes.
    Stays,
    /// Another worker has switched to it before: one worker's failure does not count. Logged once for each content.
    Disputed,
    /// New workers get the previous content; one more worker will judge this one.
    Doubted,
    /// Two workers have judged against it, or one has died of it while there was no room to keep it: this version of the
    /// file is not offered again.
    Rejected,
    /// A worker has refused it while there was no room to keep it: later it is copied again, for workers to judge.
    PutOff,
    /// It was doubted, and a worker has switched to it: all get it.
    Restored,
}

#[derive(Debug)]
struct Doubt {
    content: Rc<Content>,
    against: Against,
}

/// The contents of one table.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    current: Option<Rc<Content>>,
    /// The content before that, until a worker has switched to the current one.
    previous: Option<Rc<Content>>,
    /// One that a worker has judged against, until a second one has judged.
    doubt: Option<Doubt>,
    /// A version of the file that is not copied again.
    rejected: Option<Identity>,
    /// One that a single worker refused while there was no room to keep it: copied again once there is.
    put_off: Option<Identity>,
    generation: u32,
}

impl Contents {
    /// What workers get.
    pub(crate) fn current(&self) -> Option<&Rc<Content>> {
        self.current.as_ref()
    }

    /// The content that one more worker is to judge, and what a worker before had against it.
    pub(crate) fn doubted(&self) -> Option<(&Rc<Content>, Against)> {
        self.doubt.as_ref().map(|doubt| (&doubt.content, doubt.against))
    }

    /// Whether more than one content is kept because no worker has judged the newest yet.
    pub(crate) fn awaits_judgement(&self) -> bool {
        self.previous.is_some()
    }

    /// Whether there has been a content.
    pub(crate) fn any_before(&self) -> bool {
        self.generation > 0
    }

    /// Whether this is the content that came last.
    pub(crate) fn is_newest(&self, generation: u32) -> bool {
        self.generation == generation
    }

    /// Whether this version of the file is the one that is served, or one that is not worth another copy. `room`: whether
    /// there is room for one that is doubted.
    pub(crate) fn knows(&self, identity: &Identity, room: bool) -> bool {
        let of = |content: &Rc<Content>| content.snapshot.identity == *identity;
        self.current.as_ref().is_some_and(of)
            || self.doubt.as_ref().is_some_and(|doubt| of(&doubt.content))
            || self.rejected == Some(*identity)
            || self.put_off == Some(*identity) && !room
    }

    /// A new content.
    pub(crate) fn accept(&mut self, snapshot: Snapshot) {
        self.generation = self.generation.wrapping_add(1);
        self.doubt = None;
        self.rejected = None;
        self.put_off = None;
        // A content that no worker has judged yet does not push out one that is known to be good.
        self.previous = self.previous.take().or(self.current.take());
        self.current = Some(Rc::new(Content {
            snapshot,
            generation: self.generation,
            proven: Cell::new(false),
            disputed: Cell::new(false),
        }));
    }

    /// A worker has switched to this content.
    pub(crate) fn loaded(&mut self, generation: u32) -> Verdict {
        if let Some(content) = self.current.as_ref().filter(|content| content.generation == generation) {
            content.proven.set(true);
            self.previous = None;
            return Verdict::Stays;
        }
        match self.doubt.take_if(|doubt| doubt.content.generation == generation) {
            Some(Doubt { content, .. }) => {
                content.proven.set(true);
                self.current = Some(content);
                self.previous = None;
                Verdict::Restored
            }
            None => Verdict::Stays,
        }
    }

    /// A worker has judged against this content. `room`: whether there is room for one that is doubted.
    pub(crate) fn judged_against(&mut self, generation: u32, against: Against, room: bool) -> Verdict {
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.content.generation == generation) {
            self.rejected = Some(doubt.content.snapshot.identity);
            return Verdict::Rejected;
        }
        let Some(content) = self.current.take_if(|content| content.generation == generation) else {
            return Verdict::Stays;
        };
        if content.proven.get() {
            let told = content.disputed.replace(true);
            self.current = Some(content);
            return if told { Verdict::Stays } else { Verdict::Disputed };
        }
        self.current = self.previous.take();
        match against {
            _ if room => {
                self.doubt = Some(Doubt { content, against });
                Verdict::Doubted
            }
            Against::Refused => {
                self.put_off = Some(content.snapshot.identity);
                Verdict::PutOff
            }
            // Another copy could cost another worker its life.
            Against::Died => {
                self.rejected = Some(content.snapshot.identity);
                Verdict::Rejected
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A snapshot of the version `number` of a file.
    pub(crate) fn snapshot(number: u64) -> Snapshot {
        let identity = Identity { dev: 1, ino: 2, mtime_ns: number.into(), ctime_ns: number.into(), size: 9 };
        Snapshot { descriptor: std::fs::File::open("/dev/null").unwrap().into(), size: 9, identity }
    }

    /// A content of this size that no worker has judged.
    pub(crate) fn content(generation: u32, size: u64) -> Rc<Content> {
        let snapshot = Snapshot { size, ..snapshot(generation.into()) };
        let (proven, disputed) = (Cell::new(false), Cell::new(false));
        Rc::new(Content { snapshot, generation, proven, disputed })
    }

    /// A worker switches to it.
    pub(crate) fn prove(content: &Content) {
        content.proven.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::testing::snapshot;
    use super::*;

    fn serves(contents: &Contents) -> Option<u32> {
        contents.current().map(|content| content.generation)
    }

    /// Contents of which the first `good` are in use, and one more that nobody has judged.
    fn after(good: u32) -> Contents {
        let mut contents = Contents::default();
        for generation in 1..=good {
            contents.accept(snapshot(generation.into()));
            assert_eq!(contents.loaded(generation), Verdict::Stays);
        }
        contents.accept(snapshot(u64::from(good) + 1));
        contents
    }

    #[test]
    fn first_word_against_a_content_brings_back_the_one_before() {
        for against in [Against::Refused, Against::Died] {
            let mut contents = after(1);
            assert_eq!(contents.judged_against(2, against, true), Verdict::Doubted);
            assert_eq!(serves(&contents), Some(1));
            assert_eq!(
                contents.doubted().map(|(content, why)| (content.generation, why)),
                Some((2, against))
            );
            assert!(contents.knows(&snapshot(2).identity, true), "this version is not copied again");
            assert!(!contents.knows(&snapshot(3).identity, true));
        }
    }

    #[test]
    fn second_word_against_a_content_is_final_until_the_file_changes() {
        let mut contents = after(1);
        contents.judged_against(2, Against::Died, true);
        assert_eq!(contents.judged_against(2, Against::Died, true), Verdict::Rejected);
        assert!(contents.doubted().is_none(), "no third worker gets it");
        assert_eq!(serves(&contents), Some(1));
        assert!(contents.knows(&snapshot(2).identity, true));
        contents.accept(snapshot(3));
        assert_eq!(serves(&contents), Some(3));
        assert!(!contents.knows(&snapshot(2).identity, true));
    }

    #[test]
    fn content_that_was_the_first_leaves_nothing() {
        let mut contents = after(0);
        assert_eq!(contents.judged_against(1, Against::Died, true), Verdict::Doubted);
        assert_eq!(serves(&contents), None);
        assert_eq!(contents.loaded(1), Verdict::Restored);
        assert_eq!(serves(&contents), Some(1));
    }

    #[test]
    fn once_loaded_by_anyone_nobody_can_take_it_back() {
        let mut contents = after(1);
        assert_eq!(contents.loaded(2), Verdict::Stays);
        assert_eq!(contents.judged_against(2, Against::Refused, true), Verdict::Disputed, "worth a line");
        for against in [Against::Refused, Against::Died, Against::Refused] {
            assert_eq!(contents.judged_against(2, against, true), Verdict::Stays, "one line");
        }
        assert_eq!(serves(&contents), Some(2));
        assert!(contents.doubted().is_none());
    }

    #[test]
    fn content_that_one_refuses_and_another_loads_is_served() {
        let mut contents = after(1);
        contents.judged_against(2, Against::Refused, true);
        assert_eq!(contents.loaded(2), Verdict::Restored);
        assert_eq!(serves(&contents), Some(2));
        assert_eq!(contents.judged_against(2, Against::Refused, true), Verdict::Disputed);
        assert_eq!(serves(&contents), Some(2));
    }

    #[test]
    fn what_was_not_sent_changes_nothing() {
        let mut contents = after(2);
        assert_eq!(contents.judged_against(1, Against::Refused, true), Verdict::Stays);
        assert_eq!(contents.loaded(1), Verdict::Stays);
        assert_eq!(serves(&contents), Some(3));
        assert!(contents.awaits_judgement());
        contents.loaded(3);
        assert!(!contents.awaits_judgement());
    }

    #[test]
    fn known_good_content_outlives_many_that_nobody_has_judged() {
        let mut contents = after(1);
        contents.accept(snapshot(3));
        contents.accept(snapshot(4));
        assert_eq!(serves(&contents), Some(4));
        contents.judged_against(4, Against::Refused, true);
        assert_eq!(serves(&contents), Some(1));
    }

    #[test]
    fn content_that_is_refused_without_room_for_it_is_copied_again_once_there_is() {
        let mut contents = after(1);
        assert_eq!(contents.judged_against(2, Against::Refused, false), Verdict::PutOff);
        assert!(contents.doubted().is_none());
        assert_eq!(serves(&contents), Some(1));
        assert!(contents.knows(&snapshot(2).identity, false), "not before");
        assert!(!contents.knows(&snapshot(2).identity, true));
        contents.accept(snapshot(2));
        assert_eq!(serves(&contents), Some(3), "the same file");
        assert_eq!(contents.judged_against(3, Against::Refused, true), Verdict::Doubted);
        assert_eq!(contents.judged_against(3, Against::Refused, true), Verdict::Rejected);
        assert!(contents.knows(&snapshot(2).identity, true));
    }

    #[test]
    fn without_room_one_death_is_final() {
        let mut contents = after(1);
        assert_eq!(contents.judged_against(2, Against::Died, false), Verdict::Rejected);
        assert!(contents.doubted().is_none() && contents.knows(&snapshot(2).identity, true));
        assert_eq!(serves(&contents), Some(1));
    }
}
