//! Which worker tries a snapshot that another has failed to load.

use super::{Workers, workers};
use crate::tables::{LoadFailure, Tables};
use crate::workers::Stage;
use mapkeep_proto::{
    BrokerToLookup, Decode, Duty, LookupToBroker, MAX_MESSAGE, TableId, TrustClass, WorkerId,
};
use mapkeep_sys::channel::{Channel, Received};
use std::time::{Duration, Instant};

const TABLE: TableId = TableId(0);

/// Serving workers, the first of which has failed to load the second snapshot of the table.
struct Scene {
    tables: Tables,
    workers: Workers,
    /// The far ends of the workers' channels.
    ends: Vec<Channel>,
    now: Instant,
}

impl Scene {
    fn new(duty: Duty, serve: u32, failure: LoadFailure) -> Scene {
        let now = Instant::now();
        let name = if duty == Duty::Rules { "pcre:/t" } else { "hash:/t" };
        let mut tables = Tables::filled([name.to_owned()]);
        let mut workers = workers(&[(duty, serve)]);
        let mut ends = Vec::new();
        for number in 1..=serve {
            let (near, far) = Channel::pair().unwrap();
            workers.add(WorkerId(number), TrustClass::EVERYONE, duty, near, &tables);
            let worker = workers.list.get_mut(&WorkerId(number)).unwrap();
            (worker.stage, worker.settled, worker.introduced) = (Stage::Admitted, true, true);
            ends.push(far);
        }
        tables.put(TABLE);
        assert!(tables.load_failed(TABLE, 2, failure, now));
        if failure == LoadFailure::Died {
            workers.remove(WorkerId(1));
        }
        workers.note_suspect(TABLE, WorkerId(1), now);
        Scene { tables, workers, ends, now }
    }

    /// The workers that will try it, this long after the first trial.
    fn trying(&mut self, seconds: u64) -> Vec<u32> {
        self.workers.seek_opinions(&self.tables, self.now + Duration::from_secs(seconds));
        let trying = self.workers.list.iter().filter(|(_, worker)| worker.supply.is_to_try(TABLE));
        trying.map(|(id, _)| id.0).collect()
    }

    /// The snapshots that this worker is sent, each of which it loads.
    fn snapshots(&mut self, id: WorkerId) -> Vec<u32> {
        let end = &self.ends[usize::try_from(id.0).unwrap() - 1];
        let mut snapshots = Vec::new();
        loop {
            self.workers.flush(id, &self.tables, self.now).unwrap();
            let before = snapshots.len();
            let mut buffer = [0; MAX_MESSAGE];
            while let Ok(Received::Message(length, _)) = end.receive(&mut buffer) {
                if let Ok(BrokerToLookup::Snapshot { id: table, generation, .. }) =
                    BrokerToLookup::decode(&buffer[..length])
                {
                    snapshots.push(generation);
                    end.send(&LookupToBroker::Loaded { id: table, generation }.encode(), &[]).unwrap();
                    self.workers.receive(id, self.now);
                    self.tables.loaded(table, generation, self.now);
                }
            }
            if snapshots.len() == before {
                return snapshots;
            }
        }
    }
}

#[test]
fn worker_that_is_asked_gets_the_snapshot_and_its_answer_counts() {
    let mut scene = Scene::new(Duty::Rules, 2, LoadFailure::Refused);
    assert_eq!(scene.snapshots(WorkerId(2)), [1], "the previous one");
    assert_eq!(scene.trying(2), [2]);
    assert_eq!(scene.snapshots(WorkerId(2)), [2]);
    assert_eq!(scene.trying(4), []);
    assert!(scene.tables.suspect(TABLE, true).is_none(), "it is served");
}

#[test]
fn another_worker_is_asked_about_a_refusal() {
    for duty in Duty::OF_SNAPSHOTS {
        assert_eq!(Scene::new(duty, 3, LoadFailure::Refused).trying(0), [2], "{duty:?}");
    }
}

#[test]
fn the_only_worker_is_asked_again_after_a_minute() {
    let mut scene = Scene::new(Duty::Rules, 1, LoadFailure::Refused);
    assert_eq!((scene.trying(0), scene.trying(59)), (vec![], vec![]));
    assert_eq!(scene.trying(60), [1]);
}

#[test]
fn crashing_snapshot_is_tried_by_one_of_several_rules_workers_or_by_the_last_after_a_minute() {
    assert_eq!(Scene::new(Duty::Rules, 3, LoadFailure::Died).trying(0), [2]);
    let mut scene = Scene::new(Duty::Rules, 2, LoadFailure::Died);
    assert_eq!((scene.trying(0), scene.trying(59)), (vec![], vec![]));
    assert_eq!(scene.trying(60), [2]);
    assert_eq!(scene.trying(90), [2], "one at a time");
}

#[test]
fn no_worker_with_clients_risks_its_life() {
    assert_eq!(Scene::new(Duty::Clients, 3, LoadFailure::Died).trying(999), []);
}

#[test]
fn no_worker_is_asked_about_a_snapshot_that_has_been_tried() {
    let mut scene = Scene::new(Duty::Rules, 3, LoadFailure::Refused);
    scene.tables.put(TABLE);
    assert_eq!(scene.trying(0), []);
}
