//! A policy with a flaw must not build: each flaw by itself, in an otherwise sound policy.

#[path = "../build/policy.rs"]
mod policy;

use policy::generate;

const SOUND: &str = r#"{
  "default_action": "kill_process",
  "arch": ["x86_64"],
  "roles": {
    "supervisor": [{ "syscall": "fork", "why": "starts the others" }],
    "broker": [{ "syscall": "read", "why": "reads change notices" }],
    "logger": [{ "syscall": "write", "why": "writes log lines" }],
    "write_supervisor": { "all_of": "supervisor", "and": [{ "syscall": "fsync", "why": "children sync directories" }] },
    "write_broker": [{ "syscall": "unlinkat", "why": "removes what is left over" }],
    "writer": [{ "syscall": "pwrite64", "why": "writes into tables" }],
    "lookup": [
      { "syscall": "brk", "why": "malloc grows the heap", "arch": ["x86_64"] },
      { "syscall": "mmap", "why": "malloc takes large blocks",
        "args": [[{ "index": 2, "op": "masked_eq", "len": "qword", "mask": "PROT_EXEC|PROT_WRITE", "value": 0 }],
                 [{ "index": 3, "op": "eq", "len": "dword", "value": 7 }]] }
    ]
  }
}"#;

#[test]
fn sound_policy_becomes_tables() {
    let code = generate(SOUND, "x86_64").unwrap();
    for part in [
        "pub(crate) const LOOKUP: &[Rule] = &[",
        r#"Rule { syscall: "brk", nr: libc::SYS_brk, why: "malloc grows the heap", alternatives: &[] }"#,
        "Test::MaskedEqual { mask: libc::PROT_EXEC as u64 | libc::PROT_WRITE as u64 }, value: 0_u64 }, ], ",
        "index: 3, length: Length::Dword, test: Test::Equal, value: 7_u64 }, ], ",
        "const WRITE_SUPERVISOR: &[Rule] = &[\n    Rule { syscall: \"fork\"",
    ] {
        assert!(code.contains(part), "{part} in\n{code}");
    }
}

#[test]
fn the_policy_itself_becomes_tables() {
    generate(include_str!("../../../../policy/seccomp.json"), "x86_64").unwrap();
}

#[test]
fn rule_for_another_architecture_is_left_out() {
    let both = SOUND.replacen("[\"x86_64\"]", "[\"x86_64\", \"aarch64\"]", 1);
    let code = generate(&both, "aarch64").unwrap();
    assert!(!code.contains("SYS_brk") && code.contains("SYS_mmap"), "{code}");
}

#[test]
fn architecture_without_a_tested_list_is_refused() {
    assert!(generate(SOUND, "aarch64").unwrap_err().contains("for aarch64"));
}

#[test]
fn each_flaw_is_refused_with_its_reason() {
    for (sound, flawed, reason) in [
        ("kill_process", "allow", "default_action"),
        ("\"arch\": [\"x86_64\"],\n", "", "missing field `arch`"),
        ("\"roles\"", "\"extra\": 1, \"roles\"", "unknown field `extra`"),
        ("\"broker\":", "\"gateway\": [], \"broker\":", "gateway: a role without rules"),
        ("\"broker\":", "\"a-b\": [], \"broker\":", "\"a-b\" is not the name of a role"),
        ("\"broker\":", "\"logger\": [], \"broker\":", "duplicate field `logger`"),
        (
            "\"supervisor\": [{ \"syscall\": \"fork\", \"why\": \"starts the others\" }],",
            "",
            "write_supervisor: \"all_of\" can only be \"supervisor\", which has a list of its own",
        ),
        ("\"all_of\": \"supervisor\"", "\"all_of\": \"lookup\"", "\"all_of\" can only be"),
        ("[{ \"syscall\": \"write\", \"why\": \"writes log lines\" }]", "[]", "logger: a role without rules"),
        (", \"why\": \"reads change notices\"", "", "missing field `why`"),
        ("reads change notices", "", "read: \"why\" must be a sentence"),
        ("reads change notices", "needed", "read: \"why\" must be a sentence"),
        ("\"brk\", \"why\"", "\"brk\", \"note\": 1, \"why\"", "unknown field `note`"),
        ("\"brk\", \"why\"", "\"brk\", \"syscall\": \"brk\", \"why\"", "duplicate field `syscall`"),
        ("\"brk\"", "\"mmap\"", "mmap, mmap: rules must be sorted by name and unique"),
        ("\"brk\"", "\"munmap\"", "munmap, mmap: rules must be sorted by name and unique"),
        ("\"brk\"", "\"brk()\"", "brk(): not the name"),
        ("heap\", \"arch\": [\"x86_64\"]", "heap\", \"arch\": [\"mips\"]", "brk: \"arch\" must name"),
        ("heap\", \"arch\": [\"x86_64\"]", "heap\", \"arch\": []", "brk: \"arch\" must name"),
        ("heap\", \"arch\": [\"x86_64\"]", "heap\", \"args\": []", "brk: \"args\" without a condition"),
        ("heap\", \"arch\": [\"x86_64\"]", "heap\", \"args\": [[]]", "brk: \"args\" without a condition"),
        ("\"index\": 3", "\"index\": 6", "arguments 0 to 5"),
        ("\"index\": 3", "\"index\": 3, \"index\": 3", "duplicate field `index`"),
        ("\"index\": 3, ", "", "missing field `index`"),
        ("\"index\": 3", "\"size\": 3, \"index\": 3", "unknown field `size`"),
        ("\"op\": \"eq\"", "\"op\": \"like\"", "unknown variant `like`"),
        ("\"op\": \"eq\"", "\"op\": \"masked_eq\"", "mmap: \"masked_eq\" needs a mask"),
        ("\"op\": \"masked_eq\"", "\"op\": \"eq\"", "mmap: \"eq\" takes no mask"),
        ("\"len\": \"dword\"", "\"len\": \"word\"", "unknown variant `word`"),
        ("\"value\": 7", "\"value\": 4294967296", "does not fit into a dword"),
        ("\"value\": 7", "\"value\": -1", "an operand is a number from 0 up"),
        ("\"value\": 7", "\"value\": \"\"", "is not the name of a constant"),
        ("\"value\": 7", "\"value\": \"O_RDONLY |O_RDWR\"", "is not the name of a constant"),
        ("\"value\": 7", "\"value\": \"7\"", "is not the name of a constant"),
        ("}],\n                 [{ \"index\": 3", ", \"index\": 3", "duplicate field"),
        (
            "\"value\": 0 }]",
            "\"value\": 0 }, { \"index\": 2, \"op\": \"eq\", \"len\": \"qword\", \"value\": 1 }]",
            "two conditions",
        ),
    ] {
        let policy = SOUND.replacen(sound, flawed, 1);
        assert_ne!(policy, SOUND, "{sound} is not in the sound policy");
        let error = generate(&policy, "x86_64").unwrap_err();
        assert!(error.contains(reason), "{flawed}: {error}");
    }
}
