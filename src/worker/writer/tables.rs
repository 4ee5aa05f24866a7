//! The tables that can be changed, and what has become of each in this turn.
//!
//! May: ask and change stores. Never: know a path; a name is only compared with what clients ask.

mod handle;

use crate::engine::Engine;
use mapkeep_name::{Kind, split, why_unknown};
use mapkeep_proto::{Listed, TableId, Unavailable};
use mapkeep_table_format::text::inline::static_value;
use mapkeep_table_store::{MemoryStore, StoreError};
use mapkeep_worker_session::wire::Printable;
use mapkeep_worker_session::{Failure, Nature};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// One table.
struct Slot {
    name: Vec<u8>,
    nature: Nature,
    state: RefCell<State>,
    /// As the broker numbered the last opening.
    generation: Cell<u32>,
    /// The last problem that was logged, so that it is logged only once.
    told: RefCell<String>,
    turn: RefCell<Turn>,
}

/// What answers for a table.
enum State {
    /// Nothing, for this reason.
    Closed(Cow<'static, str>),
    /// The name itself.
    Named(Named),
    /// A store.
    Open(Box<dyn Engine>),
}

/// A table that is its name.
enum Named {
    /// Always this answer.
    Static(Vec<u8>),
    /// Always an error.
    Fail,
}

/// What has become of a table in this turn.
#[derive(Default)]
struct Turn {
    /// It has been asked.
    touched: bool,
    /// Its group is lost, for this reason: nothing that is asked of it in this turn holds.
    lost: Option<StoreError>,
}

/// The result of a turn for one table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outturn {
    pub(crate) id: TableId,
    pub(crate) result: Result<Changed, StoreError>,
}

/// Whether entries are durably changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    No,
}

/// All tables of the service.
#[derive(Default)]
pub(crate) struct Tables {
    slots: Vec<Slot>,
    by_name: BTreeMap<Vec<u8>, u16>,
    /// False when the configuration could not be read: then nothing is denied.
    approval_known: bool,
    /// The tables that have been asked in this turn.
    touched: RefCell<Vec<u16>>,
}

impl Tables {
    /// Tables of these names. Those without files are ready at once.
    pub(crate) fn new(listed: Vec<Listed>, approval_known: bool) -> Tables {
        let mut tables = Tables { approval_known, ..Tables::default() };
        for (id, Listed { name, approved, .. }) in (0u16..).zip(listed) {
            let nature = Nature::of(&name);
            let state = RefCell::new(first_state(&name, nature.kind));
            if approved {
                tables.by_name.insert(name.clone(), id);
            }
            tables.slots.push(Slot {
                name,
                nature,
                state,
                generation: Cell::new(0),
                told: RefCell::default(),
                turn: RefCell::default(),
            });
        }
        tables
    }

    fn slot(&self, id: TableId) -> Option<&Slot> {
        self.slots.get(usize::from(id.0))
    }

    /// The table's type; nothing if there is no such table.
    pub(crate) fn kind(&self, id: TableId) -> Option<Kind> {
        self.slot(id).map(|slot| slot.nature.kind)
    }

    /// The table's name, for the log.
    pub(crate) fn shown(&self, id: TableId) -> String {
        self.slot(id).map(|slot| Printable(&slot.name).to_string()).unwrap_or_default()
    }

    /// Which opening the table is in.
    pub(crate) fn generation(&self, id: TableId) -> u32 {
        self.slot(id).map_or(0, |slot| slot.generation.get())
    }

    /// The broker has opened the table's files: what answered until now is closed.
    pub(crate) fn reopen(&mut self, id: TableId, generation: u32) {
        if let Some(slot) = self.slot(id) {
            slot.generation.set(generation);
            slot.state.replace(State::Closed(Cow::Borrowed(sentence(Unavailable::Loading))));
        }
    }

    /// Records a problem with a table that may recur. False if it is the same as the last one.
    pub(crate) fn tell(&self, id: TableId, trouble: &str) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        slot.told.replace(trouble.to_owned()) != trouble
    }

    /// From now on this store answers.
    pub(crate) fn open(&mut self, id: TableId, engine: Box<dyn Engine>) {
        if let Some(slot) = self.slot(id) {
            slot.told.take();
            slot.state.replace(State::Open(engine));
        }
    }

    /// The broker cannot open the table. One that is open stays in use.
    pub(crate) fn unavailable(&mut self, id: TableId, reason: Unavailable) {
        if let Some(slot) = self.slot(id)
            && needs_files(slot.nature.kind)
            && !matches!(&*slot.state.borrow(), State::Open(_))
        {
            slot.state.replace(State::Closed(Cow::Borrowed(sentence(reason))));
        }
    }

    /// Closes a table, for this reason; returns its store.
    pub(crate) fn close(&mut self, id: TableId, reason: String) -> Option<Box<dyn Engine>> {
        match self.slot(id)?.state.replace(State::Closed(Cow::Owned(reason))) {
            State::Open(engine) => Some(engine),
            _ => None,
        }
    }

    /// Does something with the store of a table, if it is open.
    pub(crate) fn with<T>(&self, id: TableId, work: impl FnOnce(&mut dyn Engine) -> T) -> Option<T> {
        match &mut *self.slot(id)?.state.try_borrow_mut().ok()? {
            State::Open(engine) => Some(work(engine.as_mut())),
            _ => None,
        }
    }

    /// Whether any table has a group that waits for its commit.
    pub(crate) fn has_open_group(&self) -> bool {
        let open = |id: &u16| self.with(TableId(*id), |engine| engine.entries().is_open()).unwrap_or(false);
        self.touched.borrow().iter().any(open)
    }

    /// Whether all that has been answered in this turn holds already: nothing waits for a commit, and nothing was lost.
    pub(crate) fn are_settled(&self) -> bool {
        let lost = |id: &u16| self.slot(TableId(*id)).is_some_and(|slot| slot.turn.borrow().lost.is_some());
        !self.has_open_group() && !self.touched.borrow().iter().any(lost)
    }

    /// Ends the turn: commits what has been changed, and undoes what has been lost. Nothing is asked any more of the
    /// stores then, so that other programs need not wait for us.
    pub(crate) fn end_turn(&self) -> Vec<Outturn> {
        let touched = self.touched.take();
        let mut outturns = Vec::with_capacity(touched.len());
        for id in touched {
            let id = TableId(id);
            let lost = self.slot(id).and_then(|slot| std::mem::take(&mut *slot.turn.borrow_mut()).lost);
            let result = self.with(id, |engine| {
                let result = match lost {
                    Some(error) => {
                        engine.entries_mut().undo();
                        Err(error)
                    }
                    None if engine.entries().is_open() => {
                        engine.entries_mut().commit().map(|()| Changed::Yes)
                    }
                    None => Ok(Changed::No),
                };
                engine.entries_mut().rest();
                result
            });
            outturns.extend(result.map(|result| Outturn { id, result }));
        }
        outturns
    }

    /// Records that a table is used in this turn. Returns an error if its answers cannot be relied on in this turn.
    fn touch(&self, id: u16, slot: &Slot) -> Result<(), Failure> {
        let mut turn = slot.turn.borrow_mut();
        if !std::mem::replace(&mut turn.touched, true) {
            self.touched.borrow_mut().push(id);
        }
        match &turn.lost {
            Some(error) => Err(Failure::NotDone(error.to_string())),
            None => Ok(()),
        }
    }
}

/// What a table is before the broker has sent anything for it.
fn first_state(name: &[u8], kind: Kind) -> State {
    let shown = Printable(name);
    match kind {
        kind if needs_files(kind) => State::Closed(Cow::Borrowed(sentence(Unavailable::Loading))),
        Kind::Internal => State::Open(Box::new(MemoryStore::default())),
        Kind::Fail => State::Named(Named::Fail),
        Kind::Static => match static_value(split(name).1) {
            Ok(value) => State::Named(Named::Static(value)),
            Err(error) => {
                tracing::error!("table {shown}: {error}");
                State::Closed(Cow::Owned(error.to_string()))
            }
        },
        Kind::Unknown => {
            let why = why_unknown(name);
            tracing::error!("table {shown}: {why}");
            State::Closed(Cow::Borrowed(why))
        }
        _ => {
            tracing::error!(
                "table {shown}: tables of this type cannot be updated, and proxywrite does not serve them; list it \
                 in proxy_read_maps instead, and let clients use proxymap"
            );
            // Stock's words.
            State::Closed(Cow::Owned(format!("{shown} map requires O_RDONLY access mode")))
        }
    }
}

/// Whether the broker opens files for tables of this type.
fn needs_files(kind: Kind) -> bool {
    matches!(kind, Kind::Hash | Kind::Btree | Kind::Lmdb)
}

fn sentence(reason: Unavailable) -> &'static str {
    match reason {
        Unavailable::Missing => "its file does not exist, and cannot be created",
        Unavailable::Refused => {
            "its file, or the way to it, breaks a trust rule (an earlier log line names it)"
        }
        Unavailable::TooLarge => "its file is too large",
        Unavailable::Unreadable => "its file cannot be opened",
        Unavailable::UnknownType => "unsupported dictionary type",
        Unavailable::Loading => "its file is being opened",
        Unavailable::NoRoom => "there is no room on its file system",
        Unavailable::Unloadable => "its content could not be loaded",
    }
}
