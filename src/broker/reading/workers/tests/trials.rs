//! Which worker tries a snapshot that no worker has in use yet, and what that costs.

use super::{Workers, workers};
use crate::tables::{LoadFailure, Tables};
use crate::workers::{Incoming, Stage};
use mapkeep_proto::{
    BrokerToLookup, Decode, Duty, LookupToBroker, MAX_MESSAGE, TableId, TrustClass, WorkerId,
};
use mapkeep_sys::channel::{Channel, Received};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A broker's workers and tables, with the far ends of the workers' channels.
struct Scene {
    tables: Tables,
    workers: Workers,
    ends: BTreeMap<WorkerId, Channel>,
    last: u32,
    /// Snapshots that have arrived at each worker and have not been answered, in order.
    arrived: BTreeMap<WorkerId, Vec<(TableId, u32)>>,
    /// Snapshots that a worker has in use, and which worker has which.
    proven: BTreeSet<(TableId, u32)>,
    holds: BTreeMap<WorkerId, BTreeMap<TableId, u32>>,
}

impl Scene {
    fn new(tables: u16, serve: u32) -> Scene {
        let names = (0..tables).map(|number| format!("hash:/t{number}"));
        let mut scene = Scene {
            tables: Tables::filled(names),
            workers: workers(&[(Duty::Clients, serve)]),
            ends: BTreeMap::new(),
            last: 0,
            arrived: BTreeMap::new(),
            proven: BTreeSet::new(),
            holds: BTreeMap::new(),
        };
        (0..serve).for_each(|_| scene.start());
        scene
    }

    /// A worker that has reported its lock-down and has been admitted.
    fn start(&mut self) {
        self.last += 1;
        let (id, (near, far)) = (WorkerId(self.last), Channel::pair().unwrap());
        self.workers.add(id, TrustClass::EVERYONE, Duty::Clients, near, &self.tables);
        self.workers.list.get_mut(&id).unwrap().stage = Stage::Admitted;
        self.ends.insert(id, far);
    }

    /// Sends what may be sent, and receives it at the other ends. No two workers ever have an untried snapshot of the
    /// same table.
    fn flush(&mut self) {
        let ids: Vec<WorkerId> = self.ends.keys().copied().collect();
        for id in ids {
            self.workers.flush(id, &self.tables, Instant::now()).unwrap();
            let mut buffer = [0; MAX_MESSAGE];
            while let Ok(Received::Message(length, _)) = self.ends[&id].receive(&mut buffer) {
                let message = BrokerToLookup::decode(&buffer[..length]).unwrap();
                if let BrokerToLookup::Snapshot { id: table, generation, .. } = message {
                    self.arrived.entry(id).or_default().push((table, generation));
                }
            }
        }
        self.workers.introduce().unwrap();
        let mut tried = BTreeSet::new();
        for (table, generation) in self.arrived.values().flatten() {
            let unproven = !self.proven.contains(&(*table, *generation));
            assert!(!unproven || tried.insert(*table), "two workers try {table:?}");
        }
    }

    /// A worker switches to the snapshot that arrived first.
    fn load(&mut self, id: WorkerId) {
        let (table, generation) = self.arrived.get_mut(&id).unwrap().remove(0);
        self.ends[&id].send(&LookupToBroker::Loaded { id: table, generation }.encode(), &[]).unwrap();
        let incoming = self.workers.receive(id, Instant::now());
        assert_eq!(incoming, Some(Incoming::Loaded(table, generation)));
        self.proven.insert((table, generation));
        self.holds.entry(id).or_default().insert(table, generation);
        if self.tables.loaded(table, generation, Instant::now()) {
            self.workers.owe(table, Duty::Clients);
        }
    }

    /// A worker exits, and another is started.
    fn end(&mut self, id: WorkerId) {
        let blamed = self.workers.blame(id);
        self.workers.remove(id);
        self.ends.remove(&id);
        self.arrived.remove(&id);
        self.holds.remove(&id);
        if let Some(load) = blamed
            && self.tables.load_failed(load.table, load.generation, LoadFailure::Died, Instant::now())
        {
            self.workers.owe(load.table, Duty::Clients);
        }
        self.start();
    }

    /// Lets workers load until nothing more comes; the snapshot `deadly` crashes whichever worker begins to load it.
    /// Returns the number of crashes.
    fn run(&mut self, deadly: Option<(TableId, u32)>) -> usize {
        let mut ends = 0;
        loop {
            self.flush();
            let next = self.arrived.iter().find(|(_, snapshots)| !snapshots.is_empty());
            let Some((id, snapshots)) = next.map(|(id, snapshots)| (*id, snapshots[0])) else { return ends };
            match deadly == Some(snapshots) {
                true => {
                    self.end(id);
                    ends += 1;
                    assert!(ends < 99, "one worker after another ends");
                }
                false => self.load(id),
            }
        }
    }

    fn all_hold(&self, table: u16) -> BTreeSet<u32> {
        assert_eq!(self.holds.len(), self.ends.len());
        self.holds.values().map(|snapshots| snapshots[&TableId(table)]).collect()
    }
}

#[test]
fn snapshot_is_tried_by_one_worker_and_then_goes_to_all() {
    let mut scene = Scene::new(1, 3);
    scene.flush();
    assert_eq!(scene.arrived.keys().collect::<Vec<_>>(), [&WorkerId(1)]);
    scene.load(WorkerId(1));
    scene.flush();
    assert_eq!(scene.arrived[&WorkerId(2)], [(TableId(0), 1)]);
    assert_eq!(scene.arrived[&WorkerId(3)], [(TableId(0), 1)]);
}

/// Otherwise it would get no clients until something else happens.
#[test]
fn worker_that_has_got_all_snapshots_needs_attention() {
    let mut scene = Scene::new(1, 1);
    scene.flush();
    assert!(!scene.workers.take_news());
    scene.load(WorkerId(1));
    assert!(!scene.workers.take_news());
    scene.flush();
    assert!(scene.workers.take_news() && !scene.workers.take_news(), "once");
}

#[test]
fn many_snapshots_are_tried_by_all_workers_at_the_same_time() {
    let mut scene = Scene::new(400, 4);
    scene.flush();
    let shares: Vec<usize> = scene.arrived.values().map(Vec::len).collect();
    assert_eq!(shares, [64; 4]);
    assert_eq!(scene.run(None), 0);
    (0..400).for_each(|table| assert_eq!(scene.all_hold(table), BTreeSet::from([1])));
}

#[test]
fn crashing_snapshot_ends_one_worker_at_a_time_and_three_in_all() {
    for deadly in [0, 7, 63, 199] {
        let mut scene = Scene::new(200, 5);
        assert_eq!(scene.run(None), 0);
        (0..200).for_each(|table| scene.tables.put(TableId(table)));
        (0..200).for_each(|table| scene.workers.owe(TableId(table), Duty::Clients));
        // First as one of several; then alone; then in a worker that was started as a replacement, which tries it once
        // more.
        let ends = scene.run(Some((TableId(deadly), 2)));
        assert!((2..=3).contains(&ends), "{ends}");
        let of = |table| if table == deadly { 1 } else { 2 };
        (0..200).for_each(|table| assert_eq!(scene.all_hold(table), BTreeSet::from([of(table)]), "{table}"));
        assert!(scene.tables.suspect(TableId(deadly), true).is_none(), "it is not tried again");
    }
}

#[test]
fn worker_that_exits_before_its_answer_hands_on_its_trial() {
    let mut scene = Scene::new(1, 2);
    scene.flush();
    scene.workers.remove(WorkerId(1));
    scene.ends.remove(&WorkerId(1));
    scene.arrived.clear();
    scene.flush();
    assert_eq!(scene.arrived[&WorkerId(2)], [(TableId(0), 1)]);
}

#[test]
fn draining_worker_tries_a_snapshot_only_if_there_is_no_other() {
    let mut scene = Scene::new(1, 2);
    scene.run(None);
    scene.tables.put(TableId(0));
    scene.workers.owe(TableId(0), Duty::Clients);
    scene.workers.retire(WorkerId(1));
    scene.flush();
    assert_eq!(scene.arrived.keys().collect::<Vec<_>>(), [&WorkerId(1), &WorkerId(2)]);
    assert_eq!((scene.arrived[&WorkerId(1)].len(), scene.arrived[&WorkerId(2)].len()), (0, 1));
    scene.load(WorkerId(2));
    scene.tables.put(TableId(0));
    scene.workers.owe(TableId(0), Duty::Clients);
    scene.workers.retire(WorkerId(2));
    scene.arrived.clear();
    scene.flush();
    assert_eq!(scene.arrived.values().map(Vec::len).sum::<usize>(), 1, "the service is about to end");
}

#[test]
fn starting_worker_gets_nothing_before_it_is_locked_down() {
    let mut scene = Scene::new(1, 1);
    scene.workers.list.get_mut(&WorkerId(1)).unwrap().stage = Stage::Starting;
    scene.flush();
    assert!(scene.arrived.is_empty());
    scene.workers.list.get_mut(&WorkerId(1)).unwrap().stage = Stage::Checking;
    scene.flush();
    assert_eq!(scene.arrived[&WorkerId(1)], [(TableId(0), 1)]);
}
