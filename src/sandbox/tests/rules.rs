//! Executes every rule of every role: with arguments that it allows (the process lives) and with every argument one
//! bit away (it dies by SIGSYS). Then all system call numbers: what no rule names must kill.
//!
//! Arguments are zero where a rule does not look, so many a call works on descriptor 0 (fchmod(0, 0) succeeds, as root).
//! Therefore each child has descriptors and a directory of its own, whatever the standard streams of the test are.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod raw;
mod runner;

use mapkeep_sandbox::{BpfProgram, Condition, Length, Role, Rule, Test, compile};
use raw::{Death, SIGSYS, in_child};

/// One of the two statuses with which every role may leave.
const LIVED: i32 = 1;
type Args = [u64; 6];

fn main() -> std::process::ExitCode {
    runner::run(&[
        ("allowed_arguments_live", allowed_arguments_live),
        ("allowed_arguments_live_under_the_supervisors_filter_too", allowed_arguments_live_as_child),
        ("arguments_one_bit_away_die", arguments_one_bit_away_die),
        ("calls_without_a_rule_die", calls_without_a_rule_die),
        ("x32_numbers_die", x32_numbers_die),
        ("32_bit_entry_dies", entry_32_bit_dies),
    ])
}

fn allowed_arguments_live() {
    let count = each_allowed(|role, rule, args| {
        assert_lives(role, rule, args, attempt(&[&compile(role).unwrap()], rule.nr, args));
    });
    println!("    {count} calls");
}

/// A child of the supervisor has both filters: what its role needs, the supervisor's list must not take away.
fn allowed_arguments_live_as_child() {
    each_allowed(|role, rule, args| {
        for parent in role.parents() {
            let filters = [&compile(*parent).unwrap(), &compile(role).unwrap()];
            assert_lives(role, rule, args, attempt(&filters, rule.nr, args));
        }
    });
}

fn arguments_one_bit_away_die() {
    let mut count = 0;
    for role in Role::ALL {
        let program = compile(role).unwrap();
        for rule in role.rules() {
            for alternative in rule.alternatives {
                for condition in *alternative {
                    let mut tried = 0;
                    let bits = bits_that_count(condition);
                    // With ones where the conditions leave room, since zeros may suit another alternative.
                    for (bit, fill) in bits.iter().flat_map(|&bit| [(bit, 0), (bit, u64::MAX)]) {
                        let mut args = satisfying(rule, alternative, fill);
                        args[usize::from(condition.index)] ^= 1 << bit;
                        if allows(rule, &args) {
                            continue; // another alternative of the same rule
                        }
                        let death = attempt(&[&program], rule.nr, args);
                        assert_eq!(death, SIGSYS, "{} {} {args:x?}", role.name(), rule.syscall);
                        tried += 1;
                    }
                    assert!(tried > 0, "{} {}: no near miss for {condition:?}", role.name(), rule.syscall);
                    count += tried;
                }
            }
        }
    }
    println!("    {count} calls");
}

/// Numbers beyond the newest call of Linux 6.18 are in it as well.
fn calls_without_a_rule_die() {
    // uretprobe and uprobe: the kernel lets these two pass by every filter, since it puts them into programs itself.
    // Made from elsewhere they end in SIGILL or an error.
    const BY_DESIGN: [i64; 2] = [335, 336];
    let mut count = 0;
    for role in Role::ALL {
        let program = compile(role).unwrap();
        let unnamed = |nr: &i64| role.rules().iter().all(|rule| rule.nr != *nr) && !BY_DESIGN.contains(nr);
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
        for nr in role.rules().iter().map(|rule| rule.nr).chain(512..=547) {
            assert_eq!(attempt(&[&program], nr | X32, [0; 6]), SIGSYS, "{} x32 {nr}", role.name());
        }
    }
}

/// Through the 32-bit table all numbers mean something else (5 is open there, not fstat).
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
            // SIGSEGV where the kernel was built without that table.
            assert!(
                [SIGSYS, Death::Signal(libc::SIGSEGV)].contains(&death),
                "{} int80 {nr}: {death:?}",
                role.name()
            );
        }
    }
}

/// Calls `check` for each alternative of each rule with arguments that it allows.
fn each_allowed(mut check: impl FnMut(Role, &Rule, Args)) -> usize {
    let mut count = 0;
    for role in Role::ALL {
        for rule in role.rules() {
            let any: &[&[Condition]] = &[&[]];
            for alternative in if rule.alternatives.is_empty() { any } else { rule.alternatives } {
                check(role, rule, satisfying(rule, alternative, 0));
                count += 1;
            }
        }
    }
    count
}

fn assert_lives(role: Role, rule: &Rule, args: Args, death: Death) {
    let lives = match rule.syscall {
        "exit_group" => death == Death::Exit(i32::try_from(args[0]).unwrap()),
        // It takes the registers from the stack, where no signal has put any: how that ends is chance.
        "rt_sigreturn" => death != SIGSYS,
        _ => death == Death::Exit(LIVED),
    };
    assert!(lives, "{} {} {args:x?}: {death:?}", role.name(), rule.syscall);
}

/// Installs `filters` in a child, makes the call, and says how that ended.
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

/// Arguments that meet all conditions of `alternative`, with the bits of `fill` elsewhere.
fn satisfying(rule: &Rule, alternative: &[Condition], fill: u64) -> Args {
    let mut args = [fill; 6];
    if rule.syscall == "kill" {
        args[0] = 0x3fff_ffff; // above any process id: nobody gets the signal
    }
    for condition in alternative {
        let free = match condition.test {
            Test::Equal => 0,
            Test::MaskedEqual { mask } => !mask,
        };
        args[usize::from(condition.index)] = condition.value | fill & free;
    }
    args
}

/// The filter's meaning, said a second time.
fn allows(rule: &Rule, args: &Args) -> bool {
    let holds = |condition: &Condition| {
        let argument = args[usize::from(condition.index)];
        let argument = match condition.length {
            Length::Dword => argument & 0xffff_ffff,
            Length::Qword => argument,
        };
        match condition.test {
            Test::Equal => argument == condition.value,
            Test::MaskedEqual { mask } => argument & mask == condition.value,
        }
    };
    rule.alternatives.is_empty() || rule.alternatives.iter().any(|alternative| alternative.iter().all(holds))
}

fn bits_that_count(condition: &Condition) -> Vec<u32> {
    let width = match condition.length {
        Length::Dword => 32,
        Length::Qword => 64,
    };
    let mask = match condition.test {
        Test::Equal => u64::MAX,
        Test::MaskedEqual { mask } => mask,
    };
    (0..width).filter(|bit| mask & (1 << bit) != 0).collect()
}
