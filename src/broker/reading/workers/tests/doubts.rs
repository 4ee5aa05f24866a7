//! Who is asked about a content that a worker has judged against.

use super::{Workers, workers};
use crate::tables::{Against, Tables};
use crate::workers::Stage;
use mapkeep_proto::{
    BrokerToLookup, Decode, Duty, LookupToBroker, MAX_MESSAGE, TableId, TrustClass, WorkerId,
};
use mapkeep_sys::channel::{Channel, Received};
use std::time::{Duration, Instant};

const TABLE: TableId = TableId(0);

/// Workers that serve, the first of which has judged against the second content of the table.
struct Scene {
    tables: Tables,
    workers: Workers,
    /// The far ends of the workers' channels.
    ends: Vec<Channel>,
    now: Instant,
}

impl Scene {
    fn new(duty: Duty, serve: u32, against: Against) -> Scene {
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
        assert!(tables.judged_against(TABLE, 2, against, now));
        if against == Against::Died {
            workers.remove(WorkerId(1));
        }
        workers.note_doubt(TABLE, WorkerId(1), now);
        Scene { tables, workers, ends, now }
    }

    /// Who is to judge, so long after the first verdict.
    fn judges(&mut self, seconds: u64) -> Vec<u32> {
        self.workers.seek_opinions(&self.tables, self.now + Duration::from_secs(seconds));
        let judges = self.workers.list.iter().filter(|(_, worker)| worker.supply.is_to_judge(TABLE));
        judges.map(|(id, _)| id.0).collect()
    }

    /// The contents that this worker is sent, each of which it loads.
    fn contents(&mut self, id: WorkerId) -> Vec<u32> {
        let end = &self.ends[usize::try_from(id.0).unwrap() - 1];
        let mut contents = Vec::new();
        loop {
            self.workers.flush(id, &self.tables, self.now).unwrap();
            let before = contents.len();
            let mut buffer = [0; MAX_MESSAGE];
            while let Ok(Received::Message(length, _)) = end.receive(&mut buffer) {
                if let Ok(BrokerToLookup::Snapshot { id: table, generation, .. }) =
                    BrokerToLookup::decode(&buffer[..length])
                {
                    contents.push(generation);
                    end.send(&LookupToBroker::Loaded { id: table, generation }.encode(), &[]).unwrap();
                    self.workers.receive(id, self.now);
                    self.tables.loaded(table, generation, self.now);
                }
            }
            if contents.len() == before {
                return contents;
            }
        }
    }
}

#[test]
fn whoever_is_asked_gets_the_content_and_its_word_counts() {
    let mut scene = Scene::new(Duty::Rules, 2, Against::Refused);
    assert_eq!(scene.contents(WorkerId(2)), [1], "the previous one");
    assert_eq!(scene.judges(2), [2]);
    assert_eq!(scene.contents(WorkerId(2)), [2]);
    assert_eq!(scene.judges(4), []);
    assert!(scene.tables.doubtful(TABLE, true).is_none(), "it is served");
}

#[test]
fn another_worker_is_asked_about_a_refusal() {
    for duty in Duty::OF_CONTENTS {
        assert_eq!(Scene::new(duty, 3, Against::Refused).judges(0), [2], "{duty:?}");
    }
}

#[test]
fn the_only_worker_is_asked_again_after_a_minute() {
    let mut scene = Scene::new(Duty::Rules, 1, Against::Refused);
    assert_eq!((scene.judges(0), scene.judges(59)), (vec![], vec![]));
    assert_eq!(scene.judges(60), [1]);
}

#[test]
fn deadly_content_is_tried_by_one_of_several_rules_workers_or_by_the_last_after_a_minute() {
    assert_eq!(Scene::new(Duty::Rules, 3, Against::Died).judges(0), [2]);
    let mut scene = Scene::new(Duty::Rules, 2, Against::Died);
    assert_eq!((scene.judges(0), scene.judges(59)), (vec![], vec![]));
    assert_eq!(scene.judges(60), [2]);
    assert_eq!(scene.judges(90), [2], "one at a time");
}

#[test]
fn no_worker_with_clients_risks_its_life() {
    assert_eq!(Scene::new(Duty::Clients, 3, Against::Died).judges(999), []);
}

#[test]
fn nobody_is_asked_about_what_has_been_judged() {
    let mut scene = Scene::new(Duty::Rules, 3, Against::Refused);
    scene.tables.put(TABLE);
    assert_eq!(scene.judges(0), []);
}
