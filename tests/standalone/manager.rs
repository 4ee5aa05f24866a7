//! What a service manager gives to the service and hears of it. Source of the facts: sd_listen_fds(3), sd_notify(3).

use crate::ask::{found, lookup};
use crate::common::PATIENCE;
use crate::common::master::Site;
use crate::common::process;
use crate::serve::{Service, approve, site, wire_at};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

const TABLE: &str = "inline:{a=b}";
/// The shell passes its standard input on as descriptor 3, and its own process id, which exec keeps.
const ACTIVATE: &str =
    "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mapkeep.socket; exec 3<&0 </dev/null;";

fn approved() -> Site {
    let site = site();
    approve(&site, &[TABLE], "");
    site
}

/// The listening socket of a manager, which does not set it non-blocking.
fn listener(site: &Site) -> UnixListener {
    UnixListener::bind(site.path("spool/public/activated")).unwrap()
}

fn activated<'s>(site: &'s Site, first: &str, input: impl Into<OwnedFd>) -> Service<'s> {
    Service::start_through(site, first, &[], Stdio::from(input.into()), &[])
}

pub fn sockets_of_the_manager_are_served() {
    let site = approved();
    let ours = listener(&site);
    // A client that comes before the service waits in the queue, as it would for the manager.
    let early = std::os::unix::net::UnixStream::connect(site.path("spool/public/activated")).unwrap();
    let service = activated(&site, ACTIVATE, ours.try_clone().unwrap());
    let mut wire = wire_at(&site.path("spool/public/activated"));
    assert_eq!(wire.ask(&lookup(TABLE, "a")), found("b"));
    let mut first = [0; 9];
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Read::read_exact(&mut &early, &mut first).unwrap();
    assert_eq!(&first, b"protocol\0");
    assert!(!service.socket().exists(), "no socket of its own beside it");
    approve(&site, &[TABLE, "inline:{c=d}"], "");
    service.reload_well();
    assert_eq!(wire_at(&site.path("spool/public/activated")).ask(&lookup("inline:{c=d}", "c")), found("d"));
}

pub fn sockets_for_another_process_are_left_alone() {
    let site = approved();
    let ours = listener(&site);
    let other = ACTIVATE.replace("LISTEN_PID=$$", "LISTEN_PID=1");
    let service = activated(&site, &other, ours);
    assert_eq!(service.wire().ask(&lookup(TABLE, "a")), found("b"));
    let inherited = fs::read_link(format!("/proc/{}/fd/3", service.pid())).unwrap_or_default();
    assert!(!inherited.to_string_lossy().contains("activated"));
}

pub fn wrong_descriptors_are_refused() {
    let cases = [
        (ACTIVATE.replace("LISTEN_FDS=1", "LISTEN_FDS=2").replace("mapkeep.socket", "a:b"), "descriptor 4"),
        (ACTIVATE.replace("3<&0", "3</dev/null"), "descriptor 3 is not a listening unix stream socket"),
        (ACTIVATE.replace("mapkeep.socket", "a:b"), "LISTEN_FDNAMES has 2 names for 1 descriptors"),
        (ACTIVATE.replace("LISTEN_FDS=1", "LISTEN_FDS=one"), "LISTEN_FDS is \"one\""),
    ];
    for (first, said) in cases {
        let site = approved();
        let mut service = activated(&site, &first, listener(&site));
        assert_eq!(service.wait().code(), Some(1), "{first}");
        site.wait_for_log(0, &["fatal: socket activation: ", said]);
    }
    let site = approved();
    let datagrams = UnixDatagram::bind(site.path("spool/public/activated")).unwrap();
    assert_eq!(activated(&site, ACTIVATE, datagrams).wait().code(), Some(1));
}

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn at(site: &Site) -> (Manager, (&'static str, String)) {
        let path = site.path("notify");
        (Manager(UnixDatagram::bind(&path).unwrap()), ("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()))
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = loop {
            match self.0.recv(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.expect("a message comes"),
            }
        };
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

/// Microseconds of the clock that the manager compares with.
fn monotonic() -> u128 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds).as_micros()
}

pub fn ready_reload_and_stop_are_reported() {
    let site = approved();
    let (manager, variable) = Manager::at(&site);
    let mut service = Service::start_through(&site, "", &[], Stdio::null(), &[variable]);
    assert_eq!(manager.receive(), "READY=1\nSTATUS=Serving 1 tables.\n");
    // Ready means ready: the answer needs no waiting for a socket.
    assert_eq!(crate::common::wire::Wire::open(&service.socket()).ask(&lookup(TABLE, "a")), found("b"));
    approve(&site, &[TABLE, "inline:{c=d}"], "");
    process::signal("HUP", service.pid());
    let reloading = manager.receive();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the manager hears of it first");
    let time: u128 = time.trim().parse().unwrap();
    assert!(monotonic().abs_diff(time) < PATIENCE.as_micros(), "{time}");
    assert_eq!(manager.receive(), "READY=1\nSTATUS=Serving 2 tables.\n");
    // And reloaded means reloaded.
    for _ in 0..20 {
        assert_eq!(service.wire().ask(&lookup("inline:{c=d}", "c")), found("d"));
    }
    fs::remove_file(site.path("etc/main.cf")).unwrap();
    process::signal("HUP", service.pid());
    assert!(manager.receive().starts_with("RELOADING=1\n"));
    let failed = manager.receive();
    assert!(failed.starts_with("READY=1\nSTATUS=The last reload failed: "), "{failed}");
    assert!(failed.contains("main.cf") && failed.lines().count() == 2, "{failed}");
    process::signal("TERM", service.pid());
    assert_eq!(manager.receive(), "STOPPING=1\n");
    assert_eq!(service.wait().code(), Some(0));
}

pub fn abstract_address_works() {
    let site = approved();
    let name = format!("mapkeep-standalone-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    let variable = ("NOTIFY_SOCKET", format!("@{name}"));
    let service = Service::start_through(&site, "", &[], Stdio::null(), &[variable]);
    assert!(manager.receive().starts_with("READY=1\n"));
    // Long after lock-down it still can.
    process::signal("HUP", service.pid());
    assert!(manager.receive().starts_with("RELOADING=1\n"));
    assert!(manager.receive().starts_with("READY=1\n"));
}

pub fn watchdog_is_fed() {
    let site = approved();
    let (manager, variable) = Manager::at(&site);
    let every = Duration::from_millis(300);
    let time = ("WATCHDOG_USEC", every.as_micros().to_string());
    let start = Instant::now();
    let _service = Service::start_through(&site, "", &[], Stdio::null(), &[variable, time]);
    let mut beats = 0;
    while beats < 6 {
        beats += usize::from(manager.receive() == "WATCHDOG=1\n");
    }
    // Twice in each period, no more often and no less.
    assert!(start.elapsed() >= every * 2, "{:?}", start.elapsed());
}
