//! A table that takes long to load.

use crate::common::master::Site;
use crate::common::wire::{Wire, attribute};
use crate::common::{PATIENCE, poll};
use crate::{FINE, Innocent, lookup};

/// A file of some hundred thousand lines takes a debug build seconds to index.
pub fn a_large_table_is_loaded_while_others_are_served() {
    let site = Site::new();
    let lines = |value: &str| (0..600_000).map(|number| format!("key{number} {value}\n")).collect::<String>();
    let large = site.table("texthash", "large", &lines("old"));
    site.approve(&[&large, FINE], "max_use = 1000000\n");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    let mut kept = master.wire();
    let now = |wire: &mut Wire| wire.ask(&lookup(&large, "key599999"));
    assert_eq!(attribute(&now(&mut kept), "value"), Some("old"));
    site.table("texthash", "large", &lines("new"));
    let mut rounds = 0;
    poll(PATIENCE, || {
        innocent.is_served(&master);
        rounds += 1;
        (attribute(&now(&mut kept), "value") == Some("new")).then_some(())
    })
    .expect("the new content is served");
    eprintln!("{rounds} rounds while it was loaded, slowest answer {:.1?}", innocent.slowest);
}
