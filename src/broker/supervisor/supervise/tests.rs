//! The supervisor's book-keeping, with the test as its brokers and a clock that the test moves.

use super::*;
use mapkeep_config_site::checks::Programs;
use mapkeep_config_site::options::Options;
use mapkeep_config_site::place::Place;
use mapkeep_config_site::plan::{LogPlan, ServicePlan};
use mapkeep_config_text::Service;
use mapkeep_log::{Destination, Facility};
use mapkeep_proto::{Decode, Listed};
use mapkeep_sys::channel::Received;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const MS: Duration = Duration::from_millis(1);

/// The plan of a read service with these tables.
pub(super) fn plan(names: &[&str]) -> ServicePlan {
    let listed = |name: &&str| Listed { name: name.as_bytes().to_vec(), approved: true, incomplete: false };
    ServicePlan { names: names.iter().map(listed).collect(), ..bare(Service::Read) }
}

/// The plan of a service without tables.
fn bare(service: Service) -> ServicePlan {
    let main = mapkeep_config_text::parse_main(b"").0;
    let settings = mapkeep_config_text::Settings::from(&mapkeep_config_text::Parameters::new(main)).0;
    ServicePlan {
        mode: Mode::Standalone,
        service,
        ids: None,
        chroot: PathBuf::new(),
        names: Vec::new(),
        approval_known: true,
        smtputf8: true,
        inside: PathBuf::new(),
        write_directories: Vec::new(),
        owners: Vec::new(),
        owners_text: String::new(),
        trusted_directories: String::new(),
        snapshot_limit: 1,
        query_timeout: Duration::from_secs(10),
        backend_connections: 8,
        socketmap_sizes: (100_000, u32::MAX),
        inet_protocols: (true, true),
        queue_directory: PathBuf::new(),
        groups: Vec::new(),
        workers: 1,
        max_use: 1,
        max_idle: Duration::ZERO,
        daemon_timeout: Duration::from_secs(1),
        log: LogPlan {
            destination: Destination::Stderr,
            facility: Facility::MAIL,
            ident: String::new(),
            service: service.name().to_owned(),
            host: String::new(),
            verbose: false,
        },
        place: Place::new(service, &settings, &mapkeep_config_text::parse_master(b"").0, None),
    }
}

/// A process that stays until it is killed.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for the signal that ends it.
    fn killed_by(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while self.lives() && begun.elapsed() < 20_000 * MS {
            std::thread::sleep(MS);
        }
        self.0.try_wait().unwrap()?.signal()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A supervisor that has started nothing yet.
fn supervisor(service: Service) -> Supervisor {
    let plan = bare(service);
    let open = |path| std::fs::File::open(path).unwrap();
    Supervisor {
        source: Source::new(
            &Options::read(service.name(), &["serve".into()]).unwrap(),
            "/nonexistent".into(),
        ),
        dialer: None,
        spawner: Spawner {
            programs: Programs::given(
                Programs::names(None).into_iter().map(|name| (name, open("/bin/false"))).collect(),
            ),
            null: open("/dev/null"),
            log_socket: None,
            ids: None,
            groups: Vec::new(),
            log: plan.log.clone(),
            inherited_filters: 0,
            own_brief: String::new(),
        },
        listeners: Vec::new(),
        places: Vec::new(),
        status: None,
        notify: Notify::default(),
        signals: SignalFd::new(&SigSet::empty()).unwrap(),
        serving: Generation::new(0, plan).unwrap(),
        coming: None,
        leaving: VecDeque::new(),
        state: State::default(),
    }
}

/// Gives it a broker that has been ready: this process, and our end of its channel.
fn serving(supervisor: &mut Supervisor, broker: &Sleeper) -> Channel {
    let (near, far) = Channel::pair().unwrap();
    let role = supervisor.serving.plan.broker_role();
    supervisor.serving.broker = Some((Child::new(broker.pid(), role, Instant::now()), near));
    supervisor.serving.was_ready = true;
    far
}

/// What the broker is told next.
fn told(broker: &Channel) -> Option<(SupervisorToBroker, usize)> {
    let mut buffer = [0; 64];
    match broker.receive(&mut buffer).unwrap() {
        Received::Message(length, descriptors) => {
            Some((SupervisorToBroker::decode(&buffer[..length]).unwrap(), descriptors.len()))
        }
        _ => None,
    }
}

fn worker(id: u32) -> SupervisorToBroker {
    SupervisorToBroker::Worker { id: WorkerId(id), class: TrustClass::EVERYONE, duty: Duty::Clients }
}

#[test]
fn worker_that_outlives_its_broker_is_ended_in_time() {
    for (service, role, limit) in [
        (Service::Read, Role::Lookup, Duration::from_secs(30)),
        (Service::Read, Role::Rules, Duration::from_secs(30)),
        (Service::Write, Role::Writer, Duration::from_secs(600)),
    ] {
        let (broker, mut orphan) = (Sleeper::new(), Sleeper::new());
        let mut supervisor = supervisor(service);
        let _channel = serving(&mut supervisor, &broker);
        let begun = Instant::now();
        supervisor.state.workers.insert(WorkerId(1), (Child::new(orphan.pid(), role, begun), 0));
        supervisor.end_orphans(begun + limit * 9);
        assert_eq!(supervisor.next_orphan(), None, "{service:?}: its broker is there");
        supervisor.reap_broker(0, broker.pid(), "killed by SIGKILL", false).unwrap();
        let end = supervisor.next_orphan().expect("a limit");
        assert!((begun + limit..=Instant::now() + limit).contains(&end), "{service:?}");
        supervisor.end_orphans(end - MS);
        assert!(orphan.lives(), "{service:?}");
        supervisor.end_orphans(end);
        assert_eq!(orphan.killed_by(), Some(Signal::SIGKILL as i32), "{service:?}");
    }
}

#[test]
fn what_a_dead_broker_asked_for_is_not_for_the_next_one() {
    let broker = Sleeper::new();
    let mut supervisor = supervisor(Service::Write);
    let _channel = serving(&mut supervisor, &broker);
    let now = Instant::now();
    supervisor.state.starts = vec![Start::of(Role::Writer, 0, now), Start::of(Role::Logger, 0, now)];
    supervisor.reap_broker(0, broker.pid(), "killed by SIGKILL", false).unwrap();
    // Else the next one had a writer before it asked for one, and asking would be a second wish.
    let roles: Vec<Role> = supervisor.state.starts.iter().map(|start| start.role).collect();
    assert_eq!(roles, [Role::Logger, Role::WriteBroker]);
}

#[test]
fn started_worker_reaches_a_broker_that_had_no_room_for_it() {
    let mut broker = Sleeper::new();
    let mut supervisor = supervisor(Service::Write);
    let channel = serving(&mut supervisor, &broker);
    let mut fill = 0;
    while supervisor.serving.is_quiet() {
        supervisor.serving.tell(SupervisorToBroker::Checkpoint, None);
        fill += 1;
        assert!(fill < 9999, "it is told, or lost");
    }
    // It has not been told the last one, and needs no second.
    supervisor.checkpoint();
    supervisor.start_worker(Start::of(Role::Writer, 0, Instant::now()), Instant::now()).unwrap();
    supervisor.serving.tell(SupervisorToBroker::Gone(WorkerId(1)), None);
    for _ in 1..fill {
        assert_eq!(told(&channel), Some((SupervisorToBroker::Checkpoint, 0)));
    }
    assert_eq!(told(&channel), None, "there was no room");
    supervisor.generations_mut().for_each(Generation::flush);
    assert_eq!(told(&channel), Some((SupervisorToBroker::Checkpoint, 0)));
    assert_eq!(told(&channel), Some((worker(1), 1)), "with its channel");
    assert_eq!(told(&channel), Some((SupervisorToBroker::Gone(WorkerId(1)), 0)));
    assert!(supervisor.serving.is_quiet() && broker.lives());
    let (child, _) = &supervisor.state.workers[&WorkerId(1)];
    nix::sys::wait::waitpid(child.pid, None).unwrap();
}

#[test]
fn broker_that_does_not_hear_what_it_is_told_is_ended() {
    let mut broker = Sleeper::new();
    let mut supervisor = supervisor(Service::Read);
    let _channel = serving(&mut supervisor, &broker);
    let mut told = 0;
    while supervisor.serving.is_quiet() {
        told += 1;
        assert!(told < 9999, "it is told, or lost");
        supervisor.serving.tell(SupervisorToBroker::Gone(WorkerId(told)), None);
    }
    // The channel alone has room for more than ours can ever have before it reads.
    assert!(told > 100, "{told}");
    assert!(broker.lives());
    (0..=512).for_each(|number| supervisor.serving.tell(SupervisorToBroker::Gone(WorkerId(number)), None));
    assert_eq!(broker.killed_by(), Some(Signal::SIGKILL as i32));
}

#[test]
fn broker_that_hangs_up_can_say_why_and_is_ended_if_it_stays() {
    let mut broker = Sleeper::new();
    let mut supervisor = supervisor(Service::Read);
    drop(serving(&mut supervisor, &broker));
    supervisor.receive_from_broker(0).unwrap();
    let now = Instant::now();
    let limit = supervisor.next_limit().expect("it is looked at again");
    assert!(limit > now && supervisor.serving.hung_up, "nothing more is read from it");
    supervisor.settle(now);
    assert!(broker.lives(), "it may still write to the log");
    supervisor.settle(limit);
    assert_eq!(broker.killed_by(), Some(Signal::SIGKILL as i32));
    assert!(
        supervisor.next_limit().is_some_and(|again| again > limit),
        "without a pause it would be looked at for ever"
    );
}

#[test]
fn groups_of_mail_owner_are_those_of_the_start_where_there_is_a_dialer() {
    let with = |names: &[&str], groups: &[u32]| ServicePlan { groups: groups.to_vec(), ..plan(names) };
    let (after, waiting) = with(&["tcp:a:1"], &[7, 8]).after(&with(&["tcp:a:1"], &[7])).unwrap();
    assert_eq!((after.groups, waiting), (vec![7], vec!["the groups of mail_owner"]));
    assert_eq!(with(&["hash:/x"], &[7, 8]).after(&with(&["hash:/x"], &[7])).unwrap().1, [""; 0]);
}
