mod suspects;
mod trials;

use super::*;
use crate::tables::testing::table_snapshot;
use mapkeep_name::Kind;

/// A worker that has been sent snapshot 5 of table 1, and a ping.
pub(super) fn worker(stage: Stage) -> Worker {
    let (channel, _) = Channel::pair().unwrap();
    let mut supply = Supply::new([TableId(1)], []);
    supply.next(Instant::now(), false, |_, _| Offer::Snapshot(Kind::Hash, table_snapshot(5, 100))).unwrap();
    Worker {
        channel,
        class: TrustClass::EVERYONE,
        duty: Duty::Clients,
        stage,
        clients: 2,
        served: 0,
        outbox: Outbox::default(),
        waits_for_room: false,
        supply,
        settled: true,
        peers: BTreeSet::new(),
        introduced: true,
        ping: Some((3, Instant::now())),
        pings: 3,
    }
}

fn interpret(worker: &mut Worker, message: LookupToBroker) -> Incoming {
    worker.interpret(message, Instant::now())
}

const LOADED: LookupToBroker = LookupToBroker::Loaded { id: TableId(1), generation: 5 };

#[test]
fn ready_counts_once_and_only_at_the_start() {
    assert_eq!(interpret(&mut worker(Stage::Starting), LookupToBroker::Ready), Incoming::Ready);
    for stage in [Stage::Checking, Stage::Admitted, Stage::Draining] {
        assert!(matches!(interpret(&mut worker(stage), LookupToBroker::Ready), Incoming::Violation(_)));
    }
}

#[test]
fn snapshot_answers_must_match_what_was_sent() {
    let loaded = |id, generation| LookupToBroker::Loaded { id: TableId(id), generation };
    let mut one = worker(Stage::Admitted);
    assert!(matches!(interpret(&mut one, loaded(1, 4)), Incoming::Violation(_)));
    assert!(matches!(interpret(&mut one, loaded(2, 5)), Incoming::Violation(_)));
    assert_eq!(interpret(&mut one, LOADED), Incoming::Loaded(TableId(1), 5));
    assert!(matches!(interpret(&mut one, LOADED), Incoming::Violation(_)), "a replay");
    assert!(matches!(interpret(&mut worker(Stage::Starting), LOADED), Incoming::Violation(_)));
    let rejected = LookupToBroker::Rejected { id: TableId(1), generation: 5 };
    assert_eq!(interpret(&mut worker(Stage::Admitted), rejected), Incoming::Rejected(TableId(1), 5));
}

#[test]
fn closed_and_pong_cannot_be_invented() {
    let mut one = worker(Stage::Admitted);
    assert!(matches!(interpret(&mut one, LookupToBroker::Closed(3)), Incoming::Violation(_)));
    assert!(matches!(interpret(&mut one, LookupToBroker::Closed(0)), Incoming::Violation(_)));
    assert_eq!(interpret(&mut one, LookupToBroker::Closed(2)), Incoming::Closed(2));
    assert!(matches!(
        interpret(&mut worker(Stage::Checking), LookupToBroker::Closed(1)),
        Incoming::Violation(_)
    ));
    assert!(matches!(interpret(&mut one, LookupToBroker::Pong(2)), Incoming::Violation(_)));
    assert!(
        matches!(interpret(&mut one, LookupToBroker::Pong(3)), Incoming::Violation(_)),
        "answered once already"
    );
    assert_eq!(interpret(&mut worker(Stage::Starting), LookupToBroker::Pong(3)), Incoming::Nothing);
}

#[test]
fn only_a_started_worker_without_clients_is_resting() {
    let mut one = worker(Stage::Admitted);
    one.clients = 0;
    assert!(!one.is_resting(false), "it has a snapshot to load");
    interpret(&mut one, LOADED);
    assert!(one.is_resting(true), "others have the clients");
    one.duty = Duty::Rules;
    assert!(!one.is_resting(true) && one.is_resting(false), "it may be asked for any of them");
    one.duty = Duty::Clients;
    one.clients = 1;
    assert!(!one.is_resting(true));
    one.clients = 0;
    one.stage = Stage::Starting;
    assert!(!one.is_resting(false), "one that never gets ready would be waited for in vain");
}

#[test]
fn worker_takes_clients_once_it_has_all_that_it_needs_first() {
    let mut one = worker(Stage::Admitted);
    one.settled = false;
    assert!(!one.takes_clients(TrustClass::EVERYONE));
    assert!(!one.is_settled());
    interpret(&mut one, LOADED);
    assert!(one.is_settled());
    one.settled = true;
    assert!(one.takes_clients(TrustClass::EVERYONE));
    one.supply.owe(TableId(1));
    assert!(one.takes_clients(TrustClass::EVERYONE), "a refresh keeps no client waiting");
    assert!(!one.takes_clients(TrustClass(9)));
    one.introduced = false;
    assert!(!one.takes_clients(TrustClass::EVERYONE), "it could not ask");
    one.introduced = true;
    one.duty = Duty::Rules;
    assert!(!one.takes_clients(TrustClass::EVERYONE), "it hears no client");
    one.duty = Duty::Clients;
    one.stage = Stage::Draining;
    assert!(!one.takes_clients(TrustClass::EVERYONE));
}

#[test]
fn worker_that_reads_no_messages_gets_no_more_clients() {
    let mut one = worker(Stage::Admitted);
    for _ in 0..WAITING {
        assert!(one.takes_clients(TrustClass::EVERYONE));
        one.outbox.push(BrokerToLookup::Client, Freight::None);
    }
    assert!(!one.takes_clients(TrustClass::EVERYONE));
}

#[test]
fn snapshot_that_is_still_in_the_outbox_is_not_blamed() {
    let mut one = worker(Stage::Admitted);
    assert!(matches!(one.blame(), Blame::One(Load { table: TableId(1), generation: 5, .. })));
    let message = BrokerToLookup::Snapshot { id: TableId(1), generation: 5, kind: Kind::Cidr, size: 100 };
    one.outbox.push(message, Freight::None);
    assert_eq!(one.blame(), Blame::Nobody);
}

/// Workers, with the intended number of each duty.
pub(super) fn workers(wanted: &[(Duty, u32)]) -> Workers {
    let names = std::fs::File::open("/dev/null").unwrap().into();
    Workers::new(names, BrokerToLookup::Finish, Vec::new(), wanted.iter().copied().collect())
}

#[test]
fn after_a_crash_on_one_of_several_snapshots_they_come_one_by_one() {
    let (channel, _far) = Channel::pair().unwrap();
    let mut workers = workers(&[(Duty::Clients, 1)]);
    let mut one = worker(Stage::Checking);
    one.channel = channel;
    one.supply.owe(TableId(2));
    one.supply.next(Instant::now(), false, |_, _| Offer::Snapshot(Kind::Hash, table_snapshot(1, 1))).unwrap();
    workers.list.insert(WorkerId(1), one);
    let mut left = worker(Stage::Draining);
    left.clients = 0;
    workers.list.insert(WorkerId(2), left);
    assert_eq!(workers.blame(WorkerId(2)), None, "it left on purpose, with its last client");
    assert!(workers.careful.is_empty());
    assert_eq!(workers.blame(WorkerId(1)), None, "it may have been either");
    assert_eq!(workers.careful, BTreeSet::from([Duty::Clients]));
    workers.list.insert(WorkerId(1), worker(Stage::Draining));
    assert_eq!(workers.blame(WorkerId(1)).map(|load| load.table), Some(TableId(1)), "it had clients");
}

#[test]
fn next_client_goes_to_the_worker_with_the_fewest() {
    let mut workers = workers(&[(Duty::Clients, 3)]);
    for (id, clients) in [(1, 7), (2, 5), (3, 9)] {
        workers.list.insert(WorkerId(id), Worker { clients, ..worker(Stage::Admitted) });
    }
    workers.list.insert(WorkerId(4), Worker { clients: 0, ..worker(Stage::Draining) });
    workers.list.insert(WorkerId(5), Worker { clients: 0, duty: Duty::Rules, ..worker(Stage::Admitted) });
    let mut got = Vec::new();
    for _ in 0..9 {
        let id = workers.next(TrustClass::EVERYONE, 10).unwrap();
        workers.hand_over(id, std::fs::File::open("/dev/null").unwrap().into());
        got.push(id.0);
    }
    assert_eq!(got, [2, 2, 1, 2, 1, 2, 1, 2, 3]);
    assert_eq!(workers.next(TrustClass::EVERYONE, 10), None, "all are full");
}
