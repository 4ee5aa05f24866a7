//! What the end of a process on the way to a server does.

use crate::ask::{RETRY, found, lookup};
use crate::common::master::{Master, Site};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, poll, process};
use crate::server::{Language, Manner, Server};
use std::time::Duration;

struct Scene {
    site: Site,
    one: Server,
    other: Server,
}

impl Scene {
    fn new() -> Scene {
        let site = Site::new();
        let one = Server::at_path(Language::Socketmap, site.path("one"));
        let other = Server::at_port(Language::Tcp);
        site.approve(&[&one.table("m"), &other.table("")], "");
        Scene { site, one, other }
    }

    fn answers(&self, wire: &mut Wire) {
        assert_eq!(wire.ask(&lookup(&self.one.table("m"), "k")), found("m-k"));
        assert_eq!(wire.ask(&lookup(&self.other.table(""), "k")), found("tcp-k"));
    }

    /// The gateway whose lines in the log are about this server.
    fn gateway(&self, master: &Master<'_>, server: &Server) -> u32 {
        let line = self.site.wait_for_log(0, &[&server.title(), "connected"]);
        assert!(master.of_role("gateway").contains(&line.pid));
        line.pid
    }
}

pub fn gateway_that_is_killed_is_replaced_and_others_notice_nothing() {
    let scene = Scene::new();
    let master = scene.site.start();
    let (mut lost, mut wire) = (master.wire(), master.wire());
    scene.answers(&mut wire);
    let (victim, other) = (scene.gateway(&master, &scene.one), scene.gateway(&master, &scene.other));
    let worker = master.only("lookup worker");
    // One question is out.
    scene.one.behave(Manner::Frozen);
    let asked = scene.one.asked();
    lost.send(&crate::common::wire::bytes(&lookup(&scene.one.table("m"), "k"))).unwrap();
    poll(PATIENCE, || (scene.one.asked() > asked).then_some(())).unwrap();
    scene.one.behave(Manner::Well);
    process::signal("KILL", victim);
    let reply = lost.receive(Duration::from_secs(5));
    assert_eq!(reply, crate::common::wire::Received::Reply(RETRY.to_owned()), "at once");
    for _ in 0..100 {
        assert_eq!(wire.ask(&lookup(&scene.other.table(""), "k")), found("tcp-k"));
    }
    // Those that come meanwhile wait for the next.
    scene.answers(&mut lost);
    let after = master.of_role("gateway");
    assert!(after.len() == 2 && after.contains(&other) && !after.contains(&victim), "{after:?}");
    assert_eq!(master.only("lookup worker"), worker);
}

pub fn gateway_that_is_stopped_is_replaced() {
    let scene = Scene::new();
    let master = scene.site.start();
    let mut wire = master.wire();
    scene.answers(&mut wire);
    let victim = scene.gateway(&master, &scene.one);
    process::signal("STOP", victim);
    scene.site.wait_for_log(0, &[&scene.one.title(), "does not respond"]);
    let mut again = master.wire();
    poll(PATIENCE, || (again.ask(&lookup(&scene.one.table("m"), "k")) == found("m-k")).then_some(()))
        .unwrap();
    scene.answers(&mut wire);
}

pub fn gateway_that_keeps_dying_is_replaced_later_and_later() {
    let scene = Scene::new();
    let master = scene.site.start();
    let mut wire = master.wire();
    scene.answers(&mut wire);
    let other = scene.gateway(&master, &scene.other);
    let mut times = Vec::new();
    for _ in 0..3 {
        let next = || master.of_role("gateway").into_iter().find(|pid| *pid != other);
        let victim = poll(PATIENCE, next).unwrap();
        let died = std::time::Instant::now();
        process::signal("KILL", victim);
        poll(PATIENCE, || next().filter(|pid| *pid != victim)).unwrap();
        times.push(died.elapsed());
        assert_eq!(wire.ask(&lookup(&scene.other.table(""), "k")), found("tcp-k"));
    }
    // 1, 2 and 4 seconds; a machine that is busy makes it longer.
    for (time, pause) in times.iter().zip([1, 2, 4]) {
        assert!(*time >= Duration::from_secs(pause), "{times:?}");
    }
}

pub fn dialer_that_is_killed_ends_the_service_in_order() {
    let scene = Scene::new();
    let mut master = scene.site.start();
    let mut wire = master.wire();
    scene.answers(&mut wire);
    let first = master.only("dialer");
    process::signal("KILL", first);
    scene.site.wait_for_log(0, &["dialer", "exited: killed by SIGKILL", "the service restarts"]);
    // What is connected stays so until then.
    assert_eq!(wire.ask(&lookup(&scene.one.table("m"), "k")), found("m-k"));
    assert!(master.wait().success(), "as after max_use: master(8) starts it anew for the next client");
    master.restart();
    let mut wire = master.wire();
    scene.answers(&mut wire);
    assert_ne!(master.only("dialer"), first);
}

pub fn broker_that_is_killed_is_replaced_with_all_gateways() {
    let scene = Scene::new();
    let master = scene.site.start();
    let mut wire = master.wire();
    scene.answers(&mut wire);
    let before = master.of_role("gateway");
    process::signal("KILL", master.only("broker"));
    let mut again = poll(PATIENCE, || {
        let mut wire = master.wire();
        let reply = wire.ask(&lookup(&scene.one.table("m"), "k"));
        (reply == found("m-k")).then_some(wire)
    })
    .unwrap();
    scene.answers(&mut again);
    drop(wire);
    let left = || master.of_role("gateway").iter().all(|pid| !before.contains(pid)).then_some(());
    poll(PATIENCE, left).expect("the gateways of the broker that died leave");
    assert_eq!(master.of_role("gateway").len(), 2);
}
