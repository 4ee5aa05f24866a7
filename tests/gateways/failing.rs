//! What a server's trouble does: to whom it happens, how often the server is asked, what the log says, how soon all is well.

use crate::ask::{RETRY, for_a_while, found, lookup};
use crate::common::PATIENCE;
use crate::common::master::{Master, Site};
use crate::common::poll;
use crate::common::wire::Wire;
use crate::server::{Language, Manner, Server};
use std::time::{Duration, Instant};

/// A table that needs nobody.
const OTHER: &str = "inline:{a=b}";
/// How long servers have for an answer in these scenarios.
const DEADLINE: Duration = Duration::from_secs(1);
/// How soon after its server's return a table must be answered.
const RETURN: Duration = Duration::from_secs(2);

struct Scene {
    site: Site,
    ill: Server,
    well: Server,
}

impl Scene {
    fn new(language: Language) -> Scene {
        let site = Site::new();
        site.keep("query_timeout = 1s\n");
        let ill = match language {
            Language::Socketmap => Server::at_path(language, site.path("ill")),
            Language::Tcp => Server::at_port(language),
        };
        let well = Server::at_path(Language::Socketmap, site.path("well"));
        let (one, other) = (ill.table("m"), well.table("m"));
        site.approve(&[&one, &other, OTHER], "");
        Scene { site, ill, well }
    }

    /// Asks the table of the server that is ill; the answer must be RETRY, and come by the deadline and a second.
    fn fails(&self, wire: &mut Wire) {
        let start = Instant::now();
        assert_eq!(wire.ask(&lookup(&self.ill.table("m"), "k")), RETRY);
        let took = start.elapsed();
        assert!(took < DEADLINE + PATIENCE / 10, "RETRY came after {took:?}");
    }

    /// The other tables notice nothing.
    fn others_answer(&self, wire: &mut Wire) {
        assert_eq!(wire.ask(&lookup(&self.well.table("m"), "k")), found("m-k"));
        assert_eq!(wire.ask(&lookup(OTHER, "a")), found("b"));
    }

    fn value(&self) -> String {
        found(if self.ill.table("m").starts_with("tcp:") { "tcp-k" } else { "m-k" })
    }

    /// Waits until the server that was ill answers again; gives how long it took.
    fn recovers(&self, wire: &mut Wire) -> Duration {
        let start = Instant::now();
        let table = self.ill.table("m");
        let look = || {
            let reply = wire.ask(&lookup(&table, "k"));
            assert!(reply == RETRY || reply == self.value(), "{reply}");
            (reply == self.value()).then(|| start.elapsed())
        };
        poll(PATIENCE, look).expect("the server is asked again")
    }

    /// Lines about this server.
    fn lines(&self, server: &Server) -> Vec<String> {
        let of = server.title();
        self.site.log().into_iter().map(|line| line.text).filter(|text| text.contains(&of)).collect()
    }
}

fn warm(scene: &Scene, master: &Master<'_>) -> (Wire, Wire) {
    let (mut one, mut other) = (master.wire(), master.wire());
    assert_eq!(one.ask(&lookup(&scene.ill.table("m"), "k")), scene.value());
    scene.others_answer(&mut other);
    (one, other)
}

pub fn server_that_stops_is_tried_once_a_second_and_found_again() {
    for language in [Language::Socketmap, Language::Tcp] {
        let mut scene = Scene::new(language);
        let master = scene.site.start();
        let (mut one, mut other) = warm(&scene, &master);
        scene.ill.stop();
        for _ in 0..200 {
            scene.fails(&mut one);
            scene.others_answer(&mut other);
        }
        scene.ill.start();
        let took = scene.recovers(&mut one);
        assert!(took < RETURN, "{language:?}: asked again after {took:?}");
        // A line is in the log after the answer that it is about.
        let told = || Some(scene.lines(&scene.ill)).filter(|lines| lines.len() >= 3);
        let lines = poll(PATIENCE, told).unwrap_or_else(|| scene.lines(&scene.ill));
        assert_eq!(lines.len(), 3, "connected, lost, well again: {lines:#?}");
        assert_eq!(scene.lines(&scene.well).len(), 1);
    }
}

pub fn server_that_hangs_up_is_connected_to_once_a_second() {
    let scene = Scene::new(Language::Socketmap);
    let master = scene.site.start();
    let (mut one, mut other) = warm(&scene, &master);
    scene.ill.behave(Manner::HangsUp);
    let before = scene.ill.came().len();
    let start = Instant::now();
    for_a_while(Duration::from_secs(4), || {
        scene.fails(&mut one);
        scene.others_answer(&mut other);
    });
    let seconds = start.elapsed().as_secs() + 1;
    let came = scene.ill.came().len() - before;
    // A question that a connection has failed is asked once more on another.
    assert!(u64::try_from(came).unwrap() <= 2 * seconds + 2, "{came} connections in {seconds} s");
    scene.ill.behave(Manner::Well);
    let took = scene.recovers(&mut one);
    assert!(took < RETURN, "asked again after {took:?}");
}

pub fn server_that_freezes_costs_its_own_table_the_deadline() {
    for language in [Language::Socketmap, Language::Tcp] {
        let scene = Scene::new(language);
        let master = scene.site.start();
        let (mut one, mut other) = warm(&scene, &master);
        scene.ill.behave(Manner::Frozen);
        std::thread::scope(|threads| {
            let asking = threads.spawn(|| (0..2).for_each(|_| scene.fails(&mut one)));
            while !asking.is_finished() {
                scene.others_answer(&mut other);
            }
        });
        scene.ill.behave(Manner::Well);
        let took = scene.recovers(&mut one);
        assert!(took < RETURN, "{language:?}: asked again after {took:?}");
    }
}

pub fn half_an_answer_and_garbage_are_temporary_errors() {
    for language in [Language::Socketmap, Language::Tcp] {
        for manner in [Manner::Half, Manner::Garbage] {
            let scene = Scene::new(language);
            let master = scene.site.start();
            let (mut one, mut other) = warm(&scene, &master);
            scene.ill.behave(manner);
            for _ in 0..3 {
                scene.fails(&mut one);
                scene.others_answer(&mut other);
            }
            scene.ill.behave(Manner::Well);
            let took = scene.recovers(&mut one);
            assert!(took < RETURN, "{language:?} {manner:?}: asked again after {took:?}");
            assert_eq!(master.of_role("gateway").len(), 2, "garbage ends a connection, not a gateway");
        }
    }
}

pub fn server_that_answers_once_on_each_connection_is_asked_on_a_new_one() {
    for language in [Language::Socketmap, Language::Tcp] {
        let scene = Scene::new(language);
        let master = scene.site.start();
        scene.ill.behave(Manner::Once);
        let mut wire = master.wire();
        for _ in 0..50 {
            assert_eq!(wire.ask(&lookup(&scene.ill.table("m"), "k")), scene.value());
        }
        assert!(scene.ill.came().len() >= 50, "{}", scene.ill.came().len());
        let told = || Some(scene.lines(&scene.ill)).filter(|lines| !lines.is_empty());
        let lines = poll(PATIENCE, told).unwrap_or_default();
        assert_eq!(lines.len(), 1, "that is how some servers are: {lines:#?}");
    }
}

pub fn number_of_connections_is_bounded() {
    let scene = Scene::new(Language::Socketmap);
    scene.site.keep("query_timeout = 1s\nbackend_connections = 3\n");
    let master = scene.site.start();
    let mut clients: Vec<Wire> = (0..24).map(|_| master.wire()).collect();
    let table = scene.ill.table("m");
    std::thread::scope(|threads| {
        for wire in &mut clients {
            threads.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(wire.ask(&lookup(&table, "k")), scene.value());
                }
            });
        }
    });
    assert!((2..=3).contains(&scene.ill.most()), "{} connections at a time", scene.ill.most());
    // Those that are late are closed, and no more than three replace them.
    scene.ill.behave(Manner::Frozen);
    std::thread::scope(|threads| {
        for wire in &mut clients {
            threads.spawn(|| scene.fails(wire));
        }
    });
    scene.ill.behave(Manner::Well);
    scene.recovers(&mut clients[0]);
    assert!(scene.ill.most() <= 3, "{} connections at a time", scene.ill.most());
    assert!(scene.ill.asked() >= 2400);
}

pub fn server_that_is_not_there_keeps_nobody_waiting_at_the_start() {
    let mut scene = Scene::new(Language::Socketmap);
    scene.ill.stop();
    let master = scene.site.start();
    let mut wire = master.wire();
    scene.others_answer(&mut wire);
    scene.fails(&mut wire);
    scene.ill.start();
    let took = scene.recovers(&mut wire);
    assert!(took < RETURN, "asked again after {took:?}");
}
