//! What clients that wait cost.

use super::standin::*;
use super::*;
use std::process::Command;

/// As many as fit twice into the 20,000 descriptors that a process may have at least: each has its two ends here.
const CLIENTS: usize = 9_900;
/// What 10,000 of them may cost, in bytes.
const BUDGET: usize = 64 << 20;

/// Bytes of memory that this process has in use, those of files aside.
fn in_use() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4096
}

#[test]
fn ten_thousand_clients_that_wait_cost_less_than_64_mib() {
    const ALONE: &str = "MAPKEEP_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own, where no other test uses memory, with all the descriptors that it may have.
        let name = "tests::memory::ten_thousand_clients_that_wait_cost_less_than_64_mib";
        let script = "ulimit -n $(ulimit -H -n) && exec \"$0\" --exact \"$1\" --nocapture";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).arg(name);
        let output = command.env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        eprintln!("{said}");
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let mut service = Service::timeless();
    let mut standin = service.standin();
    // What is made once, whoever waits.
    let first = service.client();
    ask(&first, UNION, "first@example.com");
    service.round();
    let before = in_use();
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let client = service.client();
        let table = [RULES, UNION, PIPE][number % 3];
        ask(&client, table, &format!("somebody.with.a.long.name.{number}@department.example.com"));
        // It has more to ask.
        ask(&client, RULES, &format!("{number}"));
        service.round();
        clients.push(client);
        standin.questions();
    }
    let used = in_use().saturating_sub(before);
    let of_ten_thousand = used / CLIENTS * 10_000;
    println!("{used} bytes for {CLIENTS} waiting clients");
    assert!(of_ten_thousand < BUDGET, "{of_ten_thousand}");
    assert!(clients.iter().all(|client| texts(client).is_empty()), "all wait");
}
