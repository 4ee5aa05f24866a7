//! Enters the lock for real, in forked children, and looks at them from outside as the supervisor does.

#![cfg(test)]

mod raw;
mod runner;
mod scene;

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mapkeep_sandbox::{Capability, FileRules, Limits, Lock, Privilege, Role, Tcp, enter, expected, inspect};
use nix::unistd::getpid;
use raw::{Death, end, in_child, start};
use scene::*;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, role, jail, parent] = arguments.as_slice()
        && word == "supervised"
    {
        let lock = supervised(role, Path::new(jail));
        let status = serve(Lock { parent_pid: Some(parent.parse().unwrap()), ..lock });
        raw::exit_now(u64::try_from(status).unwrap());
    }
    if !runner::have_root("entering") {
        return ExitCode::SUCCESS;
    }
    runner::run(&[
        ("each_role_entered_status_is_as_expected", each_role_entered),
        ("broker_entered_reads_only_beneath_its_directories", broker_reads_only_beneath),
        ("broker_entered_cannot_read_the_exe_link_of_an_outsider", broker_reads_no_exe_link),
        ("supervisor_entered_starts_ends_and_logs", supervisor_starts_ends_and_logs),
        ("supervisor_entered_cannot_signal_an_outsider", supervisor_signals_no_outsider),
        ("lookup_entered_dies_of_open", lookup_dies_of_open),
        ("lookup_entered_dies_with_its_parent", lookup_dies_with_its_parent),
        ("lookup_entered_root_is_the_jail", lookup_root_is_the_jail),
        ("lookup_entered_limits_are_in_force", limits_are_in_force),
        ("rootless_broker_reports_what_is_missing", rootless_reports),
        ("unexpected_descriptor_is_refused", unexpected_descriptor),
        ("missing_descriptor_is_refused", missing_descriptor),
        ("kernel_without_landlock_is_refused", without_landlock),
        ("kernel_without_seccomp_is_refused", without_seccomp),
        ("second_thread_is_refused", second_thread),
        ("other_parent_is_refused", other_parent),
        ("unsafe_root_directory_is_refused", unsafe_root_directory),
        ("contradicting_request_is_refused", contradicting_request),
    ])
}

// --- processes that enter ---

fn each_role_entered() {
    with_jail(|jail| {
        for role in Role::ALL.into_iter().filter(|role| !role.is_fork()) {
            assert_as_expected(role, || lock(role, jail));
        }
    });
}

/// Landlock carries what seccomp cannot see: the path behind openat2's pointer.
fn broker_reads_only_beneath() {
    with_jail(|jail| {
        fs::write(jail.join("table"), "x").unwrap();
        let open = |path: PathBuf, flags: i32| {
            let files = FileRules { read_beneath: vec![jail.to_owned()], ..FileRules::default() };
            in_child(|| after_enter(Lock { files, ..broker() }, || openat2(&path, flags)))
        };
        assert_eq!(open(jail.join("table"), libc::O_RDONLY), Death::Exit(0));
        assert_eq!(open("/etc/passwd".into(), libc::O_RDONLY), Death::Exit(libc::EACCES));
        assert_eq!(open(jail.join("../../etc/passwd"), libc::O_RDONLY), Death::Exit(libc::EACCES));
        // It is not root, so the file's mode prevents writing; for a file of its own, Landlock does.
        fs::set_permissions(jail.join("table"), PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(open(jail.join("table"), libc::O_RDWR), Death::Exit(libc::EACCES));
        fs::remove_file(jail.join("table")).unwrap();
    });
}

/// A fact that matters for identifying peers: a Landlock domain forbids this, whatever the capabilities.
fn broker_reads_no_exe_link() {
    const KEEP: &[Capability] = &[Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];
    let files = FileRules { read_beneath: vec!["/proc".into()], ..FileRules::default() };
    let privilege = Privilege::Root { uid: UID, gid: GID, chroot: None, keep: KEEP };
    let outsider = format!("/proc/{}/exe\0", getpid());
    let own = "/proc/self/exe\0";
    let readlink = |path: &str| {
        let mut buffer = [0_u8; 256];
        let at = u64::try_from(libc::AT_FDCWD).unwrap_or(u64::MAX);
        let args = [at, path.as_ptr() as u64, buffer.as_mut_ptr() as u64, 256, 0, 0];
        errno_of(raw::call(libc::SYS_readlinkat, args))
    };
    let death = in_child(|| {
        let lock = Lock { files: files.clone(), privilege: privilege.clone(), ..broker() };
        after_enter(lock, || if readlink(own) == 0 { readlink(&outsider) } else { 99 })
    });
    assert_eq!(death, Death::Exit(libc::EACCES));
}

/// The roles that the supervisor of the reading service starts.
fn children() -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(|role| role.parents().contains(&Role::Supervisor))
}

/// The supervisor's list must be enough to start children that lock themselves in, to end them, and to log.
fn supervisor_starts_ends_and_logs() {
    with_jail(|jail| {
        let log_path = jail.with_extension("log");
        let log = UnixDatagram::bind(&log_path).unwrap();
        let death = in_child(|| {
            prepare_descriptors_alone();
            // The children find their side at 3 and 4; the supervisor's own are 6 and up.
            let (test, child_side) = channel();
            raw::place(child_side.as_raw_fd(), 3);
            raw::place(child_side.as_raw_fd(), 4);
            drop(child_side);
            let line = UnixDatagram::unbound().unwrap();
            let own = fs::File::open("/proc/self/exe").unwrap();
            let descriptors = [0, 1, 2, 3, 4, 5, test.as_raw_fd(), line.as_raw_fd(), own.as_raw_fd()];
            let Ok((confined, _)) = enter(Lock { expected_descriptors: &descriptors, ..supervisor() }) else {
                return 1;
            };
            assert_eq!(confined.role(), Role::Supervisor);
            line.send_to(b"hello", &log_path).unwrap();
            let status =
                inspect(getpid().as_raw(), &fs::read_to_string("/proc/self/status").unwrap()).unwrap();
            for (number, role) in (10..).step_by(10).zip(children()) {
                let words = ["entering", "supervised", role.name(), jail.to_str().unwrap()].map(String::from);
                let words = words.into_iter().chain([getpid().to_string()]);
                let arguments: Vec<_> = words.map(|word| CString::new(word).unwrap()).collect();
                let child = raw::spawn(&own, &arguments);
                let said = receive(&test);
                let pid = child.as_raw();
                let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
                let signalled = end(child) == Death::Signal(libc::SIGKILL);
                let found = inspect(pid, &text).unwrap();
                let should = expected(role, &supervised(role.name(), jail).privilege, status.seccomp_filters);
                let as_expected = should.differences(&found).is_empty() && found.seccomp_filters == 2;
                for (step, fine) in (number..).zip([said == "ready", as_expected, signalled]) {
                    if !fine {
                        return step;
                    }
                }
            }
            0
        });
        assert_eq!(
            death,
            Death::Exit(0),
            "10, 20, ...: {:?}; plus 0: start, 1: status, 2: signal",
            children().collect::<Vec<_>>()
        );
        let mut line = [0; 16];
        log.set_nonblocking(true).unwrap();
        assert_eq!(log.recv(&mut line).unwrap(), 5);
        fs::remove_file(&log_path).unwrap();
    });
}

/// It has CAP_KILL; the scope of its Landlock domain is what stops it.
fn supervisor_signals_no_outsider() {
    let outsider = start(|| {
        loop {
            nix::unistd::pause();
        }
    });
    let [pid, signal] = [outsider.as_raw(), libc::SIGTERM].map(|n| u64::try_from(n).unwrap());
    let kill = || errno_of(raw::call(libc::SYS_kill, [pid, signal, 0, 0, 0, 0]));
    assert_eq!(in_child(|| after_enter(supervisor(), kill)), Death::Exit(libc::EPERM));
    nix::sys::signal::kill(outsider, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(end(outsider), Death::Signal(libc::SIGKILL));
}

/// The lock of a child that the supervisor of the test starts.
fn supervised(role: &str, jail: &Path) -> Lock<'static> {
    let role = children().find(|one| one.name() == role).unwrap();
    let read_beneath = if role.row().files.read { vec!["/etc".into()] } else { Vec::new() };
    Lock { files: FileRules { read_beneath, ..FileRules::default() }, ..lock(role, jail) }
}

/// Otherwise workers of a killed supervisor would go on with tables that nobody refreshes.
fn lookup_dies_with_its_parent() {
    with_jail(|jail| {
        let (test, child_side) = channel();
        let parent = start(|| {
            start(|| {
                prepare_descriptors(&child_side);
                serve(lookup(jail))
            });
            loop {
                nix::unistd::pause();
            }
        });
        drop(child_side);
        assert_eq!(receive(&test), "ready");
        nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(end(parent), Death::Signal(libc::SIGKILL));
        // The end of the channel, since its other side has been closed.
        assert_eq!(receive(&test), "");
    });
}

fn lookup_root_is_the_jail() {
    with_jail(|jail| {
        let (child, test) = start_with(|| lookup(jail));
        assert_eq!(receive(&test), "ready");
        for link in ["root", "cwd"] {
            assert_eq!(fs::read_link(format!("/proc/{child}/{link}")).unwrap(), jail);
        }
        drop(test);
        assert_eq!(end(child), Death::Exit(0));
    });
}

fn lookup_dies_of_open() {
    with_jail(|jail| {
        let death =
            in_child(|| after_enter(lookup(jail), || openat2(Path::new("/etc/passwd"), libc::O_RDONLY)));
        assert_eq!(death, raw::SIGSYS);
    });
}

fn limits_are_in_force() {
    with_jail(|jail| {
        let (child, test) = start_with(|| lookup(jail));
        assert_eq!(receive(&test), "ready");
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
        for (name, value) in [
            ("Max core file size", "0"),
            ("Max processes", "0"),
            ("Max open files", "64"),
            ("Max file size", "0"),
            ("Max address space", "1073741824"),
            ("Max data size", "268435456"),
        ] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
            assert_eq!(words[..2], [value, value], "{name}");
        }
        drop(test);
        assert_eq!(end(child), Death::Exit(0));
    });
}

fn rootless_reports() {
    let death = in_child(|| {
        prepare_descriptors_alone();
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setgid(GID.into()).unwrap();
        nix::unistd::setuid(UID.into()).unwrap();
        // As after an exec, which an ordinary user's start always is.
        nix::sys::prctl::set_dumpable(true).unwrap();
        let files = FileRules { read_beneath: vec!["/etc".into()], ..FileRules::default() };
        match enter(Lock { privilege: Privilege::Rootless, files, ..broker() }) {
            Ok((_, report)) if report.missing.len() == 3 && report.to_string().contains("root directory") => {
                0
            }
            Ok(_) => 1,
            Err(_) => 2,
        }
    });
    assert_eq!(death, Death::Exit(0));
}

// --- processes that are refused ---

fn unexpected_descriptor() {
    with_jail(|jail| {
        let error = refused(|| {
            nix::fcntl::fcntl(std::io::stdin(), nix::fcntl::FcntlArg::F_DUPFD(9)).unwrap();
            lookup(jail)
        });
        assert!(
            error.starts_with("SelfCheck") && error.contains("[0, 1, 2, 3, 4, 5, 9] are open"),
            "{error}"
        );
    });
}

fn missing_descriptor() {
    with_jail(|jail| {
        let error = refused(|| {
            nix::unistd::close(4).unwrap();
            lookup(jail)
        });
        assert!(error.starts_with("SelfCheck") && error.contains("[0, 1, 2, 3, 5] are open"), "{error}");
    });
}

fn without_landlock() {
    with_jail(|jail| {
        let error = refused(|| {
            answer_enosys(libc::SYS_landlock_create_ruleset);
            lookup(jail)
        });
        assert!(error.starts_with("Landlock") && error.contains("Linux 6.12"), "{error}");
        let error = refused(|| {
            answer_enosys(libc::SYS_landlock_restrict_self);
            lookup(jail)
        });
        assert!(error.starts_with("Landlock"), "{error}");
    });
}

fn without_seccomp() {
    with_jail(|jail| {
        let error = refused(|| {
            answer_enosys(libc::SYS_seccomp);
            lookup(jail)
        });
        assert!(error.starts_with("Seccomp"), "{error}");
    });
}

fn second_thread() {
    let error = refused(|| {
        std::thread::spawn(std::thread::park);
        logger()
    });
    assert!(error.starts_with("Request") && error.contains("2 threads"), "{error}");
}

fn other_parent() {
    let error = refused(|| Lock { parent_pid: Some(1), ..logger() });
    assert!(error.starts_with("Process") && error.contains("parent 1 is gone"), "{error}");
}

fn unsafe_root_directory() {
    let chroot_error = |path: &Path, what: &str| {
        let error = refused(|| lookup(path));
        assert!(error.starts_with("Chroot") && error.contains(what), "{error}");
    };
    with_jail(|jail| {
        chroot_error(&jail.join("none"), "No such file");
        fs::write(jail.join("file"), "").unwrap();
        chroot_error(jail, "not empty");
        chroot_error(&jail.join("file"), "Not a directory");
        fs::remove_file(jail.join("file")).unwrap();

        let link = jail.with_extension("link");
        symlink(jail, &link).unwrap();
        chroot_error(&link, "Not a directory");
        fs::remove_file(link).unwrap();

        fs::set_permissions(jail, PermissionsExt::from_mode(0o775)).unwrap();
        chroot_error(jail, "others could put files into it");
        fs::set_permissions(jail, PermissionsExt::from_mode(0o755)).unwrap();
        chown(jail, Some(0), Some(GID)).unwrap();
        chroot_error(jail, "others could put files into it");
        chown(jail, Some(UID), Some(0)).unwrap();
        chroot_error(jail, "others could put files into it");
    });
}

fn contradicting_request() {
    let root = |uid, gid, keep| Privilege::Root { uid, gid, chroot: None, keep };
    let tmp = || FileRules { read_beneath: vec!["/tmp".into()], ..FileRules::default() };
    let run = || FileRules { execute_beneath: vec!["/bin".into()], ..FileRules::default() };
    let checks: [(&str, &dyn Fn() -> Lock<'static>); 15] = [
        ("a lookup worker without chroot", &|| Lock {
            privilege: root(UID, GID, &[]),
            ..lookup(Path::new("/"))
        }),
        ("uid 0 for the logger", &|| Lock { privilege: root(0, GID, &[]), ..logger() }),
        ("gid 0 for the broker", &|| Lock { privilege: root(UID, 0, &[]), ..broker() }),
        ("uid -1, which means unchanged", &|| Lock { privilege: root(u32::MAX, GID, &[]), ..broker() }),
        ("a supervisor with another uid", &|| Lock { privilege: root(UID, GID, &[]), ..supervisor() }),
        ("capabilities for the logger", &|| Lock {
            privilege: root(UID, GID, Role::Supervisor.row().keep),
            ..logger()
        }),
        ("files for the logger", &|| Lock { files: tmp(), ..logger() }),
        ("programs for the broker", &|| Lock { files: run(), ..broker() }),
        ("ports for the broker", &|| Lock {
            files: FileRules { tcp: Tcp::Ports(vec![25]), ..FileRules::default() },
            ..broker()
        }),
        ("groups for the logger", &|| Lock {
            privilege: Privilege::Account { uid: UID, gid: GID, groups: vec![4] },
            ..logger()
        }),
        ("a fork that is none", &|| lock(Role::Connector, Path::new("/"))),
        ("core files", &|| Lock { limits: Limits { core: 1, ..limits() }, ..logger() }),
        ("processes of the broker", &|| Lock { limits: Limits { nproc: 1, ..limits() }, ..broker() }),
        ("a logger that outlives its parent", &|| Lock { parent_pid: None, ..logger() }),
        ("root without giving it up", &|| Lock { privilege: Privilege::Rootless, ..logger() }),
    ];
    for (what, lock) in checks {
        let error = refused(lock);
        assert!(error.starts_with("Request"), "{what}: {error}");
    }
}
