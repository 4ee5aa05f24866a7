//! The tables of the backend, and how each is asked.

use crate::engine::Template;
use mapkeep_log::sanitise;
use mapkeep_proto::{BackendTable, Encoded, Protocol, TableId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// The longest name of a table in a log line, in bytes.
const SHOWN: usize = 200;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name, as it may appear in a log.
    pub(crate) name: String,
    /// How long a question may wait for its answer.
    pub(crate) patience: Duration,
    pub(crate) template: Template,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<TableId, Rc<Table>>);

impl Tables {
    /// Takes over the settings of a table. False if they make no sense; those before them stay in force then. Questions
    /// that wait are asked as they would have been when they came.
    pub(crate) fn load(&mut self, id: TableId, settings: &[u8], protocol: &Protocol) -> bool {
        let Ok(BackendTable { name, milliseconds, asks }) = BackendTable::decode(settings) else {
            return false;
        };
        let Some(template) = Template::new(protocol, &asks).filter(|_| milliseconds > 0) else {
            return false;
        };
        let (name, patience) = (sanitise(&name, SHOWN), Duration::from_millis(milliseconds.into()));
        self.0.insert(id, Rc::new(Table { name, patience, template }));
        true
    }

    /// A table is answered for no longer.
    pub(crate) fn withdraw(&mut self, id: TableId) {
        self.0.remove(&id);
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&Rc<Table>> {
        self.0.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapkeep_proto::Asks;

    const TABLE: TableId = TableId(3);

    fn settings(milliseconds: u32, asks: Asks) -> Vec<u8> {
        BackendTable { name: b"tcp:x:1\n".to_vec(), milliseconds, asks }.encode()
    }

    #[test]
    fn settings_that_make_no_sense_leave_those_before_them_in_force() {
        let mut tables = Tables::default();
        assert!(tables.load(TABLE, &settings(500, Asks::Tcp), &Protocol::Tcp));
        let socketmap = Asks::Socketmap { map: b"map".to_vec() };
        for bad in [settings(0, Asks::Tcp), settings(500, socketmap.clone()), b"junk".to_vec(), Vec::new()] {
            assert!(!tables.load(TABLE, &bad, &Protocol::Tcp));
        }
        let table = tables.get(TABLE).unwrap();
        assert_eq!((table.name.as_str(), table.patience), ("tcp:x:1?", Duration::from_millis(500)));
        let protocol = Protocol::Socketmap { max_reply: 1, max_query: 1 };
        assert!(tables.load(TableId(4), &settings(1, socketmap), &protocol));
        assert!(!tables.load(TableId(4), &settings(1, Asks::Tcp), &protocol));
        tables.withdraw(TABLE);
        assert!(tables.get(TABLE).is_none() && tables.get(TableId(4)).is_some());
    }
}
