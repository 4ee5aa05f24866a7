use super::*;
use crate::workers::Worker;
use crate::workers::tests::{worker, workers};
use mapkeep_proto::Duty::{Clients, Rules};

const MAX_USE: u32 = 100;

/// Workers of this duty: the serving ones, by the number of clients that they have had, the draining and the starting
/// ones.
fn scene(wanted: u32, served: &[u32], draining: usize, starting: usize) -> Workers {
    let mut workers = workers(&[(Clients, wanted), (Rules, wanted)]);
    let mut add = |worker| {
        let id = WorkerId(u32::try_from(workers.list.len()).unwrap());
        workers.list.insert(id, worker);
    };
    for served in served {
        add(Worker { served: *served, ..worker(Stage::Admitted) });
    }
    (0..draining).for_each(|_| add(worker(Stage::Draining)));
    (0..starting).for_each(|_| add(worker(Stage::Starting)));
    workers
}

fn change(workers: &Workers, asked: u32) -> (u32, Option<u32>) {
    let Change { ask, retire } = workers.change(Clients, asked, MAX_USE);
    (ask, retire.map(|id| id.0))
}

#[test]
fn no_more_start_at_a_time_than_serve() {
    assert_eq!(change(&scene(8, &[], 0, 0), 0), (1, None));
    assert_eq!(change(&scene(8, &[], 0, 0), 1), (0, None), "it has been asked for");
    assert_eq!(change(&scene(8, &[], 0, 1), 0), (0, None), "it starts");
    assert_eq!(change(&scene(8, &[0], 0, 0), 0), (1, None));
    assert_eq!(change(&scene(8, &[0, 0], 0, 0), 0), (2, None));
    assert_eq!(change(&scene(8, &[0, 0], 0, 1), 0), (1, None));
    assert_eq!(change(&scene(8, &[0; 4], 0, 0), 1), (3, None));
    assert_eq!(change(&scene(8, &[0; 7], 0, 0), 0), (1, None));
    assert_eq!(change(&scene(8, &[0; 8], 0, 0), 0), (0, None), "all are there");
    assert_eq!(
        workers(&[(Clients, 8)]).change(Rules, 0, MAX_USE),
        Change::default(),
        "nothing for them to do"
    );
}

#[test]
fn workers_that_have_served_enough_are_replaced_one_at_a_time() {
    assert_eq!(change(&scene(3, &[100, 100, 99], 0, 0), 0), (1, None));
    assert_eq!(change(&scene(3, &[100, 100, 99], 0, 1), 0), (0, None));
    assert_eq!(change(&scene(3, &[100, 100, 99, 0], 0, 0), 0), (0, Some(0)));
    assert_eq!(change(&scene(3, &[100, 99, 0], 1, 0), 0), (1, None));
    assert_eq!(change(&scene(3, &[100, 100, 100], 5, 0), 0), (1, None));
    assert_eq!(change(&scene(3, &[100, 100, 100], 6, 0), 0), (0, None), "so many drain");
    assert_eq!(change(&scene(3, &[100, 100], 6, 0), 0), (1, None), "one is missing");
    assert_eq!(change(&scene(1, &[100], 4, 0), 0), (0, None));
    assert_eq!(change(&scene(1, &[100], 3, 0), 0), (1, None));
}

#[test]
fn worker_with_the_fewest_clients_is_replaced_first() {
    let mut workers = scene(2, &[100, 100, 5], 0, 0);
    workers.list.get_mut(&WorkerId(0)).unwrap().clients = 9;
    assert_eq!(change(&workers, 0), (0, Some(1)));
}

/// However workers die and age, a broker never requests more than the supervisor grants.
#[test]
fn broker_never_has_more_workers_than_the_supervisor_grants() {
    let mut random = 7u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    for wanted in [1, 2, 5] {
        let (mut workers, mut last, mut most) = (scene(wanted, &[], 0, 0), 0, 0);
        for _ in 0..20_000 {
            let Change { ask, retire } = workers.change(Clients, 0, MAX_USE);
            for _ in 0..ask {
                last += 1;
                workers.list.insert(WorkerId(last), worker(Stage::Starting));
            }
            if let Some(id) = retire {
                workers.list.get_mut(&id).unwrap().stage = Stage::Draining;
            }
            most = most.max(workers.list.len());
            let count = u32::try_from(workers.list.len()).unwrap();
            let id = *workers.list.keys().nth(next(count) as usize).unwrap();
            let one = workers.list.get_mut(&id).unwrap();
            match (one.stage, next(20)) {
                (_, 0) => drop(workers.list.remove(&id)),
                (Stage::Starting, _) => *one = Worker { served: 0, ..worker(Stage::Admitted) },
                (Stage::Admitted, _) => one.served = MAX_USE,
                _ => {}
            }
        }
        let granted = wanted + 1 + max_draining(wanted);
        assert!(most <= granted as usize, "{most} with {wanted}");
        assert!(most + 1 >= granted as usize, "the limit is no larger than it has to be: {most}");
    }
}
