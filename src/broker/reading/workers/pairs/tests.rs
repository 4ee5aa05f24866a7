use super::*;
use crate::workers::tests::{worker, workers};
use mapkeep_proto::TrustClass;

/// Lookup workers and rules workers with these numbers, which have their tables.
fn scene(askers: &[u32], answerers: &[u32]) -> Workers {
    let mut workers = workers(&[(Duty::Clients, 1), (Duty::Rules, 1)]);
    let all = askers.iter().map(|id| (id, Duty::Clients));
    for (id, duty) in all.chain(answerers.iter().map(|id| (id, Duty::Rules))) {
        add(&mut workers, *id, duty);
    }
    workers
}

fn add(workers: &mut Workers, id: u32, duty: Duty) {
    let one = super::super::Worker { duty, introduced: false, ..worker(Stage::Admitted) };
    workers.list.insert(WorkerId(id), one);
}

/// The number of streams that a worker has been given.
fn ways(workers: &Workers, id: u32) -> usize {
    let given = workers.list[&WorkerId(id)].outbox.waiting();
    given.filter(|message| matches!(message, BrokerToLookup::Answerer(_) | BrokerToLookup::Asker)).count()
}

#[test]
fn each_lookup_worker_gets_one_stream_to_each_rules_worker() {
    let mut workers = scene(&[1, 2, 3], &[11, 12]);
    (0..3).for_each(|_| workers.introduce().unwrap());
    assert_eq!([1, 2, 3, 11, 12].map(|id| ways(&workers, id)), [2, 2, 2, 3, 3]);
    let of = |id, message: BrokerToLookup| {
        workers.list[&WorkerId(id)].outbox.waiting().filter(|one| **one == message).count()
    };
    assert_eq!((of(1, BrokerToLookup::Answerer(Group::Rules)), of(11, BrokerToLookup::Asker)), (2, 3));
    add(&mut workers, 13, Duty::Rules);
    add(&mut workers, 4, Duty::Clients);
    (0..3).for_each(|_| workers.introduce().unwrap());
    assert_eq!([1, 4, 11, 13].map(|id| ways(&workers, id)), [3, 3, 4, 4]);
}

#[test]
fn lookup_worker_has_its_streams_before_its_first_client() {
    let mut workers = scene(&[1], &[11]);
    assert_eq!(workers.next(TrustClass::EVERYONE, 9), None);
    workers.introduce().unwrap();
    assert_eq!(workers.next(TrustClass::EVERYONE, 9), Some(WorkerId(1)));
    assert_eq!(ways(&workers, 1), 1);
}

#[test]
fn worker_that_is_not_checked_or_lacks_tables_gets_no_stream() {
    let mut workers = scene(&[1], &[11, 12, 13]);
    workers.list.get_mut(&WorkerId(11)).unwrap().stage = Stage::Checking;
    workers.list.get_mut(&WorkerId(12)).unwrap().settled = false;
    workers.introduce().unwrap();
    assert_eq!([1, 11, 12, 13].map(|id| ways(&workers, id)), [1, 0, 0, 1]);
    assert!(!workers.list[&WorkerId(11)].is_ready() && workers.list[&WorkerId(13)].is_ready());
}

#[test]
fn draining_worker_gets_streams_to_later_workers() {
    let mut workers = scene(&[1], &[11]);
    workers.introduce().unwrap();
    workers.retire(WorkerId(1));
    workers.remove(WorkerId(11));
    add(&mut workers, 12, Duty::Rules);
    workers.introduce().unwrap();
    assert_eq!((ways(&workers, 1), ways(&workers, 12)), (2, 1));
}
