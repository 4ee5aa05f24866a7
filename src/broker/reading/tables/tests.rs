use super::*;
use mapkeep_broker_trust::testbed::Bed;
use std::cell::Cell;
use std::collections::BTreeMap;

const MS: Duration = Duration::from_millis(1);
/// How long it may take until a file is old enough to be copied, by the file system's clock.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tables whose files are `t0`, `t1`, ... in a directory, and a clock that the test moves.
struct Scene {
    bed: Bed,
    tables: Tables,
    now: Instant,
    on_the_way: Cell<bool>,
    /// How often workers had to be told about each table.
    told: BTreeMap<TableId, u32>,
}

impl Scene {
    fn new(bed: Bed, count: usize, room: usize) -> Scene {
        let now = Instant::now();
        let list = (0..count).map(|number| {
            bed.file(&format!("t{number}"), b"a b\n");
            let name = [b"cidr:", bed.bytes(&format!("t{number}")).as_slice()].concat();
            Listed { name, approved: true, incomplete: false }
        });
        let list: Vec<Listed> = list.collect();
        let anchor = Anchor::host().unwrap();
        let tables = Tables::new(list, anchor, Owners::root(), 1 << 30, room, now);
        Scene { bed, tables, now, on_the_way: Cell::new(false), told: BTreeMap::new() }
    }

    /// One turn, a moment after the one before.
    fn turn(&mut self) -> usize {
        self.now += MS;
        let changes = self.tables.work(self.now, |_| self.on_the_way.get());
        for id in &changes {
            *self.told.entry(*id).or_default() += 1;
        }
        changes.len()
    }

    /// Runs turns until this number of changes has been reported in all.
    fn turns_until(&mut self, told: u32) {
        let begun = Instant::now();
        while self.told.values().sum::<u32>() < told {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.told);
            self.turn();
        }
    }

    /// Runs turns for this time, by the test's clock.
    fn turns_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
        }
    }

    /// A new version of a table's file, old enough to be copied.
    fn change(&mut self, number: u16, text: &str) {
        self.bed.file(&format!("t{number}"), text.as_bytes());
        self.wait_until_old();
        self.tables.touched(TableId(number), self.now);
    }

    fn wait_until_old(&self) {
        let begun = Instant::now();
        while begun.elapsed() < 40 * MS {
            std::thread::yield_now();
        }
    }

    fn generation(&self, number: u16) -> Option<u32> {
        match self.tables.offer(TableId(number)) {
            Offer::Snapshot(_, snapshot) => Some(snapshot.generation),
            _ => None,
        }
    }

    fn loaded(&mut self, number: u16, generation: u32) -> bool {
        self.tables.loaded(TableId(number), generation, self.now)
    }
}

#[test]
fn second_copy_waits_until_the_first_has_been_answered() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1, 9);
    scene.turns_until(1);
    scene.on_the_way.set(true);
    scene.change(0, "a c\n");
    scene.turns_for(3000 * MS);
    assert_eq!(scene.generation(0), Some(1), "the first is still on its way");
    scene.on_the_way.set(false);
    assert!(!scene.loaded(0, 1));
    scene.turns_until(2);
    assert_eq!(scene.generation(0), Some(2));
}

#[test]
fn table_that_is_touched_all_the_time_takes_a_share_of_it() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1, 9);
    scene.turns_until(1);
    // The worker takes 100 ms for each snapshot.
    let (begun, mut version) = (scene.now, 0);
    while scene.now < begun + 5000 * MS {
        let generation = scene.generation(0).unwrap();
        scene.now += 100 * MS;
        scene.loaded(0, generation);
        while scene.generation(0) == Some(generation) {
            version += 1;
            scene.change(0, &format!("a {version}\n"));
            scene.turns_for(61 * MS);
        }
    }
    let copies = scene.generation(0).unwrap();
    assert!((5..=17).contains(&copies), "{copies} in 5 s");
}

#[test]
fn small_table_does_not_wait_for_the_copy_of_a_large_one() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 3, 9);
    std::fs::File::options().write(true).open(scene.bed.path("t0")).unwrap().set_len(64 << 20).unwrap();
    scene.wait_until_old();
    scene.now += 1000 * MS;
    assert_eq!(scene.turn(), 2, "both small ones, in the turn in which the large one was begun");
    assert!(scene.told.keys().all(|id| id.0 > 0));
    let mut turns = 1;
    while scene.generation(0).is_none() {
        scene.turn();
        turns += 1;
    }
    assert!((16..80).contains(&turns), "64 MiB in {turns} turns");
}

#[test]
fn start_does_not_wait_for_a_file_that_is_touched_all_the_time() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 2, 9);
    std::fs::File::options().write(true).open(scene.bed.path("t0")).unwrap().set_len(256 << 20).unwrap();
    scene.wait_until_old();
    let end = scene.now + 3000 * MS;
    while scene.now < end && !scene.tables.first_pass_is_done() {
        scene.turns_for(20 * MS);
        scene.tables.touched(TableId(0), scene.now);
    }
    assert!(scene.tables.first_pass_is_done(), "the other table is served");
    assert_eq!((scene.generation(0), scene.generation(1)), (None, Some(1)));
}

#[test]
fn turn_is_bounded_and_many_tables_have_their_turn_anyway() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1000, 2000);
    scene.wait_until_old();
    let mut most = 0;
    while !scene.tables.first_pass_is_done() {
        most = most.max(scene.turn());
    }
    assert!((16..200).contains(&most), "{most} in one turn");
    assert!((0..1000).all(|number| scene.generation(number) == Some(1)));
}

#[test]
fn few_tables_at_a_time_have_a_snapshot_that_no_worker_has_tried() {
    let Some(bed) = Bed::new() else { return };
    let count = UNTRIED as u16 + 50;
    let mut scene = Scene::new(bed, count.into(), 2000);
    scene.turns_until(count.into());
    for number in 0..count {
        scene.loaded(number, 1);
        scene.bed.file(&format!("t{number}"), b"a c\n");
    }
    scene.wait_until_old();
    (0..count).for_each(|number| scene.tables.touched(TableId(number), scene.now));
    scene.turns_for(1000 * MS);
    let fresh = |scene: &Scene| (0..count).filter(|number| scene.generation(*number) == Some(2)).count();
    assert_eq!(fresh(&scene), UNTRIED);
    assert!(
        scene.tables.next_due(scene.now) > Some(scene.now),
        "nothing is to be done until a worker is heard"
    );
    (0..20).for_each(|number| assert!(!scene.loaded(number, 2)));
    scene.turns_for(1000 * MS);
    assert_eq!(fresh(&scene), UNTRIED + 20);
}

#[test]
fn tables_beyond_the_descriptors_are_refused_and_the_others_served() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 5, 3);
    scene.turns_until(5);
    let served = (0..5).filter(|number| scene.generation(*number).is_some()).count();
    assert_eq!(served, 3);
    assert!(scene.tables.first_pass_is_done());
    let refused = scene.tables.entries.iter().filter(|entry| entry.told.contains("LimitNOFILE"));
    assert_eq!(refused.count(), 2);
}

#[test]
fn version_that_crashed_a_worker_is_not_copied_again_and_the_previous_one_is_served() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 2, 9);
    scene.turns_until(2);
    scene.loaded(0, 1);
    scene.change(0, "deadly x\n");
    scene.turns_until(3);
    let died = |scene: &mut Scene, generation| {
        let now = scene.now;
        scene.tables.load_failed(TableId(0), generation, LoadFailure::Died, now)
    };
    assert!(died(&mut scene, 2), "workers are told of the previous snapshot");
    assert_eq!(scene.generation(0), Some(1));
    assert!(
        scene.tables.suspect(TableId(0), false).is_none(),
        "no client may have to wait for the worker that tries it"
    );
    assert!(scene.tables.suspect(TableId(0), true).is_some());
    scene.turns_for(2000 * MS);
    assert_eq!((scene.generation(0), scene.generation(1)), (Some(1), Some(1)));
    assert!(died(&mut scene, 2));
    assert!(scene.tables.suspect(TableId(0), true).is_none());
    scene.turns_for(2000 * MS);
    assert_eq!(scene.generation(0), Some(1));
    scene.change(0, "mended x\n");
    scene.turns_until(4);
    assert_eq!(scene.generation(0), Some(3));
}

#[test]
fn first_snapshot_that_crashes_a_worker_leaves_a_temporary_error() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1, 9);
    scene.turns_until(1);
    assert!(scene.tables.load_failed(TableId(0), 1, LoadFailure::Died, scene.now));
    assert!(matches!(scene.tables.offer(TableId(0)), Offer::Unavailable(Unavailable::Unloadable)));
    assert!(scene.tables.first_pass_is_done());
    assert!(scene.loaded(0, 1), "a worker has loaded it after all: the others get it");
    assert_eq!(scene.generation(0), Some(1));
}

#[test]
fn snapshot_that_a_worker_refused_is_tried_by_the_next() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1, 9);
    scene.turns_until(1);
    assert!(scene.tables.load_failed(TableId(0), 1, LoadFailure::Refused, scene.now));
    assert!(scene.tables.suspect(TableId(0), false).is_some());
}

#[test]
fn counts_follow_the_snapshots() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 2, 9);
    scene.turns_until(2);
    let counts = |tables: &Tables| (tables.held, tables.untried, tables.suspects);
    assert_eq!(counts(&scene.tables), (2, 0, 0));
    scene.change(0, "a c\n");
    scene.turns_until(3);
    assert_eq!(counts(&scene.tables), (2, 1, 0));
    scene.tables.load_failed(TableId(0), 2, LoadFailure::Refused, scene.now);
    assert_eq!(counts(&scene.tables), (2, 0, 1));
    scene.tables.load_failed(TableId(1), 1, LoadFailure::Refused, scene.now);
    assert_eq!(counts(&scene.tables), (1, 0, 2));
    scene.loaded(0, 2);
    assert_eq!(counts(&scene.tables), (1, 0, 1));
}

/// The reason that workers have for a table without a snapshot.
fn reason(scene: &Scene) -> Option<Unavailable> {
    match scene.tables.offer(TableId(0)) {
        Offer::Unavailable(reason) => Some(reason),
        _ => None,
    }
}

#[test]
fn snapshot_that_is_refused_while_there_are_many_suspects_is_tried_again_once_there_are_fewer() {
    let Some(bed) = Bed::new() else { return };
    let count = SUSPECTS as u16 + 1;
    let mut scene = Scene::new(bed, count.into(), 2000);
    scene.turns_until(count.into());
    let refused = |scene: &mut Scene, number, generation| {
        scene.tables.load_failed(TableId(number), generation, LoadFailure::Refused, scene.now)
    };
    (1..count).for_each(|number| assert!(refused(&mut scene, number, 1)));
    assert!(refused(&mut scene, 0, 1));
    scene.turns_for(12_000 * MS);
    assert_eq!(
        (scene.generation(0), reason(&scene)),
        (None, Some(Unavailable::Unloadable)),
        "no second copy"
    );
    assert!(refused(&mut scene, 1, 1), "a second word");
    scene.turns_for(6000 * MS);
    assert_eq!(scene.generation(0), Some(2), "copied again, by itself");
    assert!(!scene.loaded(0, 2));
    assert_eq!(scene.generation(0), Some(2));
}

#[test]
fn reason_of_a_trouble_ends_with_its_cause() {
    let Some(bed) = Bed::new() else { return };
    let mut scene = Scene::new(bed, 1, 9);
    scene.turns_until(1);
    scene.tables.load_failed(TableId(0), 1, LoadFailure::Died, scene.now);
    scene.tables.load_failed(TableId(0), 1, LoadFailure::Died, scene.now);
    assert_eq!(reason(&scene), Some(Unavailable::Unloadable));
    // The mode of the directory, not of the file: the file's own times do not change.
    scene.bed.mode("", 0o777);
    scene.turns_for(6000 * MS);
    assert_eq!(reason(&scene), Some(Unavailable::Refused));
    scene.bed.mode("", 0o755);
    let told = scene.told[&TableId(0)];
    scene.turns_for(6000 * MS);
    assert_eq!(reason(&scene), Some(Unavailable::Unloadable));
    assert_eq!(scene.told[&TableId(0)], told + 1, "workers are told");
}

#[test]
fn table_that_was_missing_is_being_written_while_its_file_is_locked() {
    let Some(bed) = Bed::new() else { return };
    let now = Instant::now();
    let name = [b"hash:", bed.bytes("t").as_slice()].concat();
    let list = [Listed { name, approved: true, incomplete: false }];
    let tables = Tables::new(list, Anchor::host().unwrap(), Owners::root(), 1 << 30, 9, now);
    let mut scene = Scene { bed, tables, now, on_the_way: Cell::new(false), told: BTreeMap::new() };
    scene.turns_for(1000 * MS);
    assert_eq!(reason(&scene), Some(Unavailable::Missing));
    scene.bed.file("t.db", b"x");
    let writer = std::fs::File::options().write(true).open(scene.bed.path("t.db")).unwrap();
    writer.lock().unwrap();
    scene.wait_until_old();
    scene.tables.touched(TableId(0), scene.now);
    scene.turns_for(2000 * MS);
    assert_eq!(reason(&scene), Some(Unavailable::Loading));
    assert_eq!(scene.told[&TableId(0)], 2);
    writer.unlock().unwrap();
    scene.turns_until(3);
    assert_eq!(scene.generation(0), Some(1));
}
