//! Executes every rule that a role must have (`expected`, written by hand): with arguments that it allows the process
//! lives, with every argument one bit away it dies by SIGSYS. Then all system call numbers: what no rule names must kill.
//! And the policy says what `expected` says, rule by rule, so that nothing can be added to it unseen.
//!
//! Arguments are zero where a rule does not look, so many a call works on descriptor 0 (fchmod(0, 0) succeeds, as root).
//! Therefore each child has descriptors and a directory of its own, whatever the standard streams of the test are, and
//! is nobody: a filter that is broken lets calls through that root must not make (sethostname, acct, vhangup).

#![cfg(test)]

mod expected;
mod raw;
mod runner;

use expected::{Arg, Call, NEAR_MISSES, calls};
use mapkeep_sandbox::{BpfProgram, Role, compile};
use raw::{Death, SIGSYS, in_child};

/// One of the two statuses with which every role may exit.
const LIVED: i32 = 1;
type Args = [u64; 6];

fn main() -> std::process::ExitCode {
    raw::prepare_scratch();
    runner::run(&[
        ("policy_agrees_with_the_expected_lists", policy_agrees_with_the_expected_lists),
        ("children_can_do_no_harm", children_can_do_no_harm),
        ("near_misses_die", near_misses_die),
        ("allowed_arguments_live", allowed_arguments_live),
        ("allowed_arguments_live_under_the_supervisors_filter_too", allowed_arguments_live_as_child),
        ("arguments_one_bit_away_die", arguments_one_bit_away_die),
        ("calls_without_a_rule_die", calls_without_a_rule_die),
        ("x32_numbers_die", x32_numbers_die),
        ("32_bit_entry_dies", entry_32_bit_dies),
    ])
}

fn policy_agrees_with_the_expected_lists() {
    for role in Role::ALL {
        let expected = calls(role);
        let names: Vec<&str> = role.rules().iter().map(|rule| rule.syscall).collect();
        assert_eq!(names, expected.iter().map(Call::name).collect::<Vec<_>>(), "{}", role.name());
        for (rule, call) in role.rules().iter().zip(&expected) {
            let sorted = |way: &mut dyn Iterator<Item = Arg>| {
                let mut args: Vec<Arg> = way.collect();
                args.sort_unstable();
                args
            };
            let mut policy: Vec<Vec<Arg>> =
                rule.alternatives.iter().map(|way| sorted(&mut way.iter().map(Arg::of))).collect();
            let mut should: Vec<Vec<Arg>> =
                call.ways.iter().map(|way| sorted(&mut way.iter().copied())).collect();
            policy.sort_unstable();
            should.sort_unstable();
            assert_eq!((rule.nr, &policy), (call.nr, &should), "{} {}", role.name(), rule.syscall);
        }
    }
}

/// What an attempt would be able to harm under a filter that allows everything.
fn children_can_do_no_harm() {
    let death = in_child(|| {
        raw::isolate();
        let calls: [(i64, Args); 6] = [
            (libc::SYS_sethostname, [0; 6]),
            (libc::SYS_acct, [0; 6]),
            (libc::SYS_vhangup, [0; 6]),
            (libc::SYS_kill, [1, libc::SIGTERM as u64, 0, 0, 0, 0]),
            (libc::SYS_chroot, [c"/".as_ptr() as u64, 0, 0, 0, 0, 0]),
            (libc::SYS_fchmodat, [libc::AT_FDCWD as u64, c"/dev/null".as_ptr() as u64, 0, 0, 0, 0]),
        ];
        let harmed = calls.into_iter().filter(|(nr, args)| raw::call(*nr, *args) == 0).count();
        let same = |a: i32, b: i32| {
            let of = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            of(a) == of(b)
        };
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        // The eleventh is the listing itself.
        i32::try_from(harmed).unwrap() + if same(0, 9) && open == 11 { 0 } else { 100 }
    });
    assert_eq!(death, Death::Exit(0), "the number of calls that did something; from 100 on: descriptors");
}

fn near_misses_die() {
    for (role, nr, arguments, gain) in NEAR_MISSES {
        let mut args = [0; 6];
        args[..arguments.len()].copy_from_slice(arguments);
        let death = attempt(&[&compile(*role).unwrap()], *nr, args);
        assert_eq!(death, SIGSYS, "{} {nr} {args:x?}: {gain}", role.name());
    }
    println!("    {} calls", NEAR_MISSES.len());
}

fn allowed_arguments_live() {
    let count = each_allowed(|role, call, args| {
        assert_lives(role, call, args, attempt(&[&compile(role).unwrap()], call.nr, args));
    });
    println!("    {count} calls");
}

/// A child of the supervisor has both filters: the supervisor's must allow everything that the child's role needs.
fn allowed_arguments_live_as_child() {
    each_allowed(|role, call, args| {
        for parent in role.parents() {
            let filters = [&compile(*parent).unwrap(), &compile(role).unwrap()];
            assert_lives(role, call, args, attempt(&filters, call.nr, args));
        }
    });
}

fn arguments_one_bit_away_die() {
    let mut count = 0;
    for role in Role::ALL {
        let program = compile(role).unwrap();
        for call in calls(role) {
            for (way, arg) in call.ways.iter().flat_map(|way| way.iter().map(move |arg| (way, arg))) {
                let mut tried = 0;
                let bits = (0..64_u32).filter(|bit| arg.mask & (1 << bit) != 0);
                // With ones in the bits that the rule leaves free, since zeros may be allowed by another alternative.
                for (bit, fill) in bits.flat_map(|bit| [(bit, 0), (bit, u64::MAX)]) {
                    let mut args = satisfying(&call, way, fill);
                    args[usize::from(arg.index)] ^= 1 << bit;
                    if call.allows(&args) {
                        continue;
                    }
                    let death = attempt(&[&program], call.nr, args);
                    assert_eq!(death, SIGSYS, "{} {} {args:x?}", role.name(), call.name());
                    tried += 1;
                }
                assert!(tried > 0, "{} {}: no near miss for {arg:?}", role.name(), call.name());
                count += tried;
            }
        }
    }
    println!("    {count} calls");
}

/// Numbers beyond the newest call of Linux 6.18 are in it as well.
fn calls_without_a_rule_die() {
    // uretprobe and uprobe: these two bypass every filter, since the kernel puts them into programs itself. Called from
    // elsewhere they end in SIGILL or an error.
    const BY_DESIGN: [i64; 2] = [335, 336];
    let mut count = 0;
    for role in Role::ALL {
        let program = compile(role).unwrap();
        let calls = calls(role);
        let unnamed = |nr: &i64| calls.iter().all(|call| call.nr != *nr) && !BY_DESIGN.contains(nr);
        for nr in (0..=470).chain([-1, 1000, 0x3fff_ffff]).filter(unnamed) {
            for args in [[0; 6], [u64::MAX; 6]] {
                assert_eq!(attempt(&[&program], nr, args), SIGSYS, "{} number {nr}", role.name());
                count += 1;
            }
        }
    }
    println!("    {count} calls");
}

fn x32_numbers_die() {
    const X32: i64 = 0x4000_0000;
    for role in Role::ALL {
        let program = compile(role).unwrap();
        for nr in calls(role).iter().map(|call| call.nr).chain(512..=547) {
            assert_eq!(attempt(&[&program], nr | X32, [0; 6]), SIGSYS, "{} x32 {nr}", role.name());
        }
    }
}

/// In the 32-bit table all numbers mean something else (5 is open there, not fstat).
fn entry_32_bit_dies() {
    for role in Role::ALL {
        let program = compile(role).unwrap();
        for nr in 0..=470 {
            let death = in_child(|| {
                raw::isolate();
                install(&[&program]);
                raw::call_32(nr);
                LIVED
            });
            // SIGSEGV if the kernel was built without that table.
            assert!(
                [SIGSYS, Death::Signal(libc::SIGSEGV)].contains(&death),
                "{} int80 {nr}: {death:?}",
                role.name()
            );
        }
    }
}

/// Calls `check` for each way in which each call is allowed, with arguments that suit it.
fn each_allowed(mut check: impl FnMut(Role, &Call, Args)) -> usize {
    let mut count = 0;
    for role in Role::ALL {
        for call in calls(role) {
            let any: &[&[Arg]] = &[&[]];
            for way in if call.ways.is_empty() { any } else { call.ways } {
                check(role, &call, satisfying(&call, way, 0));
                count += 1;
            }
        }
    }
    count
}

fn assert_lives(role: Role, call: &Call, args: Args, death: Death) {
    let lives = match call.name() {
        "exit_group" => death == Death::Exit(i32::try_from(args[0]).unwrap()),
        // It takes the registers from the stack, where no signal has put any: the result is undefined.
        "rt_sigreturn" => death != SIGSYS,
        _ => death == Death::Exit(LIVED),
    };
    assert!(lives, "{} {} {args:x?}: {death:?}", role.name(), call.name());
}

/// Installs `filters` in a child, makes the call, and returns how the child ended.
fn attempt(filters: &[&BpfProgram], nr: i64, args: Args) -> Death {
    in_child(|| {
        raw::isolate();
        install(filters);
        raw::call(nr, args);
        LIVED
    })
}

fn install(filters: &[&BpfProgram]) {
    for program in filters {
        if seccompiler::apply_filter_all_threads(program).is_err() {
            raw::exit_now(124);
        }
    }
}

/// Arguments that are allowed in this way, with the bits of `fill` elsewhere.
fn satisfying(call: &Call, way: &[Arg], fill: u64) -> Args {
    let mut args = [fill; 6];
    if call.name() == "kill" {
        args[0] = 0x3fff_ffff; // above any process id: nobody gets the signal
    }
    if call.name() == "ppoll" {
        args[1] = u64::MAX; // an error, where a wait without an end would be none
    }
    for arg in way {
        args[usize::from(arg.index)] = arg.value | fill & !arg.mask;
    }
    args
}
